//! All lines of one group: dialled when they are needed, and again after they ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::ids::{Nanos, NodeId};
use crate::raft::rpc::Call;
use crate::raft::types::{Member, Seat};
use crate::transport::{Class, Peer, Purpose, Transport};
use crate::uring::Notify;

use super::error::CallError;
use super::line::Line;

/// Finds where a member listens. Without one the member's own address is read.
pub type Resolve = Rc<dyn Fn(NodeId, &Member) -> Option<SocketAddr>>;

/// What a line is for: each has a stream of its own, so that none waits behind another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::raft) enum LineUse {
    /// Entries.
    Entries,
    /// Signs of life, votes, and whatever must not wait behind entries.
    Signs,
    /// Snapshots.
    Snapshots,
}

/// The lines of one group. Clones are the same.
#[derive(Clone)]
pub(in crate::raft) struct Lines(Rc<Inner>);

struct Inner {
    seat: Seat,
    transport: Transport,
    resolve: Option<Resolve>,
    lines: RefCell<BTreeMap<(u64, LineUse), Place>>,
    closed: Cell<bool>,
    dialled: Notify,
}

enum Place {
    Dialling,
    Open(Member, Rc<Line>),
}

impl Lines {
    pub(in crate::raft) fn new(seat: Seat, transport: Transport, resolve: Option<Resolve>) -> Self {
        Self(Rc::new(Inner {
            seat,
            transport,
            resolve,
            lines: RefCell::default(),
            closed: Cell::new(false),
            dialled: Notify::default(),
        }))
    }

    pub(super) fn seat(&self) -> Seat {
        self.0.seat
    }

    /// The open line to a member, or a new one.
    pub(super) async fn line(
        &self,
        to: u64,
        member: &Member,
        purpose: LineUse,
    ) -> Result<Rc<Line>, CallError> {
        let key = (to, purpose);
        loop {
            if self.0.closed.get() {
                return Err(CallError::Closed);
            }
            let dialled = self.0.dialled.notified();
            let is_dialling = match self.0.lines.borrow().get(&key) {
                Some(Place::Open(known, line)) if known == member && !line.has_ended() => {
                    return Ok(Rc::clone(line));
                }
                Some(Place::Dialling) => true,
                Some(Place::Open(..)) | None => false,
            };
            if !is_dialling {
                break;
            }
            dialled.await;
        }
        let before = self.0.lines.borrow_mut().insert(key, Place::Dialling);
        drop(before);
        let mut dialling = Dialling { lines: self, key, line: None };
        let line = self.dial(to, member, purpose).await?;
        dialling.line = Some((member.clone(), Rc::clone(&line)));
        Ok(line)
    }

    async fn dial(&self, to: u64, member: &Member, purpose: LineUse) -> Result<Rc<Line>, CallError> {
        let node = NodeId(to);
        let address = match &self.0.resolve {
            Some(resolve) => resolve(node, member),
            None => member.address.parse().ok(),
        };
        let no_address = || CallError::Address { text: member.address.clone() };
        let peer = Peer { node: Some(node), address: address.ok_or_else(no_address)? };
        let class = match purpose {
            LineUse::Entries | LineUse::Signs => Class::Control,
            LineUse::Snapshots => Class::Bulk,
        };
        let stream = self.0.transport.open_stream(peer, self.0.seat.group, class, Purpose::Raft).await;
        let stream = stream.map_err(CallError::Dial)?;
        let found = stream.peer().incarnation;
        if found != member.incarnation {
            return Err(CallError::OtherLife { expected: member.incarnation, found });
        }
        Ok(Line::new(stream))
    }

    /// Makes a call and waits for its answer.
    pub(in crate::raft) async fn call(
        &self,
        (to, member): (u64, &Member),
        purpose: LineUse,
        (call, bytes): (Call, Vec<u8>),
        length: Nanos,
    ) -> Result<Vec<u8>, CallError> {
        let line = self.line(to, member, purpose).await?;
        line.start(call, bytes)?.within(length).await
    }

    /// Ends all lines; there are no new ones.
    pub(in crate::raft) fn close(&self) {
        self.0.closed.set(true);
        let lines = self.0.lines.take();
        drop(lines);
        self.0.dialled.notify();
    }
}

/// A dial that is under way, or has ended one way or the other.
struct Dialling<'a> {
    lines: &'a Lines,
    key: (u64, LineUse),
    line: Option<(Member, Rc<Line>)>,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let inner = &self.lines.0;
        let before = match self.line.take().filter(|_| !inner.closed.get()) {
            Some((member, line)) => inner.lines.borrow_mut().insert(self.key, Place::Open(member, line)),
            None => inner.lines.borrow_mut().remove(&self.key),
        };
        drop(before);
        inner.dialled.notify();
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({:?})", self.0.lines.borrow().keys().collect::<Vec<_>>())
    }
}
