//! Calls from other members: each stream of a peer is served by one task, each call on it by its own.
//!
//! A peer speaks for the node that its connection was proven as, and for no other: a call in another one's name is
//! refused and counted.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use openraft::Raft;
use openraft::storage::Snapshot;
use rkyv::util::AlignedVec;

use crate::broken::{self, Broken};
use crate::ids::{GroupId, Nanos, NodeId};
use crate::limits::RAFT_CALLS_MAX;
use crate::stats::Seldom;
use crate::transport::{Stream, StreamSender};
use crate::uring::{Core, Places, Priority};
use crate::wire::{Body, CodecError, RaftResponse};

use super::group::leader_barrier;
use super::installing::Installing;
use super::keeper::Keeper;
use super::machine::Machine;
use super::plausible::{check_history, check_leap};
use super::rpc::{self, Call, OfferReply, SnapshotOffer};
use super::snapshot::{Incoming, SnapshotFault, SnapshotFile, give_up};
use super::types::{Point, Types, Vote};

/// What serves a group's peers. Clones are the same.
pub(super) struct Server<M: Machine>(Rc<Inner<M>>);

struct Inner<M: Machine> {
    group: GroupId,
    raft: Raft<Types, Keeper<M>>,
    keeper: Keeper<M>,
    incoming: RefCell<Option<Incoming>>,
    /// Snapshots that have begun to come since the group was opened.
    begun: Cell<u64>,
    /// Calls in another node's name.
    foreign: Cell<u64>,
    foreign_told: Seldom,
    /// When a leader last called, of this node's term or a later one.
    led: Cell<Option<Nanos>>,
    /// The snapshots that are being taken in.
    installing: Installing,
}

/// A call in the name of another node than the connection was proven as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ForeignCall {
    /// Who sent it.
    pub(super) peer: Option<NodeId>,
    /// In whose name.
    pub(super) claimed: NodeId,
}

/// A call's argument, in the memory of its message.
pub(super) struct Argument {
    pub(super) memory: Rc<AlignedVec<16>>,
    pub(super) range: Range<usize>,
}

impl Argument {
    fn bytes(&self) -> &[u8] {
        self.memory.get(self.range.clone()).unwrap_or_default()
    }
}

impl<M: Machine> Server<M> {
    pub(super) fn new(group: GroupId, raft: Raft<Types, Keeper<M>>, keeper: Keeper<M>) -> Self {
        Self(Rc::new(Inner {
            group,
            raft,
            keeper,
            incoming: RefCell::default(),
            begun: Cell::default(),
            foreign: Cell::default(),
            foreign_told: Seldom::default(),
            led: Cell::default(),
            installing: Installing::default(),
        }))
    }

    /// Calls that were refused because they were made in another node's name.
    pub(super) fn foreign_calls(&self) -> u64 {
        self.0.foreign.get()
    }

    /// How long ago a leader last called.
    pub(super) fn led(&self) -> Option<Nanos> {
        Some(Core::try_current()?.now().since(self.0.led.get()?))
    }

    /// Serves the calls of one stream until it ends.
    pub(super) async fn serve(&self, stream: Stream) {
        let peer = stream.peer().node;
        let (sender, mut receiver) = stream.split();
        let sender = Rc::new(sender);
        let running = Places::new(RAFT_CALLS_MAX);
        loop {
            running.room().await;
            let Ok(message) = receiver.receive().await else { return };
            let Ok(Body::RaftRequest(request)) = message.decode() else {
                tracing::warn!(group = self.0.group.0, kind = %message.kind, "a peer's stream carries no call");
                return;
            };
            let (id, number) = (request.id, request.rpc);
            // The argument is the body's last field.
            let start = message.body.len() - request.bytes.len();
            let argument =
                Argument { range: start..message.body.len(), memory: Rc::new(message.body.into_memory()) };
            let server = self.clone();
            let (sender, place) = (Rc::clone(&sender), running.take());
            // Tasks begin in the order in which they are made, and so calls reach openraft in their order.
            drop(Core::current().spawn(Priority::Urgent, async move {
                let answer = server.answer(peer, number, argument).await;
                respond(&sender, id, answer).await;
                drop(place);
            }));
        }
    }

    /// Answers one call of a peer.
    pub(super) async fn answer(
        &self,
        peer: Option<NodeId>,
        number: u8,
        argument: Argument,
    ) -> Result<Vec<u8>, String> {
        let call = Call::of_number(number).ok_or_else(|| format!("there is no call {number}"))?;
        let raft = &self.0.raft;
        let own = |vote: &Vote| {
            check_leap(vote, self.vote().leader_id.term).map_err(misread)?;
            self.check_name(peer, NodeId(vote.leader_id.voted_for)).map_err(text)
        };
        match call {
            Call::Append => {
                let request = rpc::read_append(self.0.group, &argument.memory, argument.range);
                let request = request.map_err(misread)?;
                own(&request.vote)?;
                if request.vote.leader_id.term >= self.vote().leader_id.term {
                    self.0.led.set(Some(Core::current().now()));
                }
                // It may reach consensus before a snapshot that has come before it.
                let committed = Point::of(request.leader_commit.as_ref());
                self.0.installing.check(committed).map_err(misread)?;
                let reply = raft.append_entries(request).await;
                reply.map(|reply| rpc::write_append_reply(&reply)).map_err(text)
            }
            Call::Vote => {
                let request = rpc::read_vote_request(argument.bytes()).map_err(misread)?;
                own(&request.vote)?;
                let asked = request.vote;
                let mut reply = raft.vote(request).await.map_err(text)?;
                if broken::is(Broken::VoteGrantedTwice) {
                    (reply.vote, reply.vote_granted) = (asked, true);
                }
                Ok(rpc::write_vote_reply(&reply))
            }
            Call::PreVote => {
                let request = rpc::read_vote_request(argument.bytes()).map_err(misread)?;
                own(&request.vote)?;
                raft.pre_vote(request).await.map(|reply| rpc::write_vote_reply(&reply)).map_err(text)
            }
            Call::Transfer => {
                let request = rpc::read_transfer(argument.bytes()).map_err(misread)?;
                own(request.from_leader())?;
                raft.handle_transfer_leader(request).await.map_err(text)?.map_err(text)?;
                Ok(Vec::new())
            }
            Call::SnapshotBegin => {
                let offer = rpc::read_offer(argument.bytes()).map_err(misread)?;
                let from = own(&offer.vote)?;
                self.begin(from, offer).await.map(|reply| rpc::write_offer_reply(&reply)).map_err(text)
            }
            Call::SnapshotPiece => self.piece(peer, argument.bytes()).await,
            Call::SnapshotEnd => {
                let offer = rpc::read_offer(argument.bytes()).map_err(misread)?;
                let from = own(&offer.vote)?;
                self.end(from, offer).await.map(|vote| rpc::write_one_vote(&vote))
            }
            Call::Barrier => leader_barrier(raft).await.map(|index| rpc::write_number(index.0)).map_err(text),
        }
    }

    /// The node that is spoken for, if it is the one that speaks.
    fn check_name(&self, peer: Option<NodeId>, claimed: NodeId) -> Result<NodeId, ForeignCall> {
        if peer == Some(claimed) {
            return Ok(claimed);
        }
        self.0.foreign.set(self.0.foreign.get() + 1);
        let foreign = ForeignCall { peer, claimed };
        if self.0.foreign_told.is_due(Core::current().now()) {
            tracing::warn!(group = self.0.group.0, %foreign, "a call is refused");
        }
        Err(foreign)
    }

    async fn begin(&self, from: NodeId, offer: SnapshotOffer) -> Result<OfferReply, SnapshotFault> {
        let known = self.vote();
        if known > offer.vote {
            return Ok(OfferReply::HigherVote(known));
        }
        if let Some(incoming) = &*self.0.incoming.borrow()
            && incoming.is_of(from, offer.head.point, offer.bytes)
        {
            return Ok(OfferReply::From(incoming.received()));
        }
        self.check_room(offer.bytes).await?;
        let number = self.0.begun.get() + 1;
        self.0.begun.set(number);
        let dir = self.0.keeper.dir();
        let begun = Incoming::begin(dir, number, from, (offer.head.point, offer.bytes)).await?;
        let before = self.0.incoming.replace(Some(begun));
        if let Some(before) = before {
            before.give_up(dir).await;
        }
        Ok(OfferReply::From(0))
    }

    /// A snapshot of that size can be, and fits the disk when what has come of the one before it has given way.
    async fn check_room(&self, bytes: u64) -> Result<(), SnapshotFault> {
        if bytes > M::SNAPSHOT_BYTES_MAX {
            return Err(SnapshotFault::TooLarge { bytes, most: M::SNAPSHOT_BYTES_MAX });
        }
        let unknown =
            |errno| SnapshotFault::Disk { doing: "find room for", file: "that is announced".into(), errno };
        let space = self.0.keeper.dir().space().await.map_err(unknown)?;
        let before = self.0.incoming.borrow().as_ref().map_or(0, Incoming::received);
        let available = space.available.saturating_add(before);
        if bytes > available { Err(SnapshotFault::NoRoom { bytes, available }) } else { Ok(()) }
    }

    async fn piece(&self, peer: Option<NodeId>, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (point, offset, piece) = rpc::read_piece(bytes).map_err(misread)?;
        // Taken while it is written: a second sender finds none and begins anew.
        let is_it = |incoming: &mut Incoming| Some(incoming.from()) == peer && incoming.point() == point;
        let incoming = self.0.incoming.borrow_mut().take_if(is_it);
        let mut incoming = incoming.ok_or("no snapshot was announced")?;
        let written = incoming.piece(self.0.keeper.gate(), offset, piece).await;
        let received = incoming.received();
        // One that was begun meanwhile stays.
        let is_newer_there = self.0.incoming.borrow().is_some();
        if written.is_err() || is_newer_there {
            incoming.give_up(self.0.keeper.dir()).await;
            written.map_err(text)?;
            return Err("another snapshot has begun to come".to_owned());
        }
        self.0.incoming.replace(Some(incoming));
        Ok(rpc::write_number(received))
    }

    async fn end(&self, from: NodeId, offer: SnapshotOffer) -> Result<Vote, String> {
        let is_it = |incoming: &mut Incoming| incoming.is_of(from, offer.head.point, offer.bytes);
        let incoming = self.0.incoming.borrow_mut().take_if(is_it);
        let incoming = incoming.ok_or("no snapshot was announced")?;
        let (keeper, (file, name)) = (&self.0.keeper, incoming.file());
        let arrived = match incoming.check_whole() {
            Ok(()) => keeper.arrive(file, &name, &offer.head).await,
            Err(fault) => Err(fault),
        };
        let installed = match arrived {
            Ok(file) => self.install(offer, file).await,
            Err(fault) => {
                tracing::error!(group = self.0.group.0, %fault, "a snapshot from the leader is refused");
                Err(fault.to_string())
            }
        };
        // It has its own name by now, or consensus had no use for it.
        keeper.let_go(&name);
        give_up(keeper.dir(), &name).await;
        installed
    }

    /// Takes a snapshot in that was checked.
    pub(super) async fn install(&self, offer: SnapshotOffer, file: SnapshotFile) -> Result<Vote, String> {
        let _one = self.0.installing.begin(offer.head.point).map_err(misread)?;
        // Asked in the order of the entries: what came before them counts.
        let committed = self.0.raft.with_raft_state(|state| state.local_committed().cloned()).await;
        let committed = Point::of(committed.map_err(text)?.as_ref()).max(self.0.keeper.applied());
        check_history(offer.head.point, committed).map_err(misread)?;
        let snapshot = Snapshot { meta: offer.head.meta(), snapshot: file };
        let installed = self.0.raft.install_full_snapshot(offer.vote, snapshot).await;
        installed.map(|reply| reply.vote).map_err(text)
    }

    fn vote(&self) -> Vote {
        use openraft_rt::WatchReceiver;
        self.0.raft.server_metrics().borrow_watched().vote
    }
}

impl<M: Machine> Clone for Server<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

async fn respond(sender: &StreamSender, id: u64, answer: Result<Vec<u8>, String>) {
    let (ok, bytes) = match &answer {
        Ok(bytes) => (true, bytes.as_slice()),
        Err(text) => (false, text.as_bytes()),
    };
    // A stream that has ended has its caller told already.
    let _ended = sender.send(RaftResponse { id, ok, bytes }).await;
}

fn misread(error: CodecError) -> String {
    format!("the call {error}")
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

impl fmt::Display for ForeignCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "node {peer} speaks in the name of node {}", self.claimed),
            None => write!(f, "a peer that is no node speaks in the name of node {}", self.claimed),
        }
    }
}

impl std::error::Error for ForeignCall {}
