//! What can be wrong with a log: found on opening, or met while it runs.

use std::fmt;
use std::io;

use crate::ids::{GroupId, LogIndex};
use crate::uring::Errno;

use super::record::RecordFault;

/// Why a log is not opened. Nothing was changed on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogOpenError {
    /// The disk refused.
    Disk {
        /// What was asked of it.
        doing: &'static str,
        /// The file; empty for the directory.
        file: String,
        /// The kernel's error.
        errno: Errno,
    },
    /// A part that was durable is damaged: valid parts follow it. It is not cut off; a peer has the entries.
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// A format that this build does not read.
    Version {
        /// The file.
        file: String,
        /// The version.
        found: u8,
    },
    /// The log of another group.
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        found: GroupId,
    },
}

/// What is wrong with a part of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is no record.
    Record(RecordFault),
    /// A file does not begin with a head.
    Head,
    /// A file between two others is missing.
    FileMissing {
        /// Its number.
        number: u64,
    },
    /// Another batch was due.
    Batch {
        /// The number that was due.
        due: u64,
        /// The number found.
        found: u64,
    },
    /// A batch is not as its first record says.
    BatchShape,
    /// Another entry was due.
    Entry {
        /// The index that was due.
        due: LogIndex,
        /// The index found.
        found: LogIndex,
    },
    /// A record's content is not of its kind.
    Content,
}

/// Why a log that runs has stopped, for good: what follows a failed write or flush cannot be trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogStopped {
    /// It was closed.
    Closed,
    /// The disk failed.
    Disk {
        /// What was asked of it.
        doing: &'static str,
        /// The file.
        file: String,
        /// The kernel's error.
        errno: Errno,
    },
    /// What was written is not what is read.
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        fault: Fault,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(RecordFault::Short) => f.write_str("a record is cut short"),
            Self::Record(RecordFault::Length { bytes }) => write!(f, "a record claims {bytes} bytes"),
            Self::Record(RecordFault::Checksum) => f.write_str("a record's checksum differs"),
            Self::Record(RecordFault::Version { found }) => write!(f, "a record has format version {found}"),
            Self::Record(RecordFault::Kind { found }) => write!(f, "a record is of unknown kind {found}"),
            Self::Record(RecordFault::Group { found }) => write!(f, "a record is of group {found}"),
            Self::Head => f.write_str("the file has no head"),
            Self::FileMissing { number } => write!(f, "file {number} before it is missing"),
            Self::Batch { due, found } => write!(f, "batch {due} was due, {found} is there"),
            Self::BatchShape => f.write_str("a batch is not as its first record says"),
            Self::Entry { due, found } => write!(f, "entry {due} was due, {found} is there"),
            Self::Content => f.write_str("a record's content is not of its kind"),
        }
    }
}

impl fmt::Display for LogOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { doing, file, errno } => write!(f, "the log cannot {doing} {file}: {errno}"),
            Self::Corrupt { file, offset, fault } => {
                write!(f, "the log is damaged in {file} at {offset}: {fault}")
            }
            Self::Version { file, found } => {
                write!(f, "{file} has format version {found}, which this build does not read")
            }
            Self::Foreign { file, found } => write!(f, "{file} is of group {found}"),
        }
    }
}

impl fmt::Display for LogStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the log is closed"),
            Self::Disk { doing, file, errno } => {
                write!(f, "the log cannot {doing} {file}: {errno}; it stopped, a restart recovers from disk")
            }
            Self::Corrupt { file, offset, fault } => {
                write!(f, "the log is damaged in {file} at {offset}: {fault}; it stopped")
            }
        }
    }
}

impl std::error::Error for LogOpenError {}
impl std::error::Error for LogStopped {}

impl From<LogStopped> for io::Error {
    fn from(stopped: LogStopped) -> Self {
        Self::other(stopped)
    }
}
