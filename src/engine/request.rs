//! What any thread can ask of a core: one message each, its answer by a reply.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Rates;
use crate::ids::{GroupId, LogIndex, Nanos, NodeId, SegmentId, ShardId};
use crate::segment::Identity;
use crate::shard::{Captured, CheckpointPlace, Pin};
use crate::transfer::{Inquiry, Loan};
use crate::transport::HandOver;

use super::change::{Ask, Change, ChangeError, Committed};
use super::checkpoint::CheckpointError;
use super::error::{BootstrapError, EventsError, LocateError, RatesError, TransferLeaderError, WaitError};
use super::event::{Event, EventCursor};
use super::figures::RateStatus;
use super::gather::Gathering;
use super::members::{MemberError, MemberRole};
use super::placement::Placement;
use super::registrar::{EnqueueError, RefusedChange, RegistrarStatus, Ticket};
use super::reply::{NoAnswer, Replier};
use super::status::{ConnectionStatus, CoreStatus, GroupStatus, MemberStatus, SegmentPage, ShardStatus};
use super::sync::{SyncError, Synced};

/// A request to one core.
pub(crate) enum Request {
    /// To one of its shards.
    Shard(ShardId, ShardRequest),
    /// To the cluster group; core 0 only.
    Cluster(ClusterRequest),
    /// How the core stands.
    Status(Arc<Gathering>),
    /// A connection that another core accepted for this one.
    HandOver(Box<HandOver>),
    /// A part of a large segment that another core asks this one to bring.
    Lend(Box<Loan>),
    /// What content its shards hold that another shard of the node lacks.
    Inquire(Box<Inquiry>),
    /// What the cluster group has agreed on; from core 0 to the others.
    Placement(Arc<Placement>),
    /// Makes another member the leader of a group.
    TransferLeader {
        /// The group.
        group: GroupId,
        /// The member.
        to: NodeId,
        /// Where another node leads, that one is asked.
        asks_leader: bool,
        /// Who waits.
        replier: Replier<Result<(), TransferLeaderError>>,
    },
    /// Other limits of bytes per second; for all cores.
    Rates(Rates, Replier<Result<(), RatesError>>),
    /// Stops what the core runs; answered when everything stands still.
    Stop(Replier<Result<(), NoAnswer>>),
}

/// A request to a shard.
pub(crate) enum ShardRequest {
    /// Performs a batch.
    Change(Vec<Change>, Ask, Replier<Result<Committed, ChangeError>>),
    /// Waits until everything up to an index is installed here.
    WaitInstalled(LogIndex, Nanos, Replier<Result<LogIndex, WaitError>>),
    /// Brings it up to date.
    Sync(Nanos, Replier<Result<Synced, SyncError>>),
    /// Waits until another member is up to date.
    SyncMember(NodeId, Nanos, Replier<Result<LogIndex, SyncError>>),
    /// A page of the manifest.
    Segments(Option<String>, usize, Replier<Result<SegmentPage, NoAnswer>>),
    /// Where a segment's verified file stands, and a hold on it.
    Pin(Locator, Replier<Result<(Located, Pin), LocateError>>),
    /// Where a segment's verified file stands.
    Locate(Locator, Replier<Result<Located, LocateError>>),
    /// Events after this place, when there is at least one.
    Events(EventCursor, Replier<Result<Vec<Event>, EventsError>>),
    /// The place behind the last event.
    EventsNow(Replier<Result<EventCursor, NoAnswer>>),
    /// To its registrar.
    Registrar(RegistrarRequest),
    /// For a checkpoint.
    Checkpoint(CheckpointRequest),
}

/// What a checkpoint asks of a shard.
pub(crate) enum CheckpointRequest {
    /// A place for what is captured.
    Begin(Replier<Result<CheckpointPlace, CheckpointError>>),
    /// Registers what was captured, and deletes paths.
    Register(Vec<Captured>, Vec<String>, Ask, Replier<Result<Committed, ChangeError>>),
}

/// A request to a shard's registrar.
pub(crate) enum RegistrarRequest {
    /// Queues a change, waiting for room for so long.
    Enqueue(Change, Option<Nanos>, Replier<Result<Ticket, EnqueueError>>),
    /// How it stands.
    Status(Replier<Result<RegistrarStatus, NoAnswer>>),
    /// What was refused behind a ticket.
    Refused(Ticket, Replier<Result<Vec<RefusedChange>, NoAnswer>>),
    /// Waits until the queue is empty, for so long.
    Drain(Nanos, Replier<Result<u64, NoAnswer>>),
}

/// A request to the cluster group.
pub(crate) enum ClusterRequest {
    /// Founds the cluster with the members of the configuration.
    Bootstrap(Replier<Result<(), BootstrapError>>),
    /// What the cluster has agreed on before this is asked.
    Placement(Replier<Result<Arc<Placement>, NoAnswer>>),
    /// Changes who is a member.
    Change(MemberChange, Nanos, Replier<Result<(), MemberError>>),
}

/// A change of the cluster's members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MemberChange {
    /// A node comes.
    Add(NodeId, SocketAddr, MemberRole),
    /// A node has another role.
    Role(NodeId, MemberRole),
    /// A node goes.
    Remove(NodeId),
}

/// How a core and what it runs stand.
#[derive(Debug)]
pub(crate) struct CoreReport {
    pub(crate) core: CoreStatus,
    pub(crate) connections: Vec<ConnectionStatus>,
    pub(crate) groups: Vec<GroupStatus>,
    pub(crate) shards: Vec<ShardStatus>,
    pub(crate) members: Vec<MemberStatus>,
    pub(crate) not_ready: Vec<String>,
    /// Of the node, from its core 0.
    pub(crate) rates: Vec<RateStatus>,
}

/// Where a segment's verified file stands.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) id: SegmentId,
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Where its file may stand, the best place first.
    pub(crate) places: Vec<PathBuf>,
    /// What the file was like when it was verified.
    pub(crate) identity: Identity,
}

/// Names a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Locator {
    /// By id.
    Id(SegmentId),
    /// By path: its latest content.
    Path(String),
}
