//! Plain counters: what happened, in numbers that only grow. Each core has its own; whoever shows them adds
//! them up.

mod checkpoint;
mod histogram;
mod transfer;

use std::cell::Cell;
use std::fmt;

use crate::ids::Nanos;
use crate::limits::REFUSAL_TELL_AFTER;

pub use checkpoint::CheckpointStats;
pub use histogram::{BOUNDS, BUCKETS, Histogram};
pub use transfer::{
    FAILURES_COUNTED, PeerStats, Peers, ProposalStats, REFUSALS_COUNTED, TransferStats, WalkStats,
};

/// A number that only grows.
#[derive(Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().saturating_add(more));
    }

    /// Counts the bytes of something.
    pub fn add_bytes(&self, bytes: usize) {
        self.add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Tells of what repeats, but not of each one in a flood; counters count them all.
#[derive(Debug, Default)]
pub struct Seldom(Cell<Option<Nanos>>);

impl Seldom {
    /// Whether it is to be told now: the first one is, and then one of each `REFUSAL_TELL_AFTER`.
    pub fn is_due(&self, now: Nanos) -> bool {
        let is_due = self.0.get().is_none_or(|told| now.since(told) >= REFUSAL_TELL_AFTER);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

/// Codes of refused handshakes that are counted apart; the last place holds all above.
pub const REFUSED_CODES_COUNTED: usize = 16;

/// What one core's connections did.
#[derive(Debug, Default)]
pub struct TransportStats {
    /// Dials begun.
    pub dials: Counter,
    /// Dials that gave no connection.
    pub dial_failures: Counter,
    /// Connections accepted, before any proof.
    pub accepts: Counter,
    /// Accepts that the system refused: out of descriptors, or of memory.
    pub accept_failures: Counter,
    /// Connections that gave way to newer ones before they proved themselves.
    pub unproven_evicted: Counter,
    /// Connections that did not prove themselves in time.
    pub unproven_timed_out: Counter,
    /// Handshakes that we refused, by code.
    pub refused: [Counter; REFUSED_CODES_COUNTED],
    /// Connections proven, of both directions.
    pub connections: Counter,
    /// Connections given to another core of the node.
    pub hand_overs: Counter,
    /// Connections cut because the peer broke the protocol.
    pub cut_for_rubbish: Counter,
    /// Of these: frames whose tag or place in the order was wrong.
    pub tag_failures: Counter,
    /// Of these: frames beyond the granted credit.
    pub credit_overruns: Counter,
    /// Connections cut because the peer went silent or stopped reading.
    pub cut_for_silence: Counter,
    /// Frames received and checked.
    pub frames_in: Counter,
    /// Frames sent.
    pub frames_out: Counter,
    /// Bytes of headers, bodies and tags received.
    pub control_bytes_in: Counter,
    /// Bytes of headers, bodies and tags sent.
    pub control_bytes_out: Counter,
    /// Bytes of payload received.
    pub payload_bytes_in: Counter,
    /// Bytes of payload sent.
    pub payload_bytes_out: Counter,
    /// By which way payload has left, once it has.
    pub sent: SentStats,
    /// Bytes of payload that arrived with a frame's head and were copied from there to their buffer.
    pub payload_bytes_moved: Counter,
    /// Payloads received into memory of their own, because they are small or the core's buffers were short.
    pub payloads_unregistered: Counter,
    /// Streams that we opened.
    pub streams_opened: Counter,
    /// Streams that peers opened.
    pub streams_accepted: Counter,
    /// Streams that either side reset.
    pub streams_reset: Counter,
}

/// Payload that has left, by the way that it took (D10). The four counts of bytes add up to all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct Sent {
    /// Bytes out of the page cache, by reference.
    pub bytes_by_reference: u64,
    /// Bytes out of a buffer that the kernel did not copy, as it has reported.
    pub bytes_zero_copy: u64,
    /// Bytes of sends that were to be zero-copy and of which the kernel has reported that it copied.
    pub bytes_copied_by_kernel: u64,
    /// Bytes out of a buffer by plain sends, which copy.
    pub bytes_copied: u64,
    /// Zero-copy sends that have ended.
    pub zero_copy_sends: u64,
    /// Of them, those that the kernel copied.
    pub zero_copy_sends_copied: u64,
}

impl Sent {
    /// One zero-copy send of so many bytes, by the kernel's report.
    #[must_use]
    pub fn zero_copy(bytes: u64, copied: bool) -> Self {
        let sent = Self { zero_copy_sends: 1, ..Self::default() };
        if copied {
            Self { bytes_copied_by_kernel: bytes, zero_copy_sends_copied: 1, ..sent }
        } else {
            Self { bytes_zero_copy: bytes, ..sent }
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            bytes_by_reference: self.bytes_by_reference.saturating_add(more.bytes_by_reference),
            bytes_zero_copy: self.bytes_zero_copy.saturating_add(more.bytes_zero_copy),
            bytes_copied_by_kernel: self.bytes_copied_by_kernel.saturating_add(more.bytes_copied_by_kernel),
            bytes_copied: self.bytes_copied.saturating_add(more.bytes_copied),
            zero_copy_sends: self.zero_copy_sends.saturating_add(more.zero_copy_sends),
            zero_copy_sends_copied: self.zero_copy_sends_copied.saturating_add(more.zero_copy_sends_copied),
        }
    }
}

/// `Sent` while it grows: of one connection, or of all that a core has had.
#[derive(Default)]
pub struct SentStats(Cell<Sent>);

impl SentStats {
    /// Counts what has left.
    pub fn add(&self, more: Sent) {
        self.0.set(self.0.get().plus(more));
    }

    /// All so far.
    #[must_use]
    pub fn get(&self) -> Sent {
        self.0.get()
    }
}

impl fmt::Debug for SentStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl TransportStats {
    /// Counts a handshake that we refused with `code`.
    pub fn count_refused(&self, code: u16) {
        let place = usize::from(code).min(REFUSED_CODES_COUNTED - 1);
        self.refused[place].count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o1_what_repeats_is_told_once_in_a_while() {
        let seldom = Seldom::default();
        let told = [0, 1, 999, 1000, 1001, 2500, 3499].map(|at| seldom.is_due(Nanos::from_millis(at)));
        assert_eq!(told, [true, false, false, true, false, true, false]);
    }

    #[test]
    fn a_code_beyond_the_table_is_counted_in_its_last_place() {
        let stats = TransportStats::default();
        stats.count_refused(3);
        stats.count_refused(u16::MAX);
        assert_eq!(stats.refused[3].get(), 1);
        assert_eq!(stats.refused[REFUSED_CODES_COUNTED - 1].get(), 1);
    }
}
