//! Limits of bytes per second, held against what passes them: in campaigns, and in a scene in which live waits beside a
//! replica that catches up.

use ringway::broken::Broken;
use ringway::config::{Direction, Rates, Work};
use ringway::engine::{Ask, Durability, Seat};
use ringway::ids::{Nanos, NodeId, ShardId};
use ringway::limits::{CHUNK_BYTES, RATE_BURST_BYTES_MIN, RATE_BURST_TIME};
use ringway::shard::Shard;
use ringway::transfer::LimitFigures;

use crate::sim::SimOptions;
use crate::sim::check::{Limit, Passed};

use super::broken::{first_found, is_quiet};
use super::campaign::three;
use super::checks::{Checks, Found};
use super::cluster::Cluster;
use super::host::{Host, Shape};
use super::workload::content;
use super::{millis, secs};

const MIB: u64 = 1 << 20;

/// Holds what has passed the limits of a node against what they allow.
pub fn look_at_limits(host: &Host, now: Nanos, checks: &mut Checks) {
    let seats = host.seats.borrow();
    // The cores of a node have the same.
    let Some(limits) = seats.first().and_then(Seat::limits) else { return };
    for figures in limits.figures() {
        let LimitFigures { shard, direction, rate: Some(rate), shares, passed } = figures else { continue };
        let of = (host.node, host.life, shard, direction);
        let in_millis = |millis: u64| rate / 1000 * millis;
        let burst = in_millis(RATE_BURST_TIME.0 / 1_000_000).max(RATE_BURST_BYTES_MIN);
        let limit = Limit {
            rate,
            // A core's clock may be ahead of the world's in its turn.
            burst: burst + in_millis(1),
            most: CHUNK_BYTES as u64,
            shares: Work::ALL.map(|work| shares.of(work)),
        };
        let passed = passed.map(|passed| Passed {
            bytes: passed.bytes,
            waits: passed.waits,
            held_back: passed.held_back,
        });
        let verdict = checks.shares.observe(of, limit, now, passed);
        checks.hold("shares_respected", verdict);
        let is_under = |other: &Shard| shard.is_none_or(|shard| shard == other.id());
        let moved = seats.iter().flat_map(Seat::shards).filter(is_under).map(|shard| match direction {
            Direction::Receive => shard.stats().bytes_fetched.get(),
            Direction::Serve => shard.stats().bytes_served.get(),
        });
        let verdict = checks.shares.moved(of, moved.sum());
        checks.hold("shares_respected", verdict);
    }
}

/// Node 3 was away while one shard grew; while it catches up, the other shard grows. With one limit for everything
/// that it receives, or that each of the others serves.
fn beside_catch_up(seed: u64) -> Result<(), Found> {
    let limit = Some(4 * MIB);
    let rates = match seed % 2 {
        0 => Rates { receive: limit, ..Rates::default() },
        _ => Rates { serve: limit, ..Rates::default() },
    };
    let mut cluster = Cluster::new(seed, SimOptions::default(), Shape { shards: 2, rates, ..three() });
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    cluster.go_on(millis(500))?;
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    let files = |name: &str, first: u64| {
        let file = |number: u64| {
            (format!("{name}-{number}"), content(first + number, 2 * MIB as usize + 7).to_vec())
        };
        (0..10).map(file).collect::<Vec<_>>()
    };
    cluster.kill(NodeId(3), secs(12));
    cluster.ask(NodeId(1), ShardId(0), files("behind", 100), ask);
    cluster.until(secs(60), |cluster| cluster.host(NodeId(3)).engine().is_some())?;
    cluster.go_on(millis(300))?;
    for file in files("live", 200) {
        cluster.ask(NodeId(2), ShardId(1), vec![file], ask);
        cluster.go_on(millis(20))?;
    }
    cluster.settle()?;
    let checks = cluster.checks.borrow();
    eprintln!(
        "seed {seed}: at most {} beyond, {:?} behind",
        checks.shares.over_max, checks.shares.behind_max
    );
    Ok(())
}

#[test]
fn p7_limits_hold_and_live_has_its_share_beside_a_replica_that_catches_up() {
    is_quiet(1..=6, beside_catch_up);
}

#[test]
fn shares_respected_finds_chunks_that_pass_early_or_unasked_and_live_that_goes_last() {
    for broken in [Broken::RateIgnored, Broken::LimitPassedBy, Broken::SharesIgnored] {
        first_found(broken, beside_catch_up, "shares_respected");
    }
}
