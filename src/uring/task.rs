//! Tasks of a core: two priorities, wakers that work from any thread, handles that can be awaited or dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use super::core::{Core, WeakCore};
use super::ring::Unpark;

/// Raft and control go ahead of bulk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Raft, control frames, whatever somebody waits for.
    Urgent,
    /// Transfers, scrubs, background.
    Bulk,
}

/// The part of a core that other threads reach: wakes from there, and the way to end its park.
pub(crate) struct Remote {
    core: u64,
    woken: Mutex<Vec<TaskKey>>,
    parked: AtomicBool,
    unpark: Arc<dyn Unpark>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TaskKey {
    slot: usize,
    life: u64,
    priority: Priority,
}

impl Remote {
    pub(crate) fn new(core: u64, unpark: Arc<dyn Unpark>) -> Arc<Self> {
        Arc::new(Self { core, woken: Mutex::default(), parked: AtomicBool::new(false), unpark })
    }
}

struct TaskWaker {
    key: TaskKey,
    remote: Arc<Remote>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(core) = Core::try_current()
            && core.tasks().remote.core == self.remote.core
        {
            core.tasks().make_ready(self.key);
            return;
        }
        self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.key);
        if self.remote.parked.swap(false, Ordering::SeqCst) {
            self.remote.unpark.unpark();
        }
    }
}

struct Slot {
    life: u64,
    queued: bool,
    priority: Priority,
    waker: Option<Waker>,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    running: bool,
}

pub(crate) struct Tasks {
    remote: Arc<Remote>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    urgent: RefCell<VecDeque<TaskKey>>,
    bulk: RefCell<VecDeque<TaskKey>>,
    lives: Cell<u64>,
}

impl Tasks {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        // A core starts as parked: whoever wakes it before its first turn has to call for that turn.
        remote.parked.store(true, Ordering::SeqCst);
        Self {
            remote,
            slots: RefCell::default(),
            free: RefCell::default(),
            urgent: RefCell::default(),
            bulk: RefCell::default(),
            lives: Cell::new(0),
        }
    }

    pub(crate) fn spawn<F: Future + 'static>(
        &self,
        core: WeakCore,
        priority: Priority,
        future: F,
    ) -> Task<F::Output> {
        let join =
            Rc::new(Join { output: RefCell::new(None), waker: RefCell::default(), ended: Cell::new(false) });
        // Made here and not in the body, so that a task aborted before its first poll has ended too.
        let end = End(Rc::clone(&join));
        let key = self.insert(priority, Box::pin(Body { future, end: Some(end) }));
        self.make_ready(key);
        Task { join, key, core }
    }

    fn insert(&self, priority: Priority, future: Pin<Box<dyn Future<Output = ()>>>) -> TaskKey {
        let life = self.lives.get() + 1;
        self.lives.set(life);
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(slots.len());
        let key = TaskKey { slot, life, priority };
        let waker = Waker::from(Arc::new(TaskWaker { key, remote: Arc::clone(&self.remote) }));
        let filled =
            Slot { life, queued: false, priority, waker: Some(waker), future: Some(future), running: false };
        if slot == slots.len() {
            slots.push(filled);
        } else {
            slots[slot] = filled;
        }
        key
    }

    fn make_ready(&self, key: TaskKey) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key.slot) else { return };
        if slot.life != key.life || slot.queued {
            return;
        }
        slot.queued = true;
        self.queue(key.priority).borrow_mut().push_back(key);
    }

    fn queue(&self, priority: Priority) -> &RefCell<VecDeque<TaskKey>> {
        match priority {
            Priority::Urgent => &self.urgent,
            Priority::Bulk => &self.bulk,
        }
    }

    fn take_remote(&self) {
        let woken = std::mem::take(&mut *self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for key in woken {
            self.make_ready(key);
        }
    }

    /// Polls the next ready task of a priority; false if there is none.
    pub(crate) fn poll_next(&self, priority: Priority) -> bool {
        self.take_remote();
        let Some(key) = self.queue(priority).borrow_mut().pop_front() else { return false };
        let (mut future, waker) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[key.slot];
            if slot.life != key.life {
                return true;
            }
            slot.queued = false;
            let (Some(future), Some(waker)) = (slot.future.take(), slot.waker.clone()) else { return true };
            slot.running = true;
            (future, waker)
        };
        debug_assert_eq!(self.slots.borrow()[key.slot].priority, key.priority, "a task keeps its priority");
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key.slot];
        slot.running = false;
        if slot.life == key.life && !done {
            slot.future = Some(future);
            return true;
        }
        if slot.life == key.life {
            slot.life = 0;
            slot.waker = None;
        }
        self.free.borrow_mut().push(key.slot);
        drop(slots);
        drop(future);
        true
    }

    /// Ends a task where it stands; one that is just running ends when it next waits.
    fn abort(&self, key: TaskKey) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key.slot) else { return };
        if slot.life != key.life {
            return;
        }
        slot.life = 0;
        slot.waker = None;
        let future = slot.future.take();
        if !slot.running {
            self.free.borrow_mut().push(key.slot);
        }
        drop(slots);
        drop(future);
    }

    pub(crate) fn clear(&self) {
        loop {
            let keys: Vec<_> = {
                let slots = self.slots.borrow();
                let live = slots.iter().enumerate().filter(|(_, slot)| slot.life != 0);
                live.map(|(index, slot)| TaskKey { slot: index, life: slot.life, priority: slot.priority })
                    .collect()
            };
            if keys.is_empty() {
                return;
            }
            for key in keys {
                self.abort(key);
            }
        }
    }

    /// From now on a wake from elsewhere has to end a park; false if one has come in already. One that came while bulk
    /// was looked for has been taken in with it, and has made an urgent task ready behind the last look at those.
    pub(crate) fn may_park(&self) -> bool {
        self.remote.parked.store(true, Ordering::SeqCst);
        let is_quiet = self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        is_quiet && self.urgent.borrow().is_empty() && self.bulk.borrow().is_empty()
    }

    /// A turn runs: wakes from elsewhere are seen without a call.
    pub(crate) fn awake(&self) {
        self.remote.parked.store(false, Ordering::SeqCst);
    }
}

struct Join<T> {
    output: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
    ended: Cell<bool>,
}

pin_project! {
    /// What a slot holds. A type, not an `async` block: that would have room for the future twice.
    struct Body<F>
    where
        F: Future,
    {
        #[pin]
        future: F,
        // Behind the future, which is dropped first.
        end: Option<End<F::Output>>,
    }
}

impl<F: Future> Future for Body<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let output = std::task::ready!(this.future.poll(context));
        if let Some(end) = this.end.take() {
            *end.0.output.borrow_mut() = Some(output);
        }
        Poll::Ready(())
    }
}

/// Marks the task ended however it ends.
struct End<T>(Rc<Join<T>>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.0.ended.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// A running task. Awaiting it gives its output, or `None` if it was aborted; dropping it lets it run on.
pub struct Task<T> {
    join: Rc<Join<T>>,
    key: TaskKey,
    core: WeakCore,
}

impl<T> Task<T> {
    /// Ends the task where it waits. Its operations are given up, and seen to their end by the core.
    pub fn abort(&self) {
        if let Some(core) = self.core.upgrade() {
            core.enter(|| core.tasks().abort(self.key));
        }
    }

    /// The task has run to its end or was aborted.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.join.ended.get()
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.join.ended.get() {
            return Poll::Ready(self.join.output.borrow_mut().take());
        }
        *self.join.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}
