//! The replicated state of the cluster: nodes, their incarnations and roles, shards, limits.
//!
//! Small and changed rarely: commands are checked in full, then performed; nothing is taken back.

use std::collections::BTreeMap;

use super::command::{Bootstrap, Command, Limit, NodeRecord, Replicas, Role};
use super::outcome::{Change, Effect, NodeReason, Outcome, Refusal};
use super::{placement, validate};
use crate::ids::{ClusterId, Incarnation, LogIndex, NodeId, ShardId};
use crate::limits::{INCARNATIONS_RETIRED_MAX, NODES_MAX, SERVES_MAX, SHARDS_MAX};

/// The cluster, as agreed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterState {
    pub(super) applied: LogIndex,
    pub(super) founded: Option<Founded>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) nodes_changed: LogIndex,
    pub(super) retired: BTreeMap<Incarnation, Retired>,
    pub(super) limits: BTreeMap<Limit, u64>,
}

/// What the bootstrap fixed for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Founded {
    pub(super) cluster: ClusterId,
    pub(super) shard_count: u32,
    pub(super) replicas: Replicas,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// What was said of it last.
    pub record: NodeRecord,
    /// Log index that it joined at.
    pub joined: LogIndex,
    /// Log index of the latest change of its record.
    pub changed: LogIndex,
}

/// A life that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retired {
    pub(super) node: NodeId,
    pub(super) at: LogIndex,
}

/// Whether a node that shows an incarnation is who it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is.
    Current {
        /// What it may do.
        role: Role,
    },
    /// It was, until its data root was replaced: fenced.
    Retired,
    /// The node is known under another incarnation: its data root is new, and must be admitted first.
    Foreign,
    /// The data root is another node's: a copy.
    Copied {
        /// Whose.
        of: NodeId,
    },
    /// No such node.
    UnknownNode,
}

impl ClusterState {
    /// No cluster yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the command that the log carries at `index`. Bytes that are no command change nothing but the
    /// index.
    ///
    /// # Panics
    /// If `index` is not ahead of what is applied, or the log would repeat itself.
    pub fn apply(&mut self, index: LogIndex, command: &[u8]) -> Effect {
        self.pass(index);
        let change = match Command::decode(command) {
            Err(_) => Err(Refusal::Undecodable),
            Ok(Command::Bootstrap(bootstrap)) => self.bootstrap(index, bootstrap),
            Ok(_) if self.founded.is_none() => Err(Refusal::NotBootstrapped),
            Ok(Command::SetNode { record, seen }) => self.set_node(index, record, seen),
            Ok(Command::RemoveNode { node, seen }) => self.remove_node(index, node, seen),
            Ok(Command::SetLimit { limit, value }) => self.set_limit(limit, value),
        };
        match change {
            Ok(Some(change)) => Effect { outcome: Outcome::Applied, change: Some(change) },
            Ok(None) => Effect { outcome: Outcome::Unchanged, change: None },
            Err(refusal) => Effect { outcome: Outcome::Refused(refusal), change: None },
        }
    }

    /// Passes over a log entry that is not a command: a blank one, or a change of members.
    ///
    /// # Panics
    /// If `index` is not ahead of what is applied, or the log would repeat itself.
    pub fn pass(&mut self, index: LogIndex) {
        assert!(index > self.applied, "entry {index} comes after {}", self.applied);
        self.applied = index;
    }

    /// Log index of the last entry applied; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The cluster's id; nothing before its bootstrap.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.founded.map(|founded| founded.cluster)
    }

    /// Shards of the cluster; none before its bootstrap.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.founded.map_or(0, |founded| founded.shard_count)).map(ShardId)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// All nodes, in order of their ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.values()
    }

    /// Log index of the latest change of any node: what a proposal about nodes was made from.
    #[must_use]
    pub fn nodes_changed(&self) -> LogIndex {
        self.nodes_changed
    }

    /// The shards that a node owns.
    pub fn shards_of(&self, node: NodeId) -> impl Iterator<Item = ShardId> {
        self.shards().filter(move |shard| self.owners(*shard).any(|owner| owner == node))
    }

    /// The nodes that own a shard: the voters of its group.
    pub fn owners(&self, shard: ShardId) -> impl Iterator<Item = NodeId> {
        self.founded_with(shard)
            .into_iter()
            .flat_map(move |founded| placement::owners(&self.nodes, founded.replicas, shard))
    }

    /// The nodes that hold a copy of a shard, or are to: owners and learners.
    pub fn replicas(&self, shard: ShardId) -> impl Iterator<Item = &Node> {
        self.founded_with(shard)
            .into_iter()
            .flat_map(move |founded| placement::holders(&self.nodes, founded.replicas, shard))
    }

    /// A limit that the cluster sets; nothing where each node's configuration stands.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> Option<u64> {
        self.limits.get(&limit).copied()
    }

    /// Whether a node that shows this incarnation is who it says.
    #[must_use]
    pub fn admits(&self, node: NodeId, incarnation: Incarnation) -> Admission {
        if self.retired.contains_key(&incarnation) {
            return Admission::Retired;
        }
        match self.nodes.get(&node) {
            Some(known) if known.record.incarnation == incarnation => {
                Admission::Current { role: known.record.role }
            }
            known => match (self.holder_of(incarnation), known) {
                (Some(of), _) => Admission::Copied { of },
                (None, Some(_)) => Admission::Foreign,
                (None, None) => Admission::UnknownNode,
            },
        }
    }

    fn bootstrap(&mut self, index: LogIndex, bootstrap: Bootstrap) -> Result<Option<Change>, Refusal> {
        if let Some(founded) = self.founded {
            return Err(Refusal::AlreadyBootstrapped { cluster: founded.cluster });
        }
        let Bootstrap { cluster, nodes, shard_count, replicas } = bootstrap;
        if cluster == ClusterId::default() {
            return Err(Refusal::ClusterIdZero);
        }
        if shard_count == 0 || shard_count as usize > SHARDS_MAX {
            return Err(Refusal::ShardCount { shards: shard_count });
        }
        if nodes.len() > NODES_MAX {
            return Err(Refusal::NodesFull);
        }
        let mut founded = Self {
            applied: self.applied,
            founded: Some(Founded { cluster, shard_count, replicas }),
            nodes_changed: index,
            ..Self::default()
        };
        for record in nodes {
            let node = record.id;
            founded.check_node(&record)?;
            let other = founded.nodes.insert(node, Node { record, joined: index, changed: index });
            if other.is_some() {
                return Err(Refusal::NodeTwice { node });
            }
        }
        if founded.voters_without(NodeId(0)) == 0 {
            return Err(Refusal::LastVoter);
        }
        *self = founded;
        Ok(Some(Change::Bootstrapped))
    }

    fn set_node(
        &mut self,
        index: LogIndex,
        record: NodeRecord,
        seen: LogIndex,
    ) -> Result<Option<Change>, Refusal> {
        let node = record.id;
        if self.nodes.get(&node).is_some_and(|known| known.record == record) {
            return Ok(None);
        }
        self.check_seen(seen)?;
        self.check_node(&record)?;
        let Some(known) = self.nodes.get(&node) else {
            if self.nodes.len() >= NODES_MAX {
                return Err(Refusal::NodesFull);
            }
            self.nodes.insert(node, Node { record: record.clone(), joined: index, changed: index });
            self.nodes_changed = index;
            return Ok(Some(Change::Joined(record)));
        };
        let returns = known.record.incarnation != record.incarnation;
        if returns && record.role == Role::Voter {
            return Err(Refusal::Node { node, reason: NodeReason::ReturnsAsVoter });
        }
        if record.role != Role::Voter && self.voters_without(node) == 0 {
            return Err(Refusal::LastVoter);
        }
        let joined = known.joined;
        let now = Node { record: record.clone(), joined, changed: index };
        let before = self.nodes.insert(node, now).expect("the node is known").record;
        self.nodes_changed = index;
        if !returns {
            return Ok(Some(Change::Altered { now: record, before }));
        }
        self.retire(before.incarnation, Retired { node, at: index });
        Ok(Some(Change::Returned { now: record, retired: before.incarnation }))
    }

    fn remove_node(
        &mut self,
        index: LogIndex,
        node: NodeId,
        seen: LogIndex,
    ) -> Result<Option<Change>, Refusal> {
        if !self.nodes.contains_key(&node) {
            return Ok(None);
        }
        self.check_seen(seen)?;
        if self.voters_without(node) == 0 {
            return Err(Refusal::LastVoter);
        }
        self.nodes_changed = index;
        // Its incarnation is not retired: with its data root whole, the same node may join again.
        Ok(self.nodes.remove(&node).map(|removed| Change::Removed(removed.record)))
    }

    fn check_seen(&self, seen: LogIndex) -> Result<(), Refusal> {
        if seen >= self.nodes_changed { Ok(()) } else { Err(Refusal::Stale { changed: self.nodes_changed }) }
    }

    fn set_limit(&mut self, limit: Limit, value: Option<u64>) -> Result<Option<Change>, Refusal> {
        if let Some(value) = value.filter(|&value| !limit_is_valid(limit, value)) {
            return Err(Refusal::LimitValue { value });
        }
        let before = match value {
            Some(value) => self.limits.insert(limit, value),
            None => self.limits.remove(&limit),
        };
        Ok((before != value).then_some(Change::Limited))
    }

    fn check_node(&self, record: &NodeRecord) -> Result<(), Refusal> {
        validate::node(record)
            .and_then(|()| self.check_distinct(record))
            .map_err(|reason| Refusal::Node { node: record.id, reason })
    }

    /// Checks that no other node, and no life that ended, has what must be a node's own.
    pub(super) fn check_distinct(&self, record: &NodeRecord) -> Result<(), NodeReason> {
        for other in self.nodes.values().map(|other| &other.record).filter(|other| other.id != record.id) {
            let by = other.id;
            if other.name == record.name {
                return Err(NodeReason::NameTaken { by });
            }
            if other.address == record.address {
                return Err(NodeReason::AddressTaken { by });
            }
            if other.incarnation == record.incarnation {
                return Err(NodeReason::IncarnationTaken { by });
            }
        }
        if self.retired.contains_key(&record.incarnation) {
            return Err(NodeReason::IncarnationRetired);
        }
        Ok(())
    }

    fn retire(&mut self, incarnation: Incarnation, retired: Retired) {
        self.retired.insert(incarnation, retired);
        if self.retired.len() > INCARNATIONS_RETIRED_MAX {
            let oldest = self.retired.iter().min_by_key(|(_, retired)| retired.at).map(|(oldest, _)| *oldest);
            self.retired.remove(&oldest.expect("the list is longer than its limit"));
        }
    }

    fn holder_of(&self, incarnation: Incarnation) -> Option<NodeId> {
        self.nodes.values().find(|node| node.record.incarnation == incarnation).map(|node| node.record.id)
    }

    fn voters_without(&self, node: NodeId) -> usize {
        let voters = self.nodes.values().filter(|other| other.record.role == Role::Voter);
        voters.filter(|other| other.record.id != node).count()
    }

    fn founded_with(&self, shard: ShardId) -> Option<Founded> {
        self.founded.filter(|founded| shard.0 < founded.shard_count)
    }
}

/// Whether a limit may have this value.
pub(super) fn limit_is_valid(limit: Limit, value: u64) -> bool {
    let most = match limit {
        Limit::Serves => SERVES_MAX as u64,
        Limit::NodeSendBytesPerSecond
        | Limit::NodeReceiveBytesPerSecond
        | Limit::ShardSendBytesPerSecond
        | Limit::ShardReceiveBytesPerSecond => u64::MAX,
    };
    (1..=most).contains(&value)
}
