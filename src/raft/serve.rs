//! Calls from other members: each stream of a peer is served by one task, each call on it by its own.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use openraft::Raft;
use openraft::storage::Snapshot;
use rkyv::util::AlignedVec;

use crate::ids::GroupId;
use crate::limits::RAFT_CALLS_MAX;
use crate::transport::{Stream, StreamSender};
use crate::uring::{Core, Notify, Priority};
use crate::wire::{Body, CodecError, RaftResponse};

use super::group::leader_barrier;
use super::keeper::Keeper;
use super::machine::Machine;
use super::rpc::{self, Call, OfferReply, SnapshotOffer};
use super::snapshot::{Incoming, SnapshotFault};
use super::types::{Types, Vote};

/// What serves a group's peers. Clones are the same.
pub(super) struct Server<M: Machine>(Rc<Inner<M>>);

struct Inner<M: Machine> {
    group: GroupId,
    raft: Raft<Types, Keeper<M>>,
    keeper: Keeper<M>,
    incoming: RefCell<Option<Incoming>>,
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
        Self(Rc::new(Inner { group, raft, keeper, incoming: RefCell::new(None) }))
    }

    /// Serves the calls of one stream until it ends.
    pub(super) async fn serve(&self, stream: Stream) {
        let (sender, mut receiver) = stream.split();
        let sender = Rc::new(sender);
        let running = Rc::new(Running::default());
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
            let argument = Argument { range: start..message.body.len(), memory: Rc::new(message.body) };
            let server = self.clone();
            let (sender, running) = (Rc::clone(&sender), running.one());
            // Tasks begin in the order in which they are made, and so calls reach openraft in their order.
            drop(Core::current().spawn(Priority::Urgent, async move {
                let answer = server.answer(number, argument).await;
                respond(&sender, id, answer).await;
                drop(running);
            }));
        }
    }

    /// Answers one call.
    pub(super) async fn answer(&self, number: u8, argument: Argument) -> Result<Vec<u8>, String> {
        let call = Call::of_number(number).ok_or_else(|| format!("there is no call {number}"))?;
        let raft = &self.0.raft;
        match call {
            Call::Append => {
                let request = rpc::read_append(self.0.group, &argument.memory, argument.range);
                let reply = raft.append_entries(request.map_err(misread)?).await;
                reply.map(|reply| rpc::write_append_reply(&reply)).map_err(text)
            }
            Call::Vote => {
                let request = rpc::read_vote_request(argument.bytes()).map_err(misread)?;
                raft.vote(request).await.map(|reply| rpc::write_vote_reply(&reply)).map_err(text)
            }
            Call::PreVote => {
                let request = rpc::read_vote_request(argument.bytes()).map_err(misread)?;
                raft.pre_vote(request).await.map(|reply| rpc::write_vote_reply(&reply)).map_err(text)
            }
            Call::Transfer => {
                let request = rpc::read_transfer(argument.bytes()).map_err(misread)?;
                raft.handle_transfer_leader(request).await.map_err(text)?.map_err(text)?;
                Ok(Vec::new())
            }
            Call::SnapshotBegin => {
                let offer = rpc::read_offer(argument.bytes()).map_err(misread)?;
                self.begin(offer).await.map(|reply| rpc::write_offer_reply(&reply)).map_err(text)
            }
            Call::SnapshotPiece => self.piece(argument.bytes()).await,
            Call::SnapshotEnd => {
                let offer = rpc::read_offer(argument.bytes()).map_err(misread)?;
                self.end(offer).await.map(|vote| rpc::write_one_vote(&vote))
            }
            Call::Barrier => leader_barrier(raft).await.map(|index| rpc::write_number(index.0)).map_err(text),
        }
    }

    async fn begin(&self, offer: SnapshotOffer) -> Result<OfferReply, SnapshotFault> {
        let known = self.vote();
        if known > offer.vote {
            return Ok(OfferReply::HigherVote(known));
        }
        if let Some(incoming) = &*self.0.incoming.borrow()
            && incoming.is_of(offer.head.point, offer.bytes)
        {
            return Ok(OfferReply::From(incoming.received()));
        }
        self.0.incoming.replace(None);
        let begun = Incoming::begin(self.0.keeper.dir(), offer.head.point, offer.bytes).await?;
        self.0.incoming.replace(Some(begun));
        Ok(OfferReply::From(0))
    }

    async fn piece(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (point, offset, piece) = rpc::read_piece(bytes).map_err(misread)?;
        // Taken while it is written: a second sender finds none and begins anew.
        let incoming = self.0.incoming.take().filter(|incoming| incoming.point() == point);
        let mut incoming = incoming.ok_or("no snapshot was announced")?;
        incoming.piece(self.0.keeper.gate(), offset, piece).await.map_err(text)?;
        let received = incoming.received();
        self.0.incoming.replace(Some(incoming));
        Ok(rpc::write_number(received))
    }

    async fn end(&self, offer: SnapshotOffer) -> Result<Vote, String> {
        let incoming =
            self.0.incoming.take().filter(|incoming| incoming.is_of(offer.head.point, offer.bytes));
        let file = incoming.ok_or("no snapshot was announced")?.finish().map_err(text)?;
        let file = self.0.keeper.arrive(file, &offer.head).await.map_err(|fault| {
            tracing::error!(group = self.0.group.0, %fault, "a snapshot from the leader is refused");
            fault.to_string()
        })?;
        let snapshot = Snapshot { meta: offer.head.meta(), snapshot: file };
        self.0.raft.install_full_snapshot(offer.vote, snapshot).await.map(|reply| reply.vote).map_err(text)
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

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// How many calls of a stream are served now.
#[derive(Default)]
struct Running {
    count: std::cell::Cell<usize>,
    fewer: Notify,
}

struct One(Rc<Running>);

impl Running {
    async fn room(&self) {
        self.fewer.until(|| (self.count.get() < RAFT_CALLS_MAX).then_some(())).await;
    }

    fn one(self: &Rc<Self>) -> One {
        self.count.set(self.count.get() + 1);
        One(Rc::clone(self))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.fewer.notify();
    }
}
