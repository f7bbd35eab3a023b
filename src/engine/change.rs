//! What an embedder asks for: changes of a shard's manifest, how durable they must be, and what came of them.

use std::fmt;

use crate::ids::{Digest, LogIndex, Nanos, NodeId, SegmentId};
use crate::limits::PROPOSE_TIMEOUT;

use super::error::{OUTCOME_UNKNOWN, no_leader};
use super::reply::NoAnswer;
use super::tree::Facts;

/// One change of a shard's manifest. Changes of one batch happen together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A sealed file that is new in the manifest.
    Register(Sealed),
    /// New content of a path that is in the manifest: a sealed file put there by rename. Any node may update what
    /// stands on it, and is its origin then. Until the update is committed the name stays Ringway's there: after a
    /// restart the engine looks whether its file still stands, as `Sealed::facts` makes sure.
    Update(Sealed),
    /// The path leaves the manifest. Replicas remove their copies; the origin's file is the engine's own to remove.
    Delete {
        /// The path.
        path: String,
        /// Why, for events and logs; for example `compaction:17`.
        reason: String,
    },
}

/// A sealed file in the shard's directory: nobody writes to it any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Relative to the shard's directory, with `/` between components.
    pub path: String,
    /// SHA-256 of the content, if the engine has computed it; checked in the pass that reads the file.
    pub flat: Option<Digest>,
    /// How the engine ranks its storage; 0 is the hottest.
    pub tier: u8,
    /// The engine's own names and values, to find the segment by.
    pub labels: Vec<(String, String)>,
    /// What the file was like when it was chosen; one that is not like that any more is refused as changed.
    pub facts: Option<Facts>,
}

impl Sealed {
    /// The sealed file at `path`, with nothing else said of it.
    #[must_use]
    pub fn at(path: impl Into<String>) -> Self {
        Self { path: path.into(), flat: None, tier: 0, labels: Vec::new(), facts: None }
    }
}

impl Change {
    /// Registers the sealed file at `path`.
    #[must_use]
    pub fn register(path: impl Into<String>) -> Self {
        Self::Register(Sealed::at(path))
    }

    /// Takes the sealed file at `path` as the path's new content.
    #[must_use]
    pub fn update(path: impl Into<String>) -> Self {
        Self::Update(Sealed::at(path))
    }

    /// Deletes `path`.
    #[must_use]
    pub fn delete(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Delete { path: path.into(), reason: reason.into() }
    }

    /// The path that the change is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Register(sealed) | Self::Update(sealed) => &sealed.path,
            Self::Delete { path, .. } => path,
        }
    }
}

/// When a change counts as done for its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The entry is committed: a majority has it in its log. The bytes may still be at the origin alone.
    #[default]
    Committed,
    /// The bytes stand verified and durable on this many nodes, the origin counted; on all replicas if there are
    /// fewer.
    Landed(u32),
    /// On a majority of the shard's voters.
    LandedQuorum,
}

/// How to perform a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// When it counts as done.
    pub durability: Durability,
    /// How long to wait for that, from when the files have been read.
    pub timeout: Nanos,
}

impl Ask {
    /// This durability, with the usual time.
    #[must_use]
    pub fn durable(durability: Durability) -> Self {
        Self { durability, ..Self::default() }
    }

    /// The same, with another time.
    #[must_use]
    pub fn within(self, timeout: impl Into<Nanos>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }
}

impl Default for Ask {
    fn default() -> Self {
        Self { durability: Durability::Committed, timeout: PROPOSE_TIMEOUT }
    }
}

/// A committed change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Its place in the shard's log; the manifest's version from then on.
    pub index: LogIndex,
    /// The registered and updated segments, in the order of the batch. A repeated registration has the id it had.
    pub segments: Vec<SegmentId>,
    /// Nodes on which the bytes were seen to stand, the origin counted.
    pub landed: u32,
    /// Replicas of the shard.
    pub replicas: u32,
    /// The durability asked for was reached. If not, the change is committed all the same: do not ask again.
    pub reached: bool,
}

/// Why a change did not happen, or is not known to have.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChangeError {
    /// The path is not one that a manifest takes.
    Path {
        /// The path, control characters escaped.
        path: String,
        /// Why.
        why: String,
    },
    /// The file cannot be read as a sealed segment.
    File {
        /// The path.
        path: String,
        /// Why.
        why: String,
    },
    /// The file changed while it was hashed, or since it was chosen: it was not sealed.
    Changed {
        /// The path.
        path: String,
    },
    /// The file does not have the digest that the caller gave.
    FlatDiffers {
        /// The path.
        path: String,
        /// The caller's.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// The manifest refuses; nothing of the batch happened.
    Refused {
        /// Place of the failing change in the batch, if one is at fault.
        ordinal: Option<u32>,
        /// Why.
        why: String,
    },
    /// No leader was reached in time, and the proposal was never sent: it did not happen.
    NoLeader {
        /// The leader last known.
        last: Option<NodeId>,
    },
    /// The time ran out after the proposal was sent. It may be committed or not; the same change asked again is safe: a
    /// registration that happened is found to be there.
    OutcomeUnknown,
    /// As many changes are waiting as may; this one was not taken.
    TooMany,
    /// This node's disk refuses the record of its proposals: nothing was sent.
    Disk {
        /// Why.
        why: String,
    },
    /// The node has stopped, or the shard after a disk error. A change that was under way may have happened.
    Stopped,
}

impl From<NoAnswer> for ChangeError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Stopped => Self::Stopped,
            NoAnswer::Busy => Self::TooMany,
        }
    }
}

impl ChangeError {
    /// The same change may succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoLeader { .. } | Self::OutcomeUnknown | Self::TooMany)
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, why } => write!(f, "{path:?} is not a path for a manifest: {why}"),
            Self::File { path, why } => write!(f, "{path}: {why}"),
            Self::Changed { path } => {
                write!(f, "{path} changed while it was read; register it when it is sealed")
            }
            Self::FlatDiffers { path, expected, found } => {
                write!(f, "{path} has the SHA-256 {found}, not {expected} as given")
            }
            Self::Refused { ordinal: Some(ordinal), why } => write!(f, "change {ordinal} is refused: {why}"),
            Self::Refused { ordinal: None, why } => write!(f, "refused: {why}"),
            Self::NoLeader { last } => no_leader(f, *last),
            Self::OutcomeUnknown => f.write_str(OUTCOME_UNKNOWN),
            Self::Disk { why } => f.write_str(why),
            Self::TooMany => f.write_str("as many changes are waiting as may; try again"),
            Self::Stopped => f.write_str("the shard has stopped"),
        }
    }
}

impl std::error::Error for ChangeError {}
