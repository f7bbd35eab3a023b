//! How long something took, in buckets whose bounds are the same for all: what is counted costs no memory, and bounds
//! that never change are what lets buckets of several nodes be added up.

use std::fmt;

use super::Counter;
use crate::ids::Nanos;

/// The greatest length that a bucket counts, of all but the last, which counts what is longer: 1, 2.5 and 5 of each
/// power of ten, from half a millisecond (a commit on a fast disk) to 1000 seconds (a large segment that had to wait).
pub const BOUNDS: [Nanos; 20] = [
    Nanos(500_000),
    Nanos::from_millis(1),
    Nanos(2_500_000),
    Nanos::from_millis(5),
    Nanos::from_millis(10),
    Nanos::from_millis(25),
    Nanos::from_millis(50),
    Nanos::from_millis(100),
    Nanos::from_millis(250),
    Nanos::from_millis(500),
    Nanos::from_secs(1),
    Nanos::from_millis(2_500),
    Nanos::from_secs(5),
    Nanos::from_secs(10),
    Nanos::from_secs(25),
    Nanos::from_secs(50),
    Nanos::from_secs(100),
    Nanos::from_secs(250),
    Nanos::from_secs(500),
    Nanos::from_secs(1000),
];

/// How many buckets there are.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Lengths of time, counted.
#[derive(Default)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    nanos: Counter,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn count(&self, length: Nanos) {
        self.counts[BOUNDS.partition_point(|bound| *bound < length)].count();
        self.nanos.add(length.0);
    }

    /// How many fell into each bucket and into none before it.
    #[must_use]
    pub fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|place| self.counts[place].get())
    }

    /// All lengths together.
    #[must_use]
    pub fn sum(&self) -> Nanos {
        Nanos(self.nanos.get())
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} in {} ns)", self.counts().iter().sum::<u64>(), self.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_length_is_counted_in_the_first_bucket_that_is_long_enough() {
        assert!(BOUNDS.is_sorted());
        for (length, place) in [(0, 0), (500_000, 0), (500_001, 1), (1_000_000, 1), (1_000_000_000, 10)] {
            let histogram = Histogram::default();
            histogram.count(Nanos(length));
            assert_eq!(histogram.counts().iter().position(|count| *count == 1), Some(place), "{length} ns");
        }
        let histogram = Histogram::default();
        histogram.count(Nanos::from_secs(1000));
        histogram.count(Nanos::from_secs(1001));
        histogram.count(Nanos(u64::MAX));
        assert_eq!(histogram.counts()[BUCKETS - 2..], [1, 2]);
        assert_eq!(histogram.sum(), Nanos(u64::MAX), "what is too much to be added up stays the greatest");
    }
}
