//! Snapshots: written while proposals go on, loaded after a restart, moved to a follower that is behind the log.

use ringway::ids::{LogIndex, Nanos, NodeId};
use ringway::raft::GroupConfig;
use ringway::uring::Errno;

use crate::sim::{Fault, OpKind, Rule, SimOptions, each_seed};

use super::cluster::Cluster;
use super::secs;

const SMALL: GroupConfig = GroupConfig {
    heartbeat: Nanos::from_millis(100),
    election_min: Nanos::from_millis(200),
    election_max: Nanos::from_millis(400),
    snapshot_log_bytes: 1 << 30,
    snapshot_log_entries: 40,
    log_entries_kept: 5,
};

fn small(seed: u64, count: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, SimOptions::default(), count);
    cluster.config = SMALL;
    (1..=count).for_each(|id| cluster.start(NodeId(id)));
    let members = (1..=count).map(|id| (NodeId(id), cluster.member(NodeId(id)))).collect();
    let (group, core) = (cluster.group(NodeId(1)), cluster.running[&NodeId(1)].core.clone());
    cluster.sim.block_on(&core, async move { group.bootstrap(members).await }).expect("the first time");
    cluster
}

#[test]
fn m7_the_log_is_let_go_behind_a_snapshot_and_a_restart_begins_there() {
    each_seed(6, |seed| {
        let mut cluster = small(seed, 1);
        let one = NodeId(1);
        for n in 0..150_u8 {
            cluster.propose(&[n; 90]);
        }
        let figures = cluster.group(one).figures();
        let (snapshot, _) = figures.snapshot.expect("the policy has taken one");
        assert!(snapshot.index >= LogIndex(40) && figures.purged.index >= LogIndex(30), "{figures:?}");
        match seed % 2 {
            0 => cluster.kill(one),
            _ => cluster.power_cut(one),
        }
        cluster.restart(one);
        cluster.converge(secs(10));
        assert!(cluster.group(one).machine().borrow().commands().len() > 150);
    });
}

#[test]
fn m7_a_follower_that_is_behind_the_log_gets_the_snapshot_and_then_the_rest() {
    each_seed(8, |seed| {
        let mut cluster = small(seed, 3);
        let leader = cluster.leader(secs(5));
        let late = NodeId(leader.0 % 3 + 1);
        cluster.kill(late);
        for n in 0..200_u8 {
            cluster.propose(&[n; 400]);
        }
        cluster.restart(late);
        if seed % 3 == 0 {
            // In the midst of it the power goes.
            cluster.sim.run_for(Nanos::from_millis(150 + seed * 20));
            cluster.power_cut(late);
            cluster.restart(late);
        }
        cluster.converge(secs(30));
        assert!(cluster.checks.borrow().installed >= 1, "it came by snapshot");
        let machine = cluster.group(late).machine();
        assert!(machine.borrow().commands().len() > 200);
    });
}

#[test]
fn a_snapshot_that_cannot_be_written_ends_nothing_and_is_tried_again() {
    let mut cluster = small(3, 1);
    let one = NodeId(1);
    let rule = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("snapshot").times(3);
    let fault = cluster.sim.fault(one, rule);
    for n in 0..120_u8 {
        cluster.propose(&[n; 90]);
    }
    let group = cluster.group(one);
    cluster.sim.run_until(|| group.figures().snapshot.is_some(), secs(60));
    assert_eq!((cluster.sim.hits(one, fault), group.figures().snapshots_failed), (3, 3));
    cluster.converge(secs(5));
}

/// What there was of it stayed until the next attempt, and with it the room that others waited for.
#[test]
fn of_a_snapshot_that_fails_on_a_full_disk_nothing_stays() {
    let mut cluster = small(4, 1);
    let one = NodeId(1);
    let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("snapshot");
    cluster.sim.fault(one, full.skip(1).times(u64::MAX));
    for n in 0..60_u8 {
        cluster.propose(&[n; 90]);
    }
    let group = cluster.group(one);
    cluster.sim.run_until(|| group.figures().snapshots_failed > 0, secs(60));
    cluster.sim.run_for(Nanos::from_millis(100));
    let left = cluster.sim.host(one).disk.paths("/data");
    let left: Vec<_> = left.into_iter().filter(|path| path.contains("snapshot")).collect();
    assert_eq!(left, [""; 0]);
    cluster.sim.clear_faults(one);
    cluster.sim.run_until(|| group.figures().snapshot.is_some(), secs(60));
    cluster.converge(secs(5));
}
