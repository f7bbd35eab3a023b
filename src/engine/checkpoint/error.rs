//! Why there is no checkpoint.

use std::fmt;
use std::time::Duration;

use crate::engine::change::ChangeError;
use crate::engine::reply::NoAnswer;

/// Why there is no checkpoint, or is not known to be. The engine is thawed in every case, unless `freeze` itself has
/// not come back: then as soon as it does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The engine could not be frozen, or one of its hooks panicked.
    Freeze {
        /// Why.
        why: String,
    },
    /// Not everything was linked and copied in time.
    LeaseExpired {
        /// The lease.
        after: Duration,
    },
    /// Another checkpoint of this shard is under way on this node.
    Busy,
    /// The engine named no file, or more than one batch has room for.
    Count {
        /// Files and deletions.
        count: usize,
        /// As many as may be.
        most: usize,
    },
    /// A path that no manifest takes, or that was named twice.
    Path {
        /// The path, control characters escaped.
        path: String,
        /// Why.
        why: String,
    },
    /// A file that cannot be captured: there is none, it is a link or no regular file, it is shorter than was told, it
    /// is on another file system than its link, or what stands under its segment's path is not Ringway's.
    File {
        /// The file, or the segment's path.
        path: String,
        /// Why.
        why: String,
    },
    /// The disk of the shard's directory refuses a link or a copy.
    Disk {
        /// Why.
        why: String,
    },
    /// It was captured, and not registered, or is not known to be.
    Change(ChangeError),
    /// The node has more to do than it takes on: nothing was frozen.
    TooMany,
    /// The node has stopped.
    Stopped,
}

impl CheckpointError {
    /// The same checkpoint may succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::TooMany | Self::LeaseExpired { .. } => true,
            Self::Change(error) => error.is_retryable(),
            Self::Freeze { .. }
            | Self::Count { .. }
            | Self::Path { .. }
            | Self::File { .. }
            | Self::Disk { .. }
            | Self::Stopped => false,
        }
    }
}

impl From<NoAnswer> for CheckpointError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Stopped => Self::Stopped,
            NoAnswer::Busy => Self::TooMany,
        }
    }
}

impl From<ChangeError> for CheckpointError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::File { path, why } => Self::File { path, why },
            ChangeError::Path { path, why } => Self::Path { path, why },
            ChangeError::Disk { why } => Self::Disk { why },
            ChangeError::Stopped => Self::Stopped,
            ChangeError::TooMany => Self::TooMany,
            error @ (ChangeError::Changed { .. }
            | ChangeError::FlatDiffers { .. }
            | ChangeError::Refused { .. }
            | ChangeError::NoLeader { .. }
            | ChangeError::OutcomeUnknown) => Self::Change(error),
        }
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze { why } => write!(f, "the engine was not frozen: {why}"),
            Self::LeaseExpired { after } => {
                write!(f, "not everything was linked and copied within {after:?}; the engine goes on")
            }
            Self::Busy => f.write_str("another checkpoint of this shard is under way"),
            Self::Count { count: 0, .. } => f.write_str("the engine named no file"),
            Self::Count { count, most } => write!(f, "the engine named {count} files; {most} at most"),
            Self::Path { path, why } => write!(f, "{path:?} is not a path for a checkpoint: {why}"),
            Self::File { path, why } => write!(f, "{path}: {why}"),
            Self::Disk { why } => f.write_str(why),
            Self::Change(error) => error.fmt(f),
            Self::TooMany => NoAnswer::Busy.fmt(f),
            Self::Stopped => NoAnswer::Stopped.fmt(f),
        }
    }
}

impl std::error::Error for CheckpointError {}
