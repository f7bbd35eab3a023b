//! Placement: which nodes own a shard. A pure function of the cluster's state, and the one place that decides
//! it.
//!
//! Every voter owns every shard. Rendezvous assignment with a replication factor takes the place of this rule
//! when `Replicas` has more than one choice; ownership must then wait for the copy, which this rule gets for
//! free, because a node becomes a voter only after it has installed.

use std::collections::BTreeMap;

use super::command::{Replicas, Role};
use super::state::Node;
use crate::ids::{NodeId, ShardId};

/// The nodes that own `shard`, in order of their ids.
pub(super) fn owners(
    nodes: &BTreeMap<NodeId, Node>,
    replicas: Replicas,
    _shard: ShardId,
) -> impl Iterator<Item = NodeId> {
    let Replicas::All = replicas;
    nodes.values().filter(|node| node.record.role == Role::Voter).map(|node| node.record.id)
}

/// The nodes that hold a copy of `shard`, or are to: its owners and its learners, in order of their ids.
pub(super) fn holders(
    nodes: &BTreeMap<NodeId, Node>,
    replicas: Replicas,
    _shard: ShardId,
) -> impl Iterator<Item = &Node> {
    let Replicas::All = replicas;
    nodes.values()
}
