//! Commands of the cluster group, in format version 1. As in a shard's log, the bytes proposed are the bytes
//! logged and applied. Each command says how things are to be, so that applying it twice is applying it once;
//! those about nodes also say what their proposer had seen, so that one that comes late undoes nothing.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::{ClusterId, Incarnation, LogIndex, NodeId};
use crate::wire::{DecodeError, ValueBytes, decode_value, encode_value};

/// A change of the cluster, as one log entry of group 0.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Makes the cluster: happens once in its life.
    Bootstrap(Bootstrap),
    /// A node is to be as said: it joins, moves, comes back with another incarnation, or changes its role.
    SetNode {
        /// How it is to be.
        record: NodeRecord,
        /// `ClusterState::nodes_changed` as the proposer saw it.
        seen: LogIndex,
    },
    /// A node is to be gone.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// `ClusterState::nodes_changed` as the proposer saw it.
        seen: LogIndex,
    },
    /// A limit for all nodes; without a value, what each node's configuration says.
    SetLimit {
        /// Which.
        limit: Limit,
        /// The value, in the limit's unit; not 0.
        value: Option<u64>,
    },
}

/// The first state of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Drawn at random by who makes the cluster.
    pub cluster: ClusterId,
    /// The first nodes; at least one voter.
    pub nodes: Vec<NodeRecord>,
    /// Shards, for the cluster's life.
    pub shard_count: u32,
    /// How many nodes hold each shard.
    pub replicas: Replicas,
}

/// What the cluster agrees on about a node.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Chosen by the operator, from 1; no two nodes have the same.
    pub id: NodeId,
    /// For people; no two nodes have the same.
    pub name: String,
    /// `host:port` that other nodes dial; no two nodes have the same.
    pub address: String,
    /// `host:port` of the admin endpoint, if there is one.
    pub admin_address: Option<String>,
    /// The life of its data root.
    pub incarnation: Incarnation,
    /// What it may do.
    pub role: Role,
}

/// What a node may do in the groups that it is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug))]
pub enum Role {
    /// Votes, and owns shards.
    Voter,
    /// Learns; a voter as soon as it has installed.
    Promotable,
    /// Learns, and never votes.
    NonVoter,
}

/// How many nodes hold a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug))]
pub enum Replicas {
    /// All of them.
    All,
}

/// A limit that the cluster sets for all its nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug))]
pub enum Limit {
    /// Payload bytes that a node sends in a second.
    NodeSendBytesPerSecond,
    /// Payload bytes that a node receives in a second.
    NodeReceiveBytesPerSecond,
    /// Payload bytes that a node sends for one shard in a second.
    ShardSendBytesPerSecond,
    /// Payload bytes that a node receives for one shard in a second.
    ShardReceiveBytesPerSecond,
    /// Transfers that a node serves at a time.
    Serves,
}

impl Command {
    /// The bytes to propose.
    #[must_use]
    pub fn encode(&self) -> ValueBytes {
        encode_value(self)
    }

    /// Reads a command; a cluster changes rarely, so it is simply copied out.
    ///
    /// # Errors
    /// The bytes are no command of this format, or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_value(bytes)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Promotable => "promotable",
            Self::NonVoter => "non_voter",
        })
    }
}

impl Role {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Voter, Self::Promotable, Self::NonVoter].into_iter().find(|role| role.to_string() == text)
    }
}
