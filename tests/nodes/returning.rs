//! Nodes that come back with an empty disk: not the old voter, and a voter again when they have everything.

use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::raft::GroupRole;

use crate::sim::SimOptions;
use crate::sim::disk::Disk;

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
        cluster.power_cut(lost, millis(500));
        cluster.sim.host(lost).disk = Disk::new(&SimOptions::default().disk);
        cluster.sim.host(lost).disk.plant_dir("/data");
        cluster.checks.borrow_mut().leaders.emptied(lost);
        register(&mut cluster, origin, "meanwhile", seed + 10);
        let votes = |cluster: &Cluster, node: NodeId| {
            let shard = cluster.shard(node, SHARD)?;
            let members = shard.group().members();
            let member = members.iter().find(|member| member.node == lost)?;
            let follows = node != lost || shard.group().watermarks().role != GroupRole::Learner;
            Some((member.voter && follows, member.member.incarnation))
        };
        let was = votes(&cluster, origin).expect("a member").1;
        let back = cluster.until(secs(60), |cluster| {
            let nodes = [lost, origin];
            nodes.iter().all(|node| votes(cluster, *node).is_some_and(|(votes, life)| votes && life != was))
        });
        assert!(back.expect("no checker minds"), "seed {seed}: node {lost} votes again");
        register(&mut cluster, lost, "after", seed + 20);
        cluster.settle().unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}
