//! Proposals on their way to the leader, wherever it is: many outstanding on one kept stream, each answered by its id.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rkyv::util::AlignedVec;

use crate::ids::{LogIndex, NodeId};
use crate::limits::{PROPOSALS_IN_FLIGHT_MAX, PROPOSE_TIMEOUT};
use crate::manifest::Command;
use crate::raft::ProposeError;
use crate::transport::{Peer, Stream, StreamReceiver, StreamSender};
use crate::uring::{Answer, Core, Places, Priority, question};
use crate::wire::{Body, Class, Propose, ProposeReply, Purpose};

use super::shard::{Inner, Shard};

/// What became of one attempt at a proposal.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It was applied: the outcome's bytes.
    Applied(LogIndex, Vec<u8>),
    /// It was not taken, and did not happen by this attempt; somebody else leads, perhaps this one.
    NotTaken(Option<NodeId>),
    /// It was sent, and whether it happens is not known.
    Unknown,
    /// The group has stopped.
    Stopped,
    /// It is not in this node's own session: nobody takes it.
    Foreign,
}

/// Status byte of a reply.
const APPLIED: u8 = 0;
const NOT_TAKEN: u8 = 1;
const UNKNOWN: u8 = 2;
const STOPPED: u8 = 3;
const FOREIGN: u8 = 4;

/// The kept stream to one leader.
#[derive(Debug)]
pub(super) struct Forwarder {
    leader: NodeId,
    sender: StreamSender,
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Answer<Attempt>>>,
    broken: Cell<bool>,
}

impl Inner {
    /// One attempt at a proposal.
    pub(super) async fn attempt(&self, bytes: &[u8]) -> Attempt {
        match self.group().watermarks().leader {
            None => Attempt::NotTaken(None),
            Some(leader) if leader == self.node => {
                local(self.group().propose(aligned(bytes), PROPOSE_TIMEOUT).await)
            }
            Some(leader) => match self.forwarder(leader).await {
                Some(forwarder) => forwarder.propose(bytes).await,
                None => Attempt::NotTaken(Some(leader)),
            },
        }
    }

    async fn forwarder(&self, leader: NodeId) -> Option<Rc<Forwarder>> {
        let kept = self.forwarder.borrow().clone().filter(|kept| kept.leader == leader && !kept.broken.get());
        if kept.is_some() {
            return kept;
        }
        let address = self.addresses.borrow().get(&leader).copied()?;
        let peer = Peer { node: Some(leader), address };
        let opened =
            self.transport.open_stream(peer, self.id.group(), Class::Control, Purpose::Manifest).await;
        let (sender, receiver) = opened.ok()?.split();
        let forwarder = Rc::new(Forwarder {
            leader,
            sender,
            next: Cell::new(1),
            waiting: RefCell::default(),
            broken: Cell::new(false),
        });
        drop(Core::current().spawn(Priority::Urgent, answers(Rc::downgrade(&forwarder), receiver)));
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
        if self.sender.send(Propose { id, bytes }).await.is_err() {
            self.waiting.borrow_mut().remove(&id);
            self.broken.set(true);
            return Attempt::NotTaken(None);
        }
        waiting.await.unwrap_or(Attempt::Unknown)
    }
}

/// Gives each answer to who waits for it; when the stream ends, the rest is unknown.
async fn answers(forwarder: Weak<Forwarder>, mut receiver: StreamReceiver) {
    loop {
        let received = receiver.receive().await;
        let Some(forwarder) = forwarder.upgrade() else { return };
        let decoded = received.as_ref().ok().and_then(|message| message.decode().ok());
        let Some(Body::ProposeReply(reply)) = decoded else {
            forwarder.broken.set(true);
            forwarder.waiting.borrow_mut().clear();
            return;
        };
        if let Some(answer) = forwarder.waiting.borrow_mut().remove(&reply.id) {
            let _gone = answer.give(read(&reply));
        }
    }
}

fn read(reply: &ProposeReply<'_>) -> Attempt {
    match (reply.status, reply.bytes.split_first_chunk::<8>()) {
        (APPLIED, Some((index, outcome))) => {
            Attempt::Applied(LogIndex(u64::from_le_bytes(*index)), outcome.to_vec())
        }
        (NOT_TAKEN, Some((leader, _))) => {
            let leader = u64::from_le_bytes(*leader);
            Attempt::NotTaken((leader != 0).then_some(NodeId(leader)))
        }
        (STOPPED, _) => Attempt::Stopped,
        (FOREIGN, _) => Attempt::Foreign,
        _ => Attempt::Unknown,
    }
}

/// As the log takes it.
fn aligned(bytes: &[u8]) -> AlignedVec {
    let mut out = AlignedVec::with_capacity(bytes.len());
    out.extend_from_slice(bytes);
    out
}

fn local(proposed: Result<(LogIndex, Vec<u8>), ProposeError>) -> Attempt {
    match proposed {
        Ok((index, outcome)) => Attempt::Applied(index, outcome),
        Err(ProposeError::NotLeader { leader, .. }) => Attempt::NotTaken(leader),
        Err(ProposeError::Stopped { .. }) => Attempt::Stopped,
        Err(ProposeError::TimedOut { .. } | ProposeError::OutcomeUnknown { .. }) => Attempt::Unknown,
        Err(ProposeError::NoQuorum { .. } | ProposeError::Full { .. } | ProposeError::TooLong { .. }) => {
            Attempt::NotTaken(None)
        }
    }
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
                let (status, bytes) = encode(shard.0.take_from(peer, bytes).await);
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
            return local(self.group().propose(bytes, PROPOSE_TIMEOUT).await);
        }
        self.foreign_proposals.set(self.foreign_proposals.get() + 1);
        tracing::warn!(%peer, shard = %self.id, "a proposal that is not in its sender's own session is refused");
        Attempt::Foreign
    }
}

fn encode(attempt: Attempt) -> (u8, Vec<u8>) {
    match attempt {
        Attempt::Applied(index, outcome) => {
            let mut bytes = index.0.to_le_bytes().to_vec();
            bytes.extend_from_slice(&outcome);
            (APPLIED, bytes)
        }
        Attempt::NotTaken(leader) => (NOT_TAKEN, leader.map_or(0, |node| node.0).to_le_bytes().to_vec()),
        Attempt::Unknown => (UNKNOWN, Vec::new()),
        Attempt::Stopped => (STOPPED, Vec::new()),
        Attempt::Foreign => (FOREIGN, Vec::new()),
    }
}
