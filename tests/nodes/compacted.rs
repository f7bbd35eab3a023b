//! Sources that compact away what is being fetched of them: one batch takes the segments of a level out of the manifest
//! and puts what they were merged into in their place, and the files go at once, in the middle of a chunk.

use std::cell::Cell;

use ringway::broken::Broken;
use ringway::engine::{Ask, Durability};
use ringway::ids::{Nanos, NodeId, ShardId};

use crate::sim::SimOptions;

use super::broken::first_found;
use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::faults::Storm;
use super::ledger::{Known, Task, Wish};
use super::workload::content;
use super::{millis, secs, seeds};

const SHARD: ShardId = ShardId(0);
/// Seeds of a plain test run.
const SEEDS: u64 = 40;
const LEVELS: u64 = 8;
const ASK: Ask = Ask { durability: Durability::Committed, timeout: Nanos::from_secs(20) };

impl Cluster {
    /// How many segments are being fetched or waited for, over all nodes.
    fn fetching(&self) -> u64 {
        let shards = self.nodes().into_iter().filter_map(|node| self.shard(node, SHARD));
        shards.map(|shard| shard.transfers(0)).map(|now| now.in_flight + now.queued).sum()
    }

    /// A level of one to four segments, of up to 2 MiB each; their paths.
    fn level(&mut self, node: NodeId, round: u64) -> Vec<String> {
        let count = 1 + self.sim.draw(4);
        let files: Vec<_> = (0..count)
            .map(|index| {
                let len = 1 + self.sim.draw(2 << 20) as usize;
                (format!("n{node}/l0-{round}-{index}"), content(round * 10 + index, len).to_vec())
            })
            .collect();
        let paths = files.iter().map(|(path, _)| path.clone()).collect();
        self.ask(node, SHARD, files, ASK);
        paths
    }

    /// Merges them into one.
    fn compact(&mut self, node: NodeId, round: u64, inputs: Vec<String>) {
        let path = format!("n{node}/l1-{round}");
        let known = Known { owner: node, versions: 0, busy: true };
        self.ledger.paths.insert((SHARD, path.clone()), known);
        let len = 1 + self.sim.draw(1 << 20) as usize;
        let merged = self.seal_bytes(node, SHARD, path, &content(1_000_000 + round, len), false);
        let gone = inputs.into_iter().map(|path| Wish::Delete { path });
        let wishes = std::iter::once(merged).chain(gone).collect();
        self.ledger.tasks.push(Task { node, shard: SHARD, wishes, ask: ASK, reply: None, attempts: 0 });
    }
}

/// Eight levels of one run, each taken away while it is on its way to the other nodes. How many were.
fn compacting(seed: u64) -> Result<u64, Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        // Bytes in a microsecond: a level takes a part of a second.
        let rate = 10 + cluster.sim.draw(60);
        cluster.sim.link(NodeId(from), NodeId(to)).rate = rate;
    }
    let mut met = 0;
    for round in 0..LEVELS {
        let node = NodeId(1 + cluster.sim.draw(3));
        let inputs = cluster.level(node, round);
        cluster.until(secs(30), |cluster| cluster.ledger.tasks.is_empty())?;
        let rest = millis(cluster.sim.draw(80));
        cluster.go_on(rest)?;
        met += u64::from(cluster.fetching() > 0);
        cluster.compact(node, round, inputs);
        if seed.is_multiple_of(2) && round % 3 == 1 {
            Storm::new(&cluster).rage(&mut cluster, 1)?;
        }
    }
    cluster.settle()?;
    for node in cluster.nodes() {
        let shard = cluster.shard(node, SHARD).expect("it runs");
        let (now, staged, begun) = (shard.transfers(1), shard.store().staged(), shard.store().unfinished());
        if (now.queued, now.in_flight, now.unavailable_count, staged.len() + begun.len()) != (0, 0, 0, 0) {
            let what = format!("{node}: {now:?}, staged {staged:?}, landing {begun:?}");
            return Err(Found { checker: "gone", what });
        }
    }
    Ok(met)
}

#[test]
fn p8_what_a_source_compacts_away_while_it_is_fetched_leaves_nothing_and_holds_nothing_up() {
    let met = Cell::new(0);
    let seeds = seeds::campaign(SEEDS, (0, 1), |seed| {
        met.set(met.get() + compacting(seed)?);
        Ok(())
    });
    eprintln!("{} of {} levels went while they were fetched", met.get(), seeds * LEVELS);
    assert!(met.get() * 2 >= seeds * LEVELS, "too few to tell");
}

#[test]
fn that_something_stays_planned_or_staged_is_found() {
    first_found(Broken::GoneStillWanted, |seed| compacting(seed).map(drop), "gone");
    first_found(Broken::GoneStaysStaged, |seed| compacting(seed).map(drop), "gone");
}
