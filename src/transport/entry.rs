//! The state of one stream on its connection: what has arrived, both allowances, and how far each side's end
//! is.
//!
//! Each side ends its direction by exactly one frame, Close after its last message or Reset at once; who
//! receives a Reset before it has ended its own direction answers with one. When both ends were seen the
//! stream is forgotten; until then what still arrives for a stream that was given up here is dropped without
//! a word.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::ids::{GroupId, StreamId};
use crate::uring::{Buffer, Notify};
use crate::wire::{Body, BodyError, Kind, Purpose};

use super::body::BodyBytes;
use super::credit::{Budget, Inflow, Outflow, charge};
use super::error::{Cut, ResetCode, StreamError};

/// One message of a stream.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its body, aligned to 16 bytes. Checked: it is what the peer sent, at its place in the order.
    pub body: BodyBytes,
    /// Its payload, whole and not checked: that is for the digest. From the core's slab unless it is small or
    /// the slab was short.
    pub payload: Option<Buffer>,
}

impl Message {
    /// The body's fields.
    ///
    /// # Errors
    /// The peer sent bytes that are no such body: give the stream up.
    pub fn decode(&self) -> Result<Body<'_>, BodyError> {
        Body::decode(self.kind, &self.body)
    }

    fn charge(&self) -> i64 {
        charge(self.body.len(), self.payload.as_ref().map_or(0, |payload| payload.filled().len()))
    }
}

/// How a direction of a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// In good order.
    Close,
    /// Given up.
    Reset(ResetCode),
}

/// One stream of a connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: StreamId,
    pub(super) group: GroupId,
    pub(super) purpose: Purpose,
    pub(super) outflow: Outflow,
    pub(super) inflow: Inflow,
    /// Anything that a sender or receiver waits for has changed.
    pub(super) changed: Notify,
    inbox: RefCell<VecDeque<Message>>,
    our_end: Cell<Option<End>>,
    peer_end: Cell<Option<End>>,
    /// Nobody here receives any more.
    deaf: Cell<bool>,
}

impl Entry {
    pub(super) fn new(id: StreamId, group: GroupId, purpose: Purpose, budget: &Budget) -> Self {
        Self {
            id,
            group,
            purpose,
            outflow: Outflow::new(),
            inflow: Inflow::new(budget),
            changed: Notify::default(),
            inbox: RefCell::default(),
            our_end: Cell::new(None),
            peer_end: Cell::new(None),
            deaf: Cell::new(false),
        }
    }

    pub(super) fn our_end(&self) -> Option<End> {
        self.our_end.get()
    }

    /// Our direction ends; false if it had ended before.
    pub(super) fn end(&self, end: End) -> bool {
        if self.our_end.get().is_some() {
            return false;
        }
        self.our_end.set(Some(end));
        self.changed.notify();
        true
    }

    /// The peer's direction has ended.
    pub(super) fn peer_ended(&self, end: End) -> Result<(), Cut> {
        if self.peer_has_ended() {
            return Err(Cut::AfterEnd { stream: self.id });
        }
        self.peer_end.set(Some(end));
        self.changed.notify();
        Ok(())
    }

    pub(super) fn peer_has_ended(&self) -> bool {
        self.peer_end.get().is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.our_end.get().is_some() && self.peer_end.get().is_some()
    }

    /// From now on what arrives is dropped; so is what waits. True if there is a grant to tell: a peer that
    /// was not told of it has to finish.
    pub(super) fn deafen(&self, window: i64, budget: &Budget) -> bool {
        self.deaf.set(true);
        self.drain(window, budget) && self.must_finish()
    }

    /// Drops what waits.
    pub(super) fn drain(&self, window: i64, budget: &Budget) -> bool {
        let waiting = std::mem::take(&mut *self.inbox.borrow_mut());
        let consume = |message: Message| self.inflow.consume(message.charge(), window, budget);
        waiting.into_iter().fold(false, |grant, message| grant | consume(message))
    }

    /// The peer does not know that nobody listens.
    fn must_finish(&self) -> bool {
        !self.peer_has_ended() && !matches!(self.our_end.get(), Some(End::Reset(_)))
    }

    fn is_deaf(&self) -> bool {
        self.deaf.get() || matches!(self.our_end.get(), Some(End::Reset(_)))
    }

    /// Whether a message may come now; charges it.
    pub(super) fn admit(&self, body_bytes: usize, payload_bytes: usize, budget: &Budget) -> Result<(), Cut> {
        if self.peer_has_ended() {
            return Err(Cut::AfterEnd { stream: self.id });
        }
        let cost = charge(body_bytes, payload_bytes);
        self.inflow.arrive(cost, budget).map_err(|_| Cut::CreditOverrun { stream: self.id })
    }

    /// An admitted message will not arrive.
    pub(super) fn lose(&self, body_bytes: usize, payload_bytes: usize, budget: &Budget) {
        self.inflow.lose(charge(body_bytes, payload_bytes), budget);
    }

    /// An admitted message has arrived whole. True if it was dropped, and there is a grant to tell.
    pub(super) fn arrive(&self, message: Message, window: i64, budget: &Budget) -> bool {
        if self.is_deaf() {
            let grant = self.inflow.consume(message.charge(), window, budget);
            return grant && self.must_finish();
        }
        self.inbox.borrow_mut().push_back(message);
        self.changed.notify();
        false
    }

    /// The next message, and whether there is a grant to tell; or why none will come. None: wait.
    pub(super) fn take(&self, window: i64, budget: &Budget) -> Option<Result<(Message, bool), StreamError>> {
        if let Some(message) = self.inbox.borrow_mut().pop_front() {
            let grant = self.inflow.consume(message.charge(), window, budget);
            return Some(Ok((message, grant && !self.peer_has_ended())));
        }
        match (self.peer_end.get(), self.our_end.get()) {
            (Some(End::Reset(code)), _) | (_, Some(End::Reset(code))) => {
                Some(Err(StreamError::Reset { code }))
            }
            (Some(End::Close), _) => Some(Err(StreamError::Closed)),
            (None, _) => None,
        }
    }

    /// Why nothing more can be sent.
    pub(super) fn refuses(&self) -> Option<StreamError> {
        match (self.our_end.get(), self.peer_end.get()) {
            (Some(End::Reset(code)), _) | (_, Some(End::Reset(code))) => Some(StreamError::Reset { code }),
            (Some(End::Close), _) => Some(StreamError::Closed),
            (None, None | Some(End::Close)) => None,
        }
    }
}
