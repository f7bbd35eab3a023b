//! Crashes and failures between rename and record: the file is known to be ours at the next start, and what somebody
//! else has put under the name is not.

use std::cell::Cell;
use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{BeginError, Edge, Gone, LandError, Sabotage, Step, Store, Verdict, Want};
use ringway::uring::{Errno, Priority, timeout};

use crate::crash::rig::{
    PRIVATE, ROOT, Segment, SharedLedger, fill, host, id, land, open, reopened, replica, segment, work,
};
use crate::sim::{Ended, Fault, How, Loss, OpKind, Rng, Rule, Sim, SimOptions};

/// Removes what the store has and nobody wants, as a shard does.
async fn remove_surplus(store: &Store, wanted: &[Segment]) {
    let is_wanted = |id| wanted.iter().any(|segment| segment.want.id == id);
    let mut surplus: Vec<_> = store.held().map(|held| held.id).collect();
    surplus.extend(store.unfinished());
    for id in surplus.into_iter().filter(|id| !is_wanted(*id)) {
        store.remove(id).await.expect("the disk is sound");
    }
}

/// A life that is cut at the nth reach of a step; then all that was not acknowledged is deleted while the node is down.
fn strays(seed: u64, sabotage: Sabotage, nth: usize, how: How) -> (Vec<String>, bool) {
    let (mut sim, node) = host(seed, SimOptions::default());
    let core = sim.core(node, 0);
    let (store, _) = open(&mut sim, &core, 1);
    store.sabotage(sabotage);
    let ledger = SharedLedger::default();
    let (seen, stopped) = (Cell::new(0), Rc::new(Cell::new(false)));
    let stop = Rc::clone(&stopped);
    store.watch(move |_, _| {
        seen.set(seen.get() + 1);
        stop.set(stop.get() || seen.get() > nth);
        if stop.get() { Verdict::Stop } else { Verdict::Go }
    });
    let task = core.spawn(Priority::Bulk, work(store, Rc::clone(&ledger)));
    let ended = sim.try_until(|| task.is_ended() || stopped.get(), Nanos::from_secs(600));
    assert_ne!(ended, Ended::TimedOut);
    drop((task, core));
    match how {
        How::Kill => sim.kill(node),
        How::PowerCut => sim.power_cut(node),
    }
    sim.restart(node);
    let core = sim.core(node, 0);
    let boot = if how == How::Kill { 1 } else { 2 };
    let (store, _) = open(&mut sim, &core, boot);
    let ledger = ledger.borrow();
    let is_kept = |segment: &&Segment| ledger.acknowledged.contains_key(&segment.want.id);
    let wanted: Vec<Segment> = ledger.wanted.values().filter(is_kept).cloned().collect();
    let (ours, wants) = (store.clone(), wanted.clone());
    sim.block_on(&core, async move {
        ours.reconcile(wants.iter().map(|segment| segment.want.clone())).await.expect("sound");
        remove_surplus(&ours, &wants).await;
    });
    let host = sim.host(node);
    let paths = host.disk.paths(ROOT).into_iter().filter(|path| !path.ends_with('/'));
    let mut broken: Vec<String> =
        paths.filter(|path| !wanted.iter().any(|segment| segment.file() == *path)).collect();
    for segment in &wanted {
        if host.disk.file(&segment.file()).as_ref() != Some(&*segment.bytes) {
            broken.push(format!("{} is gone", segment.want.id));
        }
    }
    let aside = host.disk.paths(&format!("{PRIVATE}/quarantine"));
    broken.extend(aside);
    broken.extend(host.disk.paths(&format!("{PRIVATE}/staging")));
    (broken, stopped.get())
}

fn every_step(sabotage: Sabotage, how: How, seed: u64) -> Vec<String> {
    let mut found = Vec::new();
    for nth in 0.. {
        let (broken, was_cut) = strays(seed * 1000 + nth as u64, sabotage, nth, how);
        found.extend(broken.into_iter().map(|line| format!("seed {seed}, reach {nth}: {line}")));
        if !was_cut {
            return found;
        }
    }
    unreachable!("the work ends")
}

#[test]
fn what_was_deleted_while_the_node_was_down_leaves_no_file_wherever_it_was_cut() {
    for how in [How::Kill, How::PowerCut] {
        for seed in 1..=4 {
            assert_eq!(every_step(Sabotage::None, how, seed), [""; 0], "{how:?}");
        }
    }
}

#[test]
fn a_rename_without_its_intent_is_noticed() {
    for how in [How::Kill, How::PowerCut] {
        let found: Vec<_> =
            (1..=4).flat_map(|seed| every_step(Sabotage::RenameWithoutIntent, how, seed)).collect();
        assert!(!found.is_empty(), "{how:?}");
    }
}

/// Stages a segment and lets its landing come to a step and no further.
pub fn land_to(
    sim: &mut Sim,
    core: &ringway::uring::Core,
    store: &Store,
    segment: &Segment,
    at: (Step, Edge),
) {
    let reached = Rc::new(Cell::new(false));
    let there = Rc::clone(&reached);
    store.watch(move |step, edge| {
        there.set(there.get() || (step, edge) == at);
        if there.get() { Verdict::Stop } else { Verdict::Go }
    });
    let (ours, wanted) = (store.clone(), segment.clone());
    let task = core.spawn(Priority::Bulk, async move {
        let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
        fill(&landing, &wanted).await;
        landing.land().await
    });
    sim.run_until(|| reached.get(), Nanos::from_secs(10));
    drop(task);
}

#[test]
fn a_landing_that_was_cut_behind_its_rename_is_held_at_the_next_start_and_not_fetched() {
    for (seed, how) in (1..=20).zip([How::Kill, How::PowerCut].into_iter().cycle()) {
        for step in [Step::DirSynced, Step::Recorded] {
            let (mut sim, node, core, store) = replica(seed);
            let (old, new) = (segment(1, "x/a.seg", 900), segment(2, "x/a.seg", 800));
            let (ours, before) = (store.clone(), old.clone());
            sim.block_on(&core, async move { land(&ours, &before).await });
            land_to(&mut sim, &core, &store, &new, (step, Edge::Before));
            drop((core, store));
            match how {
                How::Kill => sim.kill(node),
                How::PowerCut => sim.power_cut(node),
            }
            sim.restart(node);
            let core = sim.core(node, 0);
            let (store, recovery) = open(&mut sim, &core, 2);
            let stands = sim.host(node).disk.file(&new.file());
            let version = if stands.as_ref() == Some(&*new.bytes) { &new } else { &old };
            assert_eq!(stands.as_ref(), Some(&*version.bytes), "one of the two stands: seed {seed} {how:?}");
            assert!(how == How::PowerCut || version.want.id == new.want.id, "a kill takes nothing back");
            assert!(store.is_held(version.want.id, version.want.root), "seed {seed} {how:?}: {recovery:?}");
            assert_eq!((recovery.held, store.unfinished()), (1, vec![]));
        }
    }
}

#[test]
fn an_intent_that_came_to_nothing_takes_no_file_of_somebody_elses() {
    for (seed, is_same_number) in (1..=10).zip([false, true].into_iter().cycle()) {
        let (mut sim, node, core, store) = replica(seed);
        let segment = segment(1, "a.seg", 1000);
        land_to(&mut sim, &core, &store, &segment, (Step::Renamed, Edge::Before));
        let staged = format!("{PRIVATE}/staging/{}", segment.stem());
        drop((core, store));
        sim.kill(node);
        sim.run_for(Nanos::from_secs(1));
        let work = vec![7; 1000];
        let inode = {
            let disk = &mut sim.host(node).disk;
            if is_same_number {
                // The number of a file that is gone comes again.
                let folder = |path: &str| disk.absolute(path.as_bytes()).expect("it is there");
                let (from, to) = (folder(&format!("{PRIVATE}/staging")), folder(ROOT));
                let name = segment.stem().to_string();
                disk.overwrite(&staged, &work);
                disk.link((from, name.as_bytes()), (to, b"a.seg"), &mut Rng::new(seed)).expect("free");
                disk.remove(&staged);
            } else {
                disk.plant_file(&segment.file(), &work);
            }
            disk.absolute(segment.file().as_bytes()).expect("just made")
        };
        for boot in 1..=2 {
            sim.restart(node);
            let core = sim.core(node, 0);
            let (store, _) = open(&mut sim, &core, boot);
            assert!(store.unfinished().is_empty(), "no word of it is left");
            let ours = store.clone();
            let gone = sim.block_on(&core, async move {
                ours.reconcile([]).await.expect("sound");
                remove_surplus(&ours, &[]).await;
                ours.remove(id(1)).await
            });
            assert_eq!(gone, Ok(Gone::Unknown));
            assert_eq!(sim.host(node).disk.absolute(segment.file().as_bytes()), Ok(inode), "seed {seed}");
            assert_eq!(sim.host(node).disk.file(&segment.file()), Some(work.clone()));
            drop((core, store));
            sim.kill(node);
        }
    }
}

#[test]
fn a_landing_that_failed_behind_its_rename_leaves_a_file_that_is_replaced_or_removed() {
    for is_wanted in [false, true] {
        // The folder's fsync; and the record's after the intent's, and that of the file written in its stead.
        for (place, skip, times) in [("segments/x", 0, 1), ("inventory", 1, 2)] {
            let (mut sim, node, core, store) = replica(1);
            let segment = segment(1, "x/a.seg", 1000);
            let rule = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path(place).skip(skip).times(times);
            sim.fault(node, rule);
            let (ours, wanted) = (store.clone(), segment.clone());
            let failed = sim.block_on(&core, async move {
                let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
                fill(&landing, &wanted).await;
                landing.land().await
            });
            assert!(matches!(failed, Err(LandError::SyncFailed(_))), "{place}: {failed:?}");
            assert_eq!(sim.host(node).disk.file(&segment.file()).as_ref(), Some(&*segment.bytes));
            assert_eq!((store.unfinished(), store.held().count()), (vec![id(1)], 0));
            let (ours, wanted) = (store.clone(), segment.clone());
            sim.block_on(&core, async move {
                match (is_wanted, place) {
                    (true, "inventory") => assert_eq!(ours.end_landing(&wanted.want).await, Ok(true)),
                    // Its name was to be made durable once more, and no second fsync tells whether the first was lost.
                    (true, _) => land(&ours, &wanted).await,
                    (false, _) => assert_eq!(ours.remove(id(1)).await, Ok(Gone::File)),
                }
            });
            assert_eq!(sim.host(node).disk.file(&segment.file()).is_some(), is_wanted, "{place}");
            assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine")).is_empty(), "{place}");
            let (_, store, recovery) = reopened(&mut sim, node, store);
            assert_eq!((recovery.held, store.unfinished()), (usize::from(is_wanted), vec![]));
        }
    }
}

#[test]
fn an_inventory_of_the_version_before_is_read_and_gone_on_with_as_one_of_ours() {
    let (mut sim, node, core, store) = replica(1);
    let (first, second) = (segment(1, "a.seg", 10), segment(2, "b.seg", 20));
    let (ours, landed) = (store.clone(), first.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    drop((core, store));
    sim.kill(node);
    let inventory = format!("{PRIVATE}/inventory");
    let file = sim.host(node).disk.file(&inventory).expect("there is one");
    let mut old = file[..16].to_vec();
    old[8] = 1;
    let mut rest = &file[16..];
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = rest.split_at(8 + u32::from_le_bytes(*length) as usize);
        if frame[8] != 3 {
            old.extend_from_slice(frame);
        }
        rest = behind;
    }
    assert!(old.len() < file.len(), "an intent was there");
    sim.host(node).disk.overwrite(&inventory, &old);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, recovery) = open(&mut sim, &core, 1);
    assert_eq!((recovery.held, recovery.inventory_cut), (1, None));
    let ours = store.clone();
    sim.block_on(&core, async move { land(&ours, &second).await });
    assert_eq!(sim.host(node).disk.file(&inventory).expect("it is there")[8], 2);
    let (_, _, recovery) = reopened(&mut sim, node, store);
    assert_eq!((recovery.held, recovery.inventory_cut), (2, None));
}

/// Once all of it was fetched again.
#[test]
fn a_landing_that_a_full_disk_left_without_its_record_is_ended_when_there_is_room_and_nothing_is_fetched() {
    for seed in 1..=4 {
        let (mut sim, node, core, store) = replica(seed);
        let (old, new) = (segment(1, "x/a.seg", 900), segment(2, "x/a.seg", 3 * CHUNK_BYTES));
        let (ours, before) = (store.clone(), old.clone());
        sim.block_on(&core, async move { land(&ours, &before).await });
        // The intent's write has room; the record's has none, nor that of the file in its stead, and so once more.
        let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
        sim.fault(node, full.times(3));
        let (ours, wanted) = (store.clone(), new.clone());
        sim.block_on(&core, async move {
            let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
            fill(&landing, &wanted).await;
            landing.checkpoint().await.expect("sound");
            let full = landing.land().await;
            assert!(matches!(full, Err(LandError::DiskFull(_))), "{full:?}");
            assert!(!ours.is_held(wanted.want.id, wanted.want.root));
            ours.reconcile([]).await.expect("sound");
            let full = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.err();
            assert!(full.as_ref().is_some_and(BeginError::is_disk_full), "{full:?}");
            let held = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.err();
            assert_eq!(held, Some(BeginError::Held), "there is room");
            assert!(ours.is_held(wanted.want.id, wanted.want.root));
            assert_eq!((ours.unfinished(), ours.held().count()), (vec![], 1));
        });
        assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
        let lists = sim.host(node).disk.paths(&format!("{PRIVATE}/digests"));
        assert_eq!(lists, [format!("{PRIVATE}/digests/{}", new.stem())]);
        drop((core, store));
        sim.power_cut_with(node, Loss::All);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, recovery) = open(&mut sim, &core, 2);
        assert!(store.is_held(new.want.id, new.want.root), "seed {seed}: {recovery:?}");
        assert_eq!(sim.host(node).disk.file(&new.file()).as_ref(), Some(&*new.bytes));
    }
}

/// Whoever fetches a segment that is deleted gives up in the middle: once the record came behind the removal.
#[test]
fn a_removal_waits_for_the_record_of_a_landing_that_is_being_ended() {
    let (mut sim, node, core, store) = replica(1);
    let segment = segment(2, "a.seg", 1000);
    let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
    sim.fault(node, full.times(2));
    let (ours, wanted) = (store.clone(), segment.clone());
    sim.block_on(&core, async move {
        let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
        fill(&landing, &wanted).await;
        landing.land().await.expect_err("there is no room");
    });
    sim.fault(node, Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Sync).path("inventory"));
    let (ours, wanted) = (store.clone(), segment.want.clone());
    let gone = sim.block_on(&core, async move {
        let given_up = timeout(Nanos::from_millis(500), ours.end_landing(&wanted)).await;
        assert!(given_up.is_err(), "it takes a second");
        ours.remove(wanted.id).await
    });
    assert_eq!(gone, Ok(Gone::File));
    assert_eq!((store.unfinished(), store.held().count()), (vec![], 0));
    assert_eq!(sim.host(node).disk.file(&segment.file()), None);
}

#[test]
fn a_landing_without_its_record_is_not_ended_with_what_somebody_else_has_put_there_or_over_a_newer_one() {
    for is_replaced in [false, true] {
        let (mut sim, node, core, store) = replica(1);
        let segment = segment(2, "a.seg", 1000);
        let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
        sim.fault(node, full.times(2));
        let (ours, wanted) = (store.clone(), segment.clone());
        sim.block_on(&core, async move {
            let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
            fill(&landing, &wanted).await;
            landing.land().await.expect_err("there is no room");
            if !is_replaced {
                // The same content is wanted of a later entry: it is taken as it stands there.
                let later = Want { id: id(3), ..wanted.want.clone() };
                ours.reconcile([later.clone()]).await.expect("sound");
                assert!(ours.is_held(later.id, later.root));
            }
        });
        if is_replaced {
            sim.host(node).disk.plant_file(&segment.file(), &segment.bytes);
        }
        let ours = store.clone();
        let ended = sim.block_on(&core, async move { ours.end_landing(&segment.want).await });
        assert_eq!(ended, Ok(false));
        assert_eq!(store.held().map(|held| held.id).collect::<Vec<_>>().is_empty(), is_replaced);
    }
}

/// Its content says nothing of whose it is.
#[test]
fn a_file_of_somebody_elses_with_the_segment_s_own_content_is_not_taken_for_the_one_that_was_announced() {
    let (mut sim, node, core, store) = replica(1);
    let segment = segment(1, "a.seg", 1000);
    land_to(&mut sim, &core, &store, &segment, (Step::Renamed, Edge::Before));
    drop((core, store));
    sim.kill(node);
    let theirs = sim.host(node).disk.plant_file(&segment.file(), &segment.bytes);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, recovery) = open(&mut sim, &core, 1);
    assert_eq!((recovery.held, store.unfinished()), (0, vec![]));
    sim.block_on(&core, async move {
        store.reconcile([]).await.expect("sound");
        assert_eq!(store.remove(id(1)).await, Ok(Gone::Unknown));
    });
    assert_eq!(sim.host(node).disk.absolute(segment.file().as_bytes()), Ok(theirs));
}
