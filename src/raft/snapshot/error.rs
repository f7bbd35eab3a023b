//! What can be wrong with a snapshot.

use std::fmt;

use crate::raft::types::Point;
use crate::uring::Errno;

/// Why a snapshot is not written or not taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotFault {
    /// The disk refused.
    Disk {
        /// What was asked of it.
        doing: &'static str,
        /// The file.
        file: String,
        /// The kernel's error.
        errno: Errno,
    },
    /// The file is not whole, or not of this format.
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file is of another entry than was said.
    OtherPoint {
        /// What was said.
        due: Point,
        /// What it is of.
        found: Point,
    },
    /// The state was replaced while it was written.
    Replaced,
    /// It is announced as larger than one can be.
    TooLarge {
        /// The bytes that were announced.
        bytes: u64,
        /// Those of the largest that there can be.
        most: u64,
    },
    /// It is announced as larger than the disk has room for.
    NoRoom {
        /// The bytes that were announced.
        bytes: u64,
        /// Those that are free.
        available: u64,
    },
    /// Bytes came in another order, or more than were announced.
    Order {
        /// Where the next bytes were due.
        due: u64,
        /// Where they claim to be.
        found: u64,
    },
}

impl fmt::Display for SnapshotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { doing, file, errno } => write!(f, "cannot {doing} the snapshot {file}: {errno}"),
            Self::Damaged { file, offset, what } => {
                write!(f, "the snapshot {file} is damaged at {offset}: {what}")
            }
            Self::OtherPoint { due, found } => {
                write!(f, "the snapshot is of entry {found}, {due} was announced")
            }
            Self::Replaced => f.write_str("the state was replaced while its snapshot was written"),
            Self::TooLarge { bytes, most } => {
                write!(f, "a snapshot of {bytes} bytes is announced, the largest possible has {most}")
            }
            Self::NoRoom { bytes, available } => {
                write!(f, "a snapshot of {bytes} bytes is announced, the disk has room for {available}")
            }
            Self::Order { due, found } => write!(f, "byte {due} of the snapshot was due, {found} came"),
        }
    }
}

impl std::error::Error for SnapshotFault {}

impl From<SnapshotFault> for std::io::Error {
    fn from(fault: SnapshotFault) -> Self {
        Self::other(fault)
    }
}
