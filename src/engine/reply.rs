//! Answers from a core to any thread: a future for every runtime, and a blocking wait for none.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

enum State<T> {
    Waiting(Option<Waker>),
    Answered(T),
    Dropped,
    Taken,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// The answer to come. A future for any runtime; `wait` blocks the thread instead.
#[must_use = "nothing else tells what came of the request"]
pub struct Reply<T>(Arc<Shared<T>>);

/// Gives the answer, once.
pub(crate) struct Replier<T>(Option<Arc<Shared<T>>>);

/// The node stopped before it answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node has stopped")
    }
}

impl std::error::Error for Stopped {}

pub(crate) fn reply<T>() -> (Replier<T>, Reply<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Waiting(None)), changed: Condvar::new() });
    (Replier(Some(Arc::clone(&shared))), Reply(shared))
}

impl<T> Replier<T> {
    pub(crate) fn answer(mut self, value: T) {
        if let Some(shared) = self.0.take() {
            shared.settle(State::Answered(value));
        }
    }

    /// Nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| Arc::strong_count(shared) == 1)
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.settle(State::Dropped);
        }
    }
}

impl<T> Shared<T> {
    fn settle(&self, to: State<T>) {
        let before = std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), to);
        self.changed.notify_all();
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Reply<T> {
    /// Blocks this thread until the answer is there. Not for use inside an asynchronous runtime.
    ///
    /// # Errors
    /// `Stopped` if it will never come.
    pub fn wait(self) -> Result<T, Stopped> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let State::Waiting(_) = *state {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Answered(value) => Ok(value),
            State::Dropped | State::Taken | State::Waiting(_) => Err(Stopped),
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(place) = &mut *state {
            *place = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Answered(value) => Poll::Ready(Ok(value)),
            State::Dropped | State::Taken | State::Waiting(_) => Poll::Ready(Err(Stopped)),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replier")
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread until it is done: for callers without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_blocked_thread_and_a_future() {
        let (replier, waiting) = reply();
        let thread = thread::spawn(move || waiting.wait());
        replier.answer(7);
        assert_eq!(thread.join().expect("it ends"), Ok(7));
        let (replier, waiting) = reply();
        let thread = thread::spawn(move || block_on(waiting));
        replier.answer(8);
        assert_eq!(thread.join().expect("it ends"), Ok(8));
    }

    #[test]
    fn a_node_that_stops_leaves_nobody_waiting() {
        let (replier, waiting) = reply::<u32>();
        drop(replier);
        assert_eq!(waiting.wait(), Err(Stopped));
        let (replier, waiting) = reply::<u32>();
        drop(waiting);
        assert!(replier.is_abandoned());
    }
}
