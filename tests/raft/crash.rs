//! Power cuts before and after each durable step of the recipes: a new file of the log, a snapshot.

use ringway::ids::{Nanos, NodeId};
use ringway::raft::{CREATE, GroupConfig, WRITE};

use crate::sim::{Crash, Fault, How, Rule, SimOptions};

use super::cluster::Cluster;
use super::secs;

const ONE: NodeId = NodeId(1);

/// Runs a group of one under load, with a crash at the `skip`th durable step on paths with `part`; true if it struck.
fn crash_at(seed: u64, part: &str, skip: u64, crash: Crash, config: GroupConfig, bytes: usize) -> bool {
    let mut cluster = Cluster::new(seed, SimOptions::default(), 1);
    cluster.config = config;
    cluster.start(ONE);
    let rule = Rule::new(Fault::Crash(crash)).on_durable_steps().path(part).skip(skip);
    let fault = cluster.sim.fault(ONE, rule);
    let members = [(ONE, cluster.member(ONE))].into();
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    let begun = cluster.sim.try_block_on(&core, async move { group.bootstrap(members).await });
    cluster.client(ONE, Nanos::from_millis(1), bytes);
    if begun.is_some() {
        cluster.sim.run_for(Nanos::from_millis(1500));
    }
    let struck = cluster.sim.hits(ONE, fault) > 0;
    cluster.revive();
    cluster.sim.clear_faults(ONE);
    if begun.is_none() {
        let members = [(ONE, cluster.member(ONE))].into();
        let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
        // It may have been durable before the answer.
        let _done_or_not = cluster.sim.block_on(&core, async move { group.bootstrap(members).await });
    }
    cluster.leader(secs(5));
    cluster.client(ONE, Nanos::from_millis(5), bytes);
    cluster.sim.run_for(Nanos::from_millis(100));
    cluster.converge(secs(20));
    struck
}

fn at_every_step(part: &str, steps: u64, config: GroupConfig, bytes: usize) {
    let mut struck = 0;
    for skip in 0..steps {
        for after in [false, true] {
            for how in [How::Kill, How::PowerCut] {
                struck += u64::from(crash_at(skip + 1, part, skip, Crash { how, after }, config, bytes));
            }
        }
    }
    assert!(struck >= steps * 3, "the plan struck {struck} times");
}

#[test]
fn a_new_log_file_survives_a_cut_at_every_step() {
    assert_eq!(CREATE.len(), 7, "a new step wants its crash");
    at_every_step("log.new", 5, GroupConfig::default(), 500_000);
}

#[test]
fn appends_survive_a_cut_at_every_write_and_flush() {
    at_every_step("log", 14, GroupConfig::default(), 9000);
}

#[test]
fn a_snapshot_survives_a_cut_at_every_step() {
    assert_eq!(WRITE.len(), 7, "a new step wants its crash");
    let config = GroupConfig { snapshot_log_entries: 30, log_entries_kept: 3, ..GroupConfig::default() };
    at_every_step("snapshot", 9, config, 300);
}
