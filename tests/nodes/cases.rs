//! Single scenes of a cluster: a source that goes away, a chunk that is bad, an origin that is killed, a disk that is
//! emptied, restarts without end, a manifest that comes by snapshot.

use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::limits::CHUNK_BYTES;
use ringway::raft::GroupRole;
use ringway::stats::TransferStats;

use crate::sim::SimOptions;

use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::host::{ROOT, Shape};
use super::ledger::{Known, Task, file};
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

impl Cluster {
    /// An engine asks for files to be registered, together.
    pub fn ask(&mut self, node: NodeId, shard: ShardId, files: Vec<(String, Vec<u8>)>, ask: Ask) {
        let mut wishes = Vec::new();
        for (path, bytes) in files {
            let known = Known { owner: node, versions: 0, busy: true };
            self.ledger.paths.insert((shard, path.clone()), known);
            wishes.push(self.seal_bytes(node, shard, path, &bytes, false));
        }
        self.ledger.tasks.push(Task { node, shard, wishes, ask, reply: None, attempts: 0 });
    }

    fn told(&self) -> bool {
        self.ledger.tasks.is_empty()
    }
}

fn quiet(seed: u64, shape: Shape) -> Cluster {
    let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
    cluster.working = false;
    let founded = cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds");
    assert!(founded);
    cluster
}

fn on(count: u32) -> Ask {
    Ask { durability: Durability::Landed(count), timeout: secs(20) }
}

fn sound<T>(seed: u64, done: Result<T, Found>) -> T {
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what))
}

fn stats<T>(cluster: &Cluster, node: NodeId, look: impl FnOnce(&TransferStats) -> T) -> Option<T> {
    cluster.shard(node, SHARD).map(|shard| look(shard.stats()))
}

/// Nodes 1 and 2 have a large segment of the first; node 3 was down, and is coming back.
fn two_have_it(seed: u64, chunks: usize) -> (Cluster, usize) {
    let mut cluster = quiet(seed, three());
    let bytes = chunks * CHUNK_BYTES - 1000;
    cluster.kill(THREE, secs(1000));
    cluster.ask(ONE, SHARD, vec![("large".to_owned(), content(seed, bytes).to_vec())], on(2));
    assert!(sound(seed, cluster.until(secs(30), |cluster| cluster.told())), "two are a quorum");
    let now = cluster.sim.now();
    cluster.host_mut(THREE).down(now);
    (cluster, bytes)
}

#[test]
fn t3_a_source_that_is_killed_in_the_middle_is_replaced_and_nothing_is_fetched_twice() {
    for seed in 1..=4 {
        let (mut cluster, bytes) = two_have_it(seed, 6);
        let half = |cluster: &mut Cluster| {
            stats(cluster, THREE, |stats| stats.bytes_fetched.get()) >= Some(2 * CHUNK_BYTES as u64)
        };
        assert!(sound(seed, cluster.until(secs(30), half)), "seed {seed}");
        let serves =
            |node| stats(&cluster, node, |stats| stats.bytes_served.get()) > Some(CHUNK_BYTES as u64);
        let source = if serves(ONE) { ONE } else { TWO };
        cluster.kill(source, secs(1000));
        let there = |cluster: &mut Cluster| {
            cluster.shard(THREE, SHARD).is_some_and(|shard| shard.store().held().count() == 1)
        };
        assert!(sound(seed, cluster.until(secs(60), there)), "seed {seed}: the other one has it too");
        let fetched = stats(&cluster, THREE, |stats| stats.bytes_fetched.get()).unwrap_or_default();
        assert_eq!(fetched, bytes as u64, "seed {seed}: each chunk came once");
        let now = cluster.sim.now();
        cluster.host_mut(source).down(now);
        sound(seed, cluster.settle());
    }
}

#[test]
fn r3_a_chunk_that_has_rotted_at_its_source_is_fetched_alone_from_another_holder() {
    for seed in 1..=4 {
        let (mut cluster, bytes) = two_have_it(seed, 5);
        // The first to be asked is the first in order, of two that hold it.
        assert!(cluster.sim.host(ONE).disk.rot(&file(SHARD, "large"), 2 * CHUNK_BYTES as u64 + 5, 1));
        let there = |cluster: &mut Cluster| {
            cluster.shard(THREE, SHARD).is_some_and(|shard| shard.store().held().count() == 1)
        };
        assert!(sound(seed, cluster.until(secs(60), there)), "seed {seed}");
        let told = |stats: &TransferStats| (stats.bytes_fetched.get(), stats.chunks_refetched.get());
        let expected = (bytes + CHUNK_BYTES) as u64;
        assert_eq!(stats(&cluster, THREE, told), Some((expected, 1)), "seed {seed}: one chunk came twice");
    }
}

#[test]
fn p9_what_a_node_lacks_is_told_in_bytes_and_in_time_until_it_has_landed() {
    for seed in 1..=4 {
        let (mut cluster, bytes) = two_have_it(seed, 6);
        let lag = |cluster: &Cluster| {
            let transfers = cluster.shard(THREE, SHARD)?.transfers(0);
            Some((transfers.missing, transfers.missing_bytes, transfers.missing_since))
        };
        let before = cluster.sim.now();
        let some = |cluster: &mut Cluster| {
            stats(cluster, THREE, |stats| stats.bytes_fetched.get()) >= Some(2 * CHUNK_BYTES as u64)
        };
        assert!(sound(seed, cluster.until(secs(30), some)), "seed {seed}");
        let (missing, missing_bytes, since) = lag(&cluster).expect("it runs");
        assert_eq!((missing, missing_bytes), (1, bytes as u64), "seed {seed}");
        assert!(since.is_some(), "seed {seed}");
        sound(seed, cluster.go_on(millis(1)));
        assert_eq!(
            lag(&cluster),
            Some((1, bytes as u64, since)),
            "seed {seed}: since then, on its own clock"
        );
        let there = |cluster: &mut Cluster| lag(cluster) == Some((0, 0, None));
        assert!(sound(seed, cluster.until(secs(60), there)), "seed {seed}: {:?}", lag(&cluster));
        let landed = stats(&cluster, THREE, |stats| (stats.landed.get(), stats.landing.sum()));
        let (landed, took) = landed.expect("it runs");
        let whole = cluster.sim.now().since(before);
        assert!(landed == 1 && took > millis(1) && took < whole, "seed {seed}: {took:?} of {whole:?}");
        sound(seed, cluster.settle());
    }
}

#[test]
fn an_origin_that_is_killed_when_the_others_have_applied_its_entry_still_has_the_file() {
    for seed in 1..=12 {
        let mut cluster = quiet(seed, three());
        sound(seed, cluster.go_on(millis(500)));
        let leads = |cluster: &Cluster, node| {
            cluster
                .shard(node, SHARD)
                .is_some_and(|shard| shard.group().watermarks().role == GroupRole::Leader)
        };
        let origin = if leads(&cluster, ONE) { TWO } else { ONE };
        // Nobody can fetch it before the origin is killed.
        cluster.ask(origin, SHARD, vec![("mine".to_owned(), content(seed, 30_000).to_vec())], on(1));
        let applied = |cluster: &mut Cluster| {
            cluster.checks.borrow().log.values().flatten().any(|fact| fact.path == "mine")
        };
        assert!(sound(seed, cluster.until(secs(10), applied)), "seed {seed}");
        match seed % 2 {
            0 => cluster.kill(origin, millis(400)),
            _ => cluster.power_cut(origin, millis(400)),
        }
        sound(seed, cluster.settle());
    }
}

#[test]
fn a_node_whose_segments_are_gone_fetches_them_all_again() {
    for seed in 1..=4 {
        let mut cluster = quiet(seed, three());
        cluster.working = true;
        sound(seed, cluster.go_on(millis(1500)));
        sound(seed, cluster.settle());
        let lost = NodeId(1 + seed % 3);
        cluster.kill(lost, millis(100));
        {
            let mut host = cluster.sim.host(lost);
            host.disk.remove(&format!("{ROOT}/shard-0000/segments"));
            host.disk.remove(&format!("{ROOT}/shard-0000/.ringway"));
        }
        sound(seed, cluster.settle());
        assert!(stats(&cluster, lost, |stats| stats.bytes_fetched.get()) > Some(0));
    }
}

#[test]
fn a_node_that_is_restarted_again_and_again_comes_to_hold_everything() {
    for seed in 1..=3 {
        let mut cluster = quiet(seed, Shape { snapshot_entries: 16, ..three() });
        cluster.working = true;
        for round in 0..25 {
            sound(seed, cluster.go_on(millis(10 + 13 * round % 170)));
            let node = NodeId(1 + seed % 3);
            match round % 2 {
                0 => cluster.kill(node, millis(round)),
                _ => cluster.power_cut(node, millis(round)),
            }
        }
        sound(seed, cluster.settle());
        sound(seed, cluster.all_over_again());
    }
}

/// Node 3 was away while 60 segments were registered, and is coming back to what is a snapshot by now.
fn away_for_a_snapshot(seed: u64) -> Cluster {
    let mut cluster = quiet(seed, Shape { snapshot_entries: 16, ..three() });
    cluster.kill(THREE, secs(1000));
    for number in 0..60_u64 {
        let bytes = content(seed * 1000 + number, 3000).to_vec();
        cluster.ask(NodeId(1 + number % 2), SHARD, vec![(format!("s-{number}"), bytes)], on(1));
        sound(seed, cluster.until(secs(20), |cluster| cluster.told()));
    }
    let now = cluster.sim.now();
    cluster.host_mut(THREE).down(now);
    cluster
}

#[test]
fn m7_a_node_that_was_away_gets_the_manifest_by_snapshot_and_the_segments_behind_it() {
    for seed in 1..=4 {
        let mut cluster = away_for_a_snapshot(seed);
        sound(seed, cluster.settle());
        assert!(cluster.checks.borrow().installed > 0, "seed {seed}: it came by snapshot");
    }
}

#[test]
fn p9_what_comes_by_snapshot_is_counted_as_found_by_a_walk() {
    let mut cluster = away_for_a_snapshot(1);
    let found = |cluster: &mut Cluster| stats(cluster, THREE, |stats| stats.walk.found.get()) > Some(0);
    assert!(sound(1, cluster.until(secs(30), found)), "a walk has passed the snapshot");
    let shard = cluster.shard(THREE, SHARD).expect("it runs");
    let (missing, unavailable) = shard.transfers(0).catching_up;
    let (landed, by_walk) = (shard.stats().landed.get(), shard.stats().walk.found.get());
    assert!((16..=60).contains(&by_walk) && unavailable == 0, "{by_walk}, {unavailable}");
    assert!(missing <= by_walk && missing + landed >= by_walk, "{missing} of {by_walk}, {landed} landed");
    drop(shard);
    sound(1, cluster.settle());
    let shard = cluster.shard(THREE, SHARD).expect("it runs");
    assert_eq!(shard.transfers(0).catching_up, (0, 0));
    assert_eq!(shard.stats().landed.get(), 60);
    let walk = &shard.stats().walk;
    assert_eq!(walk.found.get(), by_walk, "what it found it knew from then on");
    assert!(walk.entries.get() >= by_walk && walk.ended.get() >= walk.began.get());
}
