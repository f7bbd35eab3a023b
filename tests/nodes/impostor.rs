//! A member of the cluster that is not to be trusted: it holds the secret, and speaks in the name of another node, or
//! asks without end and never reads an answer. Its connections are a real node's own.

use std::cell::Cell;
use std::rc::Rc;

use ringway::ids::{NodeId, SessionId, ShardId};
use ringway::limits::PROPOSALS_IN_FLIGHT_MAX;
use ringway::manifest::{Batch, Command, Operation};
use ringway::raft::GroupRole;
use ringway::shard::Shard;
use ringway::transport::{Class, Peer, Purpose, Stream, Transport};
use ringway::uring::Core;
use ringway::wire::{Body, Propose, RaftRequest};

use crate::sim::SimOptions;

use super::campaign::three;
use super::cluster::Cluster;
use super::secs;

const SHARD: ShardId = ShardId(0);
const APPLIED: u8 = 0;
const FOREIGN: u8 = 4;

/// A cluster with a leader, and another member's connections.
struct Scene {
    cluster: Cluster,
    leader: Shard,
    /// The member that is not to be trusted.
    bad: NodeId,
    /// The third.
    victim: NodeId,
    core: Core,
    transport: Transport,
    to: Peer,
}

fn scene(seed: u64) -> Scene {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    let mut lead = None;
    let led = cluster.until(secs(20), |cluster| {
        let leads = |node: &NodeId| {
            let shard = cluster.shard(*node, SHARD);
            shard.is_some_and(|shard| shard.group().watermarks().role == GroupRole::Leader)
        };
        lead = cluster.nodes().into_iter().find(leads);
        cluster.is_founded() && lead.is_some()
    });
    assert!(led.expect("no checker minds"), "somebody leads");
    let leader = lead.expect("just seen");
    cluster.go_on(secs(2)).expect("no checker minds");
    let bad = NodeId(leader.0 % 3 + 1);
    let victim = NodeId(bad.0 % 3 + 1);
    let (core, transport) = way_of(&mut cluster, bad);
    let to = Peer { node: Some(leader), address: cluster.sim.address(leader, 7400) };
    let leader = cluster.shard(leader, SHARD).expect("it runs");
    Scene { cluster, leader, bad, victim, core, transport, to }
}

/// The core of a node that has the shard, and its connections.
fn way_of(cluster: &mut Cluster, node: NodeId) -> (Core, Transport) {
    let seats = cluster.host(node).seats.borrow().clone();
    let place = seats.iter().position(|seat| !seat.shards().is_empty()).expect("it runs");
    let core = cluster.sim.core(node, u16::try_from(place).expect("few"));
    (core, seats[place].transport().expect("it runs"))
}

async fn stream(transport: &Transport, to: Peer, purpose: Purpose) -> Stream {
    transport.open_stream(to, SHARD.group(), Class::Control, purpose).await.expect("a member is let in")
}

/// What a leader answers to a command of a member, as its status byte.
fn status(scene: &mut Scene, command: &Command) -> u8 {
    let (transport, to, bytes) = (scene.transport.clone(), scene.to, command.encode());
    scene.cluster.sim.block_on(&scene.core, async move {
        let (sender, mut receiver) = stream(&transport, to, Purpose::Manifest).await.split();
        sender.send(Propose { id: 1, bytes: &bytes }).await.expect("it is sent");
        let message = receiver.receive().await.expect("it is answered");
        let Ok(Body::ProposeReply(reply)) = message.decode() else { panic!("another answer") };
        reply.status
    })
}

fn delete(session: SessionId) -> Command {
    let operations = vec![Operation::Delete { path: "p".to_owned(), reason: "theirs".to_owned() }];
    let proposed_at = ringway::ids::UnixNanos(1);
    Command::Batch(Batch { session, number: 0, low_water: 0, proposed_at, operations })
}

#[test]
fn a_member_uses_and_retires_its_own_sessions_and_no_other_node_s() {
    let mut scene = scene(1);
    let (own, theirs) = (SessionId::of(scene.bad, [1; 8]), SessionId::of(scene.victim, [1; 8]));
    assert_eq!(status(&mut scene, &Command::OpenSession { session: own }), APPLIED);
    assert_eq!(status(&mut scene, &delete(own)), APPLIED);
    let before = scene.leader.watermarks().committed;
    for foreign in
        [Command::OpenSession { session: theirs }, delete(theirs), Command::RetireSession { session: theirs }]
    {
        assert_eq!(status(&mut scene, &foreign), FOREIGN, "{foreign:?}");
    }
    assert_eq!(scene.leader.watermarks().committed, before, "nothing of it went into the log");
    assert_eq!(scene.leader.foreign_proposals(), 3);
    assert_eq!(status(&mut scene, &Command::RetireSession { session: own }), APPLIED);
}

#[test]
fn a_member_votes_and_leads_in_its_own_name_only() {
    let mut scene = scene(2);
    let term = scene.leader.watermarks().committed.0 + 1000;
    // A vote: term, candidate, whether it is granted; then the candidate's last entry, and no transfer.
    let vote = |candidate: NodeId| {
        let mut bytes = [term.to_le_bytes(), candidate.0.to_le_bytes(), [0; 8]].concat();
        bytes.extend([u64::MAX.to_le_bytes(), 1_u64.to_le_bytes()].concat());
        bytes.push(0);
        bytes
    };
    // The same as a leader, and no entries.
    let append = |leader: NodeId| {
        let mut bytes = [term.to_le_bytes(), leader.0.to_le_bytes(), 1_u64.to_le_bytes()].concat();
        bytes.extend([0; 40]);
        bytes
    };
    let (victim, before) = (scene.victim, scene.leader.group().watermarks().term);
    for (call, argument) in [(1, append(victim)), (2, vote(victim)), (3, vote(victim))] {
        let (transport, to) = (scene.transport.clone(), scene.to);
        let answer = scene.cluster.sim.block_on(&scene.core, async move {
            let (sender, mut receiver) = stream(&transport, to, Purpose::Raft).await.split();
            sender.send(RaftRequest { id: 1, rpc: call, bytes: &argument }).await.expect("it is sent");
            let message = receiver.receive().await.expect("it is answered");
            let Ok(Body::RaftResponse(response)) = message.decode() else { panic!("another answer") };
            (!response.ok).then(|| String::from_utf8_lossy(response.bytes).into_owned())
        });
        let refused = answer.unwrap_or_else(|| panic!("call {call} was taken"));
        assert!(refused.contains("speaks in the name of"), "{refused}");
    }
    assert_eq!(scene.leader.group().figures().foreign_calls, 3);
    assert_eq!(scene.leader.group().watermarks().term, before, "nobody's term has moved");
}

#[test]
fn a_member_that_reads_no_answer_is_not_read_for_ever_and_the_others_are_served() {
    let mut scene = scene(3);
    let sent: Rc<Cell<usize>> = Rc::default();
    let own = SessionId::of(scene.bad, [1; 8]);
    for _ in 0..3 {
        let (transport, to, sent) = (scene.transport.clone(), scene.to, Rc::clone(&sent));
        let bytes = Command::OpenSession { session: own }.encode();
        drop(scene.core.spawn(ringway::uring::Priority::Urgent, async move {
            let (sender, _unread) = stream(&transport, to, Purpose::Manifest).await.split();
            for id in 0..40_000 {
                if sender.send(Propose { id, bytes: &bytes }).await.is_err() {
                    break;
                }
                sent.set(sent.get() + 1);
            }
            std::future::pending::<()>().await;
        }));
    }
    scene.cluster.go_on(secs(20)).expect("no checker minds");
    let after = sent.get();
    scene.cluster.go_on(secs(10)).expect("no checker minds");
    assert_eq!(sent.get(), after, "it is read no more");
    assert!(scene.leader.answering() <= PROPOSALS_IN_FLIGHT_MAX, "{} wait", scene.leader.answering());
    assert!(after < 60_000, "{after} were taken off it");
    let other = SessionId::of(scene.victim, [7; 8]);
    (scene.core, scene.transport) = way_of(&mut scene.cluster, scene.victim);
    assert_eq!(status(&mut scene, &Command::OpenSession { session: other }), APPLIED, "others are served");
}
