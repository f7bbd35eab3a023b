//! Why a fetch ends without its segment, and who is to blame for it.

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
    /// The source, or the way to it, is at fault.
    #[must_use]
    pub fn blames_source(self) -> bool {
        match self {
            Self::NotAllowed | Self::Busy | Self::Unreachable | Self::NoProgress | Self::Corrupt => true,
            Self::NotHere | Self::DiskFull | Self::Disk => false,
        }
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
