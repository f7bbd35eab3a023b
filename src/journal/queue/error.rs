//! What can be wrong with a queue's file.

use std::fmt;

use crate::uring::Errno;
use crate::wire::CodecError;

/// Why a queue is not opened. Nothing was changed on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueFileError {
    /// The disk refuses.
    Disk {
        /// Why.
        errno: Errno,
    },
    /// Something that was durable is damaged. It is not cut off: changes would be lost that somebody relies on.
    Corrupt {
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        fault: QueueFault,
    },
    /// A newer build wrote it.
    Version {
        /// The file's.
        found: u32,
    },
}

/// What is wrong with a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueFault {
    /// It does not begin with a queue's head.
    Head,
    /// A batch's header is not as it was written.
    Header,
    /// Another batch was due.
    Batch {
        /// The number that was due.
        due: u64,
        /// The number found.
        found: u64,
    },
    /// A batch that was written to its end is not what was written.
    Checksum,
    /// Something stands behind the last batch.
    Trailing,
    /// A record cannot be read.
    Record(CodecError),
    /// A record's number is not one that can stand there.
    Number {
        /// The number.
        found: u64,
    },
}

impl fmt::Display for QueueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("it does not begin with its head"),
            Self::Header => f.write_str("a batch's header is not as it was written"),
            Self::Batch { due, found } => write!(f, "batch {due} was due, {found} is there"),
            Self::Checksum => f.write_str("a batch's checksum differs"),
            Self::Trailing => f.write_str("something stands behind the last batch"),
            Self::Record(error) => write!(f, "a record {error}"),
            Self::Number { found } => write!(f, "a record has number {found}, which cannot be"),
        }
    }
}

impl fmt::Display for QueueFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { errno } => write!(f, "the registrar's queue: {errno}"),
            Self::Corrupt { offset, fault } => write!(
                f,
                "the registrar's queue is damaged at {offset}: {fault}; move the file `queue` away to start without \
                 it, and have the engine register again what the manifest lacks"
            ),
            Self::Version { found } => {
                write!(f, "the registrar's queue has version {found}, which this build does not read")
            }
        }
    }
}

impl std::error::Error for QueueFileError {}
