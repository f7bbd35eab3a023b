//! Products broken on purpose: each has to be found out by the checker that is there for it, within a few seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringway::broken::{self, Broken};
use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::segment::Sabotage;

use crate::sim::SimOptions;

use super::campaign::{run, shape, three};
use super::checks::Found;
use super::cluster::Cluster;
use super::host::Shape;
use super::secs;

/// Seeds within which a broken product is found out.
const SEEDS: u64 = 60;

fn is_found_by(checker: &str, broken: Option<Broken>, sabotage: Sabotage) {
    broken::set(broken);
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let shape = Shape { sabotage, ..shape(seed) };
            let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
            run(seed, &mut cluster)
        }));
        match ended {
            Ok(Err(found)) if found.checker == checker => {
                eprintln!("{broken:?} {sabotage:?}: {checker} finds it with seed {seed}: {}", found.what);
                return broken::set(None);
            }
            Ok(Err(found)) => others.push(found.checker),
            Ok(Ok(_)) => {}
            Err(_) => others.push("a panic"),
        }
    }
    panic!("{checker} has not found {broken:?} {sabotage:?} in {SEEDS} seeds; found {others:?}");
}

#[test]
fn manifest_agreement_finds_a_replica_that_passes_over_a_command() {
    is_found_by("manifest_agreement", Some(Broken::CommandPassed), Sabotage::None);
}

#[test]
fn watermark_order_finds_entries_that_are_installed_before_they_landed() {
    is_found_by("watermark_order", Some(Broken::InstalledEarly), Sabotage::None);
}

#[test]
fn no_unverified_byte_finds_chunks_that_nobody_hashed() {
    is_found_by("no_unverified_byte", Some(Broken::ChunksUnverified), Sabotage::None);
}

#[test]
fn no_unverified_byte_finds_a_start_that_believes_changed_files() {
    is_found_by("no_unverified_byte", None, Sabotage::TrustChangedFile);
}

#[test]
fn converges_finds_a_start_that_forgets_what_is_missing() {
    is_found_by("converges", Some(Broken::MissingForgotten), Sabotage::None);
}

/// Many small segments in one batch.
fn burst(seed: u64) -> Result<u64, Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    let (node, shard) = (NodeId(2), ShardId(0));
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    let files = (0..400_u64).map(|number| (format!("burst/{number}"), number.to_le_bytes().to_vec()));
    cluster.ask(node, shard, files.collect(), ask);
    cluster.settle()?;
    let peak = cluster.checks.borrow().bounds.peak("fetches of a shard");
    Ok(peak)
}

#[test]
fn bounded_finds_as_many_fetches_as_there_are_segments() {
    let peak = burst(1).expect("a sound product stays within its bounds");
    assert!(peak > 200, "only {peak} fetches at a time: the bound is not near");
    broken::set(Some(Broken::FetchesUnbounded));
    let found = burst(1).expect_err("it is unbounded");
    broken::set(None);
    assert_eq!(found.checker, "bounded", "{}", found.what);
}
