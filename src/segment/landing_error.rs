//! What can go wrong between a staged segment and a landed one.

use std::fmt;

use crate::ids::SegmentId;

use super::fault::{DiskError, Doing};

/// Why a segment has not landed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LandError {
    /// Chunks are missing.
    Incomplete {
        /// Chunks of the segment.
        expected: u32,
        /// Chunks that are there.
        found: u32,
    },
    /// A newer version has taken the path.
    Superseded {
        /// The newer one.
        by: SegmentId,
    },
    /// The segment is held: it was pinned or adopted meanwhile.
    Held,
    /// The file has another length than the segment: somebody else writes to it.
    Length {
        /// The segment's, in bytes.
        expected: u64,
        /// The file's, in bytes.
        found: u64,
    },
    /// An fsync failed: what it was for is not trusted; a staging file whose own it was is thrown away.
    SyncFailed(DiskError),
    /// The staging file was thrown away before.
    Ruined,
    /// The disk is full; what is staged is kept.
    DiskFull(DiskError),
    /// The disk refused something else; what is staged is kept.
    Disk(DiskError),
    /// The core was shut down meanwhile.
    ShutDown,
}

impl From<DiskError> for LandError {
    fn from(error: DiskError) -> Self {
        if matches!(error.doing, Doing::SyncData | Doing::SyncFolder) {
            Self::SyncFailed(error)
        } else if error.is_disk_full() {
            Self::DiskFull(error)
        } else {
            Self::Disk(error)
        }
    }
}

impl fmt::Display for LandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { expected, found } => write!(f, "{found} of {expected} chunks are there"),
            Self::Superseded { by } => write!(f, "segment {by} has taken the path since"),
            Self::Held => f.write_str("the segment has come to be held meanwhile"),
            Self::Length { expected, found } => {
                write!(f, "the file has {found} bytes, the segment {expected}")
            }
            Self::SyncFailed(error) => write!(f, "{error}; what was not made durable is not trusted"),
            Self::Ruined => f.write_str("the staging file was thrown away after a failed fsync"),
            Self::DiskFull(error) | Self::Disk(error) => error.fmt(f),
            Self::ShutDown => f.write_str("the core was shut down"),
        }
    }
}

impl std::error::Error for LandError {}
