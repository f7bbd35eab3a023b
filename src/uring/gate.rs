//! One gate per device admits writes (ARCHITECTURE.md, D13): the log's go first, bulk keeps the smallest depth that
//! holds its throughput.
//!
//! Where no urgent write was for a while, there is nobody to hold the depth small for, and bulk has the fastest.
//!
//! An urgent permit is given at once, always. A bulk write starts when there is a place, those before it have
//! started, and no urgent write runs; for the last it waits at most `BULK_PATIENCE`, so that endless commits do not
//! starve it. The device is shared by all cores of the process, and so is its gate: the one thing beside mailboxes
//! that they share.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::ids::Nanos;
use crate::limits::{BULK_ALONE_AFTER, BULK_PATIENCE};

use super::climb::Climb;
use super::core::Core;
use super::race::Race;
use super::timer::sleep_until;

/// The gate of one device. Clones are the same gate, on any core.
#[derive(Clone)]
pub struct Gate(Arc<Mutex<Admission>>);

/// While it lives, an urgent write runs: the log's write and its flush.
#[must_use = "the write is urgent only while its permit lives"]
pub struct Urgent(Gate);

/// While it lives, a bulk write runs, or several small ones that together are a chunk at most.
#[must_use = "the place is held only while the permit lives"]
pub struct Bulk {
    gate: Gate,
    bytes: u64,
}

/// What a gate has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GateFigures {
    /// Bulk writes that may run at once now.
    pub depth: usize,
    /// Bulk writes that run now.
    pub bulk: usize,
    /// Urgent writes that run now.
    pub urgent: usize,
    /// Bulk writes that wait now.
    pub waiting: usize,
    /// Bulk writes that started beside an urgent one because their patience had ended.
    pub impatient: u64,
}

struct Admission {
    /// The depth beside urgent writes.
    climb: Climb,
    /// The depth alone.
    race: Race,
    urgent: usize,
    /// When the last urgent write began or ended.
    urgent_at: Option<Nanos>,
    bulk: usize,
    /// Since when the first who waits could start but for urgent writes.
    blocked_since: Option<Nanos>,
    seen: Nanos,
    waiting: VecDeque<(u64, Waker)>,
    tickets: u64,
    impatient: u64,
}

enum Verdict {
    Start,
    /// A place has to become free.
    Full,
    /// An urgent write runs: until it has ended, or this time.
    Until(Nanos),
}

impl Admission {
    fn new() -> Self {
        Self {
            climb: Climb::new(),
            race: Race::new(),
            urgent: 0,
            urgent_at: None,
            bulk: 0,
            blocked_since: None,
            seen: Nanos(0),
            waiting: VecDeque::new(),
            tickets: 0,
            impatient: 0,
        }
    }

    /// Whether only bulk has written for a while.
    fn is_alone(&self, now: Nanos) -> bool {
        self.urgent == 0 && self.urgent_at.is_none_or(|at| now.since(at) > BULK_ALONE_AFTER)
    }

    /// How many bulk writes may be with the device.
    fn depth(&self, now: Nanos) -> usize {
        if self.is_alone(now) { self.race.depth() } else { self.climb.depth() }
    }

    /// Whether the bulk write with `ticket`, or a new one, may start; if so it has.
    fn try_start(&mut self, ticket: Option<u64>, now: Nanos) -> Verdict {
        let first = self.waiting.front().map(|(first, _)| *first);
        if self.bulk >= self.depth(now) || (first.is_some() && first != ticket) {
            return Verdict::Full;
        }
        if self.urgent > 0 {
            let patience_ends = self.blocked_since.get_or_insert(now).plus(BULK_PATIENCE);
            if now < patience_ends {
                return Verdict::Until(patience_ends);
            }
            self.impatient += 1;
        }
        self.pass(now, 0);
        if self.is_alone(now) {
            self.race.begin(now);
        }
        self.blocked_since = None;
        self.bulk += 1;
        if first.is_some() {
            self.waiting.pop_front();
            self.wake_first();
        }
        Verdict::Start
    }

    /// Accounts for the time since the last event, and for a write that ends now.
    fn pass(&mut self, now: Nanos, bytes: u64) {
        let is_full = self.bulk >= self.climb.depth() && !self.is_alone(now);
        let busy = if is_full { now.since(self.seen) } else { Nanos(0) };
        self.climb.record(now, busy, if is_full { bytes } else { 0 });
        self.seen = now;
    }

    fn end_bulk(&mut self, now: Option<Nanos>, bytes: u64) {
        if let Some(now) = now {
            self.pass(now, bytes);
            if self.is_alone(now) {
                self.race.end(now, bytes, self.bulk - 1);
            } else {
                self.race.interrupt();
            }
        }
        self.bulk -= 1;
        self.wake_first();
    }

    fn begin_urgent(&mut self, now: Option<Nanos>) {
        self.urgent += 1;
        self.urgent_at = now.or(self.urgent_at);
    }

    fn end_urgent(&mut self, now: Option<Nanos>) {
        self.urgent -= 1;
        self.urgent_at = now.or(self.urgent_at);
        if self.urgent == 0 {
            self.wake_first();
        }
    }

    fn wait(&mut self, ticket: &mut Option<u64>, waker: &Waker) {
        if let Some((_, known)) = self.waiting.iter_mut().find(|(other, _)| Some(*other) == *ticket) {
            known.clone_from(waker);
            return;
        }
        self.tickets += 1;
        *ticket = Some(self.tickets);
        self.waiting.push_back((self.tickets, waker.clone()));
    }

    fn leave(&mut self, ticket: u64) {
        let was_first = self.waiting.front().is_some_and(|(first, _)| *first == ticket);
        self.waiting.retain(|(other, _)| *other != ticket);
        if was_first {
            self.blocked_since = None;
            self.wake_first();
        }
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.front() {
            waker.wake_by_ref();
        }
    }
}

/// The current core's time; none while a core is torn down.
fn present() -> Option<Nanos> {
    Core::try_current().map(|core| core.now())
}

impl Gate {
    /// A gate for a device that nobody else writes to.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Admission::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Admission> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits an urgent write. Never waits.
    pub fn urgent(&self) -> Urgent {
        self.lock().begin_urgent(present());
        Urgent(self.clone())
    }

    /// Admits a bulk write of `bytes` when it may start. Giving up leaves the queue.
    pub async fn bulk(&self, bytes: usize) -> Bulk {
        let mut place = Place { gate: self, ticket: None };
        let mut patience = pin!(None);
        poll_fn(|context| {
            loop {
                let until = match place.ask(Core::current().now(), context.waker()) {
                    Verdict::Start => return Poll::Ready(()),
                    Verdict::Full => return Poll::Pending,
                    Verdict::Until(at) => at,
                };
                patience.set(Some(sleep_until(until)));
                let ended = patience.as_mut().as_pin_mut().map(|sleep| sleep.poll(context));
                if ended != Some(Poll::Ready(())) {
                    return Poll::Pending;
                }
            }
        })
        .await;
        Bulk { gate: self.clone(), bytes: bytes as u64 }
    }

    /// What the gate has seen.
    #[must_use]
    pub fn figures(&self) -> GateFigures {
        let state = self.lock();
        GateFigures {
            depth: present().map_or(state.climb.depth(), |now| state.depth(now)),
            bulk: state.bulk,
            urgent: state.urgent,
            waiting: state.waiting.len(),
            impatient: state.impatient,
        }
    }
}

/// A place in the queue of bulk writes.
struct Place<'a> {
    gate: &'a Gate,
    ticket: Option<u64>,
}

impl Place<'_> {
    /// Asks to start, and waits in the queue if not: in one hold of the lock, so that no end of a write elsewhere
    /// falls between the two.
    fn ask(&mut self, now: Nanos, waker: &Waker) -> Verdict {
        let mut state = self.gate.lock();
        let verdict = state.try_start(self.ticket, now);
        match verdict {
            Verdict::Start => self.ticket = None,
            Verdict::Full | Verdict::Until(_) => state.wait(&mut self.ticket, waker),
        }
        verdict
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.gate.lock().leave(ticket);
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.lock().end_urgent(present());
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.gate.lock().end_bulk(present(), self.bytes);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures().fmt(f)
    }
}

impl fmt::Debug for Urgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Urgent")
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bulk({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BULK_ALONE_DEPTH_FIRST;

    fn starts(state: &mut Admission, ticket: Option<u64>, now: u64) -> bool {
        matches!(state.try_start(ticket, Nanos(now)), Verdict::Start)
    }

    fn enqueue(state: &mut Admission) -> Option<u64> {
        let mut ticket = None;
        state.wait(&mut ticket, Waker::noop());
        ticket
    }

    /// An urgent write was a moment ago.
    fn shared() -> Admission {
        let mut state = Admission::new();
        state.begin_urgent(Some(Nanos(0)));
        state.end_urgent(Some(Nanos(0)));
        state
    }

    #[test]
    fn bulk_that_is_alone_has_a_depth_of_its_own_and_gives_it_up_for_an_urgent_write() {
        let mut state = Admission::new();
        assert!((0..BULK_ALONE_DEPTH_FIRST).all(|_| starts(&mut state, None, 1)));
        assert!(!starts(&mut state, None, 1));
        state.begin_urgent(Some(Nanos(2)));
        state.end_urgent(Some(Nanos(3)));
        (1..BULK_ALONE_DEPTH_FIRST).for_each(|_| state.end_bulk(Some(Nanos(4)), 1));
        assert!(!starts(&mut state, None, 5), "one place, and one has it");
        let later = 4 + BULK_ALONE_AFTER.0;
        assert!(starts(&mut state, None, later), "alone again");
    }

    #[test]
    fn bulk_beyond_the_depth_waits_and_starts_in_the_order_of_arrival() {
        let mut state = shared();
        assert!(starts(&mut state, None, 1));
        let (first, second) = (enqueue(&mut state), enqueue(&mut state));
        assert!(!starts(&mut state, first, 2), "the one place is taken");
        state.end_bulk(Some(Nanos(3)), 1);
        assert!(!starts(&mut state, second, 3) && !starts(&mut state, None, 3), "not its turn");
        assert!(starts(&mut state, first, 3));
        state.end_bulk(Some(Nanos(4)), 1);
        assert!(starts(&mut state, second, 4));
        assert!(state.waiting.is_empty());
    }

    #[test]
    fn bulk_waits_for_urgent_writes_but_not_for_ever() {
        let mut state = Admission::new();
        state.begin_urgent(Some(Nanos(1)));
        let ticket = enqueue(&mut state);
        assert!(!starts(&mut state, ticket, 1000));
        assert!(!starts(&mut state, ticket, 1000 + BULK_PATIENCE.0 - 1));
        assert!(starts(&mut state, ticket, 1000 + BULK_PATIENCE.0));
        assert_eq!(state.impatient, 1);
        state.end_bulk(Some(Nanos(2_000_000)), 1);
        let ticket = enqueue(&mut state);
        assert!(!starts(&mut state, ticket, 2_000_000), "the next one waits for itself");
        state.end_urgent(Some(Nanos(2_000_000)));
        assert!(starts(&mut state, ticket, 2_000_001));
        assert_eq!(state.impatient, 1);
    }

    #[test]
    fn bulk_tasks_of_two_cores_take_turns_at_one_device() {
        let (one, script, _) = crate::uring::test_ring::core();
        let (two, ..) = crate::uring::test_ring::core();
        let gate = Gate::new();
        let held = one.enter(|| gate.urgent());
        let start = |core: &Core| {
            let gate = gate.clone();
            core.spawn(crate::uring::Priority::Bulk, async move { gate.bulk(1).await })
        };
        let (first, second) = (start(&one), start(&two));
        assert_eq!(one.turn(), crate::uring::Turn::Park(Some(BULK_PATIENCE)));
        two.turn();
        assert_eq!(gate.figures().waiting, 2);
        script.borrow_mut().now = BULK_PATIENCE;
        one.turn();
        assert!(first.is_ended() && !second.is_ended(), "one place, and one patience at its end");
        drop(held);
        two.turn();
        assert!(!second.is_ended(), "the one place is taken");
        one.enter(|| drop(first));
        two.turn();
        assert!(second.is_ended());
        assert_eq!(gate.figures().impatient, 1);
    }

    #[test]
    fn one_who_leaves_makes_way() {
        let mut state = shared();
        assert!(starts(&mut state, None, 1));
        let (first, second) = (enqueue(&mut state), enqueue(&mut state));
        state.leave(first.expect("it waits"));
        state.end_bulk(None, 1);
        assert!(starts(&mut state, second, 2));
    }
}
