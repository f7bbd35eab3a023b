//! P7 on real files and sockets: what a node fetches live and what to catch up, each within its limit.

use std::time::{Duration, Instant};

use ringway::config::{ConfigError, Rates, WorkShares};
use ringway::engine::{NodeStatus, RateStatus, RatesError};
use ringway::ids::LogIndex;

use super::nodes::{Nodes, PATIENCE, register, until};

const MIB: u64 = 1 << 20;
/// Bytes a second.
const RATE: u64 = 8 * MIB;
/// What passes at once after a rest.
const BURST: u64 = 2 * MIB;

fn status(nodes: &Nodes, node: usize) -> NodeStatus {
    nodes.engine(node).status().wait().expect("it runs")
}

/// Bytes that a node has received under its limit: live, to catch up, of a scrub.
fn received(nodes: &Nodes, node: usize) -> [u64; 3] {
    let of: Vec<u64> = status(nodes, node).rates[0].works.iter().map(|work| work.bytes).collect();
    of.try_into().expect("three kinds")
}

fn least(bytes: u64) -> Duration {
    Duration::from_millis((bytes - BURST) * 1000 / RATE)
}

fn stands(nodes: &Nodes, node: usize, index: LogIndex) {
    nodes.shard(node).wait_installed(index, PATIENCE).wait().expect("it comes");
}

#[test]
fn p7_what_is_registered_now_is_live_and_what_a_node_missed_is_catching_up_each_within_the_limit() {
    let limits = Rates { receive: Some(RATE), ..Rates::default() };
    let mut nodes = Nodes::new(3);
    until("all are ready", || (1..=3).all(|node| status(&nodes, node).ready));
    let before = register(&nodes.shard(1), "before", &[1; 100_000]);
    stands(&nodes, 3, before.index);
    assert_eq!(received(&nodes, 3), [0; 3], "without a limit nothing is counted");
    assert_eq!(nodes.engine(3).set_rates(limits).wait(), Ok(()));
    let begun = Instant::now();
    let live = register(&nodes.shard(1), "live", &vec![7; 6 * MIB as usize]);
    stands(&nodes, 3, live.index);
    assert!(begun.elapsed() >= least(6 * MIB), "{:?}", begun.elapsed());
    assert_eq!(received(&nodes, 3), [6 * MIB, 0, 0]);

    nodes.stop(3);
    for index in 0..4 {
        register(&nodes.shard(1), &format!("away/{index}"), &vec![index; 2 * MIB as usize]);
    }
    let begun = Instant::now();
    nodes.open_as(3, |builder| builder.rates(limits));
    until("it has caught up", || {
        let found = status(&nodes, 3);
        found.ready && found.shards[0].segments == 6 && found.shards[0].missing == 0
    });
    assert!(begun.elapsed() >= least(8 * MIB), "{:?}", begun.elapsed());
    assert_eq!(received(&nodes, 3), [0, 8 * MIB, 0]);
    let after = register(&nodes.shard(2), "after", &[9; 300_000]);
    stands(&nodes, 3, after.index);
    assert_eq!(received(&nodes, 3), [300_000, 8 * MIB, 0]);
    let found = status(&nodes, 3).rates;
    let RateStatus { shard: None, bytes_per_second: Some(RATE), direction, works } = &found[0] else {
        panic!("{found:?}")
    };
    let shares: Vec<_> = works.iter().map(|work| (work.work.as_str(), work.share)).collect();
    assert_eq!((direction.as_str(), shares), ("receive", vec![("live", 70), ("catch_up", 25), ("scrub", 5)]));
    assert!(works[1].waits > 0 && works[1].waited_millis > 0 && works[1].held_back_millis > 0, "{works:?}");
    assert_eq!((found.len(), found[1].bytes_per_second), (2, None), "no other limit: {found:?}");
}

#[test]
fn p7_what_a_node_serves_is_held_to_its_shards_limit_and_limits_that_are_none_are_refused() {
    let nodes = Nodes::new(2);
    until("both are ready", || (1..=2).all(|node| status(&nodes, node).ready));
    let bad = Rates { shares: WorkShares { live: 90, catch_up: 11, scrub: 0 }, ..Rates::default() };
    let refused = nodes.engine(1).set_rates(bad).wait();
    assert_eq!(refused, Err(RatesError::Config(ConfigError::SharesTooLarge { sum: 101 })));
    assert_eq!(status(&nodes, 1).rates.len(), 2, "the node's two");
    let limits = Rates { shard_serve: Some(RATE), ..Rates::default() };
    assert_eq!(nodes.engine(1).set_rates(limits).wait(), Ok(()));
    let begun = Instant::now();
    let live = register(&nodes.shard(1), "live", &vec![7; 6 * MIB as usize]);
    stands(&nodes, 2, live.index);
    assert!(begun.elapsed() >= least(6 * MIB), "{:?}", begun.elapsed());
    let found = status(&nodes, 1).rates;
    assert_eq!(found.len(), 3, "{found:?}");
    let of_shard = &found[2];
    assert_eq!((of_shard.shard, of_shard.direction.as_str()), (Some(0), "serve"));
    assert_eq!(of_shard.works[0].bytes, 6 * MIB, "{of_shard:?}");
    assert_eq!(nodes.engine(1).set_rates(Rates::default()).wait(), Ok(()));
    assert_eq!(status(&nodes, 1).rates.len(), 2);
}
