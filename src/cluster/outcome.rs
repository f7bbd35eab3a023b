//! What the cluster's state answers to a command.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::command::NodeRecord;
use crate::ids::{ClusterId, Incarnation, LogIndex, NodeId};
use crate::limits::{NODE_TEXT_BYTES_MAX, NODES_MAX, SERVES_MAX, SHARDS_MAX};
use crate::wire::{DecodeError, ValueBytes, decode_value, encode_value};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Outcome {
    /// It happened.
    Applied,
    /// It was so already.
    Unchanged,
    /// Nothing happened.
    Refused(Refusal),
}

/// What changed, for those who act on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The cluster was made.
    Bootstrapped,
    /// A node came.
    Joined(NodeRecord),
    /// A node has another address, name or role.
    Altered {
        /// As it is.
        now: NodeRecord,
        /// As it was.
        before: NodeRecord,
    },
    /// A node came back with another incarnation: the old one is fenced.
    Returned {
        /// As it is.
        now: NodeRecord,
        /// The life that ended.
        retired: Incarnation,
    },
    /// A node went.
    Removed(NodeRecord),
    /// A limit changed.
    Limited,
}

/// What applying one command gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// What the proposer is told.
    pub outcome: Outcome,
    /// What changed, if anything did.
    pub change: Option<Change>,
}

/// Why nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Refusal {
    /// The bytes are no command of this format.
    Undecodable,
    /// There is no cluster yet; bootstrap one.
    NotBootstrapped,
    /// The cluster was made already.
    AlreadyBootstrapped {
        /// The cluster that there is.
        cluster: ClusterId,
    },
    /// A cluster's id is drawn at random, and not zero.
    ClusterIdZero,
    /// No shards, or too many.
    ShardCount {
        /// How many.
        shards: u32,
    },
    /// Too many nodes.
    NodesFull,
    /// No voter would be left.
    LastVoter,
    /// Nodes changed since the proposer looked; look again.
    Stale {
        /// Log index of the latest change.
        changed: LogIndex,
    },
    /// The same id twice in a bootstrap.
    NodeTwice {
        /// Which.
        node: NodeId,
    },
    /// Something is wrong with what is said of a node.
    Node {
        /// Which.
        node: NodeId,
        /// What.
        reason: NodeReason,
    },
    /// A limit of zero would stop everything, and some have a highest value.
    LimitValue {
        /// The value.
        value: u64,
    },
}

/// What is wrong with what is said of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum NodeReason {
    /// Ids count from 1.
    IdZero,
    /// No name, one too long, or with blanks or control characters.
    Name,
    /// Another node has the name.
    NameTaken {
        /// Who.
        by: NodeId,
    },
    /// Not `host:port`.
    Address,
    /// The admin address is not `host:port`.
    AdminAddress,
    /// Another node has the address.
    AddressTaken {
        /// Who.
        by: NodeId,
    },
    /// Incarnations are drawn at random, and not zero.
    IncarnationZero,
    /// Another node has the incarnation: one data root is a copy of the other.
    IncarnationTaken {
        /// Who.
        by: NodeId,
    },
    /// The incarnation was retired: this data root was replaced, and is not to come back.
    IncarnationRetired,
    /// A node that comes back with another incarnation is no voter until it has installed: admit it as
    /// promotable.
    ReturnsAsVoter,
}

impl Outcome {
    /// The outcome's bytes.
    #[must_use]
    pub fn encode(&self) -> ValueBytes {
        encode_value(self)
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// The bytes are no outcome of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_value(bytes)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => write!(f, "applied"),
            Self::Unchanged => write!(f, "it was so already"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => write!(f, "the bytes are no command that this version reads"),
            Self::NotBootstrapped => write!(f, "there is no cluster yet; bootstrap one"),
            Self::AlreadyBootstrapped { cluster } => write!(f, "the cluster was made already: {cluster}"),
            Self::ClusterIdZero => write!(f, "the cluster's id is zero; draw one at random"),
            Self::ShardCount { shards } => write!(f, "{shards} shards are not between 1 and {SHARDS_MAX}"),
            Self::NodesFull => write!(f, "a cluster has at most {NODES_MAX} nodes"),
            Self::LastVoter => write!(f, "no voter would be left"),
            Self::Stale { changed } => {
                write!(f, "nodes changed at {changed}, after the proposer looked; look again")
            }
            Self::NodeTwice { node } => write!(f, "node {node} is named twice"),
            Self::Node { node, reason } => write!(f, "node {node}: {reason}"),
            Self::LimitValue { value } => {
                write!(
                    f,
                    "{value} is no value for the limit: it must not be 0, nor above {SERVES_MAX} for serves"
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for NodeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdZero => write!(f, "ids count from 1"),
            Self::Name => {
                write!(f, "the name must have 1 to {NODE_TEXT_BYTES_MAX} visible characters, and no blank")
            }
            Self::NameTaken { by } => write!(f, "node {by} has that name"),
            Self::Address => write!(f, "the address must be host:port"),
            Self::AdminAddress => write!(f, "the admin address must be host:port"),
            Self::AddressTaken { by } => write!(f, "node {by} has that address"),
            Self::IncarnationZero => write!(f, "the incarnation is zero; draw one at random"),
            Self::IncarnationTaken { by } => {
                write!(
                    f,
                    "node {by} has that incarnation: one data root is a copy of the other; start it from an empty one"
                )
            }
            Self::IncarnationRetired => {
                write!(f, "that data root was replaced and is fenced; start from an empty root")
            }
            Self::ReturnsAsVoter => {
                write!(f, "with another incarnation it is not the old voter; admit it as promotable")
            }
        }
    }
}
