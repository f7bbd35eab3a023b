//! Bounded queues between cores, and from any other thread to a core. The only thing that cores share.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    receiver: Option<Waker>,
    senders: Vec<Waker>,
    sender_count: usize,
    closed: bool,
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where messages go in; from any thread and any runtime.
pub struct MailSender<T>(Arc<Shared<T>>);

/// Where messages come out.
pub struct MailReceiver<T>(Arc<Shared<T>>);

/// A message could not be handed over, and comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// A mailbox that holds `capacity` messages.
#[must_use]
pub fn mailbox<T>(capacity: usize) -> (MailSender<T>, MailReceiver<T>) {
    let state = State {
        queue: VecDeque::with_capacity(capacity.min(64)),
        capacity,
        receiver: None,
        senders: Vec::new(),
        sender_count: 1,
        closed: false,
    };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (MailSender(Arc::clone(&shared)), MailReceiver(shared))
}

impl<T> MailSender<T> {
    /// Hands a message over if there is room now.
    ///
    /// # Errors
    /// `Full` or `Closed`, with the message.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(SendError::Closed(message));
        }
        if state.queue.len() >= state.capacity {
            return Err(SendError::Full(message));
        }
        state.queue.push_back(message);
        let waker = state.receiver.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Hands a message over when there is room.
    ///
    /// # Errors
    /// The message, if the receiver is gone.
    pub fn send(&self, message: T) -> impl Future<Output = Result<(), T>> + use<'_, T> {
        let mut message = Some(message);
        poll_fn(move |context| {
            let Some(unsent) = message.take() else { return Poll::Ready(Ok(())) };
            match self.try_send(unsent) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(SendError::Closed(back)) => Poll::Ready(Err(back)),
                Err(SendError::Full(back)) => {
                    message = Some(back);
                    let mut state = self.0.lock();
                    if state.queue.len() < state.capacity || state.closed {
                        context.waker().wake_by_ref();
                    } else if !state.senders.iter().any(|waker| waker.will_wake(context.waker())) {
                        state.senders.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
    }
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> Self {
        self.0.lock().sender_count += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for MailSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.sender_count -= 1;
        let waker = if state.sender_count == 0 { state.receiver.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> MailReceiver<T> {
    /// If no message is there, none comes in from now on; says whether that is so.
    pub fn close_if_empty(&mut self) -> bool {
        let mut state = self.0.lock();
        state.closed |= state.queue.is_empty();
        let closed = state.closed;
        let senders = if closed { std::mem::take(&mut state.senders) } else { Vec::new() };
        drop(state);
        senders.into_iter().for_each(Waker::wake);
        closed
    }

    /// The next message if one is there.
    pub fn try_receive(&mut self) -> Option<T> {
        let mut state = self.0.lock();
        let message = state.queue.pop_front();
        // All of them: one who has given up would keep a single wake to himself.
        let senders = if message.is_some() { std::mem::take(&mut state.senders) } else { Vec::new() };
        drop(state);
        senders.into_iter().for_each(Waker::wake);
        message
    }

    /// The next message; `None` when all senders are gone and the queue is empty.
    pub fn receive(&mut self) -> impl Future<Output = Option<T>> + use<'_, T> {
        poll_fn(|context| {
            if let Some(message) = self.try_receive() {
                return Poll::Ready(Some(message));
            }
            let mut state = self.0.lock();
            if !state.queue.is_empty() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if state.sender_count == 0 {
                return Poll::Ready(None);
            }
            state.receiver = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl<T> Drop for MailReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let (queue, senders) = (std::mem::take(&mut state.queue), std::mem::take(&mut state.senders));
        drop(state);
        senders.into_iter().for_each(Waker::wake);
        drop(queue);
    }
}

impl<T> fmt::Debug for MailSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailSender({} waiting)", self.0.lock().queue.len())
    }
}

impl<T> fmt::Debug for MailReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailReceiver({} waiting)", self.0.lock().queue.len())
    }
}
