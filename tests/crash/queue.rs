//! The queue of a registrar: whatever is cut off or refused, what was acknowledged is there, under its number and in
//! its order, and what was settled does not come back as something else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway::ids::{NodeId, SessionId};
use ringway::journal::{Queue, QueueFileError, Refused, Sent};
use ringway::limits::{
    LOG_MARK_AFTER, QUEUE_BYTES_MAX, QUEUE_CHANGE_BYTES_MAX, QUEUE_CHANGES_MAX, QUEUE_ROOM_BYTES,
};
use ringway::uring::{Core, Dir, Errno, Gate, sleep};

use crate::sim::{Crash, Fault, How, OpKind, Rule, Sim, SimOptions};

use super::rig::any_step_fails;

const ROOT: &str = "/data/shard";
const FILE: &str = "/data/shard/queue";
const SESSION: SessionId = SessionId([4; 16]);

/// What the queue's owner was told, over all lives.
#[derive(Default)]
struct Told {
    /// Content by number, of what was acknowledged and may not have been settled durably.
    acknowledged: BTreeMap<u64, Vec<u8>>,
    settled: u64,
    sent: Option<Sent>,
    refused: u64,
    pushes: u8,
}

type SharedTold = Rc<RefCell<Told>>;

async fn open() -> Result<Queue, QueueFileError> {
    let dir = Dir::open_root(ROOT).await.expect("planted");
    Queue::open(dir, Some(Gate::new())).await
}

/// Puts some in at once, and notes which of them were acknowledged.
async fn push(queue: &Queue, told: &SharedTold, count: u8, bytes: usize) -> Result<(), Errno> {
    let mut waiting = Vec::new();
    for _ in 0..count {
        told.borrow_mut().pushes += 1;
        let content = vec![told.borrow().pushes; bytes];
        waiting.push((queue.push(&content).expect("there is room"), content));
    }
    let mut result = Ok(());
    for (durable, content) in waiting {
        match durable.await {
            Ok(number) => assert_eq!(told.borrow_mut().acknowledged.insert(number, content), None),
            Err(errno) => result = Err(errno),
        }
    }
    result
}

/// What a registrar does in one life: takes what is there, puts more in, proposes, settles, refuses.
async fn live(told: SharedTold) -> Result<(), Errno> {
    let queue = open().await.expect("nothing is damaged");
    check(&queue, &told);
    push(&queue, &told, 3, 50).await?;
    let last = queue.done() + 2;
    let number = told.borrow().sent.map_or(1, |sent| sent.number + 1);
    let sent = Sent { last, session: SESSION, number };
    queue.send(sent).await?;
    told.borrow_mut().sent = Some(sent);
    push(&queue, &told, 2, 6000).await?;
    told.borrow_mut().settled = last;
    queue.settle(last);
    told.borrow_mut().refused += 1;
    queue.refuse(Refused { number: last + 1, path: "p".to_owned(), why: "w".to_owned() });
    sleep(LOG_MARK_AFTER.plus(LOG_MARK_AFTER)).await;
    push(&queue, &told, 1, 10).await?;
    queue.close().await;
    Ok(())
}

/// Everything that was acknowledged is there or was settled, in order, and nothing is settled that was not.
#[track_caller]
fn check(queue: &Queue, told: &SharedTold) {
    let told = told.borrow();
    let done = queue.done();
    assert!(done <= told.settled, "settled to {done}, told {}", told.settled);
    let held: BTreeMap<u64, Vec<u8>> =
        queue.after(0, usize::MAX).into_iter().map(|held| (held.number, held.content.to_vec())).collect();
    let numbers: Vec<u64> = held.keys().copied().collect();
    assert_eq!(numbers, (done + 1..=done + held.len() as u64).collect::<Vec<_>>(), "without a gap");
    for (number, content) in told.acknowledged.range(done + 1..) {
        assert_eq!(held.get(number), Some(content), "change {number} was acknowledged");
    }
    if let Some(sent) = told.sent.filter(|sent| sent.last > told.settled) {
        let found = queue.sent().expect("it was durable before it went out");
        assert!(found.number >= sent.number, "{found:?} after {sent:?}");
    }
}

/// After what was lost, numbers that nobody was told may be given again.
fn forget_lost(queue: &Queue, told: &SharedTold) {
    let mut told = told.borrow_mut();
    let next = queue.done() + 1 + queue.figures().changes;
    assert!(told.acknowledged.range(next..).next().is_none(), "what was acknowledged is lost");
    let kept: BTreeMap<u64, Vec<u8>> =
        queue.after(0, usize::MAX).into_iter().map(|held| (held.number, held.content.to_vec())).collect();
    told.acknowledged = kept;
    told.settled = queue.done();
}

fn host(seed: u64) -> (Sim, NodeId, Core) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.node(1);
    sim.host(node).disk.plant_dir(ROOT);
    let core = sim.core(node, 0);
    (sim, node, core)
}

async fn look(told: SharedTold) {
    let queue = open().await.expect("nothing is damaged");
    check(&queue, &told);
    forget_lost(&queue, &told);
}

/// Two more lives without a fault, each of which ends with a power cut.
fn live_twice(sim: &mut Sim, node: NodeId, told: &SharedTold, what: &str) {
    for _ in 0..2 {
        let core = sim.core(node, 0);
        sim.block_on(&core, look(Rc::clone(told)));
        sim.block_on(&core, live(Rc::clone(told))).expect(what);
        drop(core);
        sim.power_cut(node);
        sim.restart(node);
    }
}

#[test]
fn weak_06_a_crash_at_any_step_loses_nothing_that_was_acknowledged() {
    let mut points = 0;
    for how in [How::Kill, How::PowerCut] {
        for after in [false, true] {
            for nth in 0.. {
                let what = format!("{how:?} {nth}, after: {after}");
                let (mut sim, node, core) = host(5000 + nth);
                let told = SharedTold::default();
                // The first life is whole, so that the second begins with something.
                sim.block_on(&core, live(Rc::clone(&told))).expect(&what);
                drop(core);
                sim.kill(node);
                sim.restart(node);
                let core = sim.core(node, 0);
                sim.fault(node, Rule::new(Fault::Crash(Crash { how, after })).on_durable_steps().skip(nth));
                let died = sim.try_block_on(&core, live(Rc::clone(&told))).is_none();
                drop(core);
                sim.clear_faults(node);
                if !died {
                    break;
                }
                points += 1;
                sim.restart(node);
                live_twice(&mut sim, node, &told, &what);
                let core = sim.core(node, 0);
                sim.block_on(&core, look(Rc::clone(&told)));
            }
        }
    }
    assert!(points > 60, "{points}");
}

#[test]
fn weak_06_an_error_at_any_step_is_told_and_loses_nothing_that_was_acknowledged() {
    for errno in [Errno::IO, Errno::NO_SPACE] {
        for nth in 0.. {
            let what = format!("{errno} at {nth}");
            let (mut sim, node, core) = host(6000 + nth);
            let told = SharedTold::default();
            let fault = sim.fault(node, any_step_fails(errno).skip(nth + 2));
            let ended = sim.block_on(&core, live(Rc::clone(&told)));
            if sim.hits(node, fault) == 0 {
                break;
            }
            assert!(ended.is_ok() || ended == Err(errno), "{what}: {ended:?}");
            sim.clear_faults(node);
            // The same process goes on with another queue handle, as one that was refused asks again.
            drop(core);
            sim.kill(node);
            sim.restart(node);
            live_twice(&mut sim, node, &told, &what);
        }
    }
}

/// A queue that was refused its disk takes changes again in the same process, and has kept those before.
#[test]
fn weak_06_a_full_disk_refuses_with_a_reason_and_when_there_is_room_the_queue_goes_on() {
    let (mut sim, node, core) = host(1);
    let told = SharedTold::default();
    let shared = Rc::clone(&told);
    let queue = sim.block_on(&core, async move {
        let queue = open().await.expect("sound");
        push(&queue, &shared, 3, 100).await.expect("there is room");
        queue
    });
    for errno in [Errno::NO_SPACE, Errno::IO] {
        for kind in [OpKind::Write, OpKind::Sync] {
            let fault = sim.fault(node, Rule::new(Fault::Fail(errno)).on(kind).path("queue"));
            let (own, shared) = (queue.clone(), Rc::clone(&told));
            let refused = sim.block_on(&core, async move { push(&own, &shared, 4, 10).await });
            assert_eq!((refused, sim.hits(node, fault)), (Err(errno), 1), "{kind:?}");
            let (own, shared) = (queue.clone(), Rc::clone(&told));
            sim.block_on(&core, async move {
                check(&own, &shared);
                push(&own, &shared, 2, 10).await.expect("there is room again");
                check(&own, &shared);
            });
        }
    }
    drop((queue, core));
    sim.power_cut(node);
    sim.restart(node);
    let core = sim.core(node, 0);
    sim.block_on(&core, look(Rc::clone(&told)));
    assert_eq!(told.borrow().acknowledged.len(), 3 + 4 * 2);
}

#[test]
fn weak_06_a_full_queue_refuses_and_takes_more_when_something_is_settled() {
    let (mut sim, _, core) = host(1);
    sim.block_on(&core, async {
        let queue = open().await.expect("sound");
        let content = vec![1; QUEUE_CHANGE_BYTES_MAX - 100];
        let mut waiting = Vec::new();
        while let Ok(durable) = queue.push(&content) {
            waiting.push(durable);
        }
        let count = waiting.len() as u64;
        for durable in waiting {
            durable.await.expect("the disk is sound");
        }
        let figures = queue.figures();
        assert_eq!(figures.changes, count);
        assert!(figures.bytes as usize + 2 * QUEUE_CHANGE_BYTES_MAX > QUEUE_BYTES_MAX, "{figures:?}");
        assert!(figures.bytes as usize <= QUEUE_BYTES_MAX && count < QUEUE_CHANGES_MAX as u64);
        assert!(queue.push(b"x").is_err(), "the smallest finds no room either");
        queue.settle(2);
        queue.push(b"x").expect("there is room").await.expect("the disk is sound");
        let again = open().await.expect("sound");
        assert_eq!((again.done(), again.figures().changes), (2, count - 1));
    });
}

/// One flush makes durable all that wait.
#[test]
fn weak_20_changes_that_come_together_share_a_flush() {
    let (mut sim, _, core) = host(1);
    sim.block_on(&core, async {
        let queue = open().await.expect("sound");
        // The first makes the file.
        queue.push(b"x").expect("room").await.expect("the disk is sound");
        let before = queue.figures().flushes;
        let waiting: Vec<_> = (0..500).map(|_| queue.push(&[7; 60]).expect("room")).collect();
        for durable in waiting {
            durable.await.expect("the disk is sound");
        }
        assert!(queue.figures().flushes <= before + 2, "{:?}", queue.figures());
    });
}

#[test]
fn m5_the_file_is_written_anew_when_it_has_no_room_and_stays_short() {
    let (mut sim, node, core) = host(1);
    sim.block_on(&core, async {
        let queue = open().await.expect("sound");
        for number in 1..=1500 {
            queue.push(&[9; 3000]).expect("room").await.expect("the disk is sound");
            if number > 5 {
                queue.settle(number - 5);
            }
        }
        queue.close().await;
        assert!(queue.push(b"x").expect("room").await.is_err(), "nobody writes any more");
    });
    let bytes = sim.host(node).disk.file(FILE).expect("written").len() as u64;
    assert!((QUEUE_ROOM_BYTES..QUEUE_ROOM_BYTES + 100_000).contains(&bytes), "{bytes}");
    let core = sim.core(node, 1);
    let (done, changes) = sim.block_on(&core, async {
        let queue = open().await.expect("sound");
        (queue.done(), queue.figures().changes)
    });
    assert_eq!((done, changes), (1495, 5));
}

/// A queue that has rested has a mark behind its last batch: what rots in it is not taken for a torn write.
#[test]
fn m5_damage_is_refused_and_the_file_stays_as_it_is() {
    let (mut sim, node, core) = host(1);
    sim.block_on(&core, async {
        let queue = open().await.expect("sound");
        for _ in 0..3 {
            queue.push(&[9; 3000]).expect("room").await.expect("the disk is sound");
        }
        sleep(LOG_MARK_AFTER.plus(LOG_MARK_AFTER)).await;
    });
    let sound = sim.host(node).disk.file(FILE).expect("written");
    for sector in 8..8 + 3 * 8 {
        let mut bad = sound.clone();
        let rotten = &mut bad[sector * 512..][..512];
        if rotten.iter().all(|byte| *byte == 0) {
            continue;
        }
        rotten.fill(0);
        sim.host(node).disk.plant_file(FILE, &bad);
        let found = sim.block_on(&core, async { open().await.map(drop) });
        assert!(matches!(found, Err(QueueFileError::Corrupt { .. })), "sector {sector}: {found:?}");
        assert_eq!(sim.host(node).disk.file(FILE), Some(bad));
    }
}
