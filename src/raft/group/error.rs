//! Why something asked of a group did not happen. One type per question; each says what a person can do.

use std::fmt;

use crate::ids::{LogIndex, Nanos, NodeId};
use crate::raft::log::{LogOpenError, LogStopped};
use crate::raft::network::CallError;
use crate::raft::snapshot::SnapshotFault;

/// Why a group is not opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The log.
    Log(LogOpenError),
    /// The snapshot.
    Snapshot(SnapshotFault),
    /// The log begins behind the snapshot: one of the two is missing a part.
    Gap {
        /// The last entry of the snapshot; 0 without one.
        snapshot: LogIndex,
        /// The last entry that the log has let go.
        purged: LogIndex,
    },
    /// Its log stopped when it was read.
    Stopped(LogStopped),
    /// Times that do not go together.
    Config {
        /// Why.
        why: String,
    },
    /// Consensus refused to start.
    Start {
        /// Why.
        why: String,
    },
}

/// Why a group is not bootstrapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BootstrapError {
    /// The group has members already: here, or from a leader.
    Done,
    /// This node is not among the members.
    NotAMember,
    /// The group has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why a proposal has no outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// Another node leads, or none. Nothing was proposed.
    NotLeader {
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
    /// This node leads, but a quorum has not answered for so long. Nothing was proposed.
    NoQuorum {
        /// How long.
        since: Nanos,
    },
    /// Too many bytes. Nothing was proposed.
    TooLong {
        /// How many.
        bytes: usize,
        /// How many there may be.
        most: usize,
    },
    /// Too many proposals wait for their outcome. Nothing was proposed.
    Full {
        /// How many may wait.
        most: usize,
    },
    /// The time ran out. The proposal may still be committed.
    TimedOut {
        /// After how long.
        after: Nanos,
    },
    /// The leader changed. The proposal may have been committed or not.
    OutcomeUnknown {
        /// Who leads now, if it is known.
        leader: Option<NodeId>,
    },
    /// The group has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why the members were not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembersError {
    /// Another node leads, or none.
    NotLeader {
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
    /// This node leads, but a quorum has not answered it lately, or not yet; try again.
    NoQuorum,
    /// Another change is under way; try again.
    InProgress,
    /// The node is no member.
    Unknown {
        /// Which.
        node: NodeId,
    },
    /// The node is a member in another life, or at another address; remove it first.
    OtherLife {
        /// Which.
        node: NodeId,
    },
    /// No voter would be left.
    LastVoter,
    /// This node leads and is to go: leadership was handed over, ask the new leader.
    HandedOver {
        /// Who leads now, if it is known.
        leader: Option<NodeId>,
    },
    /// Not allowed by the rules of a change.
    Refused {
        /// Why.
        why: String,
    },
    /// The time ran out; the change may still happen.
    TimedOut {
        /// After how long.
        after: Nanos,
    },
    /// The group has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why it is not known up to where a read has to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BarrierError {
    /// No leader is known.
    NoLeader,
    /// The leader did not say.
    Leader(CallError),
    /// Another node leads.
    NotLeader {
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
    /// A quorum did not answer the leader.
    NoQuorum,
    /// The entries did not come in time.
    TimedOut {
        /// After how long.
        after: Nanos,
        /// Up to where the read has to wait; 0 if that is not known.
        due: LogIndex,
    },
    /// The group has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why leadership was not handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransferError {
    /// This node does not lead.
    NotLeader {
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
    /// The node is no voter.
    NotAVoter {
        /// Which.
        node: NodeId,
    },
    /// The other node did not take over in time.
    TimedOut {
        /// After how long.
        after: Nanos,
    },
    /// The group has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// Who leads, for a person.
struct Leader(Option<NodeId>);

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(node) => write!(f, "node {node} leads"),
            None => f.write_str("no leader is known"),
        }
    }
}

fn millis(length: Nanos) -> u64 {
    length.0 / Nanos::MILLISECOND.0
}

impl OpenError {
    /// Bytes on the disk are not what was written there.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Log(LogOpenError::Corrupt { .. } | LogOpenError::Foreign { .. })
            | Self::Snapshot(SnapshotFault::Damaged { .. } | SnapshotFault::OtherPoint { .. })
            | Self::Stopped(LogStopped::Corrupt { .. })
            | Self::Gap { .. } => true,
            Self::Log(LogOpenError::Disk { .. } | LogOpenError::Version { .. })
            | Self::Snapshot(
                SnapshotFault::Disk { .. }
                | SnapshotFault::Replaced
                | SnapshotFault::TooLarge { .. }
                | SnapshotFault::NoRoom { .. }
                | SnapshotFault::Order { .. },
            )
            | Self::Stopped(LogStopped::Disk { .. } | LogStopped::Closed)
            | Self::Config { .. }
            | Self::Start { .. } => false,
        }
    }

    /// The disk has no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Log(LogOpenError::Disk { errno, .. })
            | Self::Snapshot(SnapshotFault::Disk { errno, .. })
            | Self::Stopped(LogStopped::Disk { errno, .. }) => errno.is_disk_full(),
            Self::Log(_)
            | Self::Stopped(_)
            | Self::Snapshot(_)
            | Self::Gap { .. }
            | Self::Config { .. }
            | Self::Start { .. } => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Stopped(error) => error.fmt(f),
            Self::Gap { snapshot, purged } => {
                write!(f, "the log begins after entry {purged}, the snapshot ends at {snapshot}")
            }
            Self::Config { why } => write!(f, "the group's times do not go together: {why}"),
            Self::Start { why } => write!(f, "the group cannot start: {why}"),
        }
    }
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("the group has members already"),
            Self::NotAMember => f.write_str("this node is not among the members"),
            Self::Stopped { why } => write!(f, "the group has stopped: {why}"),
        }
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => write!(f, "this node does not lead; {}", Leader(*leader)),
            Self::NoQuorum { since } => write!(f, "no quorum has answered for {} ms", millis(*since)),
            Self::TooLong { bytes, most } => write!(f, "{bytes} bytes are too many; {most} are allowed"),
            Self::Full { most } => write!(f, "{most} proposals wait for their outcome already"),
            Self::TimedOut { after } => {
                write!(f, "no outcome within {} ms; it may still be committed", millis(*after))
            }
            Self::OutcomeUnknown { leader } => write!(
                f,
                "the leader changed; the proposal may have been committed or not; {}",
                Leader(*leader)
            ),
            Self::Stopped { why } => write!(f, "the group has stopped: {why}"),
        }
    }
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => write!(f, "this node does not lead; {}", Leader(*leader)),
            Self::NoQuorum => f.write_str("no quorum has answered lately"),
            Self::InProgress => f.write_str("another change of members is under way"),
            Self::Unknown { node } => write!(f, "node {node} is no member"),
            Self::OtherLife { node } => {
                write!(f, "node {node} is a member in another life or at another address; remove it first")
            }
            Self::LastVoter => f.write_str("no voter would be left"),
            Self::HandedOver { leader } => write!(f, "leadership was handed over; {}", Leader(*leader)),
            Self::Refused { why } => write!(f, "the change is refused: {why}"),
            Self::TimedOut { after } => {
                write!(f, "no change within {} ms; it may still happen", millis(*after))
            }
            Self::Stopped { why } => write!(f, "the group has stopped: {why}"),
        }
    }
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader is known"),
            Self::Leader(error) => write!(f, "the leader did not say up to where to wait: {error}"),
            Self::NotLeader { leader } => write!(f, "this node does not lead; {}", Leader(*leader)),
            Self::NoQuorum => f.write_str("a quorum did not answer the leader"),
            Self::TimedOut { after, due } => {
                write!(f, "entry {due} did not come within {} ms", millis(*after))
            }
            Self::Stopped { why } => write!(f, "the group has stopped: {why}"),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => write!(f, "this node does not lead; {}", Leader(*leader)),
            Self::NotAVoter { node } => write!(f, "node {node} is no voter"),
            Self::TimedOut { after } => {
                write!(f, "leadership was not taken over within {} ms", millis(*after))
            }
            Self::Stopped { why } => write!(f, "the group has stopped: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}
impl std::error::Error for BootstrapError {}
impl std::error::Error for ProposeError {}
impl std::error::Error for MembersError {}
impl std::error::Error for BarrierError {}
impl std::error::Error for TransferError {}

impl From<LogOpenError> for OpenError {
    fn from(error: LogOpenError) -> Self {
        Self::Log(error)
    }
}

impl From<SnapshotFault> for OpenError {
    fn from(fault: SnapshotFault) -> Self {
        Self::Snapshot(fault)
    }
}
