//! Bringing shards up to date on demand: one, or all of a node, each with its own outcome.

use std::fmt;

use crate::ids::{NodeId, ShardId};
use crate::shard::NotSynced;
pub use crate::shard::{Behind, Synced};

use super::reply::NoAnswer;

/// A shard that is not up to date. What is verified stays, and asking again goes on with it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SyncError {
    /// The leader did not say what is committed.
    NoLeader {
        /// Why.
        why: String,
    },
    /// The time ran out.
    Late(Behind),
    /// There is no such member.
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// The shard has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

/// What came of bringing all shards of a node up to date.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllSynced {
    /// Those that are.
    pub synced: Vec<(ShardId, Synced)>,
    /// Those that are not, and why.
    pub failed: Vec<(ShardId, SyncError)>,
}

impl From<NotSynced> for SyncError {
    fn from(error: NotSynced) -> Self {
        match error {
            NotSynced::NoLeader { why } => Self::NoLeader { why },
            NotSynced::Late(behind) => Self::Late(behind),
            NotSynced::NotAMember { node } => Self::NotAMember { node },
            NotSynced::Stopped => Self::Stopped,
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader { why } => write!(f, "it is not known what was committed: {why}"),
            Self::Late(behind) => write!(f, "the time ran out with {behind}"),
            Self::NotAMember { node } => write!(f, "node {node} is no member of the shard's group"),
            Self::Stopped => NoAnswer::Stopped.fmt(f),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for SyncError {}
