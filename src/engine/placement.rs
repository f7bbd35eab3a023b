//! The map that goes from the cluster group to every core: where nodes are, in which life, and who founds what.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::cluster::ClusterState;
use crate::ids::{Incarnation, NodeId};

/// What the cluster group has agreed on, as far as cores need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placement {
    pub(crate) nodes: BTreeMap<NodeId, (SocketAddr, Incarnation)>,
    pub(crate) shards: u32,
    /// Who founds the shards' groups, in this life: the first node, as long as it is as the bootstrap made it.
    pub(crate) founder: Option<(NodeId, Incarnation)>,
}

impl Placement {
    /// `None` before the cluster is founded.
    pub(super) fn of(state: &ClusterState) -> Option<Self> {
        state.cluster()?;
        let shards = u32::try_from(state.shards().count()).ok()?;
        let nodes = state.nodes().filter_map(|node| {
            let address: SocketAddr = node.record.address.parse().ok()?;
            Some((node.record.id, (address, node.record.incarnation)))
        });
        // A node that has come back since, or joined, would found a second history beside the one that it lacks.
        let founded = state.nodes().map(|node| node.joined).min();
        let founder = state.nodes().next().filter(|first| Some(first.changed) == founded);
        let founder = founder.map(|first| (first.record.id, first.record.incarnation));
        Some(Self { nodes: nodes.collect(), shards, founder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Bootstrap, Command, NodeRecord, Outcome, Replicas, Role};
    use crate::ids::{ClusterId, LogIndex};

    fn record(id: u64, life: u8, role: Role) -> NodeRecord {
        let (name, address) = (format!("node-{id}"), format!("10.0.0.{id}:7400"));
        NodeRecord {
            id: NodeId(id),
            name,
            address,
            admin_address: None,
            incarnation: Incarnation([life; 16]),
            role,
        }
    }

    /// A cluster of the nodes 2 and 3 in their first lives, and what was set since.
    fn founder_after(set: &[NodeRecord]) -> Option<(NodeId, Incarnation)> {
        let mut state = ClusterState::new();
        assert_eq!(Placement::of(&state), None, "nobody founds anything before there is a cluster");
        let nodes = vec![record(2, 2, Role::Voter), record(3, 3, Role::Voter)];
        let bootstrap =
            Bootstrap { cluster: ClusterId([1; 16]), nodes, shard_count: 2, replicas: Replicas::All };
        let apply = |state: &mut ClusterState, command: Command| {
            let index = LogIndex(state.applied().0 + 1);
            assert_eq!(state.apply(index, &command.encode()).outcome, Outcome::Applied);
        };
        apply(&mut state, Command::Bootstrap(bootstrap));
        for record in set {
            let seen = state.nodes_changed();
            apply(&mut state, Command::SetNode { record: record.clone(), seen });
        }
        Placement::of(&state).expect("there is a cluster").founder
    }

    #[test]
    fn the_first_node_founds_the_shards_groups_and_nobody_else_ever() {
        assert_eq!(founder_after(&[]), Some((NodeId(2), Incarnation([2; 16]))));
        let of_others = [record(3, 9, Role::Promotable), record(4, 4, Role::Promotable)];
        assert_eq!(founder_after(&of_others), Some((NodeId(2), Incarnation([2; 16]))));
    }

    #[test]
    fn s8_a_first_node_that_comes_back_or_comes_later_founds_nothing() {
        let back = record(2, 9, Role::Promotable);
        let votes = record(2, 9, Role::Voter);
        assert_eq!(founder_after(std::slice::from_ref(&back)), None);
        assert_eq!(founder_after(&[back, votes]), None, "nor when it votes again");
        assert_eq!(founder_after(&[record(1, 1, Role::Promotable)]), None, "a later one with a lower number");
    }
}
