//! What tasks of one core tell each other with: a notice, a one-time answer, a bounded queue. Single-threaded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes all who wait for a change. Waiters look again at what they wait for.
#[derive(Debug, Default)]
pub struct Notify {
    round: Cell<u64>,
    tickets: Cell<u64>,
    /// In the order of their tickets.
    waiting: RefCell<Vec<(u64, Waker)>>,
}

/// A wait for the next notice. Dropped, it leaves nothing behind.
struct Notified<'a> {
    notify: &'a Notify,
    seen: u64,
    ticket: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        if notify.round.get() != self.seen {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            notify.tickets.set(notify.tickets.get() + 1);
            notify.tickets.get()
        });
        let mut waiting = notify.waiting.borrow_mut();
        match waiting.binary_search_by_key(&ticket, |(other, _)| *other) {
            Ok(place) => waiting[place].1.clone_from(context.waker()),
            Err(place) => waiting.insert(place, (ticket, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut waiting = self.notify.waiting.borrow_mut();
        if let Ok(place) = waiting.binary_search_by_key(&ticket, |(other, _)| *other) {
            let (_, waker) = waiting.remove(place);
            drop(waiting);
            drop(waker);
        }
    }
}

impl Notify {
    /// Wakes all who wait now.
    pub fn notify(&self) {
        self.round.set(self.round.get() + 1);
        let mut waiting = self.waiting.take();
        for (_, waker) in waiting.drain(..) {
            waker.wake();
        }
        // The room is kept for those who wait again.
        self.waiting.replace_with(|woken| if woken.is_empty() { waiting } else { std::mem::take(woken) });
    }

    /// Waits for the next `notify` after this call.
    pub fn notified(&self) -> impl Future<Output = ()> + use<'_> {
        Notified { notify: self, seen: self.round.get(), ticket: None }
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
    /// It can still be answered.
    open: Cell<bool>,
    /// Somebody waits.
    waiting: Cell<bool>,
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
    asked(&Rc::new(Once {
        value: RefCell::new(None),
        waker: RefCell::new(None),
        open: Cell::new(false),
        waiting: Cell::new(false),
    }))
}

fn asked<T>(once: &Rc<Once<T>>) -> (Answer<T>, Question<T>) {
    once.open.set(true);
    once.waiting.set(true);
    (Answer(Rc::clone(once)), Question(Rc::clone(once)))
}

/// Questions whose memory is used again, so that a steady flow of them allocates nothing.
#[derive(Debug)]
pub struct Questions<T>(RefCell<Vec<Rc<Once<T>>>>);

/// Questions that are kept.
const QUESTIONS_KEPT_MAX: usize = 8;

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Questions<T> {
    /// A one-time answer.
    pub fn question(&self) -> (Answer<T>, Question<T>) {
        let mut kept = self.0.borrow_mut();
        if let Some(free) = kept.iter().find(|once| Rc::strong_count(once) == 1) {
            return asked(free);
        }
        let (answer, question) = question();
        if kept.len() < QUESTIONS_KEPT_MAX {
            kept.push(Rc::clone(&question.0));
        }
        (answer, question)
    }
}

impl<T> Answer<T> {
    /// Answers; the value comes back if nobody waits any more.
    ///
    /// # Errors
    /// The value.
    pub fn give(self, value: T) -> Result<(), T> {
        if !self.0.waiting.get() {
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

impl<T> Drop for Question<T> {
    fn drop(&mut self) {
        self.0.waiting.set(false);
        // An answer that nobody took ends with the question, not when its memory is used again.
        drop((self.0.value.take(), self.0.waker.take()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(future: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Whoever gave up waiting stayed in the list until the next notice: it grew for as long as none came.
    #[test]
    fn who_gives_up_waiting_leaves_nothing_behind_and_wakes_the_others_all_the_same() {
        let notify = Notify::default();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Box::pin(notify.notified()));
        for _ in 0..2 {
            let polled = [poll(&mut first), poll(&mut second), poll(&mut third)];
            assert_eq!(polled, [Poll::Pending; 3]);
        }
        drop(second);
        assert_eq!(notify.waiting.borrow().len(), 2);
        notify.notify();
        assert_eq!((poll(&mut first), poll(&mut third)), (Poll::Ready(()), Poll::Ready(())));
        drop((first, third));
        assert!(notify.waiting.borrow().is_empty());
    }

    #[test]
    fn a_question_that_is_used_again_knows_nothing_of_the_one_before() {
        let questions = Questions::default();
        let (first, never) = questions.question();
        drop(never);
        assert_eq!(first.give(1), Err(1), "nobody waits");
        let (second, mut waits) = questions.question();
        let (third, _also_waits) = questions.question();
        assert_eq!(questions.0.borrow().len(), 2, "the first one's memory serves again");
        assert_eq!((second.give(2), third.give(3)), (Ok(()), Ok(())));
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut waits).poll(context), Poll::Ready(Some(2)));
        drop(waits);
        let (fourth, mut waits) = questions.question();
        assert_eq!(Pin::new(&mut waits).poll(context), Poll::Pending);
        drop(fourth);
        assert_eq!(Pin::new(&mut waits).poll(context), Poll::Ready(None));
    }
}
