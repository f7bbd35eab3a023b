//! Products broken on purpose: each has to be found out by the checker that is there for it, within a few seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringway::broken::{self, Broken};
use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::segment::Sabotage;

use crate::sim::{Loss, SimOptions};

use super::campaign::{run, shape, three};
use super::checks::Found;
use super::cluster::Cluster;
use super::host::Shape;
use super::{millis, secs};

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

#[test]
fn one_leader_finds_a_vote_that_a_restart_forgets() {
    is_found_by("one_leader", Some(Broken::VoteForgotten), Sabotage::None);
}

/// Five nodes that lose their leader again and again, so that several want to follow it at once.
fn elections(seed: u64) -> Result<(), Found> {
    let five = Shape { nodes: 5, ..three() };
    let mut cluster = Cluster::new(seed, SimOptions::default(), five);
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    for _ in 0..30 {
        for node in cluster.nodes() {
            cluster.kill(node, millis(1));
        }
        cluster.go_on(millis(1200))?;
    }
    Ok(())
}

#[test]
fn one_leader_finds_a_vote_that_is_given_twice_in_a_term() {
    elections(1).expect("a sound product elects one leader a term");
    broken::set(Some(Broken::VoteGrantedTwice));
    let found = (1..=SEEDS).find_map(|seed| elections(seed).err().map(|found| (seed, found)));
    broken::set(None);
    let (seed, found) = found.expect("two lead in one term");
    assert_eq!(found.checker, "one_leader", "seed {seed}: {}", found.what);
    assert!(found.what.contains("leads and so does"), "seed {seed}: {}", found.what);
}

/// The power of all nodes goes when something was acknowledged; what no disk has is gone.
fn darkness(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    for _ in 0..4 {
        let before = cluster.ledger.acknowledged;
        cluster.until(secs(20), |cluster| cluster.ledger.acknowledged > before)?;
        for node in cluster.nodes() {
            cluster.power_cut_with(node, Loss::All, millis(10));
        }
    }
    cluster.settle()
}

#[test]
fn no_lost_commit_finds_a_log_that_acknowledges_before_its_flush() {
    for seed in 1..=4 {
        let done = darkness(seed);
        done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
    broken::set(Some(Broken::EntriesUnflushed));
    let found = (1..=SEEDS).find_map(|seed| {
        let found = darkness(seed).err()?;
        (found.checker == "no_lost_commit").then_some((seed, found.what))
    });
    broken::set(None);
    let (seed, what) = found.expect("acknowledged entries are lost");
    eprintln!("seed {seed}: {what}");
}

/// A follower's power goes when something was acknowledged, and the leader's memory remembers more than its disk.
fn forgetful_follower(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    for round in 0..6 {
        let before = cluster.ledger.acknowledged;
        cluster.until(secs(20), |cluster| cluster.ledger.acknowledged > before)?;
        cluster.power_cut_with(NodeId(1 + round % 3), Loss::All, millis(10));
    }
    cluster.settle()
}

#[test]
fn a_core_that_panics_ends_its_run_and_no_other() {
    forgetful_follower(1).expect("a sound follower forgets nothing");
    broken::set(Some(Broken::EntriesUnflushed));
    let ended = (1..=12).map(|seed| catch_unwind(|| forgetful_follower(seed)));
    let (panicked, ended): (Vec<_>, Vec<_>) = ended.partition(Result::is_err);
    broken::set(None);
    eprintln!("{} runs panicked, {} ended", panicked.len(), ended.len());
    assert!(!panicked.is_empty(), "openraft's leader does not take it that a follower forgets");
    forgetful_follower(2).expect("what comes after a panic runs as ever");
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
