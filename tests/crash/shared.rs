//! P10: content that is held already comes under a second name without being fetched, and only if it is still sound.

use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Gone, LinkError, Ownership, ReadError, Shared};
use ringway::uring::Priority;

use crate::crash::held::reads_as;
use crate::crash::rig::{PRIVATE, id, land, link, of_bytes, reopened, replica, segment, store_on};
use crate::sim::{DiskOptions, Fault, OpKind, Rule, SimOptions};

#[test]
fn p10_content_that_is_held_under_another_name_is_shared() {
    for (reflink, links_max, expected) in
        [(true, 1000, Shared::Reflinked), (false, 1000, Shared::Linked), (false, 1, Shared::Copied)]
    {
        let disk = DiskOptions { reflink, links_max, ..DiskOptions::default() };
        let world = SimOptions { disk, ..SimOptions::default() };
        let (mut sim, node, core, store) = store_on(12, world, Ownership::Ours);
        let first = segment(1, "a.seg", 2 * CHUNK_BYTES + 9);
        let second = of_bytes(2, "deep/er/b.seg", first.bytes.to_vec());
        let expect = second.clone();
        let store = sim.block_on(&core, async move {
            assert_eq!(link(&store, &second.want).await, Ok(None), "nothing is held yet");
            land(&store, &first).await;
            assert!(store.has_content(second.want.root, second.want.len));
            let shared = link(&store, &second.want).await.expect("sound").expect("held");
            assert_eq!(shared.1, Some(expected));
            assert!(reads_as(&store, &second).await && reads_as(&store, &first).await);
            assert_eq!(store.remove(id(1)).await, Ok(Gone::File));
            assert!(reads_as(&store, &second).await, "the first name's end is not the second's");
            store
        });
        assert_eq!(sim.host(node).disk.file(&expect.file()).as_ref(), Some(&*expect.bytes));
        let (_, _, recovery) = reopened(&mut sim, node, store);
        assert_eq!((recovery.held, recovery.staged.len()), (1, 0), "{expected:?}");
    }
}

/// Once what had the source's name by then was linked, and stood under the other name as if it had been verified.
#[test]
fn a_source_that_is_replaced_while_its_content_is_shared_gives_nothing() {
    let disk = DiskOptions { reflink: false, ..DiskOptions::default() };
    let (mut sim, node, core, store) =
        store_on(19, SimOptions { disk, ..SimOptions::default() }, Ownership::Ours);
    let (first, newer) = (segment(1, "a.seg", 9000), segment(3, "a.seg", 9000));
    let second = of_bytes(2, "b.seg", first.bytes.to_vec());
    let (ours, landed) = (store.clone(), first.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    sim.fault(node, Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Reflink));
    let (ours, wanted) = (store.clone(), second.clone());
    let sharing = core.spawn(Priority::Bulk, async move {
        let shared = link(&ours, &wanted.want).await;
        assert!(matches!(shared, Err(LinkError::Read(ReadError::Changed { .. }))), "{shared:?}");
    });
    sim.run_for(Nanos::from_millis(500));
    let (ours, landed) = (store.clone(), newer.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    sim.run_until(|| sharing.is_ended(), Nanos::from_secs(10));
    assert_eq!(sim.host(node).disk.file(&second.file()), None);
    assert!(!store.is_held(second.want.id, second.want.root));
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
}

#[test]
fn the_same_content_registered_again_under_its_name_only_changes_the_record() {
    let (mut sim, node, core, store) = replica(13);
    let first = segment(1, "a.seg", 2 * CHUNK_BYTES);
    let second = of_bytes(2, "a.seg", first.bytes.to_vec());
    let store = sim.block_on(&core, async move {
        land(&store, &first).await;
        let (landed, shared) = link(&store, &second.want).await.expect("sound").expect("held");
        assert_eq!((landed.replaced, shared), (Some(id(1)), None), "only the record is new");
        assert!(reads_as(&store, &second).await);
        assert!(!store.is_held(id(1), first.want.root));
        assert_eq!(store.chunk_list(id(2)).await, Ok(second.chunks));
        store
    });
    let (_, store, _) = reopened(&mut sim, node, store);
    assert_eq!(store.held().map(|held| held.id).collect::<Vec<_>>(), [id(2)]);
}

/// Once the first of those with the content was linked to: onto its own second name, which changes neither.
#[test]
fn p10_content_under_several_names_registered_again_under_one_of_them_is_taken_over_there() {
    let (mut sim, node, core, store) = replica(13);
    let first = segment(1, "a.seg", 9000);
    let second = of_bytes(2, "b.seg", first.bytes.to_vec());
    let third = of_bytes(3, "b.seg", first.bytes.to_vec());
    let store = sim.block_on(&core, async move {
        land(&store, &first).await;
        assert_eq!(link(&store, &second.want).await.expect("sound").expect("held").1, Some(Shared::Linked));
        assert_eq!(link(&store, &third.want).await.expect("sound").expect("held").1, None);
        assert!(reads_as(&store, &third).await);
        store
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
    let (_, store, _) = reopened(&mut sim, node, store);
    assert_eq!(store.held().map(|held| held.id).collect::<Vec<_>>(), [id(1), id(3)]);
}

#[test]
fn p10_content_that_has_rotted_or_was_changed_is_shared_with_nobody_and_counts_no_more() {
    for is_rot in [true, false] {
        let (mut sim, node, core, store) = replica(21);
        let first = segment(1, "a.seg", CHUNK_BYTES + 70_000);
        let second = of_bytes(2, "b.seg", first.bytes.to_vec());
        let (ours, landed) = (store.clone(), first.clone());
        sim.block_on(&core, async move { land(&ours, &landed).await });
        match is_rot {
            true => assert!(sim.host(node).disk.rot(&first.file(), CHUNK_BYTES as u64 + 5, 4)),
            false => sim.host(node).disk.overwrite(&first.file(), &first.bytes),
        }
        assert!(store.is_held(first.want.id, first.want.root));
        let (ours, wanted) = (store.clone(), second.want.clone());
        let refused = sim.block_on(&core, async move { link(&ours, &wanted).await });
        match refused {
            Err(LinkError::Read(ReadError::Damaged { expected, .. })) if is_rot => {
                assert_eq!(expected, first.want.root);
            }
            Err(LinkError::Read(ReadError::Changed { .. })) if !is_rot => {}
            other => panic!("rot {is_rot}: {other:?}"),
        }
        assert!(!store.is_held(first.want.id, first.want.root), "rot {is_rot}");
        assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
    }
}
