//! A group of one: its own quorum, durable after its own flush.

use std::collections::BTreeMap;

use ringway::ids::{LogIndex, Nanos, NodeId};
use ringway::raft::{BootstrapError, GroupRole, ProposeError};
use ringway::uring::Errno;

use crate::sim::{Fault, OpKind, Rule, SimOptions, each_seed, twice};

use super::cluster::Cluster;
use super::secs;

const ONE: NodeId = NodeId(1);

fn one(seed: u64) -> Cluster {
    Cluster::bootstrapped(seed, SimOptions::default(), 1)
}

#[test]
fn r1_r7_a_group_of_one_commits_alone_and_keeps_it_through_kills_and_power_cuts() {
    each_seed(12, |seed| {
        let mut cluster = one(seed);
        for round in 0..6_u64 {
            cluster.client(ONE, Nanos::from_millis(1), 100 + 700 * round as usize);
            cluster.sim.run_for(Nanos::from_millis(60 + 17 * round));
            match cluster.sim.draw(3) {
                0 => cluster.kill(ONE),
                _ => cluster.power_cut(ONE),
            }
            cluster.restart(ONE);
            cluster.leader(secs(5));
        }
        cluster.converge(secs(20));
        assert!(cluster.checks.borrow().acknowledged > 50, "there was something to lose");
    });
}

#[test]
fn a_log_whose_disk_is_full_waits_for_room_and_loses_nothing() {
    let mut cluster = one(5);
    let rule = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Allocate).path("log").times(4);
    let fault = cluster.sim.fault(ONE, rule);
    // More than a file of the log holds.
    let command = vec![7; 1 << 20];
    for _ in 0..20 {
        cluster.propose(&command);
    }
    assert_eq!(cluster.sim.hits(ONE, fault), 4);
    let figures = cluster.group(ONE).figures();
    assert!(!figures.log.waits_for_room && figures.watermarks.role == GroupRole::Leader, "{figures:?}");
    cluster.power_cut(ONE);
    cluster.restart(ONE);
    cluster.converge(secs(20));
}

#[test]
fn a_group_that_was_never_bootstrapped_refuses_and_a_second_bootstrap_is_refused() {
    let mut cluster = Cluster::new(1, SimOptions::default(), 2);
    cluster.start(ONE);
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    let (mine, other) = (cluster.member(ONE), cluster.member(NodeId(2)));
    cluster.sim.run_for(secs(3));
    assert_eq!(group.watermarks().role, GroupRole::Learner, "it waits");
    let asked = group.clone();
    cluster.sim.block_on(&core, async move {
        let refused = asked.propose(ringway::raft::CommandBytes::copy_of(b"x"), secs(1)).await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
        let foreign = BTreeMap::from([(NodeId(2), other)]);
        assert_eq!(asked.bootstrap(foreign).await, Err(BootstrapError::NotAMember));
        let members = BTreeMap::from([(ONE, mine)]);
        assert_eq!(asked.bootstrap(members.clone()).await, Ok(()));
        assert_eq!(asked.bootstrap(members).await, Err(BootstrapError::Done));
    });
    cluster.propose(b"x");
    cluster.kill(ONE);
    cluster.restart(ONE);
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    let members = BTreeMap::from([(ONE, cluster.member(ONE))]);
    let again = cluster.sim.block_on(&core, async move { group.bootstrap(members).await });
    assert_eq!(again, Err(BootstrapError::Done), "also after a restart");
}

#[test]
fn a_flush_that_fails_stops_the_group_and_a_restart_recovers_what_was_acknowledged() {
    each_seed(8, |seed| {
        let mut cluster = one(seed);
        for n in 0..20_u8 {
            cluster.propose(&[n; 300]);
        }
        let kind = if seed % 2 == 0 { OpKind::Sync } else { OpKind::Write };
        let rule = Rule::new(Fault::Fail(Errno::IO)).on(kind).path("log").skip(seed % 5);
        cluster.sim.fault(ONE, rule);
        cluster.client(ONE, Nanos::from_millis(1), 200);
        let group = cluster.group(ONE);
        cluster.sim.run_until(|| group.watermarks().role == GroupRole::Stopped, secs(10));
        let (asked, core) = (group.clone(), cluster.running[&ONE].core.clone());
        let refused = cluster.sim.block_on(&core, async move {
            asked.propose(ringway::raft::CommandBytes::copy_of(b"x"), secs(1)).await
        });
        let Err(ProposeError::Stopped { why }) = refused else { panic!("{refused:?}") };
        assert!(why.contains("log-"), "it says what failed: {why}");
        cluster.sim.run_for(secs(1));
        cluster.kill(ONE);
        cluster.sim.clear_faults(ONE);
        cluster.restart(ONE);
        cluster.converge(secs(20));
    });
}

#[test]
fn a_shut_down_group_gives_up_its_files_and_opens_again() {
    let mut cluster = one(5);
    cluster.propose(b"before");
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    cluster.sim.block_on(&core, async move { group.shut_down().await }).expect("a working disk");
    let group = cluster.group(ONE);
    assert_eq!(group.watermarks().role, GroupRole::Stopped);
    drop(group);
    cluster.sim.exit(ONE);
    cluster.running.clear();
    cluster.restart(ONE);
    cluster.converge(secs(5));
}

#[test]
fn the_same_seed_gives_the_same_run_of_one_node() {
    twice(7, |seed| {
        let mut cluster = one(seed);
        cluster.client(ONE, Nanos::from_millis(2), 500);
        cluster.sim.run_for(Nanos::from_millis(300));
        cluster.power_cut(ONE);
        cluster.restart(ONE);
        cluster.converge(secs(5));
        cluster.digest()
    });
}

#[test]
fn many_proposals_at_once_share_flushes() {
    let mut cluster = one(3);
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    let before = group.figures().log.batches;
    let asked = group.clone();
    let spawner = core.clone();
    cluster.sim.block_on(&core, async move {
        let propose = |n: u64| {
            let group = asked.clone();
            async move { group.propose(ringway::raft::CommandBytes::copy_of(&n.to_le_bytes()), secs(5)).await }
        };
        let tasks: Vec<_> =
            (0..256).map(|n| spawner.spawn(ringway::uring::Priority::Urgent, propose(n))).collect();
        for task in tasks {
            task.await.expect("it ran").expect("acknowledged");
        }
    });
    let batches = group.figures().log.batches - before;
    assert!(batches <= 16, "256 proposals took {batches} flushes");
    assert!(group.watermarks().applied > LogIndex(256));
}
