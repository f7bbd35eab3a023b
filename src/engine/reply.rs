//! Answers from a core to any thread: a future for every runtime, and a blocking wait for none.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::uring::{Core, block_on};

enum State<T> {
    Waiting(Option<Waker>),
    Answered(T),
    Dropped,
    Taken,
}

struct Shared<T>(Mutex<State<T>>);

/// The answer to come. A future for any runtime; `wait` blocks the thread instead. Who drops it only stops waiting:
/// what was asked for happens all the same.
#[must_use = "nothing else tells what came of the request"]
pub struct Reply<T, E = NoAnswer>(Arc<Shared<Result<T, E>>>);

/// Gives the answer, once.
pub(crate) struct Replier<T>(Option<Arc<Shared<T>>>);

/// Nobody answers. Every error of a request has these two among its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// The node has stopped.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the node has stopped",
            Self::Busy => "the node is busy and has not taken the request; try again",
        })
    }
}

impl std::error::Error for NoAnswer {}

pub(crate) fn reply<T, E>() -> (Replier<Result<T, E>>, Reply<T, E>) {
    let shared = Arc::new(Shared(Mutex::new(State::Waiting(None))));
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
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), to);
        let State::Waiting(Some(waker)) = before else { return };
        match Core::try_current() {
            Some(core) => core.wake_outside(waker),
            None => waker.wake(),
        }
    }
}

impl<T, E: From<NoAnswer>> Reply<T, E> {
    /// The answer to a request that was not taken.
    pub(crate) fn none(why: NoAnswer) -> Self {
        let (replier, waiting) = reply();
        replier.answer(Err(why.into()));
        waiting
    }

    /// Blocks this thread until the answer is there. Not for use inside an asynchronous runtime.
    ///
    /// # Errors
    /// The request's, `Stopped` among them if an answer will never come.
    ///
    /// # Panics
    /// On the thread of a core while it runs: the answer would wait for the wait.
    pub fn wait(self) -> Result<T, E> {
        block_on(self)
    }
}

impl<T, E: From<NoAnswer>> State<Result<T, E>> {
    fn take(&mut self) -> Result<T, E> {
        match std::mem::replace(self, Self::Taken) {
            Self::Answered(value) => value,
            Self::Dropped | Self::Taken | Self::Waiting(_) => Err(NoAnswer::Stopped.into()),
        }
    }
}

impl<T, E: From<NoAnswer>> Future for Reply<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(place) = &mut *state {
            *place = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.take())
    }
}

impl<T, E> fmt::Debug for Reply<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replier")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::uring::block_on;

    #[test]
    fn an_answer_reaches_a_blocked_thread_and_a_future() {
        let (replier, waiting) = reply::<_, NoAnswer>();
        let thread = thread::spawn(move || waiting.wait());
        replier.answer(Ok(7));
        assert_eq!(thread.join().expect("it ends"), Ok(7));
        let (replier, waiting) = reply::<_, NoAnswer>();
        let thread = thread::spawn(move || block_on(waiting));
        replier.answer(Ok(8));
        assert_eq!(thread.join().expect("it ends"), Ok(8));
    }

    #[test]
    fn a_node_that_stops_leaves_nobody_waiting() {
        let (replier, waiting) = reply::<u32, NoAnswer>();
        drop(replier);
        assert_eq!(waiting.wait(), Err(NoAnswer::Stopped));
        let (replier, waiting) = reply::<u32, NoAnswer>();
        drop(waiting);
        assert!(replier.is_abandoned());
        assert_eq!(Reply::<u32>::none(NoAnswer::Busy).wait(), Err(NoAnswer::Busy));
    }
}
