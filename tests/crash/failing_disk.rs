//! Disks that fail, fill up or fall short: typed errors, nothing lost, nothing believed after a failed fsync.

use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{CheckpointError, Gone, LandError, Ownership, Sabotage, Step, WriteError};
use ringway::uring::{Errno, Priority, sleep};

use crate::crash::rig::{
    PRIVATE, SharedLedger, fill, host, id, land, missing, open, options, recover, reopened, replica, segment,
    work,
};
use crate::crash::{check_acknowledged, check_final_names};
use crate::sim::{Ended, Fault, OpKind, Rule, SimOptions};

#[test]
fn a_failed_fdatasync_at_landing_throws_the_staging_file_away() {
    let (mut sim, node, core, store) = replica(1);
    let segment = segment(1, "a.seg", 2 * CHUNK_BYTES);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("staging/"));
    sim.block_on(&core, async move {
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        fill(&landing, &segment).await;
        let failed = landing.land().await;
        assert!(matches!(failed, Err(LandError::SyncFailed(_))), "{failed:?}");
        assert!(store.staged().is_empty(), "what an fsync lost is not gone on with");
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("anew");
        assert_eq!(landing.written_count(), 0);
        fill(&landing, &segment).await;
        landing.land().await.expect("the disk is sound again");
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
}

/// Once the map of an earlier attempt was believed whatever had become of the file: changed bytes landed.
#[test]
fn weak_15_a_staged_file_that_was_changed_since_its_checkpoint_is_hashed_again() {
    for is_changed in [false, true] {
        let (mut sim, node, core, store) = replica(5);
        let segment = segment(1, "a.seg", 3 * CHUNK_BYTES);
        let (ours, wanted) = (store.clone(), segment.clone());
        sim.block_on(&core, async move {
            let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
            landing.write_chunk(0, wanted.chunk(0)).await.0.expect("written");
            landing.write_chunk(1, wanted.chunk(1)).await.0.expect("written");
            landing.checkpoint().await.expect("the disk is sound");
        });
        let file = format!("{PRIVATE}/staging/{}", segment.stem());
        let (wanted_file, bytes) = (segment.file(), segment.bytes.clone());
        if is_changed {
            let mut bytes = sim.host(node).disk.file(&file).expect("staged");
            bytes[CHUNK_BYTES + 7] ^= 1;
            sim.host(node).disk.overwrite(&file, &bytes);
        }
        sim.block_on(&core, async move {
            let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("staged");
            assert_eq!(landing.written_count(), if is_changed { 1 } else { 2 });
            fill(&landing, &segment).await;
            landing.land().await.expect("the disk is sound");
        });
        let landed = sim.host(node).disk.file(&wanted_file).expect("landed");
        assert!(landed == *bytes, "what landed is what was wanted");
    }
}

#[test]
fn a_failed_fdatasync_at_a_checkpoint_ends_the_landing() {
    let (mut sim, node, core, store) = replica(2);
    let segment = segment(1, "a.seg", 2 * CHUNK_BYTES);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("staging/"));
    sim.block_on(&core, async move {
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        landing.write_chunk(0, segment.chunk(0)).await.0.expect("written");
        let failed = landing.checkpoint().await;
        assert!(matches!(failed, Err(CheckpointError::SyncFailed(_))), "{failed:?}");
        assert_eq!(landing.write_chunk(1, segment.chunk(1)).await.0, Err(WriteError::Ruined));
        assert_eq!(landing.checkpoint().await, Err(CheckpointError::Ruined));
        assert_eq!(landing.land().await, Err(LandError::Ruined));
    });
}

#[test]
fn a_staging_file_that_cannot_be_removed_after_a_failed_fsync_is_not_gone_on_with() {
    let (mut sim, node, core, store) = replica(3);
    let segment = segment(1, "a.seg", 2 * CHUNK_BYTES);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("staging/"));
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Unlink).times(2));
    sim.block_on(&core, async move {
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        fill(&landing, &segment).await;
        assert!(matches!(landing.land().await, Err(LandError::SyncFailed(_))));
        let again = store.begin(segment.want.clone(), segment.chunks.clone()).await;
        assert!(again.is_err(), "it still cannot be removed");
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("removed now");
        assert_eq!(landing.written_count(), 0);
    });
}

#[test]
fn a_failed_fsync_of_the_folder_or_the_inventory_is_no_landing() {
    for (fault, is_landed) in [("data/segments/x", false), ("inventory", true)] {
        let (mut sim, node, core, store) = replica(4);
        let segment = segment(1, "x/a.seg", 100);
        let ours = store.clone();
        sim.block_on(
            &core,
            async move { land(&ours, &crate::crash::rig::segment(9, "x/other.seg", 5)).await },
        );
        let fault = sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path(fault));
        let landed = sim.block_on(&core, async move {
            let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
            fill(&landing, &segment).await;
            let landed = landing.land().await.is_ok();
            assert_eq!(store.is_held(id(1), segment.want.root), landed);
            landed
        });
        assert_eq!(sim.hits(node, fault), 1, "the fault struck");
        // A failed write of the inventory is mended by a new inventory at once.
        assert_eq!(landed, is_landed);
    }
}

#[test]
fn p3_a_full_disk_is_a_typed_error_and_the_landing_goes_on_when_there_is_room() {
    let (mut sim, node, core, store) = replica(5);
    let big = segment(1, "a.seg", 4 * CHUNK_BYTES);
    // Of at most one chunk: past the page cache room is taken ahead, through it when the chunk is written.
    let (chunk, small) = (segment(2, "b.seg", CHUNK_BYTES), segment(3, "c.seg", 40_000));
    sim.host(node).disk.set_capacity("/data", 2 * CHUNK_BYTES as u64);
    let (ours, segment) = (store.clone(), big.clone());
    sim.block_on(&core, async move {
        let full = ours.begin(segment.want.clone(), segment.chunks.clone()).await.err();
        assert!(full.is_some_and(|error| error.is_disk_full()));
        assert!(ours.available_bytes().await.expect("it can be asked") <= 2 * CHUNK_BYTES as u64);
    });
    sim.host(node).disk.set_capacity("/data", 32 * 1024);
    let ours = store.clone();
    sim.block_on(&core, async move {
        let full = ours.begin(chunk.want.clone(), chunk.chunks.clone()).await.err();
        assert!(full.is_some_and(|error| error.is_disk_full()));
        let segment = small;
        let landing =
            ours.begin(segment.want.clone(), segment.chunks.clone()).await.expect("takes no room yet");
        let (full, _) = landing.write_chunk(0, segment.chunk(0)).await;
        assert!(matches!(full, Err(WriteError::DiskFull(_))), "{full:?}");
        assert_eq!(missing(&landing), [0], "it is missing still");
    });
    sim.host(node).disk.set_capacity("/data", 1 << 30);
    sim.block_on(&core, async move { land(&store, &big).await });
}

/// Writes six chunks of eight with a checkpoint after `checkpoint_at`, kills, goes on: the reads of the staged files.
fn reads_after_a_kill(checkpoint_at: u32) -> u64 {
    let (mut sim, node, core, store) = replica(6);
    let segment = segment(1, "a.seg", 8 * CHUNK_BYTES);
    let (ours, staged) = (store.clone(), segment.clone());
    sim.block_on(&core, async move {
        let landing = ours.begin(staged.want.clone(), staged.chunks.clone()).await.expect("new");
        for index in 0..6 {
            landing.write_chunk(index, staged.chunk(index)).await.0.expect("written");
            if index == checkpoint_at {
                landing.checkpoint().await.expect("sound");
                sleep(Nanos::from_millis(5)).await; // the next write is stamped with another tick
            }
        }
        std::mem::forget(landing); // the process is about to be killed
    });
    let (core, store, recovery) = reopened(&mut sim, node, store);
    assert_eq!(recovery.staged, [segment.stem()]);
    let reads = sim.fault(
        node,
        Rule::new(Fault::Slow(Nanos(1))).on(OpKind::Read).path(&segment.stem().to_string()).times(1000),
    );
    sim.block_on(&core, async move {
        let kept = store.staged_chunks(&segment.want).await;
        assert_eq!(kept.as_ref(), Some(&segment.chunks), "the list need not be asked for again");
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("staged");
        assert_eq!(missing(&landing), [6, 7], "hashed where they lie, not fetched");
        fill(&landing, &segment).await;
        landing.land().await.expect("sound");
    });
    sim.hits(node, reads)
}

#[test]
fn weak_15_what_was_checkpointed_last_before_a_kill_is_not_even_read_again() {
    let [untouched, written_since] = [5, 3].map(reads_after_a_kill);
    assert!(untouched <= 8, "{untouched} reads: two chunks that were never written, and small files");
    assert!(
        written_since >= untouched + 4,
        "a file written since its checkpoint is hashed again: {written_since} reads, not {untouched}"
    );
}

/// Fails the nth operation, for every n: nothing wrong is ever acknowledged, and everything lands afterwards.
fn sweep(errno: Errno, kinds: &[OpKind]) -> u64 {
    for nth in 0.. {
        let (mut sim, node) = host(1000 + nth, SimOptions::default());
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 1);
        let ledger = SharedLedger::default();
        let rule = kinds.iter().fold(Rule::new(Fault::Fail(errno)), |rule, kind| rule.on(*kind)).skip(nth);
        let fault = sim.fault(node, rule);
        let task = core.spawn(Priority::Bulk, work(store, Rc::clone(&ledger)));
        let ended = sim.try_until(|| task.is_ended(), Nanos::from_secs(600));
        assert_eq!(ended, Ended::Met, "{errno} at {nth}: the work hangs");
        if sim.hits(node, fault) == 0 {
            return nth;
        }
        sim.clear_faults(node);
        sim.power_cut(node);
        sim.restart(node);
        let mut broken = check_final_names::check(&sim, node, &ledger.borrow());
        let core = sim.core(node, 0);
        let again = recover(options(Ownership::Ours, 2), Rc::clone(&ledger), Sabotage::None);
        let recovered = sim.block_on(&core, again);
        broken.extend(check_final_names::check(&sim, node, &ledger.borrow()));
        broken.extend(check_acknowledged::check(&sim, node, &ledger.borrow(), &recovered));
        assert!(broken.is_empty(), "{errno} at {nth}: {broken:?}");
    }
    unreachable!("the work ends")
}

#[test]
fn an_error_at_any_operation_loses_nothing_that_was_promised() {
    use OpKind::{
        Allocate, Link, MakeDir, Open, Rename, Stat, StatName, StatNames, Sync, Truncate, Unlink, Write,
    };
    let count = sweep(Errno::IO, &[Sync, Write, Truncate, Rename]);
    assert!(count > 30, "{count}");
    sweep(Errno::IO, &[Open, Stat, StatName, StatNames, MakeDir, Unlink, Link]);
    sweep(Errno::NO_SPACE, &[Write, Allocate, Sync, Open]);
}

#[test]
fn every_step_is_in_the_recipe_once_and_in_order() {
    assert!(Step::ALL.is_sorted());
    assert_eq!(Step::ALL.len(), 8);
}

/// A removal may be what makes room, and one that fails is asked for again by whoever finds the segment still held.
#[test]
fn a_removal_needs_no_room_and_one_that_fails_leaves_the_segment_held() {
    let (mut sim, node, core, store) = replica(21);
    for index in [1, 2] {
        let (ours, made) = (store.clone(), segment(index, &format!("{index}.seg"), 5000));
        sim.block_on(&core, async move { land(&ours, &made).await });
    }
    let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Rename).path("1.seg").times(u64::MAX);
    sim.fault(node, full);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Rename).path("2.seg"));
    let ours = store.clone();
    sim.block_on(&core, async move {
        assert_eq!(ours.remove(id(1)).await, Ok(Gone::File));
        let refused = ours.remove(id(2)).await.expect_err("the disk refuses");
        assert_eq!(refused.errno, Errno::IO);
        assert_eq!(
            ours.held().map(|held| held.id).collect::<Vec<_>>(),
            [id(2)],
            "it is told, and asked for again"
        );
        assert_eq!(ours.remove(id(2)).await, Ok(Gone::File));
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
}
