//! What nodes ask each other about the cluster: the leader to commit a command, and anybody for the roll of the nodes.
//! Rare, so each has a stream of its own. An empty proposal asks for the roll.

use std::rc::Rc;

use crate::cluster::{ClusterState, Command, Outcome, Roll};
use crate::ids::{GroupId, LogIndex, Nanos, NodeId};
use crate::limits::PROPOSE_TIMEOUT;
use crate::raft::{CommandBytes, Group, GroupRole};
use crate::shard::Attempt;
use crate::transport::{Peer, Stream};
use crate::uring::{Core, deadline, sleep};
use crate::wire::{Body, Class, Propose, ProposeReply, Purpose};

use super::node::CoreNode;

/// Rest between attempts to reach a leader.
const RETRY: Nanos = Nanos::from_millis(50);
/// To one answer.
const ANSWER_TIMEOUT: Nanos = Nanos::from_secs(2);
/// Rest before another node is asked for the roll.
const ASK_REST: Nanos = Nanos::from_millis(500);

/// Answers a peer, until its stream ends.
pub(super) async fn serve(group: Group<ClusterState>, stream: Stream) {
    let (sender, mut receiver) = stream.split();
    while let Ok(message) = receiver.receive().await {
        let Ok(Body::Propose(asked)) = message.decode() else { return };
        let attempt = if asked.bytes.is_empty() {
            let roll = Roll::of(&group.machine().borrow());
            Attempt::Applied(roll.changed, roll.encode().to_vec())
        } else {
            Attempt::of(group.propose(CommandBytes::copy_of(asked.bytes), PROPOSE_TIMEOUT).await)
        };
        let (status, bytes) = attempt.encode();
        if sender.send(ProposeReply { id: asked.id, status, bytes: &bytes }).await.is_err() {
            return;
        }
    }
}

fn has_stopped(group: &Group<ClusterState>) -> bool {
    group.watermarks().role == GroupRole::Stopped
}

/// Why a command has no outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoOutcome {
    /// No leader has taken it: it did not happen.
    NoLeader {
        /// The one last known.
        last: Option<NodeId>,
    },
    /// It was sent, and may have happened.
    Unknown,
    /// The group has stopped on this node.
    Stopped,
}

/// Has the leader commit a command that may be committed twice, and gives what became of it.
pub(super) async fn propose(node: &CoreNode, command: &Command, until: Nanos) -> Result<Outcome, NoOutcome> {
    let bytes = command.encode();
    let Some(seat) = &node.cluster else { return Err(NoOutcome::Stopped) };
    let (mut was_sent, mut last) = (false, None);
    loop {
        let leader = seat.group().watermarks().leader;
        last = leader.or(last);
        let attempt = match leader {
            None => Attempt::NotTaken(None),
            Some(leader) if leader == node.parts.config.node => {
                Attempt::of(seat.group().propose(bytes.clone(), PROPOSE_TIMEOUT).await)
            }
            Some(leader) => ask(node, leader, &bytes, until).await,
        };
        match attempt {
            Attempt::Applied(_, outcome) => match Outcome::decode(&outcome) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => {
                    tracing::error!(%error, "the leader's answer cannot be read");
                    return Err(NoOutcome::Unknown);
                }
            },
            Attempt::Stopped if has_stopped(seat.group()) => return Err(NoOutcome::Stopped),
            Attempt::Unknown => was_sent = true,
            Attempt::Stopped | Attempt::NotTaken(_) | Attempt::Foreign => {}
        }
        if Core::current().now() >= until {
            return Err(if was_sent { NoOutcome::Unknown } else { NoOutcome::NoLeader { last } });
        }
        sleep(RETRY).await;
    }
}

/// One question to another node, and its answer, for which it has `ANSWER_TIMEOUT`: one that has fallen silent has a
/// successor by then.
async fn ask(node: &CoreNode, of: NodeId, bytes: &[u8], until: Nanos) -> Attempt {
    let until = until.min(Core::current().now().plus(ANSWER_TIMEOUT));
    let Some(address) = node.addresses.borrow().get(&of).copied() else { return Attempt::NotTaken(None) };
    let peer = Peer { node: Some(of), address };
    let open = node.transport.open_stream(peer, GroupId::CLUSTER, Class::Control, Purpose::Manifest);
    let Ok(Ok(mut stream)) = deadline(until, open).await else { return Attempt::NotTaken(None) };
    if stream.send(Propose { id: 1, bytes }).await.is_err() {
        return Attempt::NotTaken(None);
    }
    let Ok(Ok(message)) = deadline(until, stream.receive()).await else { return Attempt::Unknown };
    match message.decode() {
        Ok(Body::ProposeReply(reply)) => Attempt::read(&reply),
        _ => Attempt::Unknown,
    }
}

/// Asks another node for the roll whenever somebody was turned away: he may have come while this node was away, and he
/// may be the leader from whom alone it would hear of him.
pub(super) async fn ask_forever(node: Rc<CoreNode>) {
    let Some(seat) = &node.cluster else { return };
    let own = node.parts.config.node;
    let mut turn = 0;
    while !has_stopped(seat.group()) {
        node.door.turned_away().await;
        let others: Vec<NodeId> =
            node.addresses.borrow().keys().copied().filter(|other| *other != own).collect();
        if let Some(other) = others.get(turn % others.len().max(1)).copied() {
            turn += 1;
            if let Some(roll) = roll_of(&node, other).await {
                seat.heard(roll);
            }
        }
        sleep(ASK_REST).await;
    }
}

async fn roll_of(node: &CoreNode, other: NodeId) -> Option<Roll> {
    let until = Core::current().now().plus(ANSWER_TIMEOUT);
    let Attempt::Applied(LogIndex(_), bytes) = ask(node, other, &[], until).await else { return None };
    Roll::decode(&bytes).inspect_err(|error| tracing::warn!(%error, %other, "no roll of nodes")).ok()
}
