//! The record of a proposer's session: whatever is cut off, no number is given twice, and no session is lost that was
//! used.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use ringway::ids::{NodeId, SessionId};
use ringway::journal::{SessionFileError, SessionRecord};
use ringway::limits::SESSION_NUMBERS_RESERVED;
use ringway::uring::{Core, Dir, Errno};

use crate::sim::{Crash, Fault, How, Rule, Sim, SimOptions};

use super::rig::any_step_fails;

const ROOT: &str = "/data/shard";

/// Blocks of numbers that were durable before they were used, by session.
type Used = Rc<RefCell<Vec<(SessionId, Range<u64>)>>>;

/// What a proposer does in one life: goes on with the session that it finds, or begins one, and reserves three blocks.
async fn live(life: u8, used: Used) -> Result<(), SessionFileError> {
    let disk = |errno| SessionFileError::Disk { errno };
    let dir = Dir::open_root(ROOT).await.map_err(disk)?;
    let fresh = || SessionRecord { session: SessionId::of(NodeId(1), [life; 8]), reserved: 0 };
    let mut record = SessionRecord::load(&dir).await?.unwrap_or_else(fresh);
    for _ in 0..3 {
        let first = record.reserved;
        record.reserved += SESSION_NUMBERS_RESERVED;
        record.store(&dir).await.map_err(disk)?;
        used.borrow_mut().push((record.session, first..record.reserved));
    }
    Ok(())
}

fn host(seed: u64) -> (Sim, NodeId, Core) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.node(1);
    sim.host(node).disk.plant_dir(ROOT);
    let core = sim.core(node, 0);
    (sim, node, core)
}

#[track_caller]
fn no_number_twice(used: &Used, what: &str) {
    let used = used.borrow();
    for (at, (session, block)) in used.iter().enumerate() {
        for (other, range) in &used[..at] {
            let is_apart = session != other || range.end <= block.start || block.end <= range.start;
            assert!(is_apart, "{what}: {session} has {block:?} after {range:?}");
        }
    }
}

/// One session for all lives, unless a life ended before it had used any number of its own.
#[track_caller]
fn one_session(used: &Used, what: &str) {
    let used = used.borrow();
    let first = used.first().map(|(session, _)| *session);
    assert!(used.iter().all(|(session, _)| Some(*session) == first), "{what}: a used session is lost");
}

#[test]
fn m4_a_crash_at_any_step_gives_no_number_twice_and_loses_no_session_that_was_used() {
    let mut points = 0;
    for how in [How::Kill, How::PowerCut] {
        for after in [false, true] {
            for nth in 0.. {
                let what = format!("{how:?} {nth}, after: {after}");
                let (mut sim, node, core) = host(7000 + nth);
                let used = Used::default();
                sim.fault(node, Rule::new(Fault::Crash(Crash { how, after })).on_durable_steps().skip(nth));
                let died = sim.try_block_on(&core, live(1, Rc::clone(&used))).is_none();
                drop(core);
                sim.clear_faults(node);
                if !died {
                    break;
                }
                points += 1;
                sim.restart(node);
                for life in 2..4 {
                    let core = sim.core(node, 0);
                    sim.block_on(&core, live(life, Rc::clone(&used))).expect(&what);
                    drop(core);
                    sim.power_cut(node);
                    sim.restart(node);
                }
                no_number_twice(&used, &what);
                one_session(&used, &what);
            }
        }
    }
    assert!(points > 40, "{points}");
}

#[test]
fn m4_an_error_at_any_step_is_told_and_the_next_attempt_gives_no_number_twice() {
    for errno in [Errno::IO, Errno::NO_SPACE] {
        for nth in 0.. {
            let what = format!("{errno} at {nth}");
            let (mut sim, node, core) = host(8000 + nth);
            let used = Used::default();
            let fault = sim.fault(node, any_step_fails(errno).skip(nth));
            let told = sim.block_on(&core, live(1, Rc::clone(&used)));
            if sim.hits(node, fault) == 0 {
                break;
            }
            assert_eq!(told, Err(SessionFileError::Disk { errno }), "{what}");
            sim.clear_faults(node);
            sim.block_on(&core, live(2, Rc::clone(&used))).expect(&what);
            drop(core);
            sim.power_cut(node);
            sim.restart(node);
            let core = sim.core(node, 0);
            sim.block_on(&core, live(3, Rc::clone(&used))).expect(&what);
            no_number_twice(&used, &what);
            one_session(&used, &what);
        }
    }
}

#[test]
fn a_damaged_record_is_told_as_damage_and_set_aside_for_a_look() {
    let (mut sim, node, core) = host(1);
    let used = Used::default();
    sim.block_on(&core, live(1, Rc::clone(&used))).expect("sound");
    let mut bytes = sim.host(node).disk.file(&format!("{ROOT}/session")).expect("written");
    bytes[20] ^= 1;
    sim.host(node).disk.plant_file(&format!("{ROOT}/session"), &bytes);
    let found = sim.block_on(&core, async {
        let dir = Dir::open_root(ROOT).await.expect("there");
        let found = SessionRecord::load(&dir).await.expect_err("damaged");
        SessionRecord::set_damaged_aside(&dir).await.expect("renamed");
        assert_eq!(SessionRecord::load(&dir).await, Ok(None));
        found
    });
    assert!(found.is_damage(), "{found}");
    assert_eq!(sim.host(node).disk.file(&format!("{ROOT}/session.damaged")), Some(bytes));
}
