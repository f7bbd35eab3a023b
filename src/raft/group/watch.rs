//! What openraft tells of itself, in the design's words: watermarks, role, figures.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use openraft::{RaftMetrics, ServerState};
use openraft_rt::{Watch, WatchReceiver};

use crate::ids::{LogIndex, Nanos, NodeId, Term};
use crate::raft::log::LogFigures;
use crate::raft::runtime::CoreRuntime;
use crate::raft::types::{Point, Types};
use crate::uring::Notify;

pub(super) type Metrics = RaftMetrics<Types>;
pub(super) type MetricsReceiver =
    <<CoreRuntime as openraft_rt::AsyncRuntime>::Watch as Watch>::Receiver<Metrics>;

/// What a node is in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GroupRole {
    /// It receives entries and does not vote.
    #[default]
    Learner,
    /// It follows a leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
    /// It has stopped, for good.
    Stopped,
}

impl GroupRole {
    /// In a word, for status and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        }
    }
}

/// How far a group is on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// The last entry known as committed here.
    pub committed: LogIndex,
    /// The last entry applied here.
    pub applied: LogIndex,
    /// The term.
    pub term: Term,
    /// Who leads, if it is known.
    pub leader: Option<NodeId>,
    /// What this node is.
    pub role: GroupRole,
}

/// What a group has done, for status and metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupFigures {
    /// How far it is.
    pub watermarks: Watermarks,
    /// The last entry in the log.
    pub last: Point,
    /// The last entry that went into a snapshot and left the log.
    pub purged: Point,
    /// The entry of the latest snapshot, and the snapshot's bytes.
    pub snapshot: Option<(Point, u64)>,
    /// Bytes of the log's files.
    pub log_bytes: u64,
    /// What the log has done.
    pub log: LogFigures,
    /// On the leader: the last entry that each member is known to have.
    pub matched: BTreeMap<NodeId, LogIndex>,
    /// On the leader: how long ago a quorum last answered.
    pub quorum_answered: Option<Nanos>,
    /// Snapshots that could not be written.
    pub snapshots_failed: u64,
    /// Calls that were refused because a peer made them in another node's name.
    pub foreign_calls: u64,
}

fn role(metrics: &Metrics) -> GroupRole {
    if metrics.running_state.is_err() {
        return GroupRole::Stopped;
    }
    match metrics.state {
        ServerState::Learner => GroupRole::Learner,
        ServerState::Follower => GroupRole::Follower,
        ServerState::Candidate => GroupRole::Candidate,
        ServerState::Leader => GroupRole::Leader,
        ServerState::Shutdown => GroupRole::Stopped,
    }
}

pub(super) fn watermarks(metrics: &Metrics, applied: Point) -> Watermarks {
    Watermarks {
        // What is applied was committed, whatever has been told of it yet.
        committed: Point::of(metrics.local_committed.as_ref()).index.max(applied.index),
        applied: applied.index,
        term: Term(metrics.current_term),
        leader: metrics.current_leader.map(NodeId),
        role: role(metrics),
    }
}

/// Passes on that something has changed, until openraft has ended.
pub(super) async fn pass_on(mut metrics: MetricsReceiver, changed: Rc<Notify>, ended: Rc<Cell<bool>>) {
    while metrics.changed().await.is_ok() {
        changed.notify();
    }
    ended.set(true);
    changed.notify();
}
