//! Ends a park from another thread: an eventfd whose read is always pending in the ring. Lent to a host that waits by
//! itself, the ring's own completions signal it too. See kernel-notes/cross-core-wakeups.md, guest-runtimes.md.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::uring::errno::Errno;
use crate::uring::ring::{SignalReads, Unpark};

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

    /// The same eventfd once more, for a host.
    pub(super) fn lend(&self, reads: SignalReads) -> Result<OwnedFd, Errno> {
        sys::set_waiting(self.raw(), reads == SignalReads::Wait)?;
        Ok(self.0.try_clone().map_err(Errno::from)?.into())
    }

    /// It is read by the ring again.
    pub(super) fn take_back(&self) {
        sys::set_waiting(self.raw(), true).expect("an eventfd takes this flag");
    }
}

impl Unpark for Wake {
    fn unpark(&self) {
        let written = (&self.0).write(&1_u64.to_ne_bytes());
        written.expect("an eventfd takes 8 bytes until 2^64 - 2 of them wait");
    }
}
