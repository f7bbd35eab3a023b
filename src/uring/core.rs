//! One core: its ring, its tasks, its timers, driven by `turn()`.
//!
//! `turn()` does what can be done without blocking, within a budget, and says when it wants to be called again: a
//! pinned thread, a guest task in another executor and the simulator all drive a core in this same way. While a
//! turn runs, the core is the thread's current one; outside of it there is none.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use crate::ids::{Nanos, UnixNanos};
use crate::limits::{ROUND_BULK_TIME_MAX, TURN_BULK_POLLS_MAX, TURN_POLLS_MAX};

use super::buffer::Slab;
use super::errno::Errno;
use super::op::{Completion, Op};
use super::operation::{Operation, Operations};
use super::outside::Outside;
use super::probe::Probe;
use super::ring::{Ring, SignalReads, Unpark};
use super::task::{Priority, Remote, Task, Tasks};
use super::timer::Timers;

/// A core, shared by all that runs on it. Clones are the same core.
#[derive(Clone)]
pub struct Core(Rc<Inner>);

/// A reference that does not keep the core.
#[derive(Clone)]
pub struct WeakCore(Weak<Inner>);

struct Inner {
    // Fields are dropped in order: tasks hold handles and operations, which push their last requests to the ring.
    tasks: Tasks,
    timers: Timers,
    operations: Operations,
    ring: RefCell<Box<dyn Ring>>,
    slab: Slab,
    completions: RefCell<Vec<Completion>>,
    turns_cut: Cell<u64>,
    outside: Outside,
    span: OnceCell<tracing::Span>,
}

thread_local! {
    static CURRENT: RefCell<Option<Core>> = const { RefCell::new(None) };
}

static NEXT_CORE: AtomicU64 = AtomicU64::new(1);

/// When a core wants its next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// At once: work is left.
    Again,
    /// At a completion, at an unpark, or at this time if there is one.
    Park(Option<Nanos>),
}

impl Core {
    /// A core over `ring`, its slab of `count` buffers of `buffer_bytes` registered if the ring can.
    #[must_use]
    pub fn new(mut ring: Box<dyn Ring>, count: u16, buffer_bytes: usize) -> Self {
        let slab = Slab::new(count, buffer_bytes);
        ring.register(&slab);
        let id = NEXT_CORE.fetch_add(1, Ordering::Relaxed);
        let remote = Remote::new(id, ring.unparker());
        Self(Rc::new(Inner {
            tasks: Tasks::new(remote),
            timers: Timers::default(),
            operations: Operations::default(),
            ring: RefCell::new(ring),
            slab,
            completions: RefCell::default(),
            turns_cut: Cell::new(0),
            outside: Outside::default(),
            span: OnceCell::new(),
        }))
    }

    /// The core whose turn it is on this thread.
    ///
    /// # Panics
    /// Outside of a turn.
    #[must_use]
    pub fn current() -> Self {
        Self::try_current().expect("called from a task of a core")
    }

    /// The core whose turn it is on this thread, if any.
    #[must_use]
    pub fn try_current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `f` with this core as the thread's current one: for building what the core's tasks will own.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Leave(Option<Core>);
        impl Drop for Leave {
            fn drop(&mut self) {
                let _mine = CURRENT.replace(self.0.take());
            }
        }
        let _leave = Leave(CURRENT.replace(Some(self.clone())));
        f()
    }

    /// Does what can be done now, within the bound of one turn.
    pub fn turn(&self) -> Turn {
        self.turn_within(None)
    }

    /// The same, and ends behind this time: for a host that shares its thread with others.
    pub fn turn_until(&self, until: Nanos) -> Turn {
        self.turn_within(Some(until))
    }

    fn turn_within(&self, until: Option<Nanos>) -> Turn {
        let _told = self.0.span.get().map(tracing::Span::enter);
        self.enter(|| {
            self.0.tasks.awake();
            let mut polls = 0;
            loop {
                let ran = self.round(until);
                polls += ran;
                if ran == 0 {
                    let deadline = self.0.timers.next();
                    let due = deadline.is_some_and(|at| at <= self.now());
                    let woken = !self.0.tasks.may_park();
                    return if due || woken { Turn::Again } else { Turn::Park(deadline) };
                }
                if polls >= TURN_POLLS_MAX || self.is_past(until) {
                    self.0.turns_cut.set(self.0.turns_cut.get() + 1);
                    return Turn::Again;
                }
            }
        })
    }

    /// Completions, timers, then all urgent tasks and a few bulk ones. Returns how many tasks were polled.
    fn round(&self, until: Option<Nanos>) -> usize {
        let mut completions = self.0.completions.take();
        self.0.ring.borrow_mut().reap(&mut completions);
        let _looked_at_in_any_case = self.settle(completions);
        self.0.timers.fire(self.now());
        let mut polls = self.0.outside.gather(|| {
            let mut polls = 0;
            while polls < TURN_POLLS_MAX && self.0.tasks.poll_next(Priority::Urgent) {
                polls += 1;
                if self.is_past(until) {
                    break;
                }
            }
            polls
        });
        let bulk_since = self.now();
        for _ in 0..TURN_BULK_POLLS_MAX {
            if !self.0.tasks.poll_next(Priority::Bulk) {
                break;
            }
            polls += 1;
            // What it has asked of the ring begins with the next round: the disk waits, and so may urgent tasks. See
            // kernel-notes/runtimes.md.
            if self.now().since(bulk_since) > ROUND_BULK_TIME_MAX || self.is_past(until) {
                break;
            }
        }
        polls
    }

    fn is_past(&self, until: Option<Nanos>) -> bool {
        until.is_some_and(|until| self.now() >= until)
    }

    /// Whether it has handed the ring something that waited for a place.
    fn settle(&self, mut completions: Vec<Completion>) -> bool {
        for completion in completions.drain(..) {
            self.0.operations.complete(self, completion);
        }
        self.0.completions.replace(completions);
        let mut has_pushed = false;
        while let Some((token, op)) = self.0.operations.next_waiting() {
            self.0.ring.borrow_mut().push(token, op);
            has_pushed = true;
        }
        has_pushed
    }

    /// The next completion, an unpark or the deadline, and what follows from it.
    fn wait(&self, deadline: Option<Nanos>) {
        let mut completions = self.0.completions.take();
        self.0.ring.borrow_mut().park(deadline, &mut completions);
        let _looked_at_in_any_case = self.settle(completions);
    }

    /// Waits for a completion, an unpark or the deadline. For the host that owns the thread; the simulator never
    /// calls it.
    pub fn park(&self, deadline: Option<Nanos>) {
        self.enter(|| self.wait(deadline));
    }

    /// For a host that waits in a way of its own: see `Ring::lend_signal`. Shutting down takes it back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lend_signal(&self, reads: SignalReads) -> Result<OwnedFd, Errno> {
        self.0.ring.borrow_mut().lend_signal(reads)
    }

    /// Hands the kernel what the last turn left, as a park does: whoever waits for the lent signal calls it after
    /// `Turn::Park`. False if another turn is due before the wait.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.enter(|| {
            let mut completions = self.0.completions.take();
            self.0.ring.borrow_mut().reap(&mut completions);
            let is_quiet = completions.is_empty();
            let has_pushed = self.settle(completions);
            is_quiet && !has_pushed
        })
    }

    /// Starts a task.
    pub fn spawn<F: Future + 'static>(&self, priority: Priority, future: F) -> Task<F::Output> {
        self.0.tasks.spawn(self.downgrade(), priority, future)
    }

    /// Starts an operation; it is handed to the ring at once or, above the bound, when an earlier one has
    /// completed.
    pub fn submit(&self, op: Op) -> Operation {
        let cancellable = op.waits_for_a_peer();
        let (token, ready) = self.0.operations.start(op);
        if let Some(op) = ready {
            // The ring is busy when it drops the last handle of a file, whose close then comes here.
            match self.0.ring.try_borrow_mut() {
                Ok(mut ring) => ring.push(token, op),
                Err(_) => self.0.operations.defer(token, op),
            }
        }
        Operation::new(self.downgrade(), token, cancellable)
    }

    /// Starts an operation whose result nobody waits for.
    pub(crate) fn detach(&self, op: Op) {
        drop(self.submit(op));
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.0.operations
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.0.timers
    }

    /// Cancels an operation wherever it is: one that still waits for a place completes at once.
    pub(crate) fn cancel(&self, token: u64) {
        if !self.0.operations.cancel_waiting(token) {
            self.0.ring.borrow_mut().cancel(token);
        }
    }

    pub(crate) fn release(&self, raw: i32) {
        self.0.ring.borrow_mut().release(raw);
    }

    pub(crate) fn adopt(&self, raw: i32) {
        self.0.ring.borrow_mut().adopt(raw);
    }

    pub(crate) fn congestion(&self, raw: i32) -> Result<String, Errno> {
        self.0.ring.borrow().congestion(raw)
    }

    /// Ends all tasks, cancels what is in flight and waits for it: a core is dropped only after this.
    pub fn shut_down(&self) {
        self.enter(|| {
            self.0.ring.borrow_mut().take_signal_back();
            self.0.tasks.clear();
            while self.0.operations.in_flight() > 0 {
                for token in self.0.operations.cancellable() {
                    self.cancel(token);
                }
                self.wait(Some(self.now().plus(Nanos::from_millis(100))));
            }
        });
    }

    /// Wakes what waits on another thread; while urgent tasks run, together with others behind them.
    pub(crate) fn wake_outside(&self, waker: Waker) {
        self.0.outside.wake(waker);
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.0.ring.borrow().now()
    }

    /// Wall-clock time; nothing is decided by it.
    #[must_use]
    pub fn wall(&self) -> UnixNanos {
        self.0.ring.borrow().wall()
    }

    /// Random bytes fit for keys.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.0.ring.borrow_mut().random(&mut out);
        out
    }

    /// The core's buffers.
    #[must_use]
    pub fn slab(&self) -> &Slab {
        &self.0.slab
    }

    /// Ends a park of this core from any thread.
    #[must_use]
    pub fn unparker(&self) -> Arc<dyn Unpark> {
        self.0.ring.borrow().unparker()
    }

    /// What the ring found it can do.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.0.ring.borrow().probe().clone()
    }

    /// From its next turn on, all that its tasks tell of is told within the span; within the first one that is set.
    pub fn tell_within(&self, span: tracing::Span) {
        let _is_first = self.0.span.set(span);
    }

    /// Turns that ended on their budget with work left.
    #[must_use]
    pub fn turns_cut(&self) -> u64 {
        self.0.turns_cut.get()
    }

    /// A reference that does not keep the core.
    #[must_use]
    pub fn downgrade(&self) -> WeakCore {
        WeakCore(Rc::downgrade(&self.0))
    }
}

impl WeakCore {
    /// The core, if it still is.
    #[must_use]
    pub fn upgrade(&self) -> Option<Core> {
        self.0.upgrade().map(Core)
    }
}
