//! Proposals on their way to the leader, wherever it is: many outstanding on one kept stream, each answered by its id.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::{Rc, Weak};

use futures_util::future::{Either, select};
use rkyv::util::AlignedVec;

use crate::ids::NodeId;
use crate::limits::{PROPOSALS_IN_FLIGHT_MAX, PROPOSE_TIMEOUT};
use crate::manifest::{Command, State};
use crate::raft::{Group, GroupRole};
use crate::transport::{Peer, Stream, StreamReceiver, StreamSender};
use crate::uring::{Answer, Core, Notify, Places, Priority, question};
use crate::wire::{Body, Class, Propose, ProposeReply, Purpose};

use super::attempt::Attempt;
use super::shard::{Inner, Shard};

/// The kept stream to one leader.
#[derive(Debug)]
pub(super) struct Forwarder {
    leader: NodeId,
    sender: StreamSender,
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Answer<Attempt>>>,
    broken: Cell<bool>,
    /// Told when it is broken.
    ended: Notify,
}

impl Inner {
    /// One attempt at a proposal.
    pub(super) async fn attempt(&self, bytes: &[u8]) -> Attempt {
        match self.group().watermarks().leader {
            None => Attempt::NotTaken(None),
            Some(leader) if leader == self.node => {
                Attempt::of(self.group().propose(aligned(bytes), PROPOSE_TIMEOUT).await)
            }
            // Boxed: on the leader, a proposal has no room for it.
            Some(leader) => Box::pin(self.forward(leader, bytes)).await,
        }
    }

    async fn forward(&self, leader: NodeId, bytes: &[u8]) -> Attempt {
        match self.forwarder(leader).await {
            Some(forwarder) => forwarder.propose(bytes).await,
            None => Attempt::NotTaken(Some(leader)),
        }
    }

    async fn forwarder(&self, leader: NodeId) -> Option<Rc<Forwarder>> {
        let kept = self.forwarder.borrow().clone().filter(|kept| kept.leader == leader && !kept.broken.get());
        if kept.is_some() {
            return kept;
        }
        let address = self.addresses.borrow().get(&leader).copied()?;
        let peer = Peer { node: Some(leader), address };
        let opening = self.transport.open_stream(peer, self.id.group(), Class::Control, Purpose::Manifest);
        let succeeded = || self.group().leader().is_some_and(|now| now != leader).then_some(());
        let succeeded = self.group().changed().until(succeeded);
        let Either::Left((opened, _)) = select(pin!(opening), pin!(succeeded)).await else { return None };
        let (sender, receiver) = opened.ok()?.split();
        let forwarder = Rc::new(Forwarder {
            leader,
            sender,
            next: Cell::new(1),
            waiting: RefCell::default(),
            broken: Cell::new(false),
            ended: Notify::default(),
        });
        let core = Core::current();
        drop(core.spawn(Priority::Urgent, answers(Rc::downgrade(&forwarder), receiver)));
        drop(core.spawn(Priority::Urgent, succession(Rc::downgrade(&forwarder), self.group().clone())));
        self.forwarder.replace(Some(Rc::clone(&forwarder)));
        Some(forwarder)
    }
}

impl Forwarder {
    async fn propose(&self, bytes: &[u8]) -> Attempt {
        let id = self.next.get();
        self.next.set(id + 1);
        let (answer, waiting) = question();
        self.waiting.borrow_mut().insert(id, answer);
        let broken = self.ended.until(|| self.broken.get().then_some(()));
        match select(pin!(self.sender.send(Propose { id, bytes })), pin!(broken)).await {
            Either::Left((Ok(()), _)) => waiting.await.unwrap_or(Attempt::Unknown),
            Either::Left((Err(_), _)) => {
                self.waiting.borrow_mut().remove(&id);
                self.give_up();
                Attempt::NotTaken(None)
            }
            Either::Right(_) => Attempt::Unknown,
        }
    }

    /// What waits for an answer is of unknown outcome.
    fn give_up(&self) {
        self.broken.set(true);
        self.waiting.borrow_mut().clear();
        self.ended.notify();
    }
}

/// Gives a leader up when another one is known: it may be frozen or cut off, and say nothing for long.
async fn succession(forwarder: Weak<Forwarder>, group: Group<State>) {
    let is_over = || {
        let Some(forwarder) = forwarder.upgrade().filter(|kept| !kept.broken.get()) else { return Some(()) };
        let marks = group.watermarks();
        let is_succeeded = marks.leader.is_some_and(|now| now != forwarder.leader);
        (is_succeeded || marks.role == GroupRole::Stopped).then_some(())
    };
    group.changed().until(is_over).await;
    if let Some(forwarder) = forwarder.upgrade() {
        forwarder.give_up();
    }
}

/// Gives each answer to who waits for it; when the stream ends, the rest is unknown.
async fn answers(forwarder: Weak<Forwarder>, mut receiver: StreamReceiver) {
    loop {
        let received = receiver.receive().await;
        let Some(forwarder) = forwarder.upgrade() else { return };
        let decoded = received.as_ref().ok().and_then(|message| message.decode().ok());
        let Some(Body::ProposeReply(reply)) = decoded else {
            return forwarder.give_up();
        };
        if let Some(answer) = forwarder.waiting.borrow_mut().remove(&reply.id) {
            let _gone = answer.give(Attempt::read(&reply));
        }
    }
}

/// As the log takes it.
fn aligned(bytes: &[u8]) -> AlignedVec {
    let mut out = AlignedVec::with_capacity(bytes.len());
    out.extend_from_slice(bytes);
    out
}

impl Shard {
    /// Answers the proposals of a peer, until its stream ends. A peer that does not read its answers is not read
    /// either: on all its streams together, no more wait for their outcome, or for room to be told of it, than a node
    /// may have under way.
    pub async fn serve_proposals(self, stream: Stream) {
        let Some(peer) = stream.peer().node else { return };
        let places = self.0.places_of(peer);
        let (sender, mut receiver) = stream.split();
        let sender = Rc::new(sender);
        loop {
            places.room().await;
            let Ok(message) = receiver.receive().await else { return };
            let Ok(Body::Propose(propose)) = message.decode() else { return };
            let (shard, sender, id, bytes) =
                (self.clone(), Rc::clone(&sender), propose.id, aligned(propose.bytes));
            let place = places.take();
            let answer = async move {
                let (status, bytes) = shard.0.take_from(peer, bytes).await.encode();
                let _gone = sender.send(ProposeReply { id, status, bytes: &bytes }).await;
                drop(place);
            };
            drop(Core::current().spawn(Priority::Urgent, answer));
        }
    }
}

impl Inner {
    fn places_of(&self, peer: NodeId) -> Places {
        let mut all = self.answering.borrow_mut();
        all.entry(peer).or_insert_with(|| Places::new(PROPOSALS_IN_FLIGHT_MAX)).clone()
    }

    /// A peer's proposal, if it is in a session of that node.
    async fn take_from(&self, peer: NodeId, bytes: AlignedVec) -> Attempt {
        if Command::proposer(&bytes).is_ok_and(|proposer| proposer == Some(peer)) {
            return Attempt::of(self.group().propose(bytes, PROPOSE_TIMEOUT).await);
        }
        self.foreign_proposals.set(self.foreign_proposals.get() + 1);
        if self.foreign_told.is_due(Core::current().now()) {
            tracing::warn!(%peer, shard = %self.id, "a proposal that is not in its sender's own session is refused");
        }
        Attempt::Foreign
    }
}
