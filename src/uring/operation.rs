//! The table of operations in flight: the owner of what the kernel holds.
//!
//! An operation that is given up stays in the table until it has completed; its buffer comes home then, a
//! descriptor that it opened is closed, and what would wait for a peer is cancelled.

use std::cell::RefCell;
use std::collections::VecDeque;
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

/// Slots are used again, so that a steady load allocates nothing.
#[derive(Default)]
struct Table {
    in_flight: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    waiting: VecDeque<(u64, Op)>,
}

struct Slot {
    /// How often the slot was used: the upper half of its token, so that no old token names a new operation.
    life: u32,
    /// It would wait for a peer for ever.
    waits: bool,
    state: Option<State>,
}

impl Table {
    fn insert(&mut self, state: State, waits: bool) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { life: 0, waits, state: None });
            u32::try_from(self.slots.len() - 1).expect("fewer operations than memory has bytes")
        });
        let slot = &mut self.slots[index as usize];
        slot.life = slot.life.wrapping_add(1);
        slot.waits = waits;
        slot.state = Some(state);
        u64::from(slot.life) << 32 | u64::from(index)
    }

    fn state(&mut self, token: u64) -> Option<&mut Option<State>> {
        let slot = self.slots.get_mut((token & u64::from(u32::MAX)) as usize)?;
        (u64::from(slot.life) == token >> 32 && slot.state.is_some()).then_some(&mut slot.state)
    }

    fn remove(&mut self, token: u64) -> Option<State> {
        let state = self.state(token)?.take();
        self.free.push((token & u64::from(u32::MAX)) as u32);
        state
    }

    /// Takes an operation out of the queue of those that the ring has not seen.
    fn take_waiting(&mut self, token: u64) -> Option<Op> {
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == token)?;
        self.waiting.remove(place).map(|(_, op)| op)
    }
}

impl Operations {
    /// A token for `op`, and `op` back if it may go to the ring now.
    pub(crate) fn start(&self, op: Op) -> (u64, Option<Op>) {
        let mut table = self.0.borrow_mut();
        let token = table.insert(State::Pending(None), op.waits_for_a_peer());
        if table.in_flight < OPERATIONS_IN_FLIGHT_MAX && table.waiting.is_empty() {
            table.in_flight += 1;
            return (token, Some(op));
        }
        table.waiting.push_back((token, op));
        (token, None)
    }

    /// The ring could not take the operation that `start` gave back: it goes there with the next round.
    pub(crate) fn defer(&self, token: u64, op: Op) {
        let mut table = self.0.borrow_mut();
        table.in_flight -= 1;
        table.waiting.push_back((token, op));
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

    /// Tokens of unfinished operations that wait for a peer.
    pub(crate) fn cancellable(&self) -> Vec<u64> {
        let table = self.0.borrow();
        let waits = |slot: &Slot| slot.waits && !matches!(slot.state, None | Some(State::Ready(_)));
        let named = (0_u64..).zip(&table.slots).filter(|(_, slot)| waits(slot));
        named.map(|(index, slot)| u64::from(slot.life) << 32 | index).collect()
    }

    /// Completes an operation that the ring has not seen yet as cancelled; false if it is not such a one.
    pub(crate) fn cancel_waiting(&self, token: u64) -> bool {
        let mut table = self.0.borrow_mut();
        let Some(op) = table.take_waiting(token) else { return false };
        // The handles in it are dropped outside of the table: the last of a file comes back here with its
        // close.
        drop(table);
        let buffer = op.into_buffer();
        let mut table = self.0.borrow_mut();
        let state = table.state(token).expect("one that waits for its place has a slot");
        let before = state.replace(State::Ready((Err(Errno::CANCELED), buffer)));
        drop(table);
        if let Some(State::Pending(Some(waker))) = before {
            waker.wake();
        }
        true
    }

    pub(crate) fn complete(&self, core: &Core, completion: Completion) {
        let Completion { token, result, buffer, more } = completion;
        let mut table = self.0.borrow_mut();
        let Some(state) = table.state(token) else {
            unreachable!("completion for unknown operation {token:#x}")
        };
        let before = state.take().expect("a live slot has a state");
        if more {
            let (after, waker) = match before {
                State::Pending(waker) | State::Half(_, waker) => (State::Half(result, None), waker),
                State::GivenUp | State::Ready(_) => (State::GivenUp, None),
            };
            *state = Some(after);
            drop(table);
            // Whoever waits for the first half alone goes on; whoever waits for both looks again.
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
        let (done, waker) = match before {
            State::Pending(waker) => ((result, buffer), waker),
            State::Half(first, waker) => ((both(first, result), buffer), waker),
            State::GivenUp | State::Ready(_) => {
                *state = Some(State::GivenUp);
                let _gone = table.remove(token);
                table.in_flight -= 1;
                drop(table);
                close_unwanted(core, result);
                return;
            }
        };
        *state = Some(State::Ready(done));
        table.in_flight -= 1;
        drop(table);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, token: u64, waker: &Waker) -> Poll<Completed> {
        let mut table = self.0.borrow_mut();
        let state = table.state(token).and_then(Option::as_mut);
        match state {
            Some(State::Pending(place) | State::Half(_, place)) => {
                match place {
                    Some(known) => known.clone_from(waker),
                    None => *place = Some(waker.clone()),
                }
                Poll::Pending
            }
            Some(State::Ready(_)) => match table.remove(token) {
                Some(State::Ready(done)) => Poll::Ready(done),
                _ => unreachable!("the state was just seen"),
            },
            Some(State::GivenUp) | None => unreachable!("operation {token:#x} is polled by its one owner"),
        }
    }

    /// Whether the first half of a zero-copy send is there: the bytes that went out, or the error; all of it,
    /// if there is no second half.
    fn poll_sent(&self, token: u64, waker: &Waker) -> Poll<Result<usize, Errno>> {
        let mut table = self.0.borrow_mut();
        match table.state(token).and_then(Option::as_mut) {
            Some(State::Half(result, _) | State::Ready((result, _))) => Poll::Ready(sent_bytes(result)),
            Some(State::Pending(place)) => {
                *place = Some(waker.clone());
                Poll::Pending
            }
            Some(State::GivenUp) | None => unreachable!("operation {token:#x} is polled by its one owner"),
        }
    }

    /// Returns true if the operation is with the ring and has to be cancelled there.
    fn give_up(&self, core: &Core, token: u64) -> bool {
        let mut table = self.0.borrow_mut();
        let Some(state) = table.state(token) else { return false };
        match state.replace(State::GivenUp) {
            Some(State::Pending(_) | State::Half(..)) => {
                let waiting = table.waiting.iter().find(|(waiting, _)| *waiting == token);
                let Some((_, op)) = waiting else { return true };
                if op.waits_for_a_peer() {
                    let op = table.take_waiting(token);
                    let _gone = table.remove(token);
                    drop(table);
                    drop(op);
                }
                false
            }
            Some(State::Ready((result, buffer))) => {
                let _gone = table.remove(token);
                drop(table);
                drop(buffer);
                close_unwanted(core, result);
                false
            }
            Some(State::GivenUp) | None => false,
        }
    }
}

/// A descriptor that nobody waits for any more is closed.
fn close_unwanted(core: &Core, result: Result<Outcome, Errno>) {
    if let Ok(Outcome::Opened(raw) | Outcome::Accepted(raw, _) | Outcome::Listening(raw, _)) = result {
        core.detach(Op::Close { raw, aside: false });
    }
}

/// The two halves of a zero-copy send as one.
fn both(first: Result<Outcome, Errno>, last: Result<Outcome, Errno>) -> Result<Outcome, Errno> {
    match (first?, last) {
        (Outcome::Count(bytes), Ok(Outcome::Notified { copied })) => Ok(Outcome::Sent { bytes, copied }),
        (first, _) => Ok(first),
    }
}

fn sent_bytes(result: &Result<Outcome, Errno>) -> Result<usize, Errno> {
    match result {
        Ok(Outcome::Count(bytes) | Outcome::Sent { bytes, .. }) => Ok(*bytes),
        Ok(other) => unreachable!("a send completed with {other:?}"),
        Err(errno) => Err(*errno),
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

    /// Waits until a send's bytes are on their way, in the order of the connection, though the kernel may
    /// still hold the buffer.
    pub(crate) async fn sent(&mut self) -> Result<usize, Errno> {
        let token = self.token;
        let core = self.core.upgrade();
        std::future::poll_fn(move |context| match &core {
            Some(core) => core.operations().poll_sent(token, context.waker()),
            None => Poll::Ready(Err(Errno::CANCELED)),
        })
        .await
    }

    /// Asks the kernel to cancel, and waits for the completion: after it nothing of the operation is left
    /// there.
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
        if let Some(core) = self.core.upgrade()
            && core.operations().give_up(&core, self.token)
            && self.cancellable
        {
            core.cancel(self.token);
        }
    }
}
