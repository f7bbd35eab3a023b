//! Members come, go and have other roles, while the cluster is written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringway::engine::{Durability, Engine, MemberError, MemberRole, MemberStatus, Sealed, Shard};
use ringway::ids::{GroupId, NodeId};

use super::nodes::{Nodes, PATIENCE, patient, register, seal, until};

/// How a node sees a member.
pub fn member(engine: &Engine, node: u64) -> Option<MemberStatus> {
    engine.members().wait().expect("it runs").into_iter().find(|member| member.node == node)
}

/// Whether a node sees a member vote in every group.
pub fn votes_everywhere(engine: &Engine, node: u64, groups: usize) -> bool {
    member(engine, node).is_some_and(|member| {
        member.seats.len() == groups && member.seats.iter().all(|seat| seat.voter) && member.role == "voter"
    })
}

pub fn holds(shard: &Shard, count: usize) -> bool {
    let page = shard.segments(None, 1000).wait().expect("it runs").segments;
    page.len() == count && page.iter().all(|segment| segment.here)
}

pub fn add(nodes: &Nodes, by: usize, node: usize, role: MemberRole) -> Result<(), MemberError> {
    nodes.engine(by).add_member(NodeId(node as u64), nodes.address(node), role, PATIENCE).wait()
}

/// Registers files until it is told to stop; each has to be committed. Gives their number.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<usize>,
}

impl Writer {
    fn start(shard: Shard) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            let mut count = 0;
            while !told.load(Ordering::Relaxed) {
                register(&shard, &format!("written/{count}"), &[7; 10_000]);
                count += 1;
            }
            count
        };
        Self { stop, thread: thread::spawn(body) }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no registration was refused")
    }
}

#[test]
fn r2_a_fourth_node_joins_while_the_cluster_is_written_to_and_votes_when_it_has_everything() {
    let mut nodes = Nodes::with_more(3, 4, 2);
    for index in 0..20 {
        register(&nodes.shard(1), &format!("before/{index}"), &vec![index; 200_000]);
    }
    let writer = Writer::start(nodes.shard(2));
    nodes.open(4);
    assert_eq!(add(&nodes, 3, 4, MemberRole::Voter), Ok(()));
    assert_eq!(add(&nodes, 2, 4, MemberRole::Voter), Ok(()), "it is one already, or comes");
    until("node 4 votes", || (1..=4).all(|node| votes_everywhere(nodes.engine(node), 4, 3)));
    let written = writer.end();
    assert!(written > 0);
    until("node 4 has everything", || holds(&nodes.shard(4), 20 + written));
    until("node 4 is ready", || nodes.engine(4).status().wait().expect("it runs").ready);
    let all = patient(Durability::Landed(4));
    seal(&nodes.shard(4), "by-four", b"its own");
    let done = nodes.shard(4).register(Sealed::at("by-four"), all).wait().expect("committed");
    assert_eq!((done.landed, done.replicas, done.reached), (4, 4, true));
}

#[test]
fn r3_a_leader_that_is_removed_hands_over_and_may_come_again() {
    let mut nodes = Nodes::with_more(4, 4, 1);
    until("leaders", || nodes.engine(1).status().wait().expect("it runs").ready);
    let leader = nodes.leader();
    let other = leader % 4 + 1;
    register(&nodes.shard(leader), "before", b"before");
    let writer = Writer::start(nodes.shard(other));
    let gone = nodes.engine(leader).remove_member(NodeId(leader as u64), PATIENCE).wait();
    assert_eq!(gone, Ok(()), "asked of itself");
    until("it has no seat", || member(nodes.engine(other), leader as u64).is_none());
    until("it hears of it", || {
        let status = nodes.engine(leader).status().wait().expect("it runs");
        !status.ready && status.not_ready.iter().any(|why| why.contains("removed this node"))
    });
    assert_ne!(nodes.leader(), leader, "a member leads");
    register(&nodes.shard(other), "without", b"without");
    assert_eq!(
        nodes.engine(other).remove_member(NodeId(leader as u64), PATIENCE).wait(),
        Ok(()),
        "once more"
    );
    assert_eq!(add(&nodes, other, leader, MemberRole::Voter), Ok(()));
    until("it votes again", || votes_everywhere(nodes.engine(other), leader as u64, 2));
    let written = writer.end();
    until("it has what was written without it", || holds(&nodes.shard(leader), 2 + written));
    nodes.stop(leader);
    nodes.open(leader);
    until("it starts as the member that it is", || nodes.engine(leader).status().wait().expect("runs").ready);
}

#[test]
fn r2_a_non_voter_has_everything_and_never_votes_until_it_is_promoted() {
    let mut nodes = Nodes::with_more(1, 2, 1);
    nodes.open(2);
    assert_eq!(add(&nodes, 1, 2, MemberRole::NonVoter), Ok(()));
    register(&nodes.shard(1), "file", b"content");
    until("it has the file", || holds(&nodes.shard(2), 1));
    let seats = |voter| {
        let seats = member(nodes.engine(1), 2).map(|member| member.seats).unwrap_or_default();
        seats.len() == 2 && seats.iter().all(|seat| seat.voter == voter)
    };
    until("it is in both groups", || seats(false));
    // Ten times as long as one that may vote is looked at.
    thread::sleep(std::time::Duration::from_millis(2500));
    assert!(seats(false));
    assert_eq!(member(nodes.engine(2), 2).map(|member| member.role), Some("non_voter".to_owned()));
    let role = |role| nodes.engine(2).set_member_role(NodeId(2), role, PATIENCE).wait();
    assert_eq!(role(MemberRole::Voter), Ok(()));
    until("it votes", || seats(true));
    assert_eq!(role(MemberRole::NonVoter), Ok(()));
    until("it votes no more", || seats(false));
    register(&nodes.shard(2), "by-two", b"content");
    until("both have it", || holds(&nodes.shard(1), 2) && holds(&nodes.shard(2), 2));
}

#[test]
fn r2_what_cannot_be_is_refused_with_its_reason() {
    let mut nodes = Nodes::with_more(1, 3, 1);
    let one = nodes.engine(1);
    let short = std::time::Duration::from_secs(2);
    let unreachable = one.add_member(NodeId(3), nodes.address(3), MemberRole::Voter, short).wait();
    assert!(matches!(unreachable, Err(MemberError::Unreachable { node: NodeId(3), .. })), "{unreachable:?}");
    assert_eq!(one.remove_member(NodeId(1), PATIENCE).wait(), Err(MemberError::LastVoter));
    let node = NodeId(9);
    let unknown = one.set_member_role(node, MemberRole::NonVoter, PATIENCE).wait();
    assert_eq!(unknown, Err(MemberError::Unknown { node }));
    let demoted = one.set_member_role(NodeId(1), MemberRole::NonVoter, PATIENCE).wait();
    assert_eq!(demoted, Err(MemberError::LastVoter));
    let address = nodes.address(1).to_string();
    let elsewhere = one.add_member(NodeId(1), nodes.address(2), MemberRole::Voter, PATIENCE).wait();
    assert_eq!(elsewhere, Err(MemberError::OtherAddress { node: NodeId(1), address }));
    nodes.open(2);
    let taken = nodes.engine(1).add_member(NodeId(2), nodes.address(1), MemberRole::Voter, short).wait();
    assert!(matches!(taken, Err(MemberError::Unreachable { .. } | MemberError::Refused { .. })), "{taken:?}");
    let alone = nodes.engine(2).add_member(NodeId(3), nodes.address(3), MemberRole::Voter, short).wait();
    assert_eq!(alone, Err(MemberError::NotFounded));
}

/// Node 3 knows nothing of node 4, from which alone it can hear of it: the others tell it the roll.
#[test]
fn r2_a_node_that_was_away_when_the_leader_came_hears_of_it_from_the_others() {
    let mut nodes = Nodes::with_more(3, 4, 1);
    register(&nodes.shard(1), "before", b"before");
    until("node 3 has it", || holds(&nodes.shard(3), 1));
    nodes.stop(3);
    nodes.open(4);
    assert_eq!(add(&nodes, 1, 4, MemberRole::Voter), Ok(()));
    until("node 4 votes", || votes_everywhere(nodes.engine(1), 4, 2));
    for group in [0, 1].map(GroupId) {
        until("node 4 leads", || {
            let leads = |engine: &Engine| {
                let status = engine.status().wait().expect("it runs");
                status.groups.iter().any(|of| of.group == group.0 && of.role == "leader")
            };
            for node in [1, 2] {
                if leads(nodes.engine(node)) {
                    let _tried_again = nodes.engine(node).transfer_leader(group, NodeId(4)).wait();
                }
            }
            leads(nodes.engine(4))
        });
    }
    nodes.open(3);
    until("node 3 is ready", || nodes.engine(3).status().wait().expect("it runs").ready);
    register(&nodes.shard(4), "after", b"after");
    until("node 3 has it", || holds(&nodes.shard(3), 2));
}
