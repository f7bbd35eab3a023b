//! Members that are removed and added, and lose their votes and get them back, while everything else breaks.

use std::cell::Cell;

use ringway::broken::Broken;
use ringway::engine::{MemberError, MemberRole, Reply};
use ringway::ids::{GroupId, NodeId};

use crate::sim::SimOptions;

use super::broken::first_found;
use super::campaign::shape;
use super::checks::Found;
use super::cluster::Cluster;
use super::faults::Storm;
use super::host::{Shape, poll};
use super::seeds;
use super::{millis, secs};

/// Seeds of a plain test run.
const SEEDS: u64 = 4;
/// And of those that lose their vote.
const VOTES: u64 = 12;

/// Changes of members that somebody waits for.
#[derive(Default)]
pub struct Churn {
    waiting: Vec<Reply<(), MemberError>>,
    /// Changes that were committed.
    pub done: u64,
    pub refused: Vec<String>,
}

impl Churn {
    pub fn poll(&mut self) {
        for mut reply in std::mem::take(&mut self.waiting) {
            match poll(&mut reply) {
                None => self.waiting.push(reply),
                Some(Ok(())) => self.done += 1,
                Some(Err(error)) => self.refused.push(error.to_string()),
            }
        }
    }
}

impl Cluster {
    /// Somebody asks a node that another one is removed, added, or gets another role.
    pub fn churn(&mut self, asked: NodeId, of: NodeId) -> Option<()> {
        let address = self.sim.address(of, super::host::PORT);
        let within = secs(2 + self.sim.draw(4));
        let what = self.sim.draw(8);
        let engine = self.host(asked).engine()?;
        let reply = match what {
            0..=2 => engine.remove_member(of, within),
            3 => engine.set_member_role(of, MemberRole::NonVoter, within),
            4 => engine.set_member_role(of, MemberRole::Voter, within),
            5 => engine.add_member(of, address, MemberRole::NonVoter, within),
            _ => engine.add_member(of, address, MemberRole::Voter, within),
        };
        self.churning.waiting.push(reply);
        Some(())
    }

    /// All nodes are made voters again, and stay: what nobody waits for any more may still have happened late.
    fn assemble(&mut self) -> Result<(), Found> {
        loop {
            self.add_all()?;
            self.go_on(secs(5))?;
            if self.is_assembled() {
                return Ok(());
            }
        }
    }

    fn add_all(&mut self) -> Result<(), Found> {
        let nodes = self.nodes();
        let (mut asked, mut of) = (0, 0);
        let assembled = self.until(secs(180), |cluster| {
            // What was asked before may still happen.
            if cluster.churning.waiting.is_empty() && cluster.is_assembled() {
                return true;
            }
            // Whoever is asked may have been removed itself.
            if cluster.churning.waiting.is_empty() {
                of += 1;
                asked += usize::from(of % nodes.len() == 0);
                let (asked, of) = (nodes[asked % nodes.len()], nodes[of % nodes.len()]);
                let address = cluster.sim.address(of, super::host::PORT);
                let engine = cluster.host(asked).engine();
                let reply = engine.map(|engine| engine.add_member(of, address, MemberRole::Voter, secs(2)));
                cluster.churning.waiting.extend(reply);
            }
            false
        })?;
        if assembled {
            return Ok(());
        }
        let refused = self.churning.refused.iter().rev().take(5).collect::<Vec<_>>();
        let what = format!("{}\n  members refused {refused:?}", self.unsettled());
        Err(Found { checker: "members come back", what })
    }

    fn is_assembled(&self) -> bool {
        let all = self.nodes().len();
        let votes = |node: NodeId| {
            let seats = self.host(node).seats.borrow();
            let mut clusters = seats.iter().filter_map(|seat| seat.cluster());
            clusters.next().is_some_and(|group| group.voters().len() == all)
                && self
                    .shards()
                    .into_iter()
                    .all(|id| self.shard(node, id).is_some_and(|shard| shard.group().voters().len() == all))
        };
        self.nodes().into_iter().all(votes)
    }
}

fn sound<T>(seed: u64, done: Result<T, Found>) -> T {
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what))
}

fn churned(seed: u64) -> Result<(Cluster, u64), Found> {
    let shape = Shape { churn: true, ..shape(seed) };
    let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    let calm = millis(cluster.sim.draw(2000));
    cluster.go_on(calm)?;
    let faults = 6 + cluster.sim.draw(12);
    Storm::new(&cluster).rage(&mut cluster, faults)?;
    cluster.assemble()?;
    cluster.settle()?;
    let done = cluster.churning.done;
    Ok((cluster, done))
}

fn campaign(part: u64) {
    let totals = Cell::new((0, 0));
    let count = seeds::campaign(SEEDS, (part, 2), |seed| {
        let (cluster, done) = churned(seed)?;
        let (changes, acknowledged) = totals.get();
        totals.set((changes + done, acknowledged + cluster.ledger.acknowledged));
        Ok(())
    });
    let (changes, acknowledged) = totals.get();
    eprintln!("of these: {changes} changes of members, {acknowledged} batches acknowledged");
    assert!(count == 0 || (changes > 0 && acknowledged > 0), "nothing was changed");
}

#[test]
fn r2_members_come_and_go_and_nothing_is_lost_first_half() {
    campaign(0);
}

#[test]
fn r2_members_come_and_go_and_nothing_is_lost_second_half() {
    campaign(1);
}

/// The leader dies when it has begun to take another node's vote. That one may be elected yet, and ends the change that
/// takes its vote. Whether it then led without one; it may not stay.
fn losing_its_vote(seed: u64) -> Result<bool, Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), super::campaign::three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    cluster.go_on(secs(2))?;
    let shard = cluster.shards()[0];
    let leader = cluster.leader_of(shard.group()).expect("somebody leads");
    let others = cluster.nodes().into_iter().filter(|node| *node != leader);
    let loser = others.max().expect("there are three");
    let _waiting = cluster
        .host(loser)
        .engine()
        .map(|engine| engine.set_member_role(loser, MemberRole::NonVoter, secs(20)));
    cluster.until(secs(20), |cluster| {
        cluster.shard(loser, shard).is_some_and(|shard| shard.group().is_changing())
    })?;
    cluster.kill(leader, secs(4));
    let mut led_without = false;
    let is_over = |cluster: &Cluster, led_without: &mut bool| {
        let leads = cluster.leader_of(shard.group()).and_then(|node| cluster.shard(node, shard));
        leads.is_some_and(|leads| {
            let (node, voters) = (leads.group().node(), leads.group().voters());
            *led_without |= !voters.contains_key(&node);
            voters.len() == 2 && voters.contains_key(&node)
        })
    };
    cluster.until(secs(60), |cluster| is_over(cluster, &mut led_without))?;
    cluster.go_on(secs(10))?;
    if !is_over(&cluster, &mut led_without) {
        let leads = cluster.leader_of(shard.group());
        return Err(Found {
            checker: "voters lead",
            what: format!("{leads:?} leads, {loser} was to lose its vote"),
        });
    }
    cluster.assemble()?;
    cluster.settle()?;
    Ok(led_without)
}

#[test]
fn r2_a_leader_that_has_lost_its_vote_hands_over() {
    let led_without = Cell::new(0);
    let seeds = seeds::campaign(VOTES, (0, 1), |seed| {
        led_without.set(led_without.get() + u64::from(losing_its_vote(seed)?));
        Ok(())
    });
    eprintln!("of these: {} with a leader without a vote", led_without.get());
    assert!(seeds < VOTES || led_without.get() > 0, "too few to tell");
}

#[test]
fn that_a_leader_without_a_vote_stays_is_found() {
    first_found(Broken::LeadsWithoutVote, |seed| losing_its_vote(seed).map(drop), "voters lead");
}

/// A node that leads everything is removed while its links to the others are down: they have to do without it.
#[test]
fn r3_a_leader_that_hears_nothing_is_removed_all_the_same_and_stays_out() {
    for seed in 1..=4 {
        let mut cluster = Cluster::new(seed, SimOptions::default(), super::campaign::three());
        cluster.working = false;
        assert!(sound(seed, cluster.until(secs(20), |cluster| cluster.is_founded())));
        sound(seed, cluster.go_on(secs(2)));
        let leader = cluster.leader_of(GroupId::CLUSTER).expect("somebody leads");
        let others: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
        cluster.sim.partition(&[leader], &others);
        let mut waiting =
            cluster.host(others[0]).engine().map(|engine| engine.remove_member(leader, secs(20)));
        let gone = cluster.until(secs(60), |cluster| {
            let answered = waiting.as_mut().and_then(poll);
            if let Some(answer) = answered {
                assert_eq!(answer, Ok(()), "seed {seed}");
                waiting = None;
            }
            let without = |node: &NodeId| {
                let seats = cluster.host(*node).seats.borrow();
                let mut groups = seats.iter().filter_map(|seat| seat.cluster());
                groups.next().is_some_and(|group| group.agreed_members().len() == 2)
                    && cluster.shards().into_iter().all(|id| {
                        cluster
                            .shard(*node, id)
                            .is_some_and(|shard| shard.group().agreed_members().len() == 2)
                    })
            };
            others.iter().all(without)
        });
        assert!(sound(seed, gone), "seed {seed}: {}", cluster.unsettled());
        cluster.sim.heal();
        sound(seed, cluster.go_on(secs(5)));
        for node in &others {
            let shard = cluster.shard(*node, ringway::ids::ShardId(0)).expect("it runs");
            let led_by = shard.group().watermarks().leader;
            assert!(led_by.is_some_and(|leads| leads != leader), "seed {seed}: {led_by:?}");
        }
        sound(seed, cluster.assemble());
        sound(seed, cluster.settle());
    }
}
