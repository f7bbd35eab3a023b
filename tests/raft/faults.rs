//! Three and five nodes under kills, power cuts and partitions.

use ringway::ids::{Nanos, NodeId};
use ringway::raft::{CommandBytes, GroupRole, ProposeError};

use crate::sim::{SimOptions, each_seed, twice};

use super::cluster::Cluster;
use super::secs;

fn nodes(count: u64) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

/// What happens to a cluster, drawn from its seed: one thing at a time, never more than a minority down.
fn storm(cluster: &mut Cluster, count: u64, rounds: u64) {
    for round in 0..rounds {
        for node in nodes(count) {
            if cluster.running.contains_key(&node) {
                cluster.client(node, Nanos::from_millis(3), 64 + 40 * round as usize);
            }
        }
        let length = Nanos::from_millis(200 + cluster.sim.draw(900));
        cluster.sim.run_for(length);
        let victim = match cluster.sim.draw(2) {
            0 => cluster.leading().unwrap_or(NodeId(1)),
            _ => NodeId(1 + cluster.sim.draw(count)),
        };
        let others: Vec<NodeId> = nodes(count).into_iter().filter(|node| *node != victim).collect();
        match cluster.sim.draw(6) {
            0 => cluster.kill(victim),
            1 | 2 => cluster.power_cut(victim),
            3 => cluster.sim.partition(&[victim], &others),
            4 => cluster.sim.pause(victim, Nanos::from_millis(700)),
            _ => cluster.sim.block(victim, others[0]),
        }
        let length = Nanos::from_millis(300 + cluster.sim.draw(1500));
        cluster.sim.run_for(length);
        cluster.sim.heal();
        if !cluster.running.contains_key(&victim) {
            cluster.restart(victim);
        }
    }
    cluster.sim.heal();
    cluster.sim.run_for(secs(2));
    cluster.converge(secs(60));
}

#[test]
fn r1_three_nodes_lose_nothing_that_was_acknowledged() {
    each_seed(10, |seed| {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 3);
        storm(&mut cluster, 3, 8);
        assert!(cluster.checks.borrow().acknowledged > 100, "{:?}", cluster.checks.borrow().refused);
    });
}

#[test]
fn r1_five_nodes_lose_nothing_that_was_acknowledged() {
    each_seed(4, |seed| {
        let mut cluster = Cluster::bootstrapped(1000 + seed, SimOptions::default(), 5);
        storm(&mut cluster, 5, 8);
        assert!(cluster.checks.borrow().acknowledged > 100, "{:?}", cluster.checks.borrow().refused);
    });
}

#[test]
fn all_nodes_lose_power_at_once_and_nothing_is_lost() {
    each_seed(6, |seed| {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 3);
        for _ in 0..3 {
            for node in nodes(3) {
                cluster.client(node, Nanos::from_millis(1), 300);
            }
            cluster.sim.run_for(Nanos::from_millis(400));
            nodes(3).into_iter().for_each(|node| cluster.power_cut(node));
            nodes(3).into_iter().for_each(|node| cluster.restart(node));
        }
        cluster.converge(secs(30));
    });
}

#[test]
fn the_same_seed_gives_the_same_run_of_three_nodes() {
    twice(11, |seed| {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 3);
        storm(&mut cluster, 3, 4);
        cluster.digest()
    });
}

#[test]
fn r4_a_new_leader_stands_within_a_second_of_a_kill_at_default_settings() {
    each_seed(12, |seed| {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 3);
        cluster.propose(b"settled");
        cluster.sim.run_for(secs(1));
        let leader = cluster.leader(secs(5));
        cluster.kill(leader);
        let begun = cluster.sim.now();
        cluster.leader(secs(5));
        let took = cluster.sim.now().since(begun);
        assert!(took < secs(1), "seed {seed}: {} ms", took.0 / 1_000_000);
        cluster.restart(leader);
        cluster.converge(secs(20));
    });
}

#[test]
fn r5_without_a_quorum_writes_are_refused_and_resume_by_themselves() {
    each_seed(4, |seed| {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 3);
        cluster.propose(b"before");
        let leader = cluster.leader(secs(5));
        let others: Vec<NodeId> = nodes(3).into_iter().filter(|node| *node != leader).collect();
        cluster.sim.partition(&[leader], &others);
        cluster.sim.run_for(secs(2));
        let (group, core) = (cluster.group(leader), cluster.running[&leader].core.clone());
        let refused = cluster
            .sim
            .block_on(&core, async move { group.propose(CommandBytes::copy_of(b"x"), secs(2)).await });
        let clear = matches!(refused, Err(ProposeError::NoQuorum { .. } | ProposeError::NotLeader { .. }));
        assert!(clear, "{refused:?}");
        others.iter().for_each(|node| cluster.kill(*node));
        cluster.sim.heal();
        cluster.sim.run_for(secs(1));
        others.iter().for_each(|node| cluster.restart(*node));
        cluster.propose(b"after");
        cluster.converge(secs(20));
    });
}

#[test]
fn pre_vote_a_node_that_was_cut_off_does_not_unseat_the_leader_when_it_returns() {
    let mut cluster = Cluster::bootstrapped(4, SimOptions::default(), 3);
    cluster.propose(b"settled");
    let leader = cluster.leader(secs(5));
    let term = cluster.group(leader).watermarks().term;
    let cut_off = nodes(3).into_iter().find(|node| *node != leader).expect("one of three");
    let others: Vec<NodeId> = nodes(3).into_iter().filter(|node| *node != cut_off).collect();
    cluster.sim.partition(&[cut_off], &others);
    cluster.sim.run_for(secs(8));
    cluster.sim.heal();
    cluster.sim.run_for(secs(4));
    let marks = cluster.group(leader).watermarks();
    assert_eq!((marks.role, marks.term), (GroupRole::Leader, term));
    cluster.converge(secs(20));
}

#[test]
fn r5_a_rolling_restart_under_load_loses_nothing() {
    for count in [3, 5] {
        let mut cluster = Cluster::bootstrapped(count, SimOptions::default(), count);
        for node in nodes(count) {
            nodes(count).into_iter().for_each(|node| cluster.client(node, Nanos::from_millis(4), 200));
            cluster.sim.run_for(Nanos::from_millis(600));
            cluster.kill(node);
            cluster.sim.run_for(Nanos::from_millis(400));
            cluster.restart(node);
            cluster.leader(secs(10));
        }
        cluster.converge(secs(20));
        assert!(cluster.checks.borrow().acknowledged > 100);
    }
}
