//! P10: content that another shard of a node holds is linked and not fetched, over cores too.

use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::Sabotage;
use ringway::stats::TransferStats;

use crate::sim::{Fault, Loss, OpKind, Rule, SimOptions};
use ringway::uring::Errno;

use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::host::{ROOT, Shape};
use super::workload::content;
use super::{millis, secs};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const FIRST: ShardId = ShardId(0);
const SECOND: ShardId = ShardId(1);
const BYTES: usize = 2 * CHUNK_BYTES + 4321;

fn sound<T>(seed: u64, done: Result<T, Found>) -> T {
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what))
}

fn stat(cluster: &Cluster, shard: ShardId, look: impl Fn(&TransferStats) -> u64) -> u64 {
    cluster.shard(TWO, shard).map_or(0, |shard| look(shard.stats()))
}

fn holds(cluster: &Cluster, shard: ShardId, count: usize) -> bool {
    cluster.shard(TWO, shard).is_some_and(|shard| shard.store().held().count() == count)
}

/// Node 1 seals the same content under a name.
fn register(seed: u64, cluster: &mut Cluster, shard: ShardId, path: &str) {
    let ask = Ask { durability: Durability::Landed(2), timeout: secs(20) };
    cluster.ask(ONE, shard, vec![(path.to_owned(), content(seed, BYTES).to_vec())], ask);
}

/// Two nodes of two shards on so many cores; the second node holds the content in the first shard.
fn two(seed: u64, cores: u16) -> Cluster {
    let shape = Shape { nodes: 2, shards: 2, cores, ..three() };
    let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
    cluster.working = false;
    assert!(sound(seed, cluster.until(secs(20), |cluster| cluster.is_founded())), "seed {seed}");
    register(seed, &mut cluster, FIRST, "first");
    assert!(sound(seed, cluster.until(secs(30), |cluster| holds(cluster, FIRST, 1))), "seed {seed}");
    assert_eq!(stat(&cluster, FIRST, |stats| stats.bytes_fetched.get()), BYTES as u64);
    cluster
}

#[test]
fn p10_content_of_another_shard_is_linked_on_the_same_core_and_over_cores() {
    for cores in [1, 2, 3] {
        for seed in 1..=2 {
            let mut cluster = two(seed, cores);
            register(seed, &mut cluster, SECOND, "x/second");
            register(seed, &mut cluster, FIRST, "x/third");
            let all = |cluster: &mut Cluster| holds(cluster, SECOND, 1) && holds(cluster, FIRST, 2);
            assert!(sound(seed, cluster.until(secs(30), all)), "seed {seed} on {cores} cores");
            for (shard, fetched) in [(FIRST, BYTES as u64), (SECOND, 0)] {
                assert_eq!(stat(&cluster, shard, |stats| stats.bytes_fetched.get()), fetched);
                assert_eq!(stat(&cluster, shard, |stats| stats.linked.get()), 1, "on {cores} cores");
                assert_eq!(stat(&cluster, shard, |stats| stats.bytes_linked.get()), BYTES as u64);
            }
            // It is told of and kept as what was fetched is.
            sound(seed, cluster.settle());
            cluster.power_cut_with(TWO, Loss::All, millis(50));
            sound(seed, cluster.settle());
            assert_eq!(stat(&cluster, SECOND, |stats| stats.bytes_fetched.get()), 0, "it is believed");
        }
    }
}

#[test]
fn p10_where_shards_cannot_be_linked_to_each_other_the_bytes_are_copied_on_the_node() {
    let mut cluster = two(3, 2);
    cluster.sim.fault(TWO, Rule::new(Fault::Fail(Errno::CROSSES)).on(OpKind::Link));
    register(3, &mut cluster, SECOND, "second");
    assert!(sound(3, cluster.until(secs(30), |cluster| holds(cluster, SECOND, 1))));
    assert_eq!(stat(&cluster, SECOND, |stats| stats.bytes_fetched.get()), 0);
    assert_eq!(stat(&cluster, SECOND, |stats| stats.linked.get()), 1);
    sound(3, cluster.settle());
}

#[test]
fn p10_rotten_content_of_another_shard_is_fetched() {
    for cores in [1, 2] {
        let mut cluster = two(4, cores);
        let file = format!("{ROOT}/shard-0000/segments/first");
        assert!(cluster.sim.host(TWO).disk.rot(&file, CHUNK_BYTES as u64 + 99, 1));
        register(4, &mut cluster, SECOND, "second");
        assert!(sound(4, cluster.until(secs(30), |cluster| holds(cluster, SECOND, 1))));
        let stands = cluster.sim.host(TWO).disk.file(&format!("{ROOT}/shard-0001/segments/second"));
        assert!(stands.as_ref() == Some(&*content(4, BYTES)));
        assert_eq!(stat(&cluster, SECOND, |stats| stats.bytes_fetched.get()), BYTES as u64);
        assert_eq!(stat(&cluster, SECOND, |stats| stats.linked.get()), 0);
    }
}

/// A node goes while it links, or copies where it cannot link, or a little later; it comes to hold the right bytes.
fn going(seed: u64, copies: bool, sabotage: Sabotage) -> Result<(), Found> {
    let mut cluster = two(seed, 2);
    if copies {
        cluster.sim.fault(TWO, Rule::new(Fault::Fail(Errno::CROSSES)).on(OpKind::Link));
    }
    cluster.shard(TWO, SECOND).expect("it runs").store().sabotage(sabotage);
    register(seed, &mut cluster, SECOND, "second");
    let begun = |cluster: &mut Cluster| {
        cluster.shard(TWO, SECOND).is_some_and(|shard| shard.group().watermarks().applied.0 > 1)
    };
    assert!(cluster.until(secs(30), begun)?, "seed {seed}");
    cluster.go_on(millis(seed))?;
    if seed.is_multiple_of(2) {
        cluster.kill(TWO, millis(50));
    } else {
        cluster.power_cut(TWO, millis(50));
    }
    cluster.settle()?;
    assert!(holds(&cluster, SECOND, 1), "seed {seed}");
    Ok(())
}

#[test]
fn p10_a_node_that_goes_while_it_links_comes_to_hold_the_right_bytes() {
    for seed in 1..=20 {
        sound(seed, going(seed, false, Sabotage::None));
        sound(seed, going(seed, true, Sabotage::None));
    }
}

#[test]
fn p10_a_copy_that_is_named_before_it_is_durable_is_found() {
    let found =
        (1..=20).find_map(|seed| Some((seed, going(seed, true, Sabotage::RenameWithoutDataSync).err()?)));
    let (seed, found) = found.expect("no seed has found it");
    eprintln!("{} finds it with seed {seed}: {}", found.checker, found.what);
}
