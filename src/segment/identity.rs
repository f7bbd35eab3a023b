//! The identity of a file's content as the file system tells it: by it a change in place is noticed without reading.

use std::fmt;

use crate::ids::UnixNanos;
use crate::uring::Stat;

/// Device, inode, size and time of the last change of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Device of the file system: major << 32 | minor.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Last change of the content.
    pub modified: UnixNanos,
}

impl From<Stat> for Identity {
    fn from(stat: Stat) -> Self {
        Self { device: stat.device, inode: stat.inode, bytes: stat.bytes, modified: stat.modified }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {} of {} bytes, changed at {}", self.inode, self.bytes, self.modified)
    }
}
