//! P2: an engine that says who is asked for its segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringway::ids::NodeId;

use super::nodes::{Nodes, register, until};

const COUNT: usize = 20;

/// Three nodes, of which the third was away while the others came to hold all segments.
fn with_third_away() -> Nodes {
    let mut nodes = Nodes::new(3);
    until("a leader", || nodes.engine(1).status().wait().is_ok_and(|status| status.ready));
    nodes.stop(3);
    let shard = nodes.shard(1);
    for index in 0..COUNT {
        register(&shard, &format!("{index}.seg"), &vec![index as u8 + 1; 10_000 + index]);
    }
    until("the second has all", || has_all(&nodes, 2));
    nodes
}

fn has_all(nodes: &Nodes, node: usize) -> bool {
    let shard = &nodes.engine(node).status().wait().expect("it runs").shards[0];
    shard.segments == COUNT as u64 && shard.missing == 0
}

fn landed_from(nodes: &Nodes, peer: u64) -> u64 {
    let status = nodes.engine(3).status().wait().expect("it runs");
    let peers = &status.shards[0].transfers.peers;
    peers.iter().find(|found| found.node == peer).map_or(0, |found| found.landed)
}

#[test]
fn p2_all_segments_come_from_the_node_that_the_engine_names() {
    let mut nodes = with_third_away();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    nodes.open_as(3, |builder| {
        builder.sources(move |origin, path| {
            assert!(origin == NodeId(1) && path.ends_with(".seg"), "{path} of {origin}");
            count.fetch_add(1, Ordering::Relaxed);
            vec![NodeId(99), NodeId(2), NodeId(1)]
        })
    });
    until("the third has all", || has_all(&nodes, 3));
    assert_eq!((landed_from(&nodes, 2), landed_from(&nodes, 1)), (COUNT as u64, 0));
    assert!(asked.load(Ordering::Relaxed) >= COUNT as u64);
}

#[test]
fn p2_an_engine_whose_choice_panics_gets_its_segments_all_the_same() {
    let mut nodes = with_third_away();
    nodes.open_as(3, |builder| builder.sources(|_, _| panic!("a mistake of the engine's")));
    until("the third has all", || has_all(&nodes, 3));
    assert_eq!(landed_from(&nodes, 2) + landed_from(&nodes, 1), COUNT as u64);
}
