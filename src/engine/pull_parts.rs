//! What a pull is told, what it tells, and why one did not reach its end: plain values.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::ids::Nanos;
use crate::limits::SOURCE_BUSY_MAX;

/// What to pull, and how.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Where the source listens.
    pub address: SocketAddr,
    /// The directory to fill; it exists.
    pub dest: PathBuf,
    /// Remove files that an earlier pull brought and the source no longer has.
    pub delete: bool,
    /// When the disk is full, wait for room instead of ending.
    pub wait_for_space: bool,
    /// Cores to use, each a thread with a ring, a slab and a connection of its own: one lands, the others bring parts
    /// of segments of 16 MiB and more. Nine at most; one, if there are less than 64 MiB to fetch. Unless given as many
    /// as the process may use, but no more than four.
    pub cores: Option<NonZeroU16>,
}

/// How far a pull is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PullProgress {
    /// Files of the source.
    pub segments: u64,
    /// Of them, standing here.
    pub segments_done: u64,
    /// Bytes of the source.
    pub bytes: u64,
    /// Of them, standing here.
    pub bytes_done: u64,
    /// Waiting for room on the disk.
    pub waits_for_space: bool,
    /// Waiting for the source, which says that it is busy.
    pub waits_for_source: bool,
}

/// What a pull did.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize))]
pub struct PullReport {
    /// Files of the source.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Payload bytes that came over the network, those of chunks with a wrong digest not counted.
    pub bytes_fetched: u64,
    /// Of them, those that other cores than the pull's own received, verified and wrote.
    pub bytes_lent: u64,
    /// Bytes of the source that did not have to come.
    pub bytes_reused: u64,
    /// Chunks that arrived with a wrong digest and were fetched again.
    pub chunks_refetched: u64,
    /// What the source does not carry: links, special files, names that no manifest takes.
    pub skipped: u64,
    /// Files removed because the source no longer has them.
    pub removed: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Why a pull did not reach its end. What it has verified is kept for the next.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PullError {
    /// The secret is not usable.
    Secret {
        /// Why. Never the secret.
        why: String,
    },
    /// The source refuses us, or is not who it has to be.
    Refused {
        /// Why.
        why: String,
    },
    /// Nobody answers, or the connection broke and did not come back.
    Unreachable {
        /// Why.
        why: String,
    },
    /// The source has said that it is busy for `SOURCE_BUSY_MAX`, and has given nothing meanwhile.
    Busy {
        /// The source.
        address: SocketAddr,
    },
    /// The source's list is not acceptable.
    List {
        /// Why.
        why: String,
    },
    /// The destination or its state cannot be used.
    Dest {
        /// Why.
        why: String,
    },
    /// The disk is full.
    DiskFull,
    /// Files could not be had: they changed at the source, or this disk refuses them.
    Incomplete {
        /// How many.
        count: u64,
        /// One of them.
        path: String,
        /// Why that one.
        why: Lost,
    },
    /// Asked to stop.
    Interrupted,
    /// No ring.
    Ring {
        /// Why, and what to change.
        why: String,
    },
}

/// Why a file could not be had, asked for again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// At the source it is not what was listed any more.
    Changed,
    /// What comes has another digest.
    Damaged,
    /// This disk does not take it.
    Disk,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => {
                "changed at the source since it was digested; restart serve there, then pull again"
            }
            Self::Damaged => "what comes of it is damaged; pull again",
            Self::Disk => "this disk does not take it, the log says why; pull again",
        })
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { why } => write!(f, "secret: {why}"),
            Self::Refused { why }
            | Self::Unreachable { why }
            | Self::List { why }
            | Self::Dest { why }
            | Self::Ring { why } => f.write_str(why),
            Self::Busy { address } => {
                let seconds = SOURCE_BUSY_MAX.0 / Nanos::SECOND.0;
                write!(f, "{address} has been busy for {seconds} s; what came is kept, pull again later")
            }
            Self::DiskFull => {
                f.write_str("the disk is full; what came is kept, pull again when there is room")
            }
            Self::Incomplete { count: 1, path, why } => write!(f, "{path} could not be had: {why}"),
            Self::Incomplete { count, path, why } => {
                write!(f, "{count} files could not be had, {path} among them: {why}")
            }
            Self::Interrupted => f.write_str("interrupted; what came is kept"),
        }
    }
}

impl std::error::Error for PullError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_at_the_source_sends_its_reader_to_the_source() {
        let lost = |count, why| PullError::Incomplete { count, path: "a".to_owned(), why }.to_string();
        assert!(lost(1, Lost::Changed).starts_with("a could not be had: changed at the source"));
        assert!(lost(1, Lost::Changed).contains("restart serve"));
        assert!(lost(2, Lost::Disk).starts_with("2 files could not be had, a among them: this disk"));
    }
}
