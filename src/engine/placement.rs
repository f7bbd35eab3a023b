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
        // A node that has come back since would found a second history beside the one that it has lost.
        let founder = state.nodes().next().filter(|first| first.changed == first.joined);
        let founder = founder.map(|first| (first.record.id, first.record.incarnation));
        Some(Self { nodes: nodes.collect(), shards, founder })
    }
}
