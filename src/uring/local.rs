//! What tasks of one core tell each other with: a notice, a one-time answer, a bounded queue. Single-threaded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes all who wait for a change. Waiters look again at what they wait for.
#[derive(Debug, Default)]
pub struct Notify {
    round: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all who wait now.
    pub fn notify(&self) {
        self.round.set(self.round.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for the next `notify` after this call.
    pub fn notified(&self) -> impl Future<Output = ()> + use<'_> {
        let seen = self.round.get();
        poll_fn(move |context| {
            if self.round.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Waits until `ready` gives a value, looking again after every notice.
    pub async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            let notified = self.notified();
            if let Some(value) = ready() {
                return value;
            }
            notified.await;
        }
    }
}

#[derive(Debug)]
struct Once<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
    open: Cell<bool>,
}

/// Gives the one answer.
#[derive(Debug)]
pub struct Answer<T>(Rc<Once<T>>);

/// Waits for the one answer: `None` if nobody will give it any more.
#[derive(Debug)]
pub struct Question<T>(Rc<Once<T>>);

/// A one-time answer.
#[must_use]
pub fn question<T>() -> (Answer<T>, Question<T>) {
    let once = Rc::new(Once { value: RefCell::new(None), waker: RefCell::new(None), open: Cell::new(true) });
    (Answer(Rc::clone(&once)), Question(once))
}

impl<T> Answer<T> {
    /// Answers; the value comes back if nobody waits any more.
    ///
    /// # Errors
    /// The value.
    pub fn give(self, value: T) -> Result<(), T> {
        if Rc::strong_count(&self.0) == 1 {
            return Err(value);
        }
        *self.0.value.borrow_mut() = Some(value);
        Ok(())
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.0.open.set(false);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Question<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.0.value.borrow_mut().take() {
            return Poll::Ready(Some(value));
        }
        if !self.0.open.get() {
            return Poll::Ready(None);
        }
        *self.0.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Debug)]
struct Line<T> {
    queue: RefCell<VecDeque<T>>,
    capacity: usize,
    changed: Notify,
    senders: Cell<usize>,
    receiver: Cell<bool>,
}

/// Puts values into a queue.
#[derive(Debug)]
pub struct QueueSender<T>(Rc<Line<T>>);

/// Takes values out of a queue.
#[derive(Debug)]
pub struct QueueReceiver<T>(Rc<Line<T>>);

/// A queue between tasks of one core that holds `capacity` values.
#[must_use]
pub fn queue<T>(capacity: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let line = Rc::new(Line {
        queue: RefCell::default(),
        capacity,
        changed: Notify::default(),
        senders: Cell::new(1),
        receiver: Cell::new(true),
    });
    (QueueSender(Rc::clone(&line)), QueueReceiver(line))
}

impl<T> QueueSender<T> {
    /// Puts a value in if there is room; else it comes back.
    ///
    /// # Errors
    /// The value, if the queue is full or its receiver gone.
    pub fn try_send(&self, value: T) -> Result<(), T> {
        if !self.0.receiver.get() || self.0.queue.borrow().len() >= self.0.capacity {
            return Err(value);
        }
        self.0.queue.borrow_mut().push_back(value);
        self.0.changed.notify();
        Ok(())
    }

    /// Puts a value in when there is room.
    ///
    /// # Errors
    /// The value, if the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        loop {
            let changed = self.0.changed.notified();
            if let Some(unsent) = value.take() {
                match self.try_send(unsent) {
                    Ok(()) => return Ok(()),
                    Err(back) if !self.0.receiver.get() => return Err(back),
                    Err(back) => value = Some(back),
                }
            }
            changed.await;
        }
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for QueueSender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        self.0.changed.notify();
    }
}

impl<T> QueueReceiver<T> {
    /// The next value if one is there.
    pub fn try_receive(&mut self) -> Option<T> {
        let value = self.0.queue.borrow_mut().pop_front();
        if value.is_some() {
            self.0.changed.notify();
        }
        value
    }

    /// The next value; `None` when all senders are gone and the queue is empty.
    pub async fn receive(&mut self) -> Option<T> {
        loop {
            let line = Rc::clone(&self.0);
            let changed = line.changed.notified();
            if let Some(value) = self.try_receive() {
                return Some(value);
            }
            if self.0.senders.get() == 0 {
                return None;
            }
            changed.await;
        }
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        self.0.receiver.set(false);
        self.0.changed.notify();
    }
}
