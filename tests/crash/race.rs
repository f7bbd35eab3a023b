//! Somebody else puts something under a segment's name while the segment lands: nothing of his is replaced.

use futures_util::future::join;
use ringway::ids::{Digest, Nanos, NodeId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Gone, LandError, Landed, Ownership, ReadError, Why};
use ringway::uring::{Errno, sleep};

use crate::crash::rig::{PRIVATE, ROOT, Segment, fill, land, open, replica, segment, store_on};
use crate::sim::disk::Disk;
use crate::sim::{Crash, DiskOptions, Fault, How, Loss, OpKind, Rng, Rule, Sim, SimOptions};

/// What somebody puts there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Thing {
    File,
    Fifo,
    Link,
}

const THINGS: [Thing; 3] = [Thing::File, Thing::Fifo, Thing::Link];
const WORK: &[u8] = b"somebody's work";

pub fn put(disk: &mut Disk, path: &str, thing: Thing) -> u64 {
    match thing {
        Thing::File => disk.plant_file(path, WORK),
        Thing::Fifo => disk.plant_fifo(path),
        Thing::Link => disk.plant_symlink(path, "/elsewhere"),
    }
}

/// Lands a segment whose rename takes a second; in the middle of it `then` happens.
fn landing(
    (sim, node): (&mut Sim, NodeId),
    (core, store): (&ringway::uring::Core, &ringway::segment::Store),
    segment: &Segment,
    then: impl FnOnce(&mut Disk) + 'static,
) -> Result<Landed, LandError> {
    let slow =
        Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path(segment.want.path.as_str());
    sim.fault(node, slow);
    let (ours, wanted) = (store.clone(), segment.clone());
    let staged = sim.block_on(core, async move {
        let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
        fill(&landing, &wanted).await;
        landing
    });
    sim.later(Nanos::from_millis(500), move |sim| then(&mut sim.host(node).disk));
    sim.block_on(core, async move { staged.land().await })
}

/// The inode of what was put there stands in quarantine now, and only there.
pub fn is_aside(sim: &Sim, node: NodeId, inode: u64) -> bool {
    let host = sim.host(node);
    let aside = host.disk.paths(&format!("{PRIVATE}/quarantine"));
    aside.iter().any(|path| {
        let (folder, name) = path.rsplit_once('/').expect("a path");
        let folder = host.disk.absolute(folder.as_bytes()).expect("it is there");
        host.disk.named(folder, name.as_bytes()) == Ok(inode)
    })
}

pub fn stands(sim: &Sim, node: NodeId, segment: &Segment) {
    let host = sim.host(node);
    assert_eq!(host.disk.file(&segment.file()).as_ref(), Some(&*segment.bytes));
    assert_eq!(host.disk.paths(&format!("{PRIVATE}/staging")), [""; 0], "nothing is left behind");
}

#[test]
fn what_comes_under_a_free_name_during_the_landing_is_set_aside() {
    for (seed, thing) in (1..).zip(THINGS) {
        let (mut sim, node, core, store) = replica(seed);
        let segment = segment(1, "a.seg", 1000);
        let file = segment.file();
        let inode = std::rc::Rc::new(std::cell::Cell::new(0));
        let made = std::rc::Rc::clone(&inode);
        let then = move |disk: &mut Disk| made.set(put(disk, &file, thing));
        let landed = landing((&mut sim, node), (&core, &store), &segment, then);
        assert!(landed.is_ok(), "{thing:?}: {landed:?}");
        stands(&sim, node, &segment);
        assert!(is_aside(&sim, node, inode.get()), "{thing:?}");
    }
}

#[test]
fn what_comes_in_the_place_of_the_version_before_during_the_landing_is_set_aside() {
    for (seed, thing) in (11..).zip(THINGS) {
        let (mut sim, node, core, store) = replica(seed);
        let (old, new) = (segment(1, "x/a.seg", CHUNK_BYTES + 9), segment(2, "x/a.seg", 2 * CHUNK_BYTES));
        let ours = store.clone();
        sim.block_on(&core, async move { land(&ours, &old).await });
        let file = new.file();
        let inode = std::rc::Rc::new(std::cell::Cell::new(0));
        let made = std::rc::Rc::clone(&inode);
        let then = move |disk: &mut Disk| {
            disk.remove(&file);
            made.set(put(disk, &file, thing));
        };
        let landed = landing((&mut sim, node), (&core, &store), &new, then);
        assert!(landed.is_ok(), "{thing:?}: {landed:?}");
        stands(&sim, node, &new);
        assert!(is_aside(&sim, node, inode.get()), "{thing:?}");
    }
}

#[test]
fn what_stands_under_the_name_before_is_set_aside_known_version_or_not() {
    for (seed, (thing, is_known)) in (21..).zip(THINGS.into_iter().flat_map(|t| [(t, false), (t, true)])) {
        let (mut sim, node, core, store) = replica(seed);
        let (old, new) = (segment(1, "a.seg", 1000), segment(2, "a.seg", 1000));
        let ours = store.clone();
        if is_known {
            sim.block_on(&core, async move { land(&ours, &old).await });
            sim.host(node).disk.remove(&new.file());
        }
        let inode = put(&mut sim.host(node).disk, &new.file(), thing);
        let landed = landing((&mut sim, node), (&core, &store), &new, |_| {});
        assert!(landed.is_ok(), "{thing:?}: {landed:?}");
        stands(&sim, node, &new);
        assert!(is_aside(&sim, node, inode), "{thing:?}");
    }
}

#[test]
fn the_version_before_may_go_away_during_the_landing() {
    let (mut sim, node, core, store) = replica(31);
    let (old, new) = (segment(1, "a.seg", 1000), segment(2, "a.seg", 1000));
    let ours = store.clone();
    sim.block_on(&core, async move { land(&ours, &old).await });
    let file = new.file();
    let landed = landing((&mut sim, node), (&core, &store), &new, move |disk: &mut Disk| disk.remove(&file));
    assert!(landed.is_ok(), "{landed:?}");
    stands(&sim, node, &new);
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine")).is_empty());
}

/// Once the file was looked at, and then whatever had its name was unlinked.
#[test]
fn what_comes_in_the_place_of_a_segment_while_it_is_removed_is_set_aside() {
    for (seed, thing) in (61..).zip(THINGS) {
        let (mut sim, node, core, store) = replica(seed);
        let segment = segment(1, "x/a.seg", 1000);
        let (ours, landed) = (store.clone(), segment.clone());
        sim.block_on(&core, async move { land(&ours, &landed).await });
        let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).on(OpKind::Unlink);
        sim.fault(node, slow.path("x/a.seg"));
        let inode = std::rc::Rc::new(std::cell::Cell::new(0));
        let (made, file) = (std::rc::Rc::clone(&inode), segment.file());
        sim.later(Nanos::from_millis(500), move |sim| {
            let disk = &mut sim.host(node).disk;
            disk.remove(&file);
            made.set(put(disk, &file, thing));
        });
        let gone = sim.block_on(&core, async move { store.remove(segment.want.id).await });
        assert!(gone.is_ok(), "{thing:?}: {gone:?}");
        assert!(is_aside(&sim, node, inode.get()), "{thing:?}");
        assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
    }
}

/// The exchange of the two names is durable, and what came out for the version before has not been looked at.
#[test]
fn what_an_exchange_that_was_cut_off_has_left_in_staging_is_set_aside_at_the_next_start() {
    let ways = THINGS.into_iter().flat_map(|thing| [(thing, How::Kill), (thing, How::PowerCut)]);
    for (seed, (thing, how)) in (71..).zip(ways) {
        let (mut sim, node, core, store) = replica(seed);
        let (old, new) = (segment(1, "x/a.seg", 5000), segment(2, "x/a.seg", 5000));
        let (ours, staged) = (store.clone(), new.clone());
        let landing = sim.block_on(&core, async move {
            land(&ours, &old).await;
            let landing = ours.begin(staged.want.clone(), staged.chunks.clone()).await.expect("new");
            fill(&landing, &staged).await;
            landing
        });
        let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path("x/a.seg");
        sim.fault(node, slow);
        // It looks at what came out; for durability's sake the folder is synced before by somebody.
        let look = Rule::new(Fault::Crash(Crash { how, after: false })).on(OpKind::StatName);
        sim.fault(node, look.path(&new.stem().to_string()));
        let inode = std::rc::Rc::new(std::cell::Cell::new(0));
        let (made, file) = (std::rc::Rc::clone(&inode), new.file());
        sim.later(Nanos::from_millis(500), move |sim| {
            let disk = &mut sim.host(node).disk;
            disk.remove(&file);
            made.set(put(disk, &file, thing));
        });
        let landed = sim.try_block_on(&core, async move { landing.land().await });
        assert!(landed.is_none(), "{thing:?} {how:?}: it was cut off");
        drop((core, store));
        sim.clear_faults(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 2);
        let (ours, wanted) = (store.clone(), new.clone());
        sim.block_on(&core, async move {
            ours.reconcile([wanted.want.clone()]).await.expect("sound");
            if !ours.is_held(wanted.want.id, wanted.want.root) {
                land(&ours, &wanted).await; // the power cut has taken the exchange back
            }
        });
        stands(&sim, node, &new);
        // A power cut may take back what nobody had made durable, his file's name too; a kill takes back nothing.
        assert!(how == How::PowerCut || is_aside(&sim, node, inode.get()), "{thing:?}");
    }
}

/// A rename of a file to another name of itself does nothing, and says that it has.
#[test]
fn a_file_that_is_put_back_under_the_name_by_its_other_name_is_set_aside_once_more() {
    let (mut sim, node, core, store) = replica(81);
    let new = segment(1, "a.seg", 1000);
    let inode = put(&mut sim.host(node).disk, &format!("{ROOT}/kept"), Thing::File);
    for round in 0..3 {
        {
            let disk = &mut sim.host(node).disk;
            let root = disk.absolute(ROOT.as_bytes()).expect("planted");
            if round > 0 {
                disk.remove(&new.file());
            }
            disk.link((root, b"kept"), (root, b"a.seg"), &mut Rng::new(1)).expect("free");
        }
        let version = segment(1 + round, "a.seg", 1000);
        let landed = landing((&mut sim, node), (&core, &store), &version, |_| {});
        assert!(landed.is_ok(), "{round}: {landed:?}");
        stands(&sim, node, &version);
        assert!(is_aside(&sim, node, inode));
    }
    assert_eq!(sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine")).len(), 6, "three, and why");
}

#[test]
fn a_directory_with_a_file_under_the_name_stays_and_the_landing_fails() {
    for (seed, is_known) in [(41, false), (42, true)] {
        let (mut sim, node, core, store) = replica(seed);
        let (old, new) = (segment(1, "a.seg", 1000), segment(2, "a.seg", 1000));
        let (ours, file) = (store.clone(), new.file());
        if is_known {
            sim.block_on(&core, async move { land(&ours, &old).await });
            sim.host(node).disk.remove(&file);
        }
        sim.host(node).disk.plant_dir(&format!("{file}/below"));
        sim.host(node).disk.plant_file(&format!("{file}/below/work"), WORK);
        let landed = landing((&mut sim, node), (&core, &store), &new, |_| {});
        let is_told = matches!(&landed, Err(LandError::Disk(error)) if error.errno == Errno::IS_A_DIRECTORY);
        assert!(is_told, "{landed:?}");
        assert!(sim.host(node).disk.paths(&file).contains(&format!("{file}/below/work")));
    }
}

/// What was in it was deleted, or never was: it kept the file away for ever.
#[test]
fn a_directory_without_a_file_under_the_name_gives_way() {
    let (mut sim, node, core, store) = replica(43);
    let (old, new) = (segment(1, "a.seg/deep/b.seg", 1000), segment(2, "a.seg", 1000));
    let (ours, again) = (store.clone(), old.clone());
    sim.block_on(&core, async move {
        land(&ours, &again).await;
        ours.remove(again.want.id).await.expect("removed");
    });
    sim.host(node).disk.plant_dir(&format!("{}/empty", new.file()));
    let landed = landing((&mut sim, node), (&core, &store), &new, |_| {});
    assert!(landed.is_ok(), "{landed:?}");
    stands(&sim, node, &new);
    // And back: the folder is a new one, whose name is made durable anew.
    let ours = store.clone();
    let back = segment(3, "a.seg/deep/b.seg", 1000);
    let wanted = back.clone();
    sim.block_on(&core, async move {
        ours.remove(new.want.id).await.expect("removed");
        land(&ours, &wanted).await;
    });
    sim.power_cut(node);
    assert_eq!(
        sim.host(node).disk.file(&back.file()).as_ref(),
        Some(&*back.bytes),
        "its folders came back with it"
    );
}

#[test]
fn where_renames_have_no_flags_a_stranger_is_looked_for_first() {
    let disk = DiskOptions { rename_flags: false, ..DiskOptions::default() };
    let world = SimOptions { disk, ..SimOptions::default() };
    let (mut sim, node, core, store) = store_on(51, world, Ownership::Ours);
    let (old, new) = (segment(1, "a.seg", 1000), segment(2, "a.seg", 1000));
    let inode = put(&mut sim.host(node).disk, &old.file(), Thing::File);
    for segment in [&old, &new] {
        let landed = landing((&mut sim, node), (&core, &store), segment, |_| {});
        assert!(landed.is_ok(), "{landed:?}");
        stands(&sim, node, segment);
    }
    assert!(is_aside(&sim, node, inode));
}

/// The version before is removed while its successor lands: once that took the successor's file.
#[test]
fn a_removal_that_waits_for_a_landing_of_the_next_version_leaves_that_alone() {
    let (mut sim, node, core, store) = replica(101);
    let (old, new) = (segment(1, "x/a.seg", 5000), segment(2, "x/a.seg", 5000));
    let (ours, landed) = (store.clone(), old.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path("x/a.seg");
    sim.fault(node, slow);
    let (ours, next) = (store.clone(), new.clone());
    let (landed, gone) = sim.block_on(&core, async move {
        let landing = ours.begin(next.want.clone(), next.chunks.clone()).await.expect("new");
        fill(&landing, &next).await;
        let removal = async {
            sleep(Nanos::from_millis(500)).await;
            assert!(ours.is_held(old.want.id, old.want.root), "the landing is under way");
            ours.remove(old.want.id).await
        };
        join(landing.land(), removal).await
    });
    assert!(landed.is_ok(), "{landed:?}");
    assert_eq!(gone, Ok(Gone::Unknown), "it was replaced");
    stands(&sim, node, &new);
    assert!(store.is_held(new.want.id, new.want.root));
}

/// A reader looks while the next version has the name; the landing fails then and gives it back.
#[test]
fn a_version_that_is_read_while_the_next_one_tries_to_replace_it_is_held_when_that_fails() {
    let (mut sim, node, core, store) = replica(102);
    let (old, new) = (segment(1, "x/a.seg", 5000), segment(2, "x/a.seg", 5000));
    let (ours, landed) = (store.clone(), old.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    // What came out cannot be looked at; both get their names back, and that takes its time.
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::StatName).path("swap-"));
    let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path("x/a.seg").times(2);
    sim.fault(node, slow);
    let (ours, next, index) = (store.clone(), new.clone(), old.want.id);
    let (failed, read) = sim.block_on(&core, async move {
        let landing = ours.begin(next.want.clone(), next.chunks.clone()).await.expect("new");
        fill(&landing, &next).await;
        let reading = async {
            sleep(Nanos::from_millis(1500)).await;
            ours.open_segment(index).await.err()
        };
        join(landing.land(), reading).await
    });
    assert!(failed.is_err(), "{failed:?}");
    assert!(matches!(read, Some(ReadError::Changed { .. })), "the next version stood there: {read:?}");
    assert_eq!(sim.host(node).disk.file(&old.file()).as_ref(), Some(&*old.bytes));
    assert!(store.is_held(old.want.id, old.want.root), "it stands there as it did");
    sim.block_on(&core, async move {
        store.open_segment(old.want.id).await.expect("held");
        land(&store, &new).await;
    });
}

/// A power cut leaves whoever looks into quarantine to guess.
#[test]
fn why_a_file_was_set_aside_outlasts_the_power() {
    for seed in 111..=114 {
        let (mut sim, node, core, store) = replica(seed);
        let segment = segment(1, "x/a.seg", 5000);
        let damaged = segment.clone();
        sim.block_on(&core, async move {
            land(&store, &damaged).await;
            let why = Why::Content { expected: damaged.want.root, found: Digest([7; 32]) };
            assert_eq!(store.quarantine(damaged.want.id, why).await, Ok(Gone::File));
        });
        sim.power_cut_with(node, Loss::All);
        let aside = sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine"));
        assert_eq!(aside.len(), 2, "{aside:?}");
        let bytes = sim.host(node).disk.file(&aside[1]).expect("it is a file");
        let told = String::from_utf8(bytes).expect("it is for people");
        assert!(told.starts_with("x/a.seg\nthe content has root 0707"), "seed {seed}: {told}");
    }
}
