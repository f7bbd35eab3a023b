//! Products broken on purpose: each has to be found out by the checker that is there for it, within a few seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringway::broken::{self, Broken};
use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::raft::GroupRole;
use ringway::segment::Sabotage;

use crate::sim::{Chance, Loss, SimOptions};

use super::campaign::{run, shape, three};
use super::checks::Found;
use super::cluster::Cluster;
use super::host::Shape;
use super::ledger::{Task, Wish};
use super::workload::content;
use super::{millis, secs};

/// Seeds within which a broken product is found out.
const SEEDS: u64 = 60;

/// Runs something with a product that is broken in this way.
fn with<T>(broken: Broken, run: impl FnOnce() -> T) -> T {
    /// Sound again, even after a panic.
    struct Mend;
    impl Drop for Mend {
        fn drop(&mut self) {
            broken::set(None);
        }
    }
    let _mend = Mend;
    broken::set(Some(broken));
    run()
}

/// The first seed of a scene in which a checker finds the fault.
pub fn first_found(broken: Broken, scene: fn(u64) -> Result<(), Found>, checker: &str) -> (u64, String) {
    let found = with(broken, || {
        (1..=SEEDS).find_map(|seed| {
            let found = scene(seed).err().filter(|found| found.checker == checker)?;
            Some((seed, found.what))
        })
    });
    let (seed, what) = found.unwrap_or_else(|| panic!("{checker} has not found {broken:?} in {SEEDS} seeds"));
    eprintln!("{broken:?}: {checker} finds it with seed {seed}: {what}");
    (seed, what)
}

/// A sound product passes the scene.
pub fn is_quiet(seeds: std::ops::RangeInclusive<u64>, scene: fn(u64) -> Result<(), Found>) {
    for seed in seeds {
        scene(seed).unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}

/// The plain campaign finds a fault of the store within a few seeds.
fn campaign_finds(checker: &str, sabotage: Sabotage) {
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let shape = Shape { sabotage, ..shape(seed) };
            let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
            run(seed, &mut cluster)
        }));
        match ended {
            Ok(Err(found)) if found.checker == checker => {
                return eprintln!("{checker} finds it with seed {seed}: {}", found.what);
            }
            Ok(Err(found)) => others.push(found.checker),
            Ok(Ok(_)) => {}
            Err(_) => others.push("a panic"),
        }
    }
    panic!("{checker} has not found it in {SEEDS} seeds; found {others:?}");
}

/// The plain campaign finds a broken product within a few seeds.
fn campaign_finds_broken(checker: &str, broken: Broken) {
    with(broken, || campaign_finds(checker, Sabotage::None));
}

#[test]
fn manifest_agreement_finds_a_replica_that_passes_over_a_command() {
    campaign_finds_broken("manifest_agreement", Broken::CommandPassed);
}

#[test]
fn watermark_order_finds_entries_that_are_installed_before_they_landed() {
    campaign_finds_broken("watermark_order", Broken::InstalledEarly);
}

/// What comes from the origin comes with changed bytes now and then.
fn corrupted(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    let origin = NodeId(1 + seed % 3);
    for node in cluster.nodes() {
        cluster.sim.link(origin, node).corruption = Chance::percent(5);
    }
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    let files = (0..6).map(|number| (format!("s-{number}"), content(number, 60_000).to_vec()));
    cluster.ask(origin, ShardId(0), files.collect(), ask);
    cluster.go_on(millis(500))?;
    for node in cluster.nodes() {
        cluster.sim.link(origin, node).corruption = Chance::percent(0);
    }
    cluster.settle()
}

#[test]
fn no_unverified_byte_finds_chunks_that_nobody_hashed() {
    is_quiet(1..=4, corrupted);
    first_found(Broken::ChunksUnverified, corrupted, "no_unverified_byte");
}

/// Connections that are cut while segments of several chunks pass.
fn cut_off(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    let files = (0..3).map(|number| (format!("s-{number}"), content(number, 6 << 20).to_vec()));
    cluster.ask(NodeId(1), ShardId(0), files.collect(), ask);
    for _ in 0..10 {
        let rest = millis(5 + cluster.sim.draw(20));
        cluster.go_on(rest)?;
        for other in [2, 3] {
            cluster.sim.cut(NodeId(1), NodeId(other));
        }
    }
    cluster.settle()
}

#[test]
fn fetched_once_finds_an_attempt_that_begins_anew() {
    is_quiet(1..=8, cut_off);
    first_found(Broken::ProgressForgotten, cut_off, "fetched_once");
}

#[test]
fn no_unverified_byte_finds_a_start_that_believes_changed_files() {
    campaign_finds("no_unverified_byte", Sabotage::TrustChangedFile);
}

#[test]
fn converges_finds_a_start_that_forgets_what_is_missing() {
    campaign_finds_broken("converges", Broken::MissingForgotten);
}

#[test]
fn one_leader_finds_a_vote_that_a_restart_forgets() {
    campaign_finds_broken("one_leader", Broken::VoteForgotten);
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
    is_quiet(1..=1, elections);
    let (seed, what) = first_found(Broken::VoteGrantedTwice, elections, "one_leader");
    assert!(what.contains("leads and so does"), "seed {seed}: {what}");
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
    is_quiet(1..=4, darkness);
    first_found(Broken::EntriesUnflushed, darkness, "no_lost_commit");
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
    let (panicked, ended): (Vec<_>, Vec<_>) = with(Broken::EntriesUnflushed, || {
        (1..=12).map(|seed| catch_unwind(|| forgetful_follower(seed))).partition(Result::is_err)
    });
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
    let found = with(Broken::FetchesUnbounded, || burst(1)).expect_err("it is unbounded");
    assert_eq!(found.checker, "bounded", "{}", found.what);
}

/// The three nodes, the one that leads the first shard before the others.
pub fn leader_first(cluster: &Cluster) -> [NodeId; 3] {
    let leads = |node: &NodeId| {
        let shard = cluster.shard(*node, ShardId(0));
        shard.is_some_and(|shard| shard.group().watermarks().role == GroupRole::Leader)
    };
    let (mut nodes, others): (Vec<_>, Vec<_>) = cluster.nodes().into_iter().partition(leads);
    nodes.extend(others);
    nodes.try_into().expect("three nodes")
}

/// A registration is committed and its answer is lost; somebody else deletes the path; then the proposal is sent again.
fn sent_again(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    cluster.go_on(millis(500))?;
    let (shard, ask) = (ShardId(0), Ask { durability: Durability::Committed, timeout: secs(20) });
    let [leader, origin, other] = leader_first(&cluster);
    for node in [origin, other] {
        // Both have a session from now on.
        cluster.ask(node, shard, vec![(format!("first-{node}"), b"a segment".to_vec())], ask);
    }
    cluster.until(secs(20), |cluster| cluster.ledger.tasks.is_empty())?;
    let is_told = |there: bool| {
        move |cluster: &mut Cluster| {
            let checks = cluster.checks.borrow();
            let mut facts = checks.log.values().flatten();
            facts.any(|fact| fact.path == "once" && fact.content.is_some() == there)
        }
    };
    cluster.sim.block(leader, origin);
    cluster.ask(origin, shard, vec![("once".to_owned(), b"only once".to_vec())], ask);
    cluster.until(secs(10), is_told(true))?;
    let wishes = vec![Wish::Delete { path: "once".to_owned() }];
    cluster.ledger.tasks.push(Task { node: other, shard, wishes, ask, reply: None, attempts: 0 });
    cluster.until(secs(10), is_told(false))?;
    cluster.sim.cut(leader, origin);
    cluster.sim.heal();
    cluster.settle()
}

#[test]
fn applied_once_finds_a_session_that_forgets_what_it_has_answered() {
    is_quiet(1..=4, sent_again);
    first_found(Broken::AnswerForgotten, sent_again, "applied_once");
}
