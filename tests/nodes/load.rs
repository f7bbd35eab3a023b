//! What nodes tell each other of how much they have to do.

use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};

use crate::sim::SimOptions;

use super::campaign::three;
use super::cluster::Cluster;
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);

/// The largest load that any node has heard of from another one.
fn heard(cluster: &Cluster) -> u32 {
    let nodes = cluster.nodes();
    let pairs = nodes.iter().flat_map(|one| nodes.iter().map(move |other| (*one, *other)));
    let loads = pairs.filter_map(|(one, other)| cluster.shard(one, SHARD)?.load_of(other));
    loads.max().unwrap_or_default()
}

#[test]
fn a_node_that_serves_tells_the_others_how_much_and_when_it_has_done_so() {
    let mut cluster = Cluster::new(1, SimOptions::default(), three());
    cluster.working = false;
    assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
    cluster.go_on(millis(500)).expect("no checker minds");
    assert_eq!(heard(&cluster), 0);
    for source in [1, 2] {
        // Bytes in a microsecond: it takes seconds, and heartbeats pass.
        cluster.sim.link(NodeId(source), NodeId(3)).rate = 8;
    }
    let files = vec![("large".to_owned(), content(1, 24 << 20).to_vec())];
    let ask = Ask { durability: Durability::Landed(3), timeout: secs(20) };
    cluster.ask(NodeId(1), SHARD, files, ask);
    let told = cluster.until(secs(10), |cluster| heard(cluster) > 0).expect("no checker minds");
    assert!(told, "nobody has heard of it");
    let done = cluster.until(secs(20), |cluster| cluster.ledger.tasks.is_empty() && heard(cluster) == 0);
    assert!(done.expect("no checker minds"), "a load of {} stays", heard(&cluster));
}
