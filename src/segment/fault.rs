//! What the disk refused: the operation, the file, the place in it and the kernel's number, under every error here.

use std::fmt;

use crate::uring::Errno;

/// What was asked of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Opening a file or folder.
    Open,
    /// Creating a file or folder.
    Create,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Allocating blocks.
    Allocate,
    /// Setting the size.
    Truncate,
    /// Making a file's content durable.
    SyncData,
    /// Making a folder's names durable.
    SyncFolder,
    /// Renaming.
    Rename,
    /// Making a second name.
    Link,
    /// Removing a name.
    Unlink,
    /// Listing a folder.
    List,
    /// Asking for facts about a file.
    Stat,
    /// Taking the lock.
    Lock,
}

/// A refused operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskError {
    /// What was asked.
    pub doing: Doing,
    /// Of which file: below the segments' root, or below our private folder.
    pub path: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// The kernel's answer.
    pub errno: Errno,
}

impl DiskError {
    /// The disk, or our quota on it, is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.errno.is_disk_full()
    }
}

/// For `map_err`: what was being done with which file.
pub(super) fn failed(doing: Doing, path: impl fmt::Display) -> impl FnOnce(Errno) -> DiskError {
    failed_at(doing, path, 0)
}

/// The same, with the place in the file.
pub(super) fn failed_at(
    doing: Doing,
    path: impl fmt::Display,
    offset: u64,
) -> impl FnOnce(Errno) -> DiskError {
    move |errno| DiskError { doing, path: path.to_string(), offset, errno }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Create => "creating",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Allocate => "allocating blocks for",
            Self::Truncate => "setting the size of",
            Self::SyncData => "making the content durable of",
            Self::SyncFolder => "making the names durable of",
            Self::Rename => "renaming",
            Self::Link => "linking",
            Self::Unlink => "removing",
            Self::List => "listing",
            Self::Stat => "asking for facts about",
            Self::Lock => "locking",
        })
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.doing, self.path)?;
        if self.offset > 0 {
            write!(f, " at byte {}", self.offset)?;
        }
        write!(f, ": {}", self.errno)
    }
}

impl std::error::Error for DiskError {}

/// Gives an operation's error enum its `Disk` variant from a `DiskError`.
macro_rules! from_disk {
    ($($error:ty),+) => {
        $(impl From<DiskError> for $error {
            fn from(error: DiskError) -> Self {
                Self::Disk(error)
            }
        })+
    };
}
pub(super) use from_disk;
