//! Pins of an engine's files: which file they keep, through what, and what it costs to know them.

use futures_util::future::join_all;
use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Gone, Ownership, PinError, Store, Want};
use ringway::uring::Errno;

use super::engine_files::{origin, pins, planted, register};
use super::held::bytes;
use crate::crash::rig::{ROOT, fill, id, open_as, options, path, reopened, replica, segment};
use crate::sim::{Fault, Loss, OpKind, Rule};

/// The engine has deleted the file: if the new name is lost with the power, so is the segment.
#[test]
fn a_pin_that_goes_over_to_another_segment_of_the_same_content_does_so_durably() {
    for seed in 1..=4 {
        let (mut sim, node, core, store) = origin(seed);
        let made = planted(&mut sim, node, 1, "a.seg");
        let (ours, name) = (store.clone(), made.want.path.clone());
        sim.block_on(&core, async move { drop(register(&ours, 1, &name).await) });
        sim.host(node).disk.remove(&made.file());
        let again = Want { id: id(2), ..made.want.clone() };
        let want = again.clone();
        sim.block_on(&core, async move {
            let done = store.reconcile([want.clone()]).await.expect("sound");
            assert_eq!(done.adopted, [id(2)]);
            assert!(store.is_held(id(2), want.root));
        });
        drop(core);
        sim.power_cut_with(node, Loss::All);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, recovery) = open_as(&mut sim, &core, options(Ownership::Engine, 2));
        assert_eq!((recovery.held, recovery.suspects.as_slice()), (1, &[][..]), "seed {seed}");
        sim.block_on(&core, async move {
            let reader = store.open_segment(id(2)).await.expect("held");
            assert_eq!(bytes(&reader).await, *made.bytes);
        });
    }
}

#[test]
fn a_file_that_changes_in_place_between_digest_and_pin_is_not_pinned() {
    let (mut sim, node, core, store) = origin(2);
    let made = planted(&mut sim, node, 1, "a.seg");
    let (ours, name) = (store.clone(), made.want.path.clone());
    sim.block_on(&core, async move { drop(ours.digest_file(&name).await.expect("it is sealed")) });
    let mut changed = made.bytes.to_vec();
    changed[0] ^= 1;
    sim.host(node).disk.overwrite(&made.file(), &changed);
    sim.block_on(&core, async move {
        let refused = store.pin(&made.want).await;
        assert!(matches!(refused, Err(PinError::Changed { .. })), "{refused:?}");
        assert!(!store.is_held(id(1), made.want.root), "its content is another one");
    });
    assert_eq!(pins(&sim, node), 0, "no draft is left behind");
}

/// A manifest says nothing else of the root, unless somebody has made it up.
#[test]
fn a_length_that_is_not_the_root_s_is_not_pinned() {
    let (mut sim, node, core, store) = origin(3);
    let made = planted(&mut sim, node, 1, "a.seg");
    sim.block_on(&core, async move {
        store.digest_file(&made.want.path).await.expect("it is sealed");
        let refused = store.pin(&Want { len: made.want.len + 1, ..made.want.clone() }).await;
        assert!(matches!(refused, Err(PinError::Changed { .. })), "{refused:?}");
    });
    assert_eq!(pins(&sim, node), 0);
}

/// Both are digested, registered one after the other, and pinned the other way round. Without the refusal the older
/// one's record takes the path, and the newer one is not held any more.
#[test]
fn a_version_that_is_pinned_late_does_not_take_the_newer_one_s_record() {
    let (mut sim, node, core, store) = origin(5);
    let (late, new) = (planted(&mut sim, node, 1, "a.seg"), segment(2, "a.seg", 8000));
    let (ours, name) = (store.clone(), late.want.path.clone());
    sim.block_on(&core, async move { drop(ours.digest_file(&name).await.expect("it is sealed")) });
    sim.host(node).disk.remove(&late.file());
    sim.host(node).disk.plant_file(&new.file(), &new.bytes);
    let (ours, wants) = (store.clone(), [late.want.clone(), new.want.clone()]);
    sim.block_on(&core, async move {
        ours.digest_file(&wants[1].path).await.expect("it is sealed");
        ours.pin(&wants[1]).await.expect("first");
        assert_eq!(ours.pin(&wants[0]).await, Err(PinError::Superseded { by: id(2) }));
        assert!(ours.is_held(id(2), wants[1].root));
    });
    assert_eq!(pins(&sim, node), 1, "the newer one's");
    sim.host(node).disk.remove(&new.file());
    let (core, store, _) = reopened(&mut sim, node, store);
    sim.block_on(&core, async move {
        let reader = store.open_segment(id(2)).await.expect("its pin is there");
        assert_eq!(bytes(&reader).await, *new.bytes);
    });
}

/// Once they were listed for every damaged file.
#[test]
fn what_is_pinned_is_listed_once_at_a_start_however_many_files_are_damaged() {
    let (mut sim, node, core, store) = origin(4);
    let names: Vec<String> = (1..=20).map(|index| format!("{index}.seg")).collect();
    let kept = segment(50, "kept.seg", CHUNK_BYTES);
    sim.host(node).disk.plant_file(&kept.file(), &kept.bytes);
    let (ours, wanted) = (store.clone(), kept.want.clone());
    // Digested, and proposed when the process dies.
    sim.block_on(&core, async move { drop(ours.digest_file(&wanted.path).await.expect("it is sealed")) });
    drop((core, store));
    sim.kill(node);
    for name in &names {
        sim.host(node).disk.plant_file(&format!("{ROOT}/{name}"), b"something else");
    }
    sim.restart(node);
    let watch = Rule::new(Fault::Slow(Nanos(1))).on(OpKind::List).path("pins").times(u64::MAX);
    let lists = sim.fault(node, watch);
    let core = sim.core(node, 0);
    let of_start = options(Ownership::Ours, 1);
    let (store, _) = open_as(&mut sim, &core, of_start);
    let damaged = names.len();
    let older = segment(40, "kept.seg", 10);
    let ours: Store = store.clone();
    let done = sim.block_on(&core, async move {
        let wants = (1..).zip(&names).map(|(index, name)| segment(index, name, 5000).want);
        let wants: Vec<Want> = wants.chain([older.want.clone()]).collect();
        ours.reconcile(wants).await.expect("sound")
    });
    assert_eq!(done.quarantined.len(), damaged + 1);
    assert_eq!(sim.hits(node, lists), 1);
    assert!(sim.host(node).disk.file(&kept.file()).is_some(), "what is proposed stays in its place");
    assert!(sim.host(node).disk.file(&format!("{ROOT}/1.seg")).is_none(), "what is not is set aside");
    let want = kept.want.clone();
    sim.block_on(&core, async move {
        assert_eq!(store.sweep_drafts().await, 1, "those of the process before are known");
        store.pin(&want).await.expect("the engine's file is there");
        assert!(store.is_held(id(50), want.root), "{}", path("kept.seg"));
    });
}

/// It has landed over the engine's file, and nobody would have known of it any more: it stood there for ever.
#[test]
fn a_version_without_its_record_makes_room_for_what_the_engine_has_registered_instead() {
    let (mut sim, node, core, store) = replica(5);
    let (older, new) = (segment(1, "a.seg", 5000), segment(2, "a.seg", 6000));
    sim.host(node).disk.plant_file(&new.file(), &new.bytes);
    let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
    sim.fault(node, full.times(2));
    let (ours, next) = (store.clone(), new.clone());
    sim.block_on(&core, async move {
        ours.digest_file(&next.want.path).await.expect("it is sealed");
        let landing = ours.begin(older.want.clone(), older.chunks.clone()).await.expect("new");
        fill(&landing, &older).await;
        landing.land().await.expect_err("there is no room for its record");
        ours.pin(&next.want).await.expect("there is room");
    });
    assert_eq!(sim.host(node).disk.file(&new.file()).as_ref(), Some(&*new.bytes));
    let gone = sim.block_on(&core, async move { store.remove(new.want.id).await });
    assert_eq!(gone, Ok(Gone::File));
    assert!(sim.host(node).disk.paths(ROOT).is_empty());
}

/// Digests eight files at the same time, the first fsync of the pins so slow that all others ask meanwhile; `next` is
/// what becomes of those behind it. Says how many fsyncs there were behind it, how many of the files are kept, and how
/// many pins there are.
fn digested_together(seed: u64, next: Fault) -> (u64, usize, usize) {
    let (mut sim, node, core, store) = origin(seed);
    let files: Vec<_> =
        (1..=8).map(|index| planted(&mut sim, node, index, &format!("{index}.seg")).want.path).collect();
    // The files' own have no other fault.
    let syncs = |fault: Fault| Rule::new(fault).on(OpKind::Sync);
    sim.fault(node, syncs(Fault::Slow(Nanos(1))).path("pins/draft-").times(u64::MAX));
    sim.fault(node, syncs(Fault::Slow(Nanos::from_secs(1))).path("pins"));
    let behind = sim.fault(node, syncs(next).path("pins").times(u64::MAX));
    let kept = sim.block_on(&core, async move {
        let digested = join_all(files.iter().map(|name| store.digest_file(name))).await;
        digested.iter().filter(|digested| digested.is_ok()).count()
    });
    (sim.hits(node, behind), kept, pins(&sim, node))
}

/// Each had its own: of the five flushes of the disk that a registration took, two were those of this folder.
#[test]
fn files_that_are_digested_at_the_same_time_share_the_fsync_of_the_pins() {
    assert_eq!(digested_together(6, Fault::Slow(Nanos(1))), (1, 8, 8));
}

#[test]
fn an_fsync_of_the_pins_that_fails_keeps_none_of_the_files_that_shared_it() {
    assert_eq!(digested_together(7, Fault::Fail(Errno::IO)), (1, 1, 1));
}
