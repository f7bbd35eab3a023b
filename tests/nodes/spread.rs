//! P6: a large segment that several nodes want at once leaves its origin about once, whatever becomes of the others.

use ringway::engine::{Ask, Durability};
use ringway::ids::{Nanos, NodeId, ShardId};
use ringway::limits::{CHUNK_BYTES, SPREAD_PATIENCE};
use ringway::stats::TransferStats;

use crate::sim::SimOptions;

use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::host::Shape;
use super::secs;
use super::workload::content;

const SHARD: ShardId = ShardId(0);
const ONE: NodeId = NodeId(1);
const CHUNKS: usize = 24;
const BYTES: usize = CHUNKS * CHUNK_BYTES - 1000;

/// A quiet cluster of four.
fn four(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, SimOptions::default(), Shape { nodes: 4, ..three() });
    cluster.working = false;
    let founded = cluster.until(secs(20), |cluster| cluster.is_founded());
    assert!(sound(seed, founded), "seed {seed}");
    cluster
}

fn sound<T>(seed: u64, done: Result<T, Found>) -> T {
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what))
}

fn stat(cluster: &Cluster, node: u64, look: impl Fn(&TransferStats) -> u64) -> u64 {
    cluster.shard(NodeId(node), SHARD).map_or(0, |shard| look(shard.stats()))
}

/// Node 1 registers a large file, which the others then fetch.
fn register(seed: u64, cluster: &mut Cluster) {
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    cluster.ask(ONE, SHARD, vec![("large".to_owned(), content(seed, BYTES).to_vec())], ask);
}

fn holds(cluster: &Cluster, node: u64) -> bool {
    cluster.shard(NodeId(node), SHARD).is_some_and(|shard| shard.store().held().count() == 1)
}

fn all_hold(cluster: &mut Cluster) -> bool {
    (1..=4).all(|node| holds(cluster, node))
}

/// Until every replica has some of it.
fn begun(cluster: &mut Cluster) -> bool {
    (2..=4).all(|node| stat(cluster, node, |stats| stats.bytes_fetched.get()) >= 3 * CHUNK_BYTES as u64)
}

#[test]
fn p6_weak_19_a_new_segment_leaves_its_origin_about_once_and_every_chunk_comes_to_each_replica_once() {
    for seed in 1..=4 {
        let mut cluster = four(seed);
        register(seed, &mut cluster);
        assert!(sound(seed, cluster.until(secs(60), all_hold)), "seed {seed}");
        let served = stat(&cluster, 1, |stats| stats.bytes_served.get());
        let relayed: u64 = (2..=4).map(|node| stat(&cluster, node, |stats| stats.bytes_relayed.get())).sum();
        println!(
            "seed {seed}: of {BYTES} bytes for three replicas the origin sent {served}, {relayed} were relayed"
        );
        assert!(served <= BYTES as u64 * 5 / 4, "seed {seed}: {served} bytes of {BYTES} sent by the origin");
        assert!(relayed > BYTES as u64 / 2, "seed {seed}: {relayed} bytes served on while they were fetched");
        for node in 2..=4 {
            let fetched = stat(&cluster, node, |stats| stats.bytes_fetched.get());
            assert_eq!(fetched, BYTES as u64, "seed {seed}: node {node} fetched each chunk once");
        }
        sound(seed, cluster.settle());
    }
}

#[test]
fn p6_a_replica_that_is_killed_while_it_serves_on_costs_the_others_nothing_but_time() {
    for seed in 1..=4 {
        let mut cluster = four(seed);
        register(seed, &mut cluster);
        assert!(sound(seed, cluster.until(secs(30), begun)), "seed {seed}");
        cluster.kill(NodeId(3), secs(1000));
        let rest = |cluster: &mut Cluster| holds(cluster, 2) && holds(cluster, 4);
        assert!(sound(seed, cluster.until(secs(60), rest)), "seed {seed}");
        let now = cluster.sim.now();
        cluster.host_mut(NodeId(3)).down(now);
        sound(seed, cluster.settle());
    }
}

/// Once a share was waited for as long as a chunk of it came every two seconds.
#[test]
fn p6_a_replica_behind_a_slow_line_costs_the_others_two_seconds_and_sends_no_more_then() {
    for seed in 1..=3 {
        let mut cluster = four(seed);
        // A megabyte in a second: eight chunks take it longer than eight.
        cluster.sim.link(NodeId(4), NodeId(2)).rate = 1;
        register(seed, &mut cluster);
        assert!(sound(seed, cluster.until(secs(10), |cluster| holds(cluster, 3))), "seed {seed}");
        let begun = cluster.sim.now();
        assert!(sound(seed, cluster.until(secs(60), |cluster| holds(cluster, 2))), "seed {seed}");
        let took = cluster.sim.now().since(begun);
        assert!(took < SPREAD_PATIENCE.plus(Nanos::SECOND), "seed {seed}: {took} behind the others");
        sound(seed, cluster.go_on(secs(10)));
        let served = stat(&cluster, 4, |stats| stats.bytes_served.get());
        println!("seed {seed}: {took} behind the others; node 4 sent {served}");
        // Its share to node 3, and to node 2 what it had sent by then and what was on the way.
        assert!(served <= 13 * CHUNK_BYTES as u64, "seed {seed}: {served} bytes, for nothing");
        sound(seed, cluster.settle());
    }
}

#[test]
fn p6_replicas_that_do_not_reach_each_other_get_all_of_it_from_the_origin() {
    for seed in 1..=3 {
        let mut cluster = four(seed);
        cluster.sim.partition(&[NodeId(2)], &[NodeId(3), NodeId(4)]);
        register(seed, &mut cluster);
        let done = |cluster: &mut Cluster| (2..=4).all(|node| holds(cluster, node));
        assert!(sound(seed, cluster.until(secs(90), done)), "seed {seed}");
        cluster.sim.heal();
        sound(seed, cluster.settle());
    }
}
