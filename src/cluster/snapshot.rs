//! The cluster's state as one checked archive: `NODES_MAX` nodes take well under one archive's limit.
//!
//! Installing checks every rule again, and gives a state or an error.

use std::fmt;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::command::{Limit, NodeRecord, Replicas, Role};
use super::outcome::NodeReason;
use super::state::{ClusterState, Founded, Node, Retired, limit_is_valid};
use super::validate;
use crate::ids::{ClusterId, Incarnation, LogIndex, NodeId};
use crate::limits::{INCARNATIONS_RETIRED_MAX, NODES_MAX, SHARDS_MAX, SNAPSHOT_ARCHIVE_BYTES_MAX};
use crate::wire::aligned;
use crate::wire::archive::{
    ARCHIVE_ALIGNMENT, ArchiveError, ArchiveHeader, ArchiveKind, archive_buffer, open_archive, seal_archive,
};

/// Version of the snapshot's format, named in its header.
pub const SNAPSHOT_VERSION: u16 = 1;

/// Why a snapshot is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// Not a whole archive of a cluster's state.
    Archive(ArchiveError),
    /// The archive is whole but not of this format.
    Payload {
        /// What the checked access said.
        why: String,
    },
    /// Something is wrong with a node.
    Node {
        /// Which.
        node: NodeId,
        /// What.
        reason: NodeReason,
    },
    /// Another rule is broken.
    Rule {
        /// Which.
        rule: &'static str,
    },
}

#[derive(Debug, Archive, Serialize, Deserialize)]
struct StateRecord {
    founded: Option<FoundedRecord>,
    nodes: Vec<(NodeRecord, LogIndex, LogIndex)>,
    nodes_changed: LogIndex,
    retired: Vec<(Incarnation, NodeId, LogIndex)>,
    limits: Vec<(Limit, u64)>,
}

#[derive(Debug, Archive, Serialize, Deserialize)]
struct FoundedRecord {
    cluster: ClusterId,
    shard_count: u32,
    replicas: Replicas,
}

impl ClusterState {
    /// The state's bytes; the same on every replica at the same index.
    #[must_use]
    pub fn snapshot(&self) -> AlignedVec<ARCHIVE_ALIGNMENT> {
        let record = StateRecord {
            founded: self.founded.map(|founded| FoundedRecord {
                cluster: founded.cluster,
                shard_count: founded.shard_count,
                replicas: founded.replicas,
            }),
            nodes: self.nodes.values().map(|node| (node.record.clone(), node.joined, node.changed)).collect(),
            nodes_changed: self.nodes_changed,
            retired: self.retired.iter().map(|(life, retired)| (*life, retired.node, retired.at)).collect(),
            limits: self.limits.iter().map(|(limit, value)| (*limit, *value)).collect(),
        };
        let mut bytes = rkyv::api::high::to_bytes_in::<_, rancor::Error>(&record, archive_buffer(0))
            .expect("serialising plain values into memory has no way to fail");
        let (kind, version) = (ArchiveKind::Cluster, SNAPSHOT_VERSION);
        let header = ArchiveHeader { kind, version, ordinal: 0, index: self.applied.0, last: true };
        seal_archive(&mut bytes, &header);
        bytes
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// The first thing that is not as `snapshot` leaves it.
    pub fn install(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (header, payload) =
            open_archive(bytes, ArchiveKind::Cluster, SNAPSHOT_VERSION, SNAPSHOT_ARCHIVE_BYTES_MAX)
                .map_err(SnapshotError::Archive)?;
        let mut scratch = AlignedVec::new();
        let invalid = |error: rancor::Error| SnapshotError::Payload { why: error.to_string() };
        let archived = rkyv::access::<ArchivedStateRecord, rancor::Error>(aligned(payload, &mut scratch))
            .map_err(invalid)?;
        let record: StateRecord = rkyv::deserialize::<_, rancor::Error>(archived).map_err(invalid)?;
        check(header.ordinal == 0 && header.last, "a cluster's snapshot has one part")?;
        restore(LogIndex(header.index), record)
    }
}

fn restore(applied: LogIndex, record: StateRecord) -> Result<ClusterState, SnapshotError> {
    let mut state = ClusterState { applied, nodes_changed: record.nodes_changed, ..ClusterState::new() };
    check(state.nodes_changed <= applied, "nothing changed after the snapshot")?;
    state.founded = record.founded.as_ref().map(|founded| Founded {
        cluster: founded.cluster,
        shard_count: founded.shard_count,
        replicas: founded.replicas,
    });
    check(record.nodes.len() <= NODES_MAX, "a cluster has at most NODES_MAX nodes")?;
    check(record.retired.len() <= INCARNATIONS_RETIRED_MAX, "the list of retired incarnations is bounded")?;
    check_founded(&state, &record)?;
    for (incarnation, node, at) in record.retired {
        check(at <= applied, "nothing was retired after the snapshot")?;
        check(
            state.retired.keys().next_back().is_none_or(|last| *last < incarnation),
            "incarnations ascend",
        )?;
        state.retired.insert(incarnation, Retired { node, at });
    }
    for (said, joined, changed) in record.nodes {
        let node = said.id;
        validate::node(&said).map_err(|reason| SnapshotError::Node { node, reason })?;
        state.check_distinct(&said).map_err(|reason| SnapshotError::Node { node, reason })?;
        check(
            joined <= changed && changed <= state.nodes_changed,
            "no node changed after the latest change",
        )?;
        check(state.nodes.keys().next_back().is_none_or(|last| *last < node), "nodes ascend")?;
        state.nodes.insert(node, Node { record: said, joined, changed });
    }
    for (limit, value) in record.limits {
        check(limit_is_valid(limit, value), "limits have values that a command may set")?;
        check(state.limits.keys().next_back().is_none_or(|last| *last < limit), "limits ascend")?;
        state.limits.insert(limit, value);
    }
    Ok(state)
}

fn check_founded(state: &ClusterState, record: &StateRecord) -> Result<(), SnapshotError> {
    let Some(founded) = state.founded else {
        let nothing = record.nodes.is_empty() && record.retired.is_empty() && record.limits.is_empty();
        return check(nothing, "nothing is agreed before the bootstrap");
    };
    check(founded.cluster != ClusterId::default(), "a cluster has an id")?;
    check(
        (1..=SHARDS_MAX).contains(&(founded.shard_count as usize)),
        "a cluster has 1 to SHARDS_MAX shards",
    )?;
    let voters = record.nodes.iter().any(|(node, _, _)| node.role == Role::Voter);
    check(voters, "a cluster has a voter")
}

fn check(holds: bool, rule: &'static str) -> Result<(), SnapshotError> {
    if holds { Ok(()) } else { Err(SnapshotError::Rule { rule }) }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(error) => fmt::Display::fmt(error, f),
            Self::Payload { why } => write!(f, "the cluster's snapshot is not of its format: {why}"),
            Self::Node { node, reason } => write!(f, "node {node} of the cluster's snapshot: {reason}"),
            Self::Rule { rule } => write!(f, "the cluster's snapshot breaks a rule: {rule}"),
        }
    }
}

impl std::error::Error for SnapshotError {}
