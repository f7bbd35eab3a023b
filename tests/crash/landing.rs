//! Power cuts and kills at every step of landing and at every operation, and proof that the checkers can fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::segment::{Edge, Ownership, Sabotage, Step, Verdict};

use crate::crash::rig::{SharedLedger, host, open, options, recover, work};
use crate::crash::{check_acknowledged, check_final_names, check_kept};
use crate::sim::{Crash, Ended, Fault, How, Rule, SimOptions, each_seed, twice};

/// Where the first life ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// At the nth step or edge of a step that is reached.
    Step(usize),
    /// At the nth operation that can change the disk.
    Operation(u64, Crash),
}

struct Run {
    broken: Vec<String>,
    /// The cut has happened; else the work was done before.
    was_cut: bool,
    reached: Vec<(Step, Edge)>,
}

/// One life that is cut, what is on the disk then, and the next life.
fn run(seed: u64, sabotage: Sabotage, cut: Cut) -> Run {
    run_again(seed, sabotage, cut, None)
}

/// The same; with `again` the second life is cut too, at that operation, and a third one recovers.
fn run_again(seed: u64, sabotage: Sabotage, cut: Cut, again: Option<u64>) -> Run {
    let (mut sim, node) = host(seed, SimOptions::default());
    let core = sim.core(node, 0);
    let (store, _) = open(&mut sim, &core, 1);
    store.sabotage(sabotage);
    let ledger = SharedLedger::default();
    let reached = Rc::new(RefCell::new(Vec::new()));
    let stopped = Rc::new(Cell::new(false));
    let (seen, stop) = (Rc::clone(&reached), Rc::clone(&stopped));
    store.watch(move |step, edge| {
        seen.borrow_mut().push((step, edge));
        let is_cut = matches!(cut, Cut::Step(nth) if seen.borrow().len() > nth);
        stop.set(stop.get() || is_cut);
        if stop.get() { Verdict::Stop } else { Verdict::Go }
    });
    if let Cut::Operation(nth, crash) = cut {
        sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
    }
    let task = core.spawn(ringway::uring::Priority::Bulk, work(store, Rc::clone(&ledger)));
    let ended = sim.try_until(|| task.is_ended() || stopped.get(), Nanos::from_secs(600));
    assert_ne!(ended, Ended::TimedOut, "seed {seed}: {cut:?}");
    let was_cut = stopped.get() || !sim.is_up(node);
    drop((task, core));
    let boot = match cut {
        Cut::Operation(_, Crash { how: How::Kill, .. }) => 1,
        Cut::Operation(..) | Cut::Step(_) => 2,
    };
    if sim.is_up(node) {
        sim.power_cut(node);
    }
    sim.clear_faults(node);
    sim.restart(node);
    let reached = reached.take();
    let mut broken = check_final_names::check(&sim, node, &ledger.borrow());
    if let Some(nth) = again {
        let crash = Crash { how: How::PowerCut, after: nth % 2 == 0 };
        sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
        let core = sim.core(node, 0);
        let life = recover(options(Ownership::Ours, 3), Rc::clone(&ledger), Sabotage::None);
        drop(sim.try_block_on(&core, life));
        drop(core);
        if sim.is_up(node) {
            sim.power_cut(node);
        }
        sim.clear_faults(node);
        sim.restart(node);
        broken.extend(check_final_names::check(&sim, node, &ledger.borrow()));
    }
    let core = sim.core(node, 0);
    let recovered =
        sim.block_on(&core, recover(options(Ownership::Ours, boot), Rc::clone(&ledger), Sabotage::None));
    let ledger = ledger.borrow();
    broken.extend(check_final_names::check(&sim, node, &ledger));
    broken.extend(check_acknowledged::check(&sim, node, &ledger, &recovered));
    broken.extend(check_kept::check(&ledger, &recovered));
    for segment in ledger.wanted.values() {
        if sim.host(node).disk.file(&segment.file()).as_ref() != Some(&*segment.bytes) {
            broken.push(format!("{} did not land in the second life", segment.want.id));
        }
    }
    Run { broken, was_cut, reached }
}

#[test]
fn a_power_cut_before_or_after_any_step_loses_nothing_that_was_promised() {
    each_seed(3, |seed| {
        let mut edges = BTreeSet::new();
        for nth in 0.. {
            let run = run(seed * 1000 + nth as u64, Sabotage::None, Cut::Step(nth));
            assert!(
                run.broken.is_empty(),
                "seed {seed}, reach {nth}, {:?}: {:?}",
                run.reached.last(),
                run.broken
            );
            if !run.was_cut {
                break;
            }
            edges.extend(run.reached.last().copied());
        }
        for step in Step::ALL {
            for edge in [Edge::Before, Edge::After] {
                assert!(edges.contains(&(step, edge)), "the power was never cut {edge:?} {step:?}");
            }
        }
    });
}

/// Cuts at every operation, one seed for each.
fn sweep(seed: u64, crash: Crash) -> u64 {
    for nth in 0.. {
        let run = run(seed * 10_000 + nth, Sabotage::None, Cut::Operation(nth, crash));
        assert!(run.broken.is_empty(), "seed {seed}, operation {nth}, {crash:?}: {:?}", run.broken);
        if !run.was_cut {
            return nth;
        }
    }
    unreachable!("the work ends")
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_promised() {
    each_seed(2, |seed| {
        let operations = sweep(seed, Crash { how: How::PowerCut, after: seed % 2 == 0 });
        assert!(operations > 50, "only {operations} operations were cut");
    });
}

#[test]
fn p4_a_kill_at_any_operation_loses_nothing_that_was_promised() {
    sweep(1, Crash { how: How::Kill, after: false });
    sweep(2, Crash { how: How::Kill, after: true });
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [3, 4] {
        twice(seed, |seed| {
            let (mut sim, node) = host(seed, SimOptions::default());
            let core = sim.core(node, 0);
            let (store, _) = open(&mut sim, &core, 1);
            let ledger = SharedLedger::default();
            sim.block_on(&core, work(store, Rc::clone(&ledger)));
            drop(core);
            sim.power_cut(node);
            sim.restart(node);
            let core = sim.core(node, 0);
            sim.block_on(&core, recover(options(Ownership::Ours, 2), ledger, Sabotage::None));
            sim.digest()
        });
    }
}

#[test]
fn a_power_cut_during_the_recovery_from_a_power_cut_loses_nothing_either() {
    each_seed(60, |seed| {
        let run = run_again(seed, Sabotage::None, Cut::Step(seed as usize * 13 % 70), Some(seed * 7 % 50));
        assert!(run.broken.is_empty(), "seed {seed}, {:?}: {:?}", run.reached.last(), run.broken);
    });
}

/// Cuts a store with a fault in it until a checker says this, and fails if none does.
fn is_noticed(sabotage: Sabotage, expected: &str) {
    let mut said = BTreeSet::new();
    for seed in 1..=5 {
        for nth in 0.. {
            let run = run(seed * 1000 + nth as u64, sabotage, Cut::Step(nth));
            if run.broken.iter().any(|line| line.contains(expected)) {
                return;
            }
            said.extend(run.broken);
            if !run.was_cut {
                break;
            }
        }
    }
    panic!("no checker noticed {sabotage:?}; they said {said:?}");
}

#[test]
fn the_checkers_notice_a_bitmap_that_is_durable_before_its_data() {
    is_noticed(Sabotage::BitBeforeData, "were kept and are fetched again");
}

#[test]
fn weak_02_the_checkers_notice_a_rename_without_the_folders_fsync() {
    is_noticed(Sabotage::RenameWithoutDirSync, "had landed and is not held");
}

#[test]
fn weak_02_the_checkers_notice_a_rename_without_the_contents_fsync() {
    is_noticed(Sabotage::RenameWithoutDataSync, "no version of it");
}

#[test]
fn weak_01_a_file_with_the_right_size_and_a_record_is_not_believed_when_it_has_changed() {
    // The sabotaged store believes it: then what is served is not what was verified.
    for (sabotage, expected) in [(Sabotage::None, true), (Sabotage::TrustChangedFile, false)] {
        let (mut sim, node) = host(1, SimOptions::default());
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 1);
        let ledger = SharedLedger::default();
        sim.block_on(&core, work(store, Rc::clone(&ledger)));
        let victim = ledger.borrow().wanted.values().next().cloned().expect("something is wanted");
        let mut bytes = victim.bytes.to_vec();
        bytes[0] ^= 1;
        sim.host(node).disk.overwrite(&victim.file(), &bytes);
        sim.power_cut(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        sim.block_on(&core, recover(options(Ownership::Ours, 2), Rc::clone(&ledger), sabotage));
        let is_sound = check_final_names::check(&sim, node, &ledger.borrow()).is_empty();
        assert_eq!(is_sound, expected, "{sabotage:?}");
    }
}

#[test]
fn the_page_of_the_architecture_lists_the_steps_of_the_recipe() {
    let page = include_str!("../../ARCHITECTURE.md");
    let (_, page) = page.split_once("\n## Landing\n").expect("the section is there");
    let (page, _) = page.split_once("\n## ").expect("another follows");
    let listed: Vec<&str> =
        (1..).map_while(|number| page.split_once(&format!("\n{number}. "))).map(|(_, rest)| rest).collect();
    let word = |step| match step {
        Step::Staged => "a staging file",
        Step::Written => "aligned writes",
        Step::Truncated => "truncated",
        Step::DataSynced => "fdatasync",
        Step::ListDurable => "the list of chunk digests durable",
        Step::Renamed => "renamed",
        Step::DirSynced => "the directory fsynced",
        Step::Recorded => "the inventory's record",
    };
    assert_eq!(listed.len(), Step::ALL.len() + 1, "the last is `installed`");
    for (step, line) in Step::ALL.into_iter().zip(listed) {
        assert!(line.starts_with(word(step)), "{step:?} is listed as {line:.60}");
    }
}
