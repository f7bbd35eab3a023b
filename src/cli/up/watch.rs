//! How the cluster stands: asked of every node, and when it counts as synced.

use std::time::Duration;

use ringway::engine::NodeStatus;

use super::plan::Plan;
use crate::cli::ask::Endpoint;

const ASK_TIME: Duration = Duration::from_secs(5);

/// The nodes' admin endpoints.
pub(super) struct Watch(Vec<Endpoint>);

/// What the nodes say, those that answer.
pub(super) struct View {
    nodes: usize,
    answers: Vec<NodeStatus>,
}

impl Watch {
    pub(super) fn new(plan: &Plan) -> Self {
        Self(plan.seats.iter().map(|seat| Endpoint::new(seat.admin, ASK_TIME)).collect())
    }

    pub(super) fn look(&self) -> View {
        let answers = self.0.iter().filter_map(|endpoint| endpoint.status().ok());
        View { nodes: self.0.len(), answers: answers.collect() }
    }
}

impl View {
    /// Every node answers, and every group of it has a leader and an entry.
    pub(super) fn is_founded(&self) -> bool {
        self.answers.len() == self.nodes
            && self.answers.iter().all(|node| {
                node.groups.len() == node.shards.len() + 1
                    && node.groups.iter().all(|group| group.leader.is_some() && group.applied > 0)
            })
    }

    /// Every node has applied and installed all that any of them knows to be committed, and lacks nothing.
    pub(super) fn is_synced(&self) -> bool {
        let committed = |shard: u32| {
            let all = self.answers.iter().flat_map(|node| &node.shards).filter(|at| at.shard == shard);
            all.map(|at| at.committed).max().unwrap_or(u64::MAX)
        };
        self.is_founded()
            && self
                .answers
                .iter()
                .flat_map(|node| &node.shards)
                .all(|at| at.missing == 0 && at.damaged == 0 && at.installed >= committed(at.shard))
    }

    /// Segments and bytes of the manifest, as the node says that has applied the most.
    pub(super) fn manifest(&self) -> (u64, u64) {
        let of = |node: &NodeStatus| {
            let applied: u64 = node.shards.iter().map(|at| at.applied).sum();
            let segments = node.shards.iter().map(|at| at.segments).sum();
            (applied, segments, node.shards.iter().map(|at| at.bytes).sum())
        };
        self.answers.iter().map(of).max().map_or((0, 0), |(_, segments, bytes)| (segments, bytes))
    }

    /// Payload bytes that the nodes have received since they started.
    pub(super) fn bytes_fetched(&self) -> u64 {
        self.answers.iter().flat_map(|node| &node.shards).map(|at| at.bytes_fetched).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway::engine::{GroupStatus, RegistrarStatus, ShardStatus};

    fn group(group: u32) -> GroupStatus {
        let role = "follower".to_owned();
        GroupStatus {
            group,
            role,
            term: 1,
            leader: Some(1),
            voters: vec![1, 2],
            committed: 5,
            applied: 5,
            foreign_calls: 0,
        }
    }

    fn node(number: u64) -> NodeStatus {
        let shard = ShardStatus {
            shard: 0,
            ready: true,
            segments: 3,
            bytes: 300,
            sessions: 1,
            proposed: 5,
            committed: 5,
            applied: 5,
            installed: 5,
            missing: 0,
            damaged: 0,
            fetching: 0,
            unavailable: Vec::new(),
            paused: None,
            bytes_fetched: 0,
            direct: true,
            direct_asked: true,
            links: true,
            registrar: RegistrarStatus::default(),
            bytes_lent: 0,
            bytes_served: 0,
            bytes_relayed: 0,
            chunks_refetched: 0,
            foreign_proposals: 0,
            lag: Default::default(),
            transfers: Default::default(),
            proposals: Default::default(),
            leaving: 0,
            checkpoints: Default::default(),
        };
        NodeStatus {
            node: number,
            ready: true,
            groups: vec![group(0), group(1)],
            shards: vec![shard],
            ..NodeStatus::default()
        }
    }

    fn view(change: impl Fn(&mut NodeStatus)) -> View {
        let mut second = node(2);
        change(&mut second);
        View { nodes: 2, answers: vec![node(1), second] }
    }

    #[test]
    fn a_cluster_is_synced_when_every_node_has_all_that_any_knows() {
        assert!(view(|_| ()).is_synced());
        assert!(!view(|node| node.shards[0].missing = 1).is_synced());
        assert!(!view(|node| node.shards[0].damaged = 1).is_synced());
        assert!(!view(|node| node.shards[0].installed = 4).is_synced());
        assert!(!view(|node| node.shards[0].committed = 6).is_synced(), "it knows of more than the first");
        assert!(!view(|node| node.groups[1].leader = None).is_synced());
        assert!(!view(|node| node.groups.truncate(1)).is_synced());
        assert!(!View { nodes: 3, answers: view(|_| ()).answers }.is_synced(), "one does not answer");
    }
}
