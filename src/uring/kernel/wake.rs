//! Ends a park from another thread: an eventfd whose read is always pending in the ring.
//! See kernel-notes/cross-core-wakeups.md.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};

use crate::uring::errno::Errno;
use crate::uring::ring::Unpark;

use super::sys;

/// The eventfd. Blocking, because io_uring ends reads of a non-blocking one with EAGAIN instead of waiting.
pub(super) struct Wake(File);

impl Wake {
    pub(super) fn new() -> Result<Self, Errno> {
        sys::eventfd().map(|fd| Self(File::from(fd)))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        let written = (&self.0).write(&1_u64.to_ne_bytes());
        written.expect("an eventfd takes 8 bytes until 2^64 - 2 of them wait");
    }
}
