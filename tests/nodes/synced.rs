//! A node that is brought up to date costs nobody a write.

use ringway::ids::{NodeId, ShardId};

use crate::sim::SimOptions;

use super::campaign::three;
use super::cluster::Cluster;
use super::host::poll;
use super::returning::empty;
use super::{secs, seeds};

const SHARD: ShardId = ShardId(0);

#[test]
fn s3_while_a_node_comes_back_and_is_synced_no_write_is_refused() {
    seeds::campaign(6, (0, 1), |seed| {
        let mut cluster = Cluster::new(seed, SimOptions::default(), three());
        cluster.until(secs(20), |cluster| cluster.is_founded())?;
        cluster.go_on(secs(3))?;
        // What only a node has that loses its disk is lost: all have everything before.
        cluster.settle()?;
        cluster.working = true;
        let leader = cluster.leader_of(SHARD.group()).expect("somebody leads");
        let others: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
        let late = others[usize::from(seed % 4 < 2)];
        // Half of the seeds with what it had, half without.
        if seed.is_multiple_of(2) {
            empty(&mut cluster, late);
        } else {
            cluster.kill(late, secs(2));
        }
        // What its engine had asked for is forgotten with it.
        cluster.ledger.tasks.retain(|task| task.node != late);
        cluster.go_on(secs(3))?;
        assert!(cluster.until(secs(20), |cluster| cluster.host(late).engine().is_some())?, "it is back");
        let engine = cluster.host(late).engine().expect("it runs").clone();
        let shard = engine.shard(SHARD).expect("it is there");
        let (refused, acknowledged) = (cluster.ledger.refused.clone(), cluster.ledger.acknowledged);
        for _ in 0..3 {
            let mut reply = shard.sync(secs(60));
            let done = cluster.until(secs(60), |_| match poll(&mut reply) {
                None => false,
                Some(synced) => {
                    synced.map(drop).map_or_else(|error| panic!("seed {seed}: {error}"), |()| true)
                }
            })?;
            assert!(done, "seed {seed}: it is up to date");
            cluster.go_on(secs(1))?;
        }
        assert_eq!(cluster.ledger.refused, refused, "seed {seed}");
        assert!(cluster.ledger.acknowledged > acknowledged + 10, "seed {seed}: writes go on");
        cluster.settle()
    });
}
