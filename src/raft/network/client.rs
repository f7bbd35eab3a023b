//! What openraft calls to reach one member.

use std::future::{Future, ready};
use std::rc::Rc;

use futures_util::{FutureExt, Stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft_rt::{AsyncRuntime, Select2};

use crate::ids::{GroupId, Nanos};
use crate::limits::APPEND_TIMEOUT;
use crate::raft::plausible::believed;
use crate::raft::rpc::{
    Call, read_append_reply, read_vote_reply, write_append, write_transfer, write_vote_request,
};
use crate::raft::runtime::CoreRuntime;
use crate::raft::snapshot::SnapshotFile;
use crate::raft::types::{Leader, Member, Types, Vote};
use crate::wire::CodecError;

use super::error::CallError;
use super::line::Line;
use super::lines::{LineUse, Lines};
use super::pipeline::Pipeline;
use super::send::send_snapshot;

/// The way to one member.
pub(in crate::raft) struct Client {
    lines: Lines,
    to: u64,
    member: Member,
    purpose: LineUse,
}

impl RaftNetworkFactory<Types> for Lines {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Member) -> Client {
        Client { lines: self.clone(), to: target, member: node.clone(), purpose: LineUse::Entries }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Client {
        Client { purpose: LineUse::Signs, ..self.new_client(target, node).await }
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Client {
        Client { purpose: LineUse::Snapshots, ..self.new_client(target, node).await }
    }
}

fn soft(option: &RPCOption) -> Nanos {
    Nanos(u64::try_from(option.soft_ttl().as_nanos()).unwrap_or(u64::MAX))
}

/// Reads the answer to a message that was sent by this vote.
pub(super) fn read_append_answer(
    answer: &[u8],
    by: Vote,
) -> Result<AppendEntriesResponse<Types>, CodecError> {
    let mut reply = read_append_reply(answer)?;
    if let AppendEntriesResponse::HigherVote(vote) = &mut reply {
        *vote = believed(*vote, by);
    }
    Ok(reply)
}

fn read_vote_answer(answer: &[u8], by: Vote) -> Result<VoteResponse<Types>, CodecError> {
    let reply = read_vote_reply(answer)?;
    Ok(VoteResponse { vote: believed(reply.vote, by), ..reply })
}

impl Client {
    async fn call(
        &self,
        purpose: LineUse,
        call: (Call, Vec<u8>),
        kind: RPCTypes,
        length: Nanos,
    ) -> Result<Vec<u8>, RPCError<Types>> {
        let answer = self.lines.call((self.to, &self.member), purpose, call, length).await;
        answer.map_err(|error| self.failed(&error, kind))
    }

    pub(super) async fn line(&self) -> Result<Rc<Line>, CallError> {
        self.lines.line(self.to, &self.member, self.purpose).await
    }

    pub(super) fn group(&self) -> GroupId {
        self.lines.seat().group
    }

    /// The error in openraft's words: what is worth another try at once, and what is not.
    pub(super) fn failed(&self, error: &CallError, kind: RPCTypes) -> RPCError<Types> {
        if let CallError::TimedOut { after } = error {
            let timeout = std::time::Duration::from_nanos(after.0);
            let id = self.lines.seat().node.0;
            return RPCError::Timeout(Timeout { action: kind, id, target: self.to, timeout });
        }
        if error.is_unreachable() {
            RPCError::Unreachable(Unreachable::new(error))
        } else {
            RPCError::Network(NetworkError::new(error))
        }
    }

    fn misread(&self, error: CodecError, kind: RPCTypes) -> RPCError<Types> {
        self.failed(&CallError::Answer(error), kind)
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let kind = RPCTypes::AppendEntries;
        let length = if request.entries.is_empty() { soft(&option) } else { APPEND_TIMEOUT };
        let bytes = write_append(self.lines.seat().group, &request);
        let answer = self.call(self.purpose, (Call::Append, bytes), kind, length).await?;
        read_append_answer(&answer, request.vote).map_err(|error| self.misread(error, kind))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Unpin + 'static,
    {
        let stream: BoxStream<'s, _> = Box::pin(Pipeline::begin(self, input).flatten_stream());
        Box::pin(ready(Ok(stream)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let call = (Call::Vote, write_vote_request(&request));
        let answer = self.call(LineUse::Signs, call, RPCTypes::Vote, soft(&option)).await?;
        read_vote_answer(&answer, request.vote).map_err(|error| self.misread(error, RPCTypes::Vote))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let call = (Call::PreVote, write_vote_request(&request));
        let answer = self.call(LineUse::Signs, call, RPCTypes::Vote, soft(&option)).await?;
        read_vote_answer(&answer, request.vote).map_err(|error| self.misread(error, RPCTypes::Vote))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Leader, u64, Member, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let (target, kind) = ((self.to, &self.member), RPCTypes::InstallSnapshot);
        let send = send_snapshot(&self.lines, target, vote, &snapshot.snapshot);
        match CoreRuntime::select2(cancel, send).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
            Select2::Second(Err(error)) => Err(self.failed(&error, kind).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let (call, kind) = ((Call::Transfer, write_transfer(&request)), RPCTypes::TransferLeader);
        self.call(LineUse::Signs, call, kind, soft(&option)).await.map(|_taken| Ok(()))
    }
}
