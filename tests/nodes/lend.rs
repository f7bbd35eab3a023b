//! P6: nodes of several cores, whose free ones bring parts of a large segment, whatever becomes of the node meanwhile.

use ringway::engine::{Ask, Durability};
use ringway::ids::{Nanos, NodeId, ShardId};
use ringway::limits::CHUNK_BYTES;
use ringway::stats::TransferStats;

use crate::sim::{Loss, SimOptions};

use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::host::Shape;
use super::ledger::{Task, Wish};
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const BYTES: usize = 81 * CHUNK_BYTES - 1000;

fn sound<T>(seed: u64, done: Result<T, Found>) -> T {
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what))
}

/// A quiet cluster of two nodes of three cores, the first of which has registered a large file.
fn two(seed: u64) -> Cluster {
    let shape = Shape { nodes: 2, cores: 3, ..three() };
    let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
    cluster.working = false;
    let founded = cluster.until(secs(20), |cluster| cluster.is_founded());
    assert!(sound(seed, founded), "seed {seed}");
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    cluster.ask(ONE, SHARD, vec![("large".to_owned(), content(seed, BYTES).to_vec())], ask);
    cluster
}

fn stat(cluster: &Cluster, look: impl Fn(&TransferStats) -> u64) -> u64 {
    cluster.shard(TWO, SHARD).map_or(0, |shard| look(shard.stats()))
}

fn holds(cluster: &mut Cluster) -> bool {
    cluster.shard(TWO, SHARD).is_some_and(|shard| shard.store().held().count() == 1)
}

/// Until other cores have brought so many chunks.
fn brought(seed: u64, cluster: &mut Cluster, chunks: u64) {
    let has = |cluster: &mut Cluster| stat(cluster, |stats| stats.chunks_lent.get()) >= chunks;
    assert!(sound(seed, cluster.until(secs(30), has)), "seed {seed}");
    assert!(!holds(cluster), "seed {seed}: it is in the middle");
}

#[test]
fn p6_free_cores_of_a_node_bring_their_part_and_every_chunk_comes_once() {
    for seed in 1..=2 {
        let mut cluster = two(seed);
        assert!(sound(seed, cluster.until(secs(60), holds)), "seed {seed}");
        let lent = stat(&cluster, |stats| stats.bytes_lent.get());
        println!("seed {seed}: {lent} of {BYTES} bytes came through other cores");
        assert!(lent > BYTES as u64 / 4, "seed {seed}: {lent}");
        assert_eq!(stat(&cluster, |stats| stats.bytes_fetched.get()), BYTES as u64, "seed {seed}");
        assert_eq!(stat(&cluster, |stats| stats.landed.get()), 1);
        sound(seed, cluster.settle());
    }
}

#[test]
fn p6_a_node_that_goes_while_its_cores_help_comes_to_hold_the_right_bytes() {
    for seed in 1..=4 {
        let mut cluster = two(seed);
        brought(seed, &mut cluster, 3 * seed);
        if seed.is_multiple_of(2) {
            cluster.kill(TWO, millis(50));
        } else {
            cluster.power_cut_with(TWO, Loss::All, millis(50));
        }
        sound(seed, cluster.settle());
        // What has landed by the hands of several cores stands when the power goes.
        cluster.power_cut_with(TWO, Loss::All, millis(50));
        sound(seed, cluster.settle());
        assert_eq!(stat(&cluster, |stats| stats.bytes_fetched.get()), 0, "seed {seed}: it is believed");
    }
}

#[test]
fn p6_a_new_version_takes_the_place_of_one_that_several_cores_bring() {
    for seed in 1..=2 {
        let mut cluster = two(seed);
        brought(seed, &mut cluster, 8);
        let bytes = content(seed + 100, 3 * CHUNK_BYTES);
        let wishes = vec![cluster.seal_bytes(ONE, SHARD, "large".to_owned(), &bytes, true)];
        assert!(matches!(wishes[0], Wish::Put { update: true, .. }));
        let ask = Ask { durability: Durability::Landed(2), timeout: Nanos::from_secs(20) };
        cluster.ledger.tasks.push(Task { node: ONE, shard: SHARD, wishes, ask, reply: None, attempts: 0 });
        sound(seed, cluster.settle());
        assert_eq!(
            stat(&cluster, |stats| stats.landed.get()),
            1,
            "seed {seed}: the first version never landed"
        );
    }
}
