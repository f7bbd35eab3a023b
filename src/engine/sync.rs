//! Bringing shards up to date on demand: one, or all of a node, each with its own outcome.

use std::fmt;

use crate::ids::{LogIndex, ShardId};
use crate::shard;

use super::reply::NoAnswer;

/// A shard that is up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced {
    /// Everything that was committed up to here when it was asked for stands here, is superseded or deleted.
    pub due: LogIndex,
    /// The snapshot of the manifest that was taken in meanwhile; none if the leader's log had every entry that was
    /// lacking.
    pub snapshot: Option<LogIndex>,
    /// Segments that landed meanwhile.
    pub landed: u64,
    /// Payload bytes received meanwhile.
    pub bytes_fetched: u64,
}

/// A shard that is not up to date. What is verified stays, and asking again goes on with it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SyncError {
    /// The leader did not say what is committed, or its entries did not come in time.
    NoLeader {
        /// Why.
        why: String,
    },
    /// The entries are here, and not all of their segments.
    Late {
        /// What is due.
        due: LogIndex,
        /// What is installed.
        installed: LogIndex,
        /// Segments of the manifest that do not stand here.
        missing: u64,
        /// Why the first of those that no source could serve was not served, if there is any.
        unavailable: Option<&'static str>,
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

impl From<shard::Synced> for Synced {
    fn from(done: shard::Synced) -> Self {
        let shard::Synced { due, snapshot, landed, bytes_fetched } = done;
        Self { due, snapshot, landed, bytes_fetched }
    }
}

impl From<shard::SyncError> for SyncError {
    fn from(error: shard::SyncError) -> Self {
        match error {
            shard::SyncError::NoLeader { why } => Self::NoLeader { why },
            shard::SyncError::Late { due, installed, missing, unavailable } => {
                Self::Late { due, installed, missing, unavailable }
            }
            shard::SyncError::Stopped => Self::Stopped,
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader { why } => write!(f, "it is not known what was committed: {why}"),
            Self::Late { due, installed, missing, unavailable } => {
                write!(
                    f,
                    "the time ran out with {installed} of {due} installed and {missing} segments missing"
                )?;
                unavailable.map_or(Ok(()), |why| write!(f, "; no source could serve some: {why}"))
            }
            Self::Stopped => NoAnswer::Stopped.fmt(f),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for SyncError {}
