//! What can go wrong on the way from a wanted segment to a staged one.

use std::fmt;

use crate::digest::ChunkError;
use crate::ids::{Digest, SegmentId};

use super::fault::{DiskError, from_disk};

/// Why a landing was not begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BeginError {
    /// This version is held already.
    Held,
    /// The segment is being landed by somebody else.
    Busy,
    /// As many segments are being staged as may be; land some first.
    TooMany {
        /// How many.
        limit: usize,
    },
    /// The chunk list is of another root or length.
    OtherSegment {
        /// The root that is wanted.
        expected: Digest,
        /// The root of the list.
        found: Digest,
        /// The length that is wanted, in bytes.
        expected_len: u64,
        /// The length of the list, in bytes.
        found_len: u64,
    },
    /// A newer version stands under the path already.
    Superseded {
        /// The newer one.
        by: SegmentId,
    },
    /// No room for the whole segment; what was staged before is kept.
    DiskFull {
        /// Its bytes.
        needed: u64,
    },
    /// The disk refused something.
    Disk(DiskError),
}

/// Why a chunk was not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// The content is not that chunk.
    Content(ChunkError),
    /// The chunk is being written.
    Busy {
        /// Which.
        index: u32,
    },
    /// The chunk is not there to be read.
    Missing {
        /// Which.
        index: u32,
    },
    /// The disk is full; what is staged is kept, and the chunk may be written again when there is room.
    DiskFull(DiskError),
    /// The staging file was thrown away after a failed fsync; begin again.
    Ruined,
    /// The disk refused it.
    Disk(DiskError),
}

/// Why a checkpoint was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckpointError {
    /// An fsync failed: the staging file was thrown away.
    SyncFailed(DiskError),
    /// The staging file was thrown away before.
    Ruined,
    /// The disk refused something else, or is full; what is staged is kept.
    Disk(DiskError),
}

from_disk!(BeginError);

impl BeginError {
    /// The disk is full: there is nothing wrong but the room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Disk(error) => error.is_disk_full(),
            Self::Held
            | Self::Busy
            | Self::TooMany { .. }
            | Self::OtherSegment { .. }
            | Self::Superseded { .. } => false,
        }
    }
}

impl From<DiskError> for WriteError {
    fn from(error: DiskError) -> Self {
        if error.is_disk_full() { Self::DiskFull(error) } else { Self::Disk(error) }
    }
}

impl fmt::Display for BeginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("the segment is held already"),
            Self::Busy => f.write_str("the segment is being landed already"),
            Self::TooMany { limit } => write!(f, "{limit} segments are being staged already"),
            Self::OtherSegment { expected, found, expected_len, found_len } => write!(
                f,
                "the chunk list is of root {found} and {found_len} bytes, not {expected} and {expected_len}"
            ),
            Self::Superseded { by } => write!(f, "segment {by} has taken the path since"),
            Self::DiskFull { needed } => write!(f, "the disk has no room for {needed} bytes"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(error) => error.fmt(f),
            Self::Busy { index } => write!(f, "chunk {index} is being written already"),
            Self::Missing { index } => write!(f, "chunk {index} is not there yet"),
            Self::DiskFull(error) | Self::Disk(error) => error.fmt(f),
            Self::Ruined => f.write_str("the staging file was thrown away after a failed fsync"),
        }
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SyncFailed(error) => write!(f, "{error}; the staging file was thrown away"),
            Self::Ruined => f.write_str("the staging file was thrown away after a failed fsync"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BeginError {}
impl std::error::Error for WriteError {}
impl std::error::Error for CheckpointError {}
