//! The map that goes from the cluster group to every core: where nodes are, in which life and role, and who founds
//! what.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::cluster::{ClusterState, NodeRecord, Role, Roll};
use crate::ids::{Incarnation, NodeId};
use crate::raft::Member;
use crate::transport::RefusedCode;

/// A node of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) address: SocketAddr,
    pub(crate) life: Incarnation,
    pub(crate) role: Role,
}

impl Placed {
    /// What the groups' logs say of it.
    pub(super) fn member(&self) -> Member {
        Member { address: self.address.to_string(), incarnation: self.life }
    }
}

/// What the cluster group has agreed on, as far as cores need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placement {
    pub(crate) nodes: BTreeMap<NodeId, Placed>,
    /// Nodes that the cluster has removed, while they are still members of its group: until then they are let in, so
    /// that they hear of it.
    pub(crate) leaving: BTreeMap<NodeId, Incarnation>,
    pub(crate) shards: u32,
    /// Who founds the shards' groups, in this life: the first node, as long as it is as the bootstrap made it.
    pub(crate) founder: Option<(NodeId, Incarnation)>,
}

impl Placement {
    /// `None` before the cluster is founded. `members` are those of the cluster group; `heard` is another node's roll,
    /// which counts while it is newer than this node's own state.
    pub(super) fn of(
        state: &ClusterState,
        members: &BTreeMap<NodeId, Member>,
        heard: Option<&Roll>,
    ) -> Option<Self> {
        state.cluster()?;
        let shards = u32::try_from(state.shards().count()).ok()?;
        let nodes: BTreeMap<NodeId, Placed> = match heard.filter(|roll| roll.changed > state.nodes_changed())
        {
            Some(roll) => roll.nodes.iter().filter_map(placed).collect(),
            None => state.nodes().filter_map(|node| placed(&node.record)).collect(),
        };
        let leaving = members.iter().filter(|(member, _)| !nodes.contains_key(member));
        let leaving = leaving.map(|(node, member)| (*node, member.incarnation)).collect();
        // A node that has come back since, or joined, would found a second history beside the one that it lacks.
        let founded = state.nodes().map(|node| node.joined).min();
        let founder = state.nodes().next().filter(|first| Some(first.changed) == founded);
        let founder = founder.map(|first| (first.record.id, first.record.incarnation));
        Some(Self { nodes, leaving, shards, founder })
    }

    /// Whether a node is one of the cluster, or still a member of its group.
    pub(super) fn admits_some(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node) || self.leaving.contains_key(&node)
    }

    /// Whether a node that shows this life is one of the cluster.
    pub(super) fn admits(&self, node: NodeId, life: Incarnation) -> Result<(), RefusedCode> {
        let known = self.nodes.get(&node).map(|placed| placed.life);
        match known.or_else(|| self.leaving.get(&node).copied()) {
            Some(known) if known == life => Ok(()),
            Some(_) => Err(RefusedCode::Incarnation),
            None => Err(RefusedCode::UnknownNode),
        }
    }
}

fn placed(record: &NodeRecord) -> Option<(NodeId, Placed)> {
    let address = record.address.parse().ok()?;
    Some((record.id, Placed { address, life: record.incarnation, role: record.role }))
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
        assert_eq!(
            Placement::of(&state, &BTreeMap::new(), None),
            None,
            "nobody founds anything before there is a cluster"
        );
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
        Placement::of(&state, &BTreeMap::new(), None).expect("there is a cluster").founder
    }

    #[test]
    fn the_first_node_founds_the_shards_groups_and_nobody_else_ever() {
        assert_eq!(founder_after(&[]), Some((NodeId(2), Incarnation([2; 16]))));
        let of_others = [record(3, 9, Role::Promotable), record(4, 4, Role::Promotable)];
        assert_eq!(founder_after(&of_others), Some((NodeId(2), Incarnation([2; 16]))));
    }

    /// A node that was down while others came could not hear their leader, as it did not know it.
    #[test]
    fn r2_a_newer_roll_counts_and_an_older_one_does_not() {
        let mut state = ClusterState::new();
        let nodes = vec![record(1, 1, Role::Voter), record(2, 2, Role::Voter)];
        let bootstrap =
            Bootstrap { cluster: ClusterId([1; 16]), nodes, shard_count: 1, replicas: Replicas::All };
        state.apply(LogIndex(5), &Command::Bootstrap(bootstrap).encode());
        let roll = |changed, lives: &[(u64, u8)]| {
            let nodes = lives.iter().map(|(id, life)| record(*id, *life, Role::Voter)).collect();
            Roll { changed: LogIndex(changed), nodes }
        };
        let of = |roll: &Roll| {
            let member = |life| Member { address: String::new(), incarnation: Incarnation([life; 16]) };
            let members = BTreeMap::from([(NodeId(1), member(1)), (NodeId(2), member(2))]);
            Placement::of(&state, &members, Some(roll)).expect("there is a cluster")
        };
        let newer = of(&roll(6, &[(1, 9), (3, 3)]));
        let life = |life| Incarnation([life; 16]);
        assert_eq!(newer.admits(NodeId(3), life(3)), Ok(()));
        assert_eq!(newer.admits(NodeId(1), life(1)), Err(RefusedCode::Incarnation));
        assert_eq!(newer.admits(NodeId(2), life(2)), Ok(()), "it is a member of the group still");
        let older = of(&roll(5, &[(3, 3)]));
        assert_eq!(older.admits(NodeId(3), life(3)), Err(RefusedCode::UnknownNode));
        assert_eq!(older.admits(NodeId(1), life(1)), Ok(()));
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
