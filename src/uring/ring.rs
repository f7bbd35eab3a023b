//! The one seam between Ringway and the outside.
//!
//! The kernel stands behind it in production, a simulated disk, network and clock in tests/sim. Nothing above is
//! generic over I/O and nothing is mocked: executor, buffers, Raft, transfers and recovery run unchanged on both.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ids::{Nanos, UnixNanos};

use super::buffer::Slab;
use super::errno::Errno;
use super::op::{Completion, Op};
use super::probe::Probe;

/// One core's way to the outside. Made, used and dropped on the core's own thread.
pub trait Ring {
    /// Registers the slab's memory, once and before use; what it could not do is in the probe.
    fn register(&mut self, slab: &Slab);

    /// Accepts an operation. Never blocks; the core bounds how many are in flight.
    fn push(&mut self, token: u64, op: Op);

    /// Asks that an operation be cancelled. It still completes, with its result or `Errno::CANCELED`.
    fn cancel(&mut self, token: u64);

    /// Hands over what was pushed and appends what has completed. Does not wait.
    fn reap(&mut self, completions: &mut Vec<Completion>);

    /// The same, but first waits for a completion, an unpark or the deadline.
    fn park(&mut self, deadline: Option<Nanos>, completions: &mut Vec<Completion>);

    /// Ends a `park` from any thread, or lets the next one return at once.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// For a host that waits in a way of its own instead of parking: an eventfd that each completion and each unpark
    /// signals. Before the core's first turn.
    ///
    /// # Errors
    /// The kernel's; `NOT_SUPPORTED` of a ring that can only be parked on.
    fn lend_signal(&mut self, _reads: SignalReads) -> Result<OwnedFd, Errno> {
        Err(Errno::NOT_SUPPORTED)
    }

    /// From now on the ring is parked on again.
    fn take_signal_back(&mut self) {}

    /// Gives a descriptor away to another core of the node: this ring no longer closes it.
    fn release(&mut self, raw: i32);

    /// Takes a descriptor that another core released.
    fn adopt(&mut self, raw: i32);

    /// Monotonic time.
    fn now(&self) -> Nanos;

    /// Wall-clock time. For people and proposers; nothing is decided by it.
    fn wall(&self) -> UnixNanos;

    /// Fills with random bytes fit for keys.
    fn random(&mut self, out: &mut [u8]);

    /// What this ring found it can do.
    fn probe(&self) -> &Probe;

    /// The congestion control in force on a connection.
    ///
    /// # Errors
    /// The kernel's; `NOT_SUPPORTED` of a ring that has none.
    fn congestion(&self, _raw: i32) -> Result<String, Errno> {
        Err(Errno::NOT_SUPPORTED)
    }
}

/// What a read of a lent signal does while nothing has been signalled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalReads {
    /// It waits, as a ring's read has to.
    Wait,
    /// It returns `AGAIN`.
    Return,
}

/// Wakes a core.
pub trait Unpark: Send + Sync {
    /// Ends the core's current or next park.
    fn unpark(&self);
}
