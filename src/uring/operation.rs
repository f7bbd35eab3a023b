//! The table of operations in flight: the owner of what the kernel holds.
//!
//! An operation that is given up stays in the table until it has completed; its buffer comes home then, a descriptor
//! that it opened is closed, and what would wait for a peer is cancelled.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::limits::OPERATIONS_IN_FLIGHT_MAX;

use super::buffer::Buffer;
use super::core::{Core, WeakCore};
use super::errno::Errno;
use super::op::{Completion, Op, Outcome};

/// A completed operation: its result, and its buffer if it had one.
pub type Completed = (Result<Outcome, Errno>, Option<Buffer>);

enum State {
    Pending(Option<Waker>),
    Ready(Completed),
    /// A zero-copy send has its result and waits for its notification.
    Half(Result<Outcome, Errno>, Option<Waker>),
    GivenUp,
}

#[derive(Default)]
pub(crate) struct Operations(RefCell<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    in_flight: usize,
    states: BTreeMap<u64, (State, bool)>,
    waiting: VecDeque<(u64, Op)>,
}

impl Operations {
    /// A token for `op`, and `op` back if it may go to the ring now.
    pub(crate) fn start(&self, op: Op) -> (u64, Option<Op>) {
        let mut table = self.0.borrow_mut();
        table.next += 1;
        let token = table.next;
        table.states.insert(token, (State::Pending(None), op.waits_for_a_peer()));
        if table.in_flight < OPERATIONS_IN_FLIGHT_MAX && table.waiting.is_empty() {
            table.in_flight += 1;
            return (token, Some(op));
        }
        table.waiting.push_back((token, op));
        (token, None)
    }

    /// The next operation that waits for a place, if there is a place.
    pub(crate) fn next_waiting(&self) -> Option<(u64, Op)> {
        let mut table = self.0.borrow_mut();
        if table.in_flight >= OPERATIONS_IN_FLIGHT_MAX {
            return None;
        }
        let next = table.waiting.pop_front()?;
        table.in_flight += 1;
        Some(next)
    }

    pub(crate) fn in_flight(&self) -> usize {
        let table = self.0.borrow();
        table.in_flight + table.waiting.len()
    }

    pub(crate) fn cancellable(&self) -> Vec<u64> {
        let table = self.0.borrow();
        table.states.iter().filter(|(_, (_, waits))| *waits).map(|(token, _)| *token).collect()
    }

    pub(crate) fn complete(&self, core: &Core, completion: Completion) {
        let Completion { token, result, buffer, more } = completion;
        let mut table = self.0.borrow_mut();
        let Some((state, waits)) = table.states.remove(&token) else {
            unreachable!("completion for unknown operation {token}")
        };
        if more {
            let next = match state {
                State::Pending(waker) | State::Half(_, waker) => State::Half(result, waker),
                State::GivenUp | State::Ready(_) => State::GivenUp,
            };
            table.states.insert(token, (next, waits));
            return;
        }
        table.in_flight -= 1;
        let (done, waker) = match state {
            State::Pending(waker) => ((result, buffer), waker),
            State::Half(first, waker) => ((first, buffer), waker),
            State::GivenUp | State::Ready(_) => {
                drop(table);
                if let Ok(Outcome::Opened(raw) | Outcome::Accepted(raw, _) | Outcome::Listening(raw, _)) =
                    result
                {
                    core.detach(Op::Close { raw });
                }
                return;
            }
        };
        table.states.insert(token, (State::Ready(done), waits));
        drop(table);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, token: u64, waker: &Waker) -> Poll<Completed> {
        let mut table = self.0.borrow_mut();
        match table.states.get_mut(&token) {
            Some((State::Pending(place) | State::Half(_, place), _)) => {
                *place = Some(waker.clone());
                Poll::Pending
            }
            Some((State::Ready(_), _)) => match table.states.remove(&token) {
                Some((State::Ready(done), _)) => Poll::Ready(done),
                _ => unreachable!("the state was just seen"),
            },
            Some((State::GivenUp, _)) | None => unreachable!("operation {token} is polled by its one owner"),
        }
    }

    /// Returns true if the operation is with the ring and has to be cancelled there.
    fn give_up(&self, core: &Core, token: u64) -> bool {
        let mut table = self.0.borrow_mut();
        let Some((state, _)) = table.states.get_mut(&token) else { return false };
        match std::mem::replace(state, State::GivenUp) {
            State::Pending(_) | State::Half(..) => {
                !table.waiting.iter().any(|(waiting, _)| *waiting == token)
            }
            State::Ready((result, buffer)) => {
                table.states.remove(&token);
                drop(table);
                drop(buffer);
                if let Ok(Outcome::Opened(raw) | Outcome::Accepted(raw, _) | Outcome::Listening(raw, _)) =
                    result
                {
                    core.detach(Op::Close { raw });
                }
                false
            }
            State::GivenUp => false,
        }
    }
}

/// An operation in flight. Dropping it gives it up: the kernel's part is still seen to its end.
#[must_use = "an operation's result says whether it happened"]
pub struct Operation {
    core: WeakCore,
    token: u64,
    cancellable: bool,
    finished: bool,
}

impl Operation {
    pub(crate) fn new(core: WeakCore, token: u64, cancellable: bool) -> Self {
        Self { core, token, cancellable, finished: false }
    }

    /// Asks the kernel to cancel, and waits for the completion: after it nothing of the operation is left there.
    pub async fn cancel(self) -> Completed {
        if let Some(core) = self.core.upgrade() {
            core.cancel(self.token);
        }
        self.await
    }
}

impl Future for Operation {
    type Output = Completed;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completed> {
        let Some(core) = self.core.upgrade() else { return Poll::Ready((Err(Errno::CANCELED), None)) };
        let polled = core.operations().poll(self.token, context.waker());
        self.finished = polled.is_ready();
        polled
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            if core.operations().give_up(&core, self.token) && self.cancellable {
                core.cancel(self.token);
            }
        }
    }
}
