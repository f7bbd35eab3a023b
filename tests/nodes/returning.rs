//! Nodes that come back with an empty disk: not the old voter, and a voter again when they have everything.

use ringway::engine::{Ask, Durability};
use ringway::ids::{Incarnation, NodeId, ShardId};
use ringway::raft::{GroupRole, MemberState};
use ringway::shard::Shard;
use ringway::uring::Errno;

use crate::sim::disk::Disk;
use crate::sim::{Fault, OpKind, Rule, SimOptions};

use super::campaign::three;
use super::cluster::Cluster;
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);

fn register(cluster: &mut Cluster, node: NodeId, name: &str, seed: u64) {
    let ask = Ask { durability: Durability::Committed, timeout: secs(20) };
    cluster.ask(node, SHARD, vec![(name.to_owned(), content(seed, 9000).to_vec())], ask);
    let told = cluster.until(secs(40), |cluster| cluster.ledger.tasks.is_empty());
    assert!(told.expect("no checker minds"), "{name} is registered");
}

/// The power goes and takes the disk with it; there is another one, empty.
pub fn empty(cluster: &mut Cluster, lost: NodeId) {
    cluster.power_cut(lost, millis(500));
    cluster.sim.host(lost).disk = Disk::new(&SimOptions::default().disk);
    cluster.sim.host(lost).disk.plant_dir("/data");
    cluster.checks.borrow_mut().leaders.emptied(lost);
}

/// Whether a node votes in the shard's group and in which life, as another one knows; nothing if it is no member.
fn seat(cluster: &Cluster, knows: NodeId, of: NodeId) -> Option<(bool, Incarnation)> {
    let members = cluster.shard(knows, SHARD)?.group().members();
    let member = members.iter().find(|member| member.node == of)?;
    Some((member.voter, member.member.incarnation))
}

#[test]
fn s8_a_node_with_an_emptied_disk_learns_then_votes_and_founds_nothing() {
    for seed in 1..=4 {
        let mut cluster = Cluster::new(seed, SimOptions::default(), three());
        cluster.working = false;
        assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
        // Node 1, the first of them, is the one that founded the shards' groups.
        let lost = NodeId(1 + (seed - 1) % 3);
        let origin = NodeId(1 + lost.0 % 3);
        register(&mut cluster, origin, "before", seed);
        assert!(cluster.go_on(secs(3)).is_ok());
        empty(&mut cluster, lost);
        register(&mut cluster, origin, "meanwhile", seed + 10);
        let votes = |cluster: &Cluster, node: NodeId| {
            let role = cluster.shard(node, SHARD)?.group().watermarks().role;
            let (voter, life) = seat(cluster, node, lost)?;
            Some((voter && (node != lost || role != GroupRole::Learner), life))
        };
        let was = votes(&cluster, origin).expect("a member").1;
        let back = cluster.until(secs(60), |cluster| {
            let own = seat(cluster, lost, lost).filter(|(votes, life)| *votes && *life != was);
            let others = (1..=3).map(NodeId).filter(|node| *node != lost);
            let is_agreed = others.into_iter().any(|knows| seat(cluster, knows, lost) == own);
            assert!(own.is_none() || is_agreed, "seed {seed}: node {lost} has founded a second group");
            let nodes = [lost, origin];
            nodes.iter().all(|node| votes(cluster, *node).is_some_and(|(votes, life)| votes && life != was))
        });
        assert!(back.expect("no checker minds"), "seed {seed}: node {lost} votes again");
        register(&mut cluster, lost, "after", seed + 20);
        cluster.settle().unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}

/// The leaders that give a node its vote back are lost in the middle of it: the next ones end what they began.
#[test]
fn s8_a_vote_that_is_given_half_when_its_leader_is_lost_is_given_whole_by_the_next() {
    let mut halves = 0;
    for seed in 1..=6 {
        let mut cluster = Cluster::new(seed, SimOptions::default(), three());
        cluster.working = false;
        assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
        let (lost, origin) = (NodeId(3), NodeId(1));
        register(&mut cluster, origin, "before", seed);
        empty(&mut cluster, lost);
        let mut was_cut = false;
        let votes = cluster.until(secs(90), |cluster| {
            if let Some(leader) = leader_of_half(cluster, lost).filter(|_| !was_cut) {
                cluster.power_cut(leader, millis(500));
                (was_cut, halves) = (true, halves + 1);
            }
            let voters = |shard: Shard| shard.group().voters().len();
            was_cut
                && cluster.nodes().into_iter().all(|node| cluster.shard(node, SHARD).map(voters) == Some(3))
        });
        assert!(votes.expect("no checker minds") || !was_cut, "seed {seed}: node {lost} votes again");
        cluster.settle().unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
    assert!(halves > 0, "no leader was lost in between");
}

/// Who leads the shard's group while a follower of it knows of a change of voters that gives `lost` its vote.
fn leader_of_half(cluster: &Cluster, lost: NodeId) -> Option<NodeId> {
    let groups = cluster.nodes().into_iter().filter_map(|node| cluster.shard(node, SHARD));
    let half = groups.filter(|shard| shard.group().is_changing()).find(|shard| {
        let gets_it = |member: &MemberState| member.node == lost && member.voter;
        shard.group().members().iter().any(gets_it) && !shard.group().voters().contains_key(&lost)
    })?;
    half.group().watermarks().leader.filter(|leader| *leader != lost)
}

/// With its vote it promises that what is committed stands on a majority: the bytes too.
#[test]
fn s8_a_node_that_cannot_land_what_it_lacks_stays_a_learner_until_it_can() {
    for seed in 1..=2 {
        let mut cluster = Cluster::new(seed, SimOptions::default(), three());
        cluster.working = false;
        assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
        let (lost, origin) = (NodeId(seed), NodeId(1 + seed));
        register(&mut cluster, origin, "before", seed);
        assert!(cluster.go_on(secs(3)).is_ok());
        let was = seat(&cluster, origin, lost).expect("a member").1;
        empty(&mut cluster, lost);
        let refuses = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Write).path("staging").times(u64::MAX);
        let refuses = cluster.sim.fault(lost, refuses);
        let learns = cluster.until(secs(30), |cluster| {
            seat(cluster, origin, lost).is_some_and(|(_, life)| life != was)
                && cluster.sim.hits(lost, refuses) > 0
        });
        assert!(learns.expect("no checker minds"), "seed {seed}: node {lost} is a member in its new life");
        assert!(cluster.go_on(secs(10)).is_ok());
        assert!(matches!(seat(&cluster, origin, lost), Some((false, life)) if life != was), "seed {seed}");
        cluster.sim.clear_faults(lost);
        let votes = cluster.until(secs(90), |cluster| seat(cluster, origin, lost).is_some_and(|seat| seat.0));
        assert!(votes.expect("no checker minds"), "seed {seed}: node {lost} has all and votes");
        cluster.settle().unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}
