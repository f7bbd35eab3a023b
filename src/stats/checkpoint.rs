//! Counters of checkpoints: counted on threads of their own, shown on the shard's core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of a shard's checkpoints.
#[derive(Debug, Default)]
pub struct CheckpointStats {
    made: AtomicU64,
    failed: AtomicU64,
    expired: AtomicU64,
    frozen_micros_max: AtomicU64,
}

impl CheckpointStats {
    /// One was made.
    pub fn made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// One was not made; its lease had run out.
    pub fn failed(&self, is_expired: bool) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.expired.fetch_add(is_expired.into(), Ordering::Relaxed);
    }

    /// An engine was frozen for so long.
    pub fn froze(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.frozen_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    /// Made, failed, of these expired, and the longest freeze in microseconds.
    #[must_use]
    pub fn get(&self) -> [u64; 4] {
        [&self.made, &self.failed, &self.expired, &self.frozen_micros_max]
            .map(|of| of.load(Ordering::Relaxed))
    }
}
