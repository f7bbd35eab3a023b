//! A landing over the version before, cut off at every operation, with somebody who comes before the exchange of the
//! names, and with somebody who changes the final name before the next start.

use std::cell::Cell;
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Landing, Store};
use ringway::uring::{Core, Errno};

use super::race::{is_aside, stands};
use crate::crash::rig::{
    PRIVATE, Segment, fill, land, missing, open, options, reopened, replica, segment, store_on,
};
use crate::sim::{Crash, DiskOptions, Fault, How, OpKind, Rule, Sim, SimOptions};
use ringway::segment::Ownership;

const OLD: usize = CHUNK_BYTES + 5000;
const NEW: usize = CHUNK_BYTES + 9000;

/// Who comes: each with a file of his own, as long as the one whose name it takes.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Comers {
    /// In the place of the version before, between the look at it and the exchange.
    before: bool,
    /// Under the final name, between the crash and the start.
    after: bool,
}

/// What the two of them have put there.
#[derive(Default)]
struct Theirs {
    inodes: Vec<u64>,
}

impl Theirs {
    fn put(&mut self, sim: &Sim, node: NodeId, path: &str, bytes: &[u8]) {
        let disk = &mut sim.host(node).disk;
        if let Ok(stood) = disk.absolute(path.as_bytes()) {
            disk.remove(path);
            self.inodes.retain(|inode| *inode != stood); // by somebody, and not by us
        }
        self.inodes.push(disk.plant_file(path, bytes));
    }

    /// All that was put there is in quarantine, as it was, and nothing else is.
    #[track_caller]
    fn are_aside(&self, sim: &Sim, node: NodeId, what: &str) {
        for inode in &self.inodes {
            assert!(is_aside(sim, node, *inode), "{what}: inode {inode} is not in quarantine");
        }
        let host = sim.host(node);
        let aside = host.disk.paths(&format!("{PRIVATE}/quarantine"));
        let files: Vec<_> = aside.iter().filter(|path| !path.ends_with(".why")).collect();
        assert_eq!(files.len(), self.inodes.len(), "{what}: {files:?}");
        for file in files {
            let bytes = host.disk.file(file).expect("it is a file");
            assert!(bytes.iter().all(|byte| *byte == 7), "{what}: {file} was written to");
        }
    }
}

fn versions() -> (Segment, Segment) {
    (segment(1, "x/a.seg", OLD), segment(2, "x/a.seg", NEW))
}

/// The old version has landed, and the new one is staged.
fn staged_over(sim: &mut Sim, core: &Core, store: &Store) -> (Segment, Landing) {
    let (old, new) = versions();
    let (ours, staged) = (store.clone(), new.clone());
    let landing = sim.block_on(core, async move {
        land(&ours, &old).await;
        let landing = ours.begin(staged.want.clone(), staged.chunks.clone()).await.expect("new");
        fill(&landing, &staged).await;
        landing.checkpoint().await.expect("sound");
        landing
    });
    (new, landing)
}

/// Cuts a landing off at an operation, and at another one the start after it; false if it had landed before.
fn cut_off(seed: u64, crash: Crash, nth: u64, comers: Comers, again: Option<u64>) -> bool {
    let what = format!("seed {seed}, {crash:?} at {nth}, {comers:?}, then {again:?}");
    // Halves of an exchange that a power cut parts leave what came out without a name, whoever's it is.
    let disk = DiskOptions { torn_renames: !comers.before, ..DiskOptions::default() };
    let world = SimOptions { disk, ..SimOptions::default() };
    let (mut sim, node, core, store) = store_on(seed, world, Ownership::Ours);
    let (new, landing) = staged_over(&mut sim, &core, &store);
    sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
    let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename);
    sim.fault(node, slow.path(&format!("staging/{} ", new.stem())));
    let theirs = Rc::new(std::cell::RefCell::new(Theirs::default()));
    let is_over = Rc::new(Cell::new(false));
    if comers.before {
        let (theirs, is_over, file) = (Rc::clone(&theirs), Rc::clone(&is_over), new.file());
        sim.later(Nanos::from_millis(500), move |sim| {
            if !is_over.get() {
                theirs.borrow_mut().put(sim, node, &file, &[7; OLD]);
            }
        });
    }
    let landed = sim.try_block_on(&core, async move { landing.land().await });
    is_over.set(true);
    drop((core, store));
    sim.clear_faults(node);
    if let Some(landed) = landed {
        assert!(landed.is_ok(), "{what}: {landed:?}");
        stands(&sim, node, &new);
        return false;
    }
    if comers.after {
        theirs.borrow_mut().put(&sim, node, &new.file(), &[7; NEW]);
    }
    sim.restart(node);
    if let Some(nth) = again {
        sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
        let core = sim.core(node, 0);
        let wanted = new.clone();
        let _ended = sim.try_block_on(&core, async move { settled(&wanted, 2).await });
        drop(core);
        sim.clear_faults(node);
        if sim.is_up(node) {
            sim.kill(node);
        }
        sim.restart(node);
    }
    let core = sim.core(node, 0);
    let wanted = new.clone();
    sim.block_on(&core, async move { settled(&wanted, 3).await });
    stands(&sim, node, &new);
    theirs.borrow().are_aside(&sim, node, &what);
    true
}

/// A start, and the landing of what is missing then.
async fn settled(wanted: &Segment, boot: u8) {
    let (store, _) = Store::open(options(Ownership::Ours, boot)).await.expect("the disk is sound");
    store.reconcile([wanted.want.clone()]).await.expect("the disk is sound");
    if !store.is_held(wanted.want.id, wanted.want.root) {
        land(&store, wanted).await;
    }
}

fn at_every_operation(comers: Comers) {
    let mut cuts = 0;
    for (how, after) in [How::Kill, How::PowerCut].into_iter().flat_map(|how| [(how, false), (how, true)]) {
        let crash = Crash { how, after };
        for again in [false, true] {
            for nth in 0.. {
                let again = again.then_some(nth * 5 % 23);
                if !cut_off(1000 * nth + u64::from(after), crash, nth, comers, again) {
                    break;
                }
                cuts += 1;
            }
        }
    }
    assert!(cuts > 80, "{cuts}");
}

#[test]
fn an_exchange_that_is_cut_off_at_any_operation_is_ended_and_sets_nothing_of_ours_aside() {
    at_every_operation(Comers { before: false, after: false });
}

#[test]
fn who_comes_before_an_exchange_that_is_cut_off_loses_nothing() {
    at_every_operation(Comers { before: true, after: false });
}

/// Once what the exchange had brought out counted as what was staged.
#[test]
fn who_changes_the_name_behind_an_exchange_that_is_cut_off_loses_nothing() {
    at_every_operation(Comers { before: false, after: true });
}

/// Once a fetch wrote over what had come out.
#[test]
fn of_two_who_come_before_and_behind_an_exchange_that_is_cut_off_neither_loses_anything() {
    at_every_operation(Comers { before: true, after: true });
}

/// A landing in whose exchange somebody comes, and whose quarantine refuses so often; at the exchange back the second
/// one comes.
fn undone(refusals: u64, has_second: bool) -> (Sim, NodeId, Core, Store, Segment, Theirs) {
    let (mut sim, node, core, store) = replica(91);
    let (new, landing) = staged_over(&mut sim, &core, &store);
    let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path("x/a.seg").times(2);
    sim.fault(node, slow);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Rename).path("quarantine/").times(refusals));
    let theirs = Rc::new(std::cell::RefCell::new(Theirs::default()));
    for (come, after) in [(true, 500), (has_second, 1500)] {
        let (theirs, file) = (Rc::clone(&theirs), new.file());
        sim.later(Nanos::from_millis(after), move |sim| {
            if come {
                theirs.borrow_mut().put(sim, node, &file, &[7; NEW]);
            }
        });
    }
    let failed = sim.block_on(&core, async move { landing.land().await });
    assert!(failed.is_err(), "{failed:?}");
    let theirs = theirs.take();
    assert_eq!(theirs.inodes.len(), 1 + usize::from(has_second));
    let stands = sim.host(node).disk.absolute(new.file().as_bytes());
    assert_eq!(stands, Ok(theirs.inodes[0]), "the first one has his name back");
    (sim, node, core, store, new, theirs)
}

#[test]
fn an_exchange_that_is_undone_leaves_the_staged_file_to_the_next_attempt() {
    let (mut sim, node, core, store, new, theirs) = undone(1, false);
    let wanted = new.clone();
    sim.block_on(&core, async move {
        let landing = store.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("staged");
        assert_eq!(missing(&landing), [0; 0], "nothing is fetched twice");
        landing.land().await.expect("sound");
    });
    stands(&sim, node, &new);
    theirs.are_aside(&sim, node, "undone");
}

/// Once what the second one had put there stood where the next attempt wrote.
#[test]
fn who_comes_before_an_exchange_is_undone_loses_nothing() {
    for refusals in [1, 2] {
        let (mut sim, node, mut core, mut store, new, theirs) = undone(refusals, true);
        assert!(!store.is_staged(new.want.id, new.want.root), "what came out is not ours");
        if refusals == 2 {
            // It could not be set aside either: a start does it.
            (core, store, _) = reopened(&mut sim, node, store);
        }
        let wanted = new.clone();
        sim.block_on(&core, async move { land(&store, &wanted).await });
        stands(&sim, node, &new);
        theirs.are_aside(&sim, node, "met by a second one");
    }
}

/// A full disk kept the store from being opened.
#[test]
fn what_cannot_be_set_aside_at_a_start_is_set_aside_at_the_next() {
    let (mut sim, node, core, store, new, theirs) = undone(2, true);
    drop((core, store));
    sim.kill(node);
    sim.restart(node);
    sim.fault(node, Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Rename).path("quarantine/"));
    let core = sim.core(node, 0);
    let (store, recovery) = open(&mut sim, &core, 1);
    assert_eq!((recovery.strangers.len(), recovery.staged.len()), (0, 0), "{recovery:?}");
    assert!(!is_aside(&sim, node, theirs.inodes[1]));
    let (core, store, _) = reopened(&mut sim, node, store);
    assert!(is_aside(&sim, node, theirs.inodes[1]));
    let wanted = new.clone();
    sim.block_on(&core, async move { land(&store, &wanted).await });
    stands(&sim, node, &new);
    theirs.are_aside(&sim, node, "at the second start");
}
