//! What becomes of a fetch: why it ends without its segment, and who is to blame for it.

use crate::stats::FAILURES_COUNTED;

/// How a fetch ended with its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// It has landed.
    Landed,
    /// The same, with content that this node held already, so many bytes.
    Linked(u64),
    /// It was found to stand already.
    Held,
}

/// Why a fetch ended without the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The source does not have it.
    NotHere,
    /// The source refuses us; it rests before it is asked again.
    NotAllowed,
    /// The source is busy or stops.
    Busy,
    /// No connection, or it broke.
    Unreachable,
    /// Nothing came for `PROGRESS_TIMEOUT`.
    NoProgress,
    /// Bytes that do not have the committed digest.
    Corrupt,
    /// This disk is full: everything pauses.
    DiskFull,
    /// This disk failed otherwise.
    Disk,
}

impl Failure {
    /// Every failure, each in its place among those counted.
    pub const ALL: [Self; FAILURES_COUNTED] = [
        Self::NotHere,
        Self::NotAllowed,
        Self::Busy,
        Self::Unreachable,
        Self::NoProgress,
        Self::Corrupt,
        Self::DiskFull,
        Self::Disk,
    ];

    /// Its place among those counted.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::NotHere => 0,
            Self::NotAllowed => 1,
            Self::Busy => 2,
            Self::Unreachable => 3,
            Self::NoProgress => 4,
            Self::Corrupt => 5,
            Self::DiskFull => 6,
            Self::Disk => 7,
        }
    }

    /// The source, or the way to it, is at fault.
    #[must_use]
    pub fn blames_source(self) -> bool {
        match self {
            Self::NotAllowed | Self::Busy | Self::Unreachable | Self::NoProgress | Self::Corrupt => true,
            Self::NotHere | Self::DiskFull | Self::Disk => false,
        }
    }

    /// There was no way to the source, or it did not let us in: over when it comes to us by itself.
    #[must_use]
    pub fn is_out_of_reach(self) -> bool {
        matches!(self, Self::NotAllowed | Self::Unreachable)
    }

    /// In a word, for status and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotHere => "not_here",
            Self::NotAllowed => "not_allowed",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::NoProgress => "no_progress",
            Self::Corrupt => "corrupt",
            Self::DiskFull => "disk_full",
            Self::Disk => "disk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_each_failure_is_counted_in_a_place_of_its_own() {
        assert!(Failure::ALL.into_iter().map(Failure::place).eq(0..FAILURES_COUNTED));
    }
}
