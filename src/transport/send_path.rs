//! By which way payload leaves on a connection, why, and how much has left by each (ARCHITECTURE.md, D10). See
//! kernel-notes/send-zerocopy.md and kernel-notes/sendfile.md.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;

use crate::stats::{Sent, SentStats};
use crate::uring::{Core, Errno, REGISTERED_BUFFERS, ZERO_COPY_SEND};

/// By which way payload in a registered buffer leaves on a connection, where it is large enough to matter. What is
/// in the page cache leaves by reference on every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendPath {
    /// The kernel sends it from where it lies.
    ZeroCopy,
    /// The kernel copies it.
    Copy(WhyCopy),
}

/// Why a connection copies what is in buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhyCopy {
    /// The peer is on this machine's loopback, where the kernel copies in any case.
    Loopback,
    /// The kernel has no zero-copy send whose copies it reports.
    Unsupported,
    /// The core's buffers are not registered: each send would have to lock its pages.
    Unregistered,
    /// The kernel has reported so many copies that the route has no use for the rest.
    Reported,
    /// The kernel has refused a zero-copy send.
    Refused {
        /// Its answer.
        errno: Errno,
    },
}

impl fmt::Display for SendPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy(_) => "copy",
        })
    }
}

impl fmt::Display for WhyCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("the kernel copies on loopback"),
            Self::Unsupported => f.write_str("the kernel has no zero-copy send with reports"),
            Self::Unregistered => f.write_str("the core's buffers are not registered"),
            Self::Reported => f.write_str("the kernel copied what was sent by zero-copy"),
            Self::Refused { errno } => write!(f, "the kernel refused a zero-copy send: {errno}"),
        }
    }
}

/// The ways of one connection.
pub(super) struct SendPaths {
    buffers: Cell<SendPath>,
    sent: SentStats,
}

impl SendPaths {
    /// Those to an address before anything is known of the route. Zero-copy is tried where it can pay; the kernel's
    /// reports tell whether it does.
    pub(super) fn new(core: &Core, address: &SocketAddr) -> Self {
        let probe = core.probe();
        let first = if !probe.uses(ZERO_COPY_SEND) {
            SendPath::Copy(WhyCopy::Unsupported)
        } else if address.ip().to_canonical().is_loopback() {
            SendPath::Copy(WhyCopy::Loopback)
        } else if !probe.uses(REGISTERED_BUFFERS) {
            SendPath::Copy(WhyCopy::Unregistered)
        } else {
            SendPath::ZeroCopy
        };
        Self { buffers: Cell::new(first), sent: SentStats::default() }
    }

    /// True if that is news.
    pub(super) fn give_zero_copy_up(&self, why: WhyCopy) -> bool {
        let was_zero_copy = self.now() == SendPath::ZeroCopy;
        if was_zero_copy {
            self.buffers.set(SendPath::Copy(why));
        }
        was_zero_copy
    }

    pub(super) fn count(&self, sent: Sent) {
        self.sent.add(sent);
    }

    /// How large payload in buffers leaves now.
    pub(super) fn now(&self) -> SendPath {
        self.buffers.get()
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent.get()
    }
}
