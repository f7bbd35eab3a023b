//! An engine's files at their origin: digested, pinned, read after the engine has deleted them, and never touched.

use ringway::digest::FlatHasher;
use ringway::ids::NodeId;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{
    DigestError, Gone, LandError, Ownership, PinError, ReadError, RelativePath, Store, Want,
};
use ringway::uring::{Core, Dir, Errno, OpenOptions};

use super::held::bytes;
use crate::crash::rig::{
    PRIVATE, ROOT, Segment, fill, host, id, open_as, options, path, reopened, segment, store_on,
};
use crate::sim::{Fault, Loss, OpKind, Rule, Sim, SimOptions};

pub fn origin(seed: u64) -> (Sim, NodeId, Core, Store) {
    store_on(seed, SimOptions::default(), Ownership::Engine)
}

pub fn pins(sim: &Sim, node: NodeId) -> usize {
    sim.host(node).disk.paths(&format!("{PRIVATE}/pins")).len()
}

/// A file that stands at its origin.
pub fn planted(sim: &mut Sim, node: NodeId, index: u64, name: &str) -> Segment {
    let made = segment(index, name, 5000);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    made
}

/// A file that was digested so often, and that the engine has deleted then.
fn digested(sim: &mut Sim, node: NodeId, core: &Core, store: &Store, times: usize) -> Segment {
    let made = planted(sim, node, 1, "a.seg");
    let (ours, name) = (store.clone(), made.want.path.clone());
    sim.block_on(core, async move {
        for _ in 0..times {
            ours.digest_file(&name).await.expect("it is sealed");
        }
    });
    sim.host(node).disk.remove(&made.file());
    made
}

/// An origin on whose disk no second name can be given.
fn origin_without_links(seed: u64) -> (Sim, NodeId, Core, Store) {
    let (mut sim, node) = host(seed, SimOptions::default());
    sim.host(node).disk.remove(ROOT);
    sim.host(node).disk.plant_mount(ROOT, 1 << 30);
    let core = sim.core(node, 0);
    let (store, _) = open_as(&mut sim, &core, options(Ownership::Engine, 1));
    (sim, node, core, store)
}

/// Digests and pins a file as a segment of this index.
pub async fn register(store: &Store, index: u64, name: &RelativePath) -> Want {
    let digested = store.digest_file(name).await.expect("it is sealed");
    let want = Want { id: id(index), path: name.clone(), len: digested.len, root: digested.root };
    store.pin(&want).await.expect("it has not changed");
    want
}

#[test]
fn a_file_is_digested_in_one_pass_and_kept_until_it_is_dropped() {
    let (mut sim, node, core, store) = origin(1);
    let made = segment(1, "wal/1.seg", 2 * CHUNK_BYTES + 17);
    sim.host(node).disk.plant_dir(&format!("{ROOT}/wal"));
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    let (ours, theirs) = (store.clone(), made.clone());
    sim.block_on(&core, async move {
        let digested = ours.digest_file(&theirs.want.path).await.expect("it is sealed");
        let mut flat = FlatHasher::new();
        flat.update(&theirs.bytes);
        assert_eq!((digested.root, digested.len), (theirs.want.root, theirs.want.len));
        assert_eq!(digested.flat, flat.finish());
        assert_eq!(digested.chunks, theirs.chunks);
        ours.pin(&theirs.want).await.expect("it has not changed");
        ours.pin(&theirs.want).await.expect("asking again is no error");
    });
    assert_eq!(pins(&sim, node), 1);
    // The engine deletes what it has no use for any more: a compaction.
    sim.host(node).disk.remove(&made.file());
    let (core, store, recovery) = reopened(&mut sim, node, store);
    assert_eq!((recovery.held, recovery.suspects.len()), (1, 0), "the pin keeps it, over a restart too");
    sim.block_on(&core, async move {
        let reader = store.open_segment(id(1)).await.expect("the pin is read");
        assert_eq!(bytes(&reader).await, *made.bytes);
        assert_eq!(store.remove(id(1)).await, Ok(Gone::Record));
        assert_eq!(store.open_segment(id(1)).await.err(), Some(ReadError::NotHeld));
    });
    assert_eq!(pins(&sim, node), 0);
}

/// It may have been proposed, and committed by others, when the power goes.
#[test]
fn what_was_digested_outlasts_the_power_though_the_engine_has_flushed_nothing_and_let_go_of_it() {
    // Now and then a file system makes a name durable of its own accord.
    for seed in 1..=4 {
        let (mut sim, node, core, store) = origin(seed);
        let made = segment(1, "1.seg", CHUNK_BYTES + 17);
        let theirs = made.clone();
        sim.block_on(&core, async move {
            let root = Dir::open_root(ROOT).await.expect("it is there");
            let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
            let file = root.open("1.seg", options).await.expect("a name is free");
            for index in 0..theirs.chunks.chunk_count() {
                let chunk = theirs.chunk(index);
                let (span, at) = (0..chunk.filled().len(), u64::from(index) * CHUNK_BYTES as u64);
                file.write_at(chunk, span, at).await.0.expect("room");
            }
            store.digest_file(&theirs.want.path).await.expect("it is sealed");
            root.unlink("1.seg").await.expect("it is there");
        });
        sim.power_cut_with(node, Loss::All);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open_as(&mut sim, &core, options(Ownership::Engine, 2));
        sim.block_on(&core, async move {
            store.pin(&made.want).await.expect("it was kept");
            let reader = store.open_segment(id(1)).await.expect("held");
            assert_eq!(bytes(&reader).await, *made.bytes, "seed {seed}");
        });
    }
}

#[test]
fn the_engine_s_names_are_never_renamed_or_unlinked() {
    let (mut sim, node, core, store) = origin(2);
    let made = planted(&mut sim, node, 1, "a.seg");
    let file = made.file();
    sim.block_on(&core, async move {
        let want = register(&store, 1, &made.want.path).await;
        let why = ringway::segment::Why::Content { expected: want.root, found: want.root };
        assert_eq!(store.quarantine(id(1), why).await, Ok(Gone::Record));
        let want = register(&store, 2, &made.want.path).await;
        assert_eq!(store.remove(want.id).await, Ok(Gone::Record));
        // Another node's file that landed here would cover the engine's.
        let theirs = segment(9, "a.seg", 10);
        let landing = store.begin(theirs.want.clone(), theirs.chunks.clone()).await.expect("staging is ours");
        fill(&landing, &theirs).await;
        let refused = landing.land().await;
        assert!(
            matches!(&refused, Err(LandError::Disk(error)) if error.errno == Errno::EXISTS),
            "{refused:?}"
        );
        // What is not that segment is let go of, and left.
        let done = store.reconcile([theirs.want.clone()]).await.expect("sound");
        assert_eq!(done.quarantined, [id(9)]);
    });
    assert_eq!(sim.host(node).disk.file(&file).map(|bytes| bytes.len()), Some(5000));
}

#[test]
fn weak_05_an_origin_that_lost_a_file_gets_it_back_under_its_free_name() {
    let (mut sim, node, core, store) = origin(3);
    let lost = segment(1, "x/a.seg", CHUNK_BYTES + 1);
    let expect = lost.clone();
    let store = sim.block_on(&core, async move {
        let done = store.reconcile([lost.want.clone()]).await.expect("sound");
        assert_eq!(done.refetched, [id(1)], "what is wanted is missing, whoever made it");
        let landing = store.begin(lost.want.clone(), lost.chunks.clone()).await.expect("missing");
        fill(&landing, &lost).await;
        landing.land().await.expect("the name is free");
        assert!(store.is_held(id(1), lost.want.root));
        store
    });
    assert_eq!(sim.host(node).disk.file(&expect.file()).as_ref(), Some(&*expect.bytes));
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
    let (_, _, recovery) = reopened(&mut sim, node, store);
    assert_eq!(recovery.held, 1);
}

#[test]
fn a_file_that_changes_while_it_is_digested_is_refused() {
    let (mut sim, node, core, store) = origin(4);
    let made = segment(1, "a.seg", 3 * CHUNK_BYTES);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    let file = made.file();
    sim.later(ringway::ids::Nanos::from_millis(1), move |sim| {
        let mut bytes = made.bytes.to_vec();
        bytes[0] ^= 1;
        sim.host(node).disk.overwrite(&file, &bytes);
    });
    let refused = sim.block_on(&core, async move { store.digest_file(&path("a.seg")).await.map(drop) });
    assert!(matches!(refused, Err(DigestError::Changed { .. })), "{refused:?}");
    assert_eq!(pins(&sim, node), 0, "no draft is left behind");
}

#[test]
fn a_file_that_changes_in_place_after_it_was_registered_is_not_served() {
    let (mut sim, node, core, store) = origin(5);
    let made = segment(1, "a.seg", 4000);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    let ours = store.clone();
    let want = sim.block_on(&core, async move { register(&ours, 1, &path("a.seg")).await });
    sim.host(node).disk.overwrite(&made.file(), &[7; 4000]);
    let ours = store.clone();
    sim.block_on(&core, async move {
        let refused = ours.open_segment(id(1)).await.err();
        assert!(matches!(refused, Some(ReadError::Changed { .. })), "{refused:?}");
        assert!(!ours.is_held(id(1), want.root), "it does not count any more");
        let refused = ours.pin(&want).await;
        assert!(matches!(refused, Err(PinError::OtherContent { .. })), "{refused:?}");
    });
}

#[test]
fn a_file_that_the_engine_replaces_between_digest_and_pin_stays_what_was_digested() {
    let (mut sim, node, core, store) = origin(6);
    let made = segment(1, "a.seg", 4000);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    let ours = store.clone();
    let digested =
        sim.block_on(&core, async move { ours.digest_file(&path("a.seg")).await.expect("sealed") });
    let want = Want { id: id(1), path: path("a.seg"), len: digested.len, root: digested.root };
    sim.host(node).disk.remove(&made.file());
    sim.host(node).disk.plant_file(&made.file(), b"another file of that name");
    // A restart between the proposal and its commit: only the draft still has the content.
    let (core, store, _) = reopened(&mut sim, node, store);
    sim.block_on(&core, async move {
        store.pin(&want).await.expect("the draft is found by its content");
        let reader = store.open_segment(id(1)).await.expect("held");
        assert_eq!(bytes(&reader).await, *made.bytes);
        store.sweep_drafts().await;
        assert!(store.open_segment(id(1)).await.is_ok(), "a pin is no draft");
    });
    assert_eq!(pins(&sim, node), 1);
}

#[test]
fn where_no_link_can_be_made_the_file_is_held_open_and_that_is_said() {
    let (mut sim, node, core, store) = origin_without_links(7);
    let made = planted(&mut sim, node, 1, "a.seg");
    let (ours, file) = (store.clone(), made.file());
    sim.block_on(&core, async move { drop(register(&ours, 1, &path("a.seg")).await) });
    assert!(!store.paths().links);
    sim.host(node).disk.remove(&file);
    sim.block_on(&core, async move {
        let reader = store.open_segment(id(1)).await.expect("held open");
        assert_eq!(bytes(&reader).await, *made.bytes);
    });
}

#[test]
fn links_fifos_and_missing_files_are_not_digested() {
    let (mut sim, node, core, store) = origin(8);
    sim.host(node).disk.plant_file("/data/secret", b"of another");
    sim.host(node).disk.plant_symlink(&format!("{ROOT}/link"), "/data/secret");
    sim.host(node).disk.plant_symlink(&format!("{ROOT}/dir"), "/data");
    sim.host(node).disk.plant_fifo(&format!("{ROOT}/fifo"));
    sim.block_on(&core, async move {
        for name in ["link", "fifo"] {
            assert_eq!(
                store.digest_file(&path(name)).await.map(drop),
                Err(DigestError::NotRegular),
                "{name}"
            );
        }
        for (name, errno) in [("dir/secret", Errno::LOOP), ("nothing", Errno::NOT_FOUND)] {
            let refused = store.digest_file(&path(name)).await.map(drop);
            assert!(
                matches!(&refused, Err(DigestError::Disk(error)) if error.errno == errno),
                "{name}: {refused:?}"
            );
        }
    });
    assert_eq!(pins(&sim, node), 0);
}

#[test]
fn a_registered_file_survives_a_power_cut_at_any_operation_of_its_registration() {
    for nth in 0.. {
        let (mut sim, node, core, store) = origin(100 + nth);
        let made = segment(1, "a.seg", 2 * CHUNK_BYTES);
        sim.host(node).disk.plant_file(&made.file(), &made.bytes);
        let crash = crate::sim::Crash { how: crate::sim::How::PowerCut, after: nth % 2 == 0 };
        sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
        let pinned = sim.try_block_on(&core, async move { register(&store, 1, &path("a.seg")).await });
        if pinned.is_some() {
            assert!(nth > 5, "only {nth} operations");
            return;
        }
        drop(core);
        sim.clear_faults(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open_as(&mut sim, &core, options(Ownership::Engine, 2));
        let want = made.want.clone();
        sim.block_on(&core, async move {
            store.reconcile([want.clone()]).await.expect("sound");
            store.pin(&want).await.expect("the file is there");
            store.sweep_drafts().await;
            assert!(store.open_segment(id(1)).await.is_ok());
        });
        assert_eq!(pins(&sim, node), 1, "one pin, no draft, after a cut at {nth}");
        assert!(sim.host(node).disk.file(&made.file()).is_some());
    }
}

#[test]
fn a_digest_that_the_disk_refuses_is_an_error_and_leaves_no_draft() {
    let (mut sim, node, core, store) = origin(9);
    let made = segment(1, "a.seg", 2 * CHUNK_BYTES);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Read).skip(1));
    let refused = sim.block_on(&core, async move { store.digest_file(&path("a.seg")).await.map(drop) });
    assert!(matches!(&refused, Err(DigestError::Disk(error)) if error.errno == Errno::IO), "{refused:?}");
    assert_eq!(pins(&sim, node), 0);
}

/// An engine that keeps one file under two names (a checkpoint of hard links) registers both. Once the two shared one
/// draft, and the first pin took the second's: by then the engine may have deleted what it had registered.
#[test]
fn a_file_that_is_registered_under_two_of_its_names_is_kept_for_both() {
    let (mut sim, node, core, store) = origin(10);
    let made = segment(1, "a.seg", 2 * CHUNK_BYTES + 5);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    {
        let disk = &mut sim.host(node).disk;
        let root = disk.absolute(ROOT.as_bytes()).expect("planted");
        disk.link((root, b"a.seg"), (root, b"b.seg"), &mut crate::sim::Rng::new(1)).expect("free");
    }
    let names = [path("a.seg"), path("b.seg")];
    let (ours, both) = (store.clone(), names.clone());
    sim.block_on(&core, async move {
        for name in &both {
            ours.digest_file(name).await.expect("it is sealed");
        }
    });
    for name in ["a.seg", "b.seg"] {
        sim.host(node).disk.remove(&format!("{ROOT}/{name}"));
    }
    sim.block_on(&core, async move {
        for (index, name) in (1..).zip(&names) {
            let want = Want { id: id(index), path: name.clone(), len: made.want.len, root: made.want.root };
            store.pin(&want).await.expect("it was digested, and is kept since");
            let reader = store.open_segment(id(index)).await.expect("held");
            assert_eq!(bytes(&reader).await, *made.bytes);
        }
    });
    assert_eq!(pins(&sim, node), 2);
}

/// Once whoever gave up took the file from the other.
#[test]
fn of_two_who_want_a_file_registered_each_keeps_it_by_himself() {
    let (mut sim, node, core, store) = origin(11);
    let made = digested(&mut sim, node, &core, &store, 2);
    let want = made.want.clone();
    sim.block_on(&core, async move {
        store.drop_draft(&want.path, want.root).await;
        store.pin(&want).await.expect("the other one's is there");
        store.drop_draft(&want.path, want.root).await;
        assert!(store.open_segment(id(1)).await.is_ok(), "a pin is no draft");
    });
    assert_eq!(pins(&sim, node), 1);
}

/// Once that was taken for no draft: the segment was to be fetched from nodes that wait for it here, and what nobody
/// had claimed was let go.
#[test]
fn a_draft_that_cannot_be_opened_just_now_is_not_gone() {
    let (mut sim, node, core, store) = origin(12);
    let made = digested(&mut sim, node, &core, &store, 1);
    let (core, store, _) = reopened(&mut sim, node, store);
    let too_many_files = Fault::Fail(Errno(libc::EMFILE));
    sim.fault(node, Rule::new(too_many_files).on(OpKind::Open).path("draft-"));
    sim.block_on(&core, async move {
        let refused = store.pin(&made.want).await.expect_err("it cannot be opened");
        assert!(!refused.is_gone(), "{refused}");
        store.pin(&made.want).await.expect("now it can");
        assert!(store.open_segment(id(1)).await.is_ok());
    });
}

/// Once one read that failed at a start let go of the pin, and with it of what the engine had deleted.
#[test]
fn a_pin_that_cannot_be_read_at_a_start_does_not_count_and_is_kept() {
    let (mut sim, node, core, store) = origin(13);
    let made = planted(&mut sim, node, 1, "a.seg");
    let (ours, name) = (store.clone(), made.want.path.clone());
    sim.block_on(&core, async move { drop(register(&ours, 1, &name).await) });
    sim.host(node).disk.remove(&made.file());
    sim.run_for(ringway::ids::Nanos::from_secs(1));
    // Its time is another one: it is hashed.
    sim.host(node).disk.overwrite(&format!("{PRIVATE}/pins/{}", made.stem()), &made.bytes);
    let (core, store, recovery) = reopened(&mut sim, node, store);
    assert_eq!(recovery.suspects, [id(1)]);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Read).path("pins/"));
    sim.block_on(&core, async move {
        store.reconcile([made.want.clone()]).await.expect("the rest of the disk is sound");
        assert!(!store.is_held(id(1), made.want.root), "nobody has seen that it is sound");
        store.pin(&made.want).await.expect("now it can be read");
        let reader = store.open_segment(id(1)).await.expect("held");
        assert_eq!(bytes(&reader).await, *made.bytes);
    });
    assert_eq!(pins(&sim, node), 1);
}

/// Each attempt whose outcome nobody knew left one more, with an open file.
#[test]
fn however_often_a_registration_is_tried_one_draft_waits_for_it_and_none_outlasts_its_pin() {
    let (mut sim, node, core, store) = origin(14);
    let made = planted(&mut sim, node, 1, "a.seg");
    let (ours, want) = (store.clone(), made.want.clone());
    sim.block_on(&core, async move {
        for _ in 0..5 {
            ours.digest_file(&want.path).await.expect("it is sealed");
            ours.park_draft(&want.path, want.root).await;
        }
    });
    assert_eq!(pins(&sim, node), 1);
    sim.host(node).disk.remove(&made.file());
    let (ours, want) = (store.clone(), made.want.clone());
    sim.block_on(&core, async move { ours.pin(&want).await.expect("it was kept") });
    assert_eq!(
        sim.host(node).disk.paths(&format!("{PRIVATE}/pins")),
        [format!("{PRIVATE}/pins/{}", made.stem())]
    );
    // One that is parked beside a pin that is being made goes with it.
    let other = planted(&mut sim, node, 2, "b.seg");
    let want = other.want.clone();
    sim.block_on(&core, async move {
        for _ in 0..2 {
            store.digest_file(&want.path).await.expect("it is sealed");
        }
        store.park_draft(&want.path, want.root).await;
        store.pin(&want).await.expect("sound");
        store.drop_draft(&want.path, want.root).await;
    });
    assert_eq!(pins(&sim, node), 2);
}

/// Once the first attempt that failed let go of the open file, and of all that there was.
#[test]
fn a_file_that_nothing_but_its_open_handle_keeps_outlasts_a_pin_that_fails() {
    let (mut sim, node, core, store) = origin_without_links(7);
    let made = digested(&mut sim, node, &core, &store, 1);
    assert!(!store.paths().links);
    sim.fault(node, Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory"));
    sim.block_on(&core, async move {
        store.pin(&made.want).await.expect_err("there is no room for its record");
        store.pin(&made.want).await.expect("now there is");
        let reader = store.open_segment(id(1)).await.expect("held");
        assert_eq!(bytes(&reader).await, *made.bytes);
    });
}

/// Once whoever waited for it waited for ever, though others had the content.
#[test]
fn a_draft_whose_sectors_are_gone_keeps_nobody_from_fetching_the_segment() {
    let (mut sim, node, core, store) = origin(15);
    let made = digested(&mut sim, node, &core, &store, 1);
    let (core, store, _) = reopened(&mut sim, node, store);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Read).path("draft-").times(u64::MAX));
    sim.block_on(&core, async move {
        let refused = store.pin(&made.want).await.expect_err("it cannot be read");
        assert!(refused.is_gone(), "{refused}");
    });
}
