//! Members come and go, leadership is handed over, reads wait for what they must see.

use ringway::ids::{LogIndex, Nanos, NodeId};
use ringway::raft::{MembersError, TransferError};
use ringway::uring::{Priority, sleep};

use crate::sim::{SimOptions, each_seed};

use super::cluster::Cluster;
use super::secs;

fn three(seed: u64) -> Cluster {
    Cluster::bootstrapped(seed, SimOptions::default(), 3)
}

#[test]
fn leadership_is_handed_over_to_the_voter_that_is_named() {
    each_seed(5, |seed| {
        let mut cluster = three(seed);
        cluster.propose(b"settled");
        let leader = cluster.leader(secs(5));
        let to = NodeId(leader.0 % 3 + 1);
        let (group, core) = (cluster.group(leader), cluster.running[&leader].core.clone());
        let asked = group.clone();
        cluster
            .sim
            .block_on(&core, async move { asked.transfer_leader(to, secs(5)).await })
            .expect("taken over");
        assert_eq!(cluster.leader(secs(5)), to);
        let refused = cluster.sim.block_on(&core, async move { group.transfer_leader(to, secs(5)).await });
        assert!(matches!(refused, Err(TransferError::NotLeader { .. })), "{refused:?}");
        cluster.converge(secs(10));
    });
}

#[test]
fn r2_r3_a_node_joins_as_learner_becomes_a_voter_and_the_leader_is_removed_after_it_handed_over() {
    each_seed(4, |seed| {
        let mut cluster = three(seed);
        for n in 0..30_u8 {
            cluster.propose(&[n; 200]);
        }
        let four = cluster.sim.node(4);
        cluster.start(four);
        let leader = cluster.leader(secs(5));
        let (group, core) = (cluster.group(leader), cluster.running[&leader].core.clone());
        let member = cluster.member(four);
        let asked = group.clone();
        cluster.sim.block_on(&core, async move {
            assert_eq!(asked.promote(four, secs(5)).await, Err(MembersError::Unknown { node: four }));
            asked.add_learner(four, member.clone(), secs(5)).await.expect("added");
            asked.add_learner(four, member, secs(5)).await.expect("idempotent");
            asked.promote(four, secs(5)).await.expect("promoted");
            asked.promote(four, secs(5)).await.expect("idempotent");
        });
        assert_eq!(group.members().iter().filter(|member| member.voter).count(), 4);
        let asked = group.clone();
        let gone = cluster.sim.block_on(&core, async move { asked.remove_member(leader, secs(10)).await });
        let Err(MembersError::HandedOver { leader: Some(next) }) = gone else { panic!("{gone:?}") };
        let (group, core) = (cluster.group(next), cluster.running[&next].core.clone());
        let asked = group.clone();
        cluster.sim.block_on(&core, async move {
            // It has to hear from a quorum first.
            while let Err(error) = asked.remove_member(leader, secs(10)).await {
                assert!(matches!(error, MembersError::NoQuorum | MembersError::InProgress), "{error}");
                sleep(Nanos::from_millis(20)).await;
            }
        });
        assert!(group.members().iter().all(|member| member.node != leader));
        cluster.kill(leader);
        cluster.converge(secs(20));
    });
}

/// Half done, a change takes a majority of the old voters and one of the new: with two old ones, both of them.
#[test]
fn a_change_that_its_leader_has_left_half_done_is_ended_by_the_next_and_counts_for_nobody_until_then() {
    let mut left = 0;
    each_seed(6, |seed| {
        let mut cluster = three(seed);
        cluster.propose(b"settled");
        let four = cluster.sim.node(4);
        cluster.start(four);
        let leader = cluster.leader(secs(5));
        let (group, core) = (cluster.group(leader), cluster.running[&leader].core.clone());
        let (asked, member) = (group.clone(), cluster.member(four));
        cluster
            .sim
            .block_on(&core, async move { asked.add_learner(four, member, secs(5)).await })
            .expect("added");
        let asked = group.clone();
        drop(core.spawn(Priority::Urgent, async move { asked.promote(four, secs(5)).await }));
        while !group.is_changing() {
            cluster.sim.run_for(Nanos(5_000));
        }
        while group.is_changing() {
            cluster.sim.run_for(Nanos(5_000));
        }
        cluster.power_cut(leader);
        let next = cluster.leader(secs(10));
        let (group, core) = (cluster.group(next), cluster.running[&next].core.clone());
        cluster.sim.run_for(secs(2));
        if group.is_changing() {
            left += 1;
            assert!(!group.voters().contains_key(&four), "before it votes for good it is none");
            let asked = group.clone();
            let ended = cluster.sim.block_on(&core, async move { asked.end_change(secs(5)).await });
            ended.expect("a majority of both");
        }
        let asked = group.clone();
        cluster
            .sim
            .block_on(&core, async move { asked.end_change(secs(5)).await })
            .expect("nothing to be done");
        assert!(!group.is_changing() && group.voters().contains_key(&four), "{:?}", group.voters());
        cluster.restart(leader);
        cluster.converge(secs(20));
    });
    assert!(left > 0, "no leader was lost in between");
}

#[test]
fn the_last_voter_stays() {
    let mut cluster = Cluster::bootstrapped(2, SimOptions::default(), 1);
    let (group, core) = (cluster.group(NodeId(1)), cluster.running[&NodeId(1)].core.clone());
    let refused = cluster.sim.block_on(&core, async move { group.remove_member(NodeId(1), secs(5)).await });
    assert_eq!(refused, Err(MembersError::LastVoter));
}

#[test]
fn weak_08_a_read_barrier_on_a_follower_waits_for_what_was_acknowledged_before() {
    each_seed(5, |seed| {
        let mut cluster = three(seed);
        let leader = cluster.leader(secs(5));
        let follower = NodeId(leader.0 % 3 + 1);
        for n in 0..10_u8 {
            let index = cluster.propose(&[n; 50]);
            let (group, core) = (cluster.group(follower), cluster.running[&follower].core.clone());
            let due = cluster.sim.block_on(&core, async move {
                let due = group.read_barrier(secs(5)).await.expect("a leader with a quorum");
                assert!(group.watermarks().applied >= due);
                due
            });
            assert!(due >= index, "{due} is before {index}");
        }
    });
}

#[test]
fn s8_a_node_that_comes_back_with_an_empty_disk_is_not_the_old_voter() {
    each_seed(3, |seed| {
        let mut cluster = three(seed);
        let index = cluster.propose(b"precious");
        let leader = cluster.leader(secs(5));
        let lost = NodeId(leader.0 % 3 + 1);
        cluster.power_cut(lost);
        cluster.sim.host(lost).disk = crate::sim::disk::Disk::new(&SimOptions::default().disk);
        cluster.sim.host(lost).disk.plant_dir("/data");
        cluster.new_life(lost);
        cluster.restart(lost);
        cluster.sim.run_for(secs(3));
        assert_eq!(cluster.group(lost).watermarks().applied, LogIndex(0), "nobody feeds the old name");
        let leader = cluster.leader(secs(5));
        let (group, core) = (cluster.group(leader), cluster.running[&leader].core.clone());
        let member = cluster.member(lost);
        cluster.sim.block_on(&core, async move {
            let refused = group.add_learner(lost, member.clone(), secs(5)).await;
            assert_eq!(refused, Err(MembersError::OtherLife { node: lost }));
            group.remove_member(lost, secs(5)).await.expect("the old one goes");
            group.add_learner(lost, member, secs(5)).await.expect("the new one comes");
            group.promote(lost, secs(5)).await.expect("and votes");
        });
        cluster.converge(secs(20));
        assert!(cluster.group(lost).watermarks().applied >= index);
    });
}
