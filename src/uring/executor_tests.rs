//! The executor on a ring in memory: priorities, aborts, given-up operations, wakes, timers, buffers.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::ids::Nanos;
use crate::limits::{OPERATIONS_IN_FLIGHT_MAX, ROUND_BULK_TIME_MAX, TURN_POLLS_MAX};

use super::buffer::Buffer;
use super::core::{Core, Turn};
use super::errno::Errno;
use super::handle::Handle;
use super::local::Notify;
use super::mailbox::{SendError, mailbox};
use super::op::{Op, Outcome};
use super::task::Priority;
use super::test_ring::core;
use super::timer::{sleep_until, timeout, yield_now};

type Log = Rc<RefCell<Vec<&'static str>>>;

fn note(log: &Log, what: &'static str) -> impl Future<Output = ()> + 'static {
    let log = Rc::clone(log);
    async move { log.borrow_mut().push(what) }
}

fn receive(core: &Core, buffer: Buffer) -> Op {
    Op::Receive { socket: Rc::new(Handle::new(core, 50)), buffer, span: 0..1, all: false }
}

fn read(core: &Core, buffer: Buffer) -> Op {
    Op::Read { file: Rc::new(Handle::new(core, 60)), buffer, span: 0..1, offset: 0 }
}

#[test]
fn urgent_tasks_run_before_bulk_ones_and_do_not_starve_them() {
    let (core, ..) = core();
    let log = Log::default();
    let _bulk = core.spawn(Priority::Bulk, note(&log, "bulk"));
    let _urgent = core.spawn(Priority::Urgent, note(&log, "urgent"));
    core.turn();
    assert_eq!(*log.borrow(), ["urgent", "bulk"]);
    let _busy = core.spawn(Priority::Urgent, async {
        loop {
            yield_now().await;
        }
    });
    let _bulk = core.spawn(Priority::Bulk, note(&log, "beside"));
    assert_eq!(core.turn(), Turn::Again, "a turn ends on its budget");
    assert_eq!(core.turns_cut(), 1);
    core.turn();
    assert_eq!(log.borrow().last(), Some(&"beside"), "{TURN_POLLS_MAX} urgent polls later it ran");
    core.shut_down();
}

/// Sixteen digests stood between a chunk's write and the disk, and between an urgent task and its turn.
#[test]
fn a_bulk_task_that_takes_long_is_the_last_before_the_ring_and_the_urgent_ones() {
    let (core, script, _) = core();
    let log = Log::default();
    let waits = Rc::new(Notify::default());
    let (woken, told) = (Rc::clone(&waits), Rc::clone(&log));
    let _urgent = core.spawn(Priority::Urgent, async move {
        woken.notified().await;
        told.borrow_mut().push("urgent");
    });
    for name in ["long", "next"] {
        let (script, log, waits) = (Rc::clone(&script), Rc::clone(&log), Rc::clone(&waits));
        let _bulk = core.spawn(Priority::Bulk, async move {
            log.borrow_mut().push(name);
            waits.notify();
            script.borrow_mut().now.0 += ROUND_BULK_TIME_MAX.0 + 1;
        });
    }
    core.turn();
    assert_eq!(*log.borrow(), ["long", "urgent", "next"]);
}

#[test]
fn an_aborted_task_ends_even_before_its_first_poll_and_its_waiter_hears_of_it() {
    let (core, ..) = core();
    let log = Log::default();
    let never_polled = core.spawn(Priority::Bulk, note(&log, "never"));
    never_polled.abort();
    assert!(never_polled.is_ended());
    let waits = core.spawn(Priority::Bulk, pending::<()>());
    core.turn();
    let told = Rc::clone(&log);
    let _waiter = core.spawn(Priority::Bulk, async move {
        waits.abort();
        assert_eq!(waits.await, None);
        told.borrow_mut().push("told");
    });
    core.turn();
    assert_eq!(*log.borrow(), ["told"]);
}

#[test]
fn an_abort_from_another_cores_turn_ends_the_right_task() {
    let (one, ..) = core();
    let (two, ..) = core();
    let theirs = one.spawn(Priority::Bulk, pending::<()>());
    let same_place = two.spawn(Priority::Bulk, pending::<()>());
    one.turn();
    two.turn();
    two.enter(|| theirs.abort());
    assert!(theirs.is_ended() && !same_place.is_ended());
    two.shut_down();
}

#[test]
fn a_receive_that_is_given_up_is_cancelled_and_its_buffer_comes_home() {
    let (core, script, _) = core();
    let operation = core.submit(receive(&core, core.slab().try_take().expect("two are free")));
    let token = script.borrow().held[0].0;
    drop(operation);
    assert_eq!(script.borrow().cancelled, [token]);
    assert_eq!(core.slab().free(), 1, "the kernel still has it");
    script.borrow_mut().answer(Err(Errno::CANCELED));
    core.turn();
    assert_eq!(core.slab().free(), 2);
}

#[test]
fn a_read_that_is_given_up_runs_to_its_end_and_a_descriptor_nobody_wants_is_closed() {
    let (core, script, _) = core();
    drop(core.submit(read(&core, core.slab().try_take().expect("two are free"))));
    assert!(script.borrow().cancelled.is_empty(), "it ends by itself");
    script.borrow_mut().answer(Ok(Outcome::Count(1)));
    core.turn();
    assert_eq!(core.slab().free(), 2);
    assert_eq!(script.borrow().closed, [60], "the last handle was dropped inside the ring");
    drop(core.submit(Op::OpenRoot { path: c"/".to_owned() }));
    script.borrow_mut().answer(Ok(Outcome::Opened(70)));
    core.turn();
    assert_eq!(script.borrow().closed, [60, 70]);
}

#[test]
fn operations_above_the_bound_wait_in_order_and_can_be_given_up_or_cancelled_there() {
    let (core, script, _) = core();
    let path = || Op::OpenRoot { path: c"/".to_owned() };
    let first: Vec<_> = (0..OPERATIONS_IN_FLIGHT_MAX).map(|_| core.submit(path())).collect();
    let given_up = core.submit(receive(&core, core.slab().try_take().expect("two are free")));
    let cancelled = core.submit(receive(&core, core.slab().try_take().expect("one is free")));
    let last = core.submit(Op::MakeDir { dir: Rc::new(Handle::new(&core, 80)), name: c"d".to_owned() });
    assert_eq!(script.borrow().held.len(), OPERATIONS_IN_FLIGHT_MAX);
    drop(given_up);
    assert_eq!(core.slab().free(), 1, "the ring never saw it");
    let ended = core.spawn(Priority::Urgent, async move { cancelled.cancel().await });
    core.turn();
    assert!(ended.is_ended());
    assert_eq!(core.slab().free(), 1, "the task's output has the other");
    script.borrow_mut().answer(Ok(Outcome::Done));
    core.turn();
    assert!(matches!(script.borrow().held.last(), Some((_, Op::MakeDir { .. }))));
    assert!(script.borrow().cancelled.is_empty());
    drop((first, last));
}

#[test]
fn a_zero_copy_send_is_ready_with_its_second_answer() {
    let (core, script, _) = core();
    let buffer = core.slab().try_take().expect("two are free");
    let socket = Rc::new(Handle::new(&core, 50));
    let operation = core.submit(Op::SendZeroCopy { socket, buffer, span: 0..10 });
    let sent = core.spawn(Priority::Urgent, operation);
    script.borrow_mut().answer_half(Ok(Outcome::Count(10)));
    core.turn();
    assert!(!sent.is_ended(), "the kernel still has the buffer");
    script.borrow_mut().answer(Ok(Outcome::Notified { copied: true }));
    core.turn();
    let told = core.spawn(Priority::Urgent, async move {
        let (result, buffer) = sent.await.expect("not aborted");
        assert!(matches!(result, Ok(Outcome::Sent { bytes: 10, copied: true })), "{result:?}");
        assert!(buffer.is_some());
    });
    core.turn();
    assert!(told.is_ended());
}

#[test]
fn a_wake_from_another_thread_ends_a_park_once() {
    let (core, _, unparks) = core();
    let (sender, mut receiver) = mailbox::<u32>(8);
    let sum = core.spawn(Priority::Urgent, async move {
        let first = receiver.receive().await;
        (first, receiver.receive().await)
    });
    assert_eq!(core.turn(), Turn::Park(None));
    let before = unparks.0.load(Ordering::SeqCst);
    let thread = std::thread::spawn(move || {
        sender.try_send(1).expect("room");
        sender.try_send(2).expect("room");
    });
    thread.join().expect("it ends");
    assert_eq!(unparks.0.load(Ordering::SeqCst), before + 1, "one call for two messages");
    core.turn();
    let out = core.spawn(Priority::Urgent, async { assert_eq!(sum.await, Some((Some(1), Some(2)))) });
    core.turn();
    assert!(out.is_ended());
}

/// Once in twenty runs of 5,000 rounds between two cores both slept for ever.
#[test]
fn a_wake_that_comes_between_the_looks_for_urgent_and_bulk_tasks_does_not_park() {
    let (core, _, unparks) = core();
    let (sender, mut receiver) = mailbox::<u32>(1);
    let got = core.spawn(Priority::Urgent, async move { receiver.receive().await });
    assert_eq!(core.turn(), Turn::Park(None));
    let before = unparks.0.load(Ordering::SeqCst);
    core.tasks().awake();
    assert!(!core.tasks().poll_next(Priority::Urgent));
    std::thread::spawn(move || sender.try_send(1).expect("room")).join().expect("it ends");
    assert!(!core.tasks().poll_next(Priority::Bulk));
    assert_eq!(unparks.0.load(Ordering::SeqCst), before, "a turn runs: nobody is called");
    assert!(!core.tasks().may_park(), "a task is ready");
    core.turn();
    assert!(got.is_ended());
}

/// Nobody is called for it, as the turn has not ended; and nobody would look for it before the next one.
#[test]
fn a_wake_that_comes_behind_the_last_look_for_tasks_does_not_park() {
    let (core, _, unparks) = core();
    let (sender, mut receiver) = mailbox::<u32>(1);
    let got = core.spawn(Priority::Urgent, async move { receiver.receive().await });
    assert_eq!(core.turn(), Turn::Park(None));
    let before = unparks.0.load(Ordering::SeqCst);
    core.tasks().awake();
    assert!(!core.tasks().poll_next(Priority::Urgent) && !core.tasks().poll_next(Priority::Bulk));
    std::thread::spawn(move || sender.try_send(1).expect("room")).join().expect("it ends");
    assert_eq!(unparks.0.load(Ordering::SeqCst), before);
    assert!(!core.tasks().may_park(), "a task was woken");
    core.turn();
    assert!(got.is_ended());
}

#[test]
fn timers_fire_in_the_order_of_their_times_and_say_when_the_next_is() {
    let (core, script, _) = core();
    let log = Log::default();
    for (at, name) in [(30, "third"), (10, "first"), (20, "second"), (20, "and its twin")] {
        let log = Rc::clone(&log);
        let _task = core.spawn(Priority::Urgent, async move {
            sleep_until(Nanos(at)).await;
            log.borrow_mut().push(name);
        });
    }
    let given_up = core.spawn(Priority::Urgent, async {
        assert!(
            timeout(Nanos(5), yield_now()).await.is_ok(),
            "a time limit that was not needed leaves nothing"
        );
    });
    assert_eq!(core.turn(), Turn::Park(Some(Nanos(10))));
    assert!(given_up.is_ended());
    script.borrow_mut().now = Nanos(20);
    assert_eq!(core.turn(), Turn::Park(Some(Nanos(30))));
    assert_eq!(*log.borrow(), ["first", "second", "and its twin"]);
    script.borrow_mut().now = Nanos(31);
    assert_eq!(core.turn(), Turn::Park(None));
    assert_eq!(log.borrow().last(), Some(&"third"));
}

#[test]
fn buffers_go_to_those_who_wait_in_their_order_and_newcomers_do_not_overtake() {
    let (core, ..) = core();
    let log = Log::default();
    let taken = [core.slab().try_take(), core.slab().try_take()];
    for name in ["one", "two"] {
        let (log, inner) = (Rc::clone(&log), core.clone());
        let _task = core.spawn(Priority::Bulk, async move {
            let buffer = inner.slab().take().await;
            log.borrow_mut().push(name);
            pending::<()>().await;
            drop(buffer);
        });
    }
    let inner = core.clone();
    let impatient = core.spawn(Priority::Bulk, async move { inner.slab().take().await });
    core.turn();
    impatient.abort();
    drop(taken);
    assert!(core.slab().try_take().is_none(), "both are promised");
    core.turn();
    assert_eq!(*log.borrow(), ["one", "two"]);
    core.shut_down();
    assert_eq!(core.slab().free(), 2);
}

#[test]
fn shutting_down_cancels_what_waits_and_waits_for_the_rest() {
    let (core, script, _) = core();
    script.borrow_mut().obeys_cancel = true;
    let operation = core.submit(receive(&core, core.slab().try_take().expect("two are free")));
    let _task = core.spawn(Priority::Bulk, operation);
    core.turn();
    core.shut_down();
    assert_eq!(core.slab().free(), 2);
    assert!(script.borrow().held.is_empty());
}

#[test]
fn a_mailbox_is_closed_only_if_nothing_is_in_it_and_takes_nothing_then() {
    let (sender, mut receiver) = mailbox::<u32>(2);
    sender.try_send(1).expect("room");
    assert!(!receiver.close_if_empty(), "a message is there");
    sender.try_send(2).expect("it is as it was");
    assert_eq!((receiver.try_receive(), receiver.try_receive()), (Some(1), Some(2)));
    assert!(receiver.close_if_empty());
    assert_eq!(sender.try_send(3), Err(SendError::Closed(3)));
    assert_eq!(receiver.try_receive(), None);
}
