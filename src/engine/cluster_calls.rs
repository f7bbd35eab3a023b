//! What nodes ask each other about the cluster: the leader to commit a command, anybody for the roll of the nodes, and
//! the leader of any group to hand over. Rare, so each has a stream of its own. An empty proposal asks for the roll,
//! one of `HAND_OVER_BYTES` to hand over; no command is as short.

use std::rc::Rc;

use crate::cluster::{ClusterState, Command, Outcome, Roll};
use crate::ids::{GroupId, LogIndex, Nanos, NodeId};
use crate::limits::PROPOSE_TIMEOUT;
use crate::raft::{CommandBytes, Group, GroupRole};
use crate::shard::Attempt;
use crate::transport::{Peer, Stream};
use crate::uring::{Core, deadline, sleep};
use crate::wire::{Body, Class, Propose, ProposeReply, Purpose, field_at};

use super::error::TransferLeaderError;
use super::node::CoreNode;
use super::reply::Reply;

/// Rest between attempts to reach a leader.
const RETRY: Nanos = Nanos::from_millis(50);
/// To one answer.
const ANSWER_TIMEOUT: Nanos = Nanos::from_secs(2);
/// Rest before another node is asked for the roll.
const ASK_REST: Nanos = Nanos::from_millis(500);

/// A group and a node.
const HAND_OVER_BYTES: usize = 12;
// A command's bytes end with this.
const _: () = assert!(size_of::<rkyv::Archived<Command>>() > HAND_OVER_BYTES);

/// Hands the leadership of a group that this node leads to another node.
pub(super) type HandOver = Box<dyn Fn(GroupId, NodeId) -> Reply<(), TransferLeaderError>>;

/// Answers a peer, until its stream ends.
pub(super) async fn serve(group: Group<ClusterState>, hand_over: HandOver, stream: Stream) {
    let (sender, mut receiver) = stream.split();
    while let Ok(message) = receiver.receive().await {
        let Ok(Body::Propose(asked)) = message.decode() else { return };
        let attempt = if asked.bytes.is_empty() {
            let roll = Roll::of(&group.machine().borrow());
            Attempt::Applied(roll.changed, roll.encode().to_vec())
        } else if let Some((group, to)) = handed_over(asked.bytes) {
            let done = hand_over(group, to).await;
            Attempt::Applied(LogIndex(0), encode_handed(&done))
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
    ask_until(node, of, bytes, until.min(Core::current().now().plus(ANSWER_TIMEOUT))).await
}

async fn ask_until(node: &CoreNode, of: NodeId, bytes: &[u8], until: Nanos) -> Attempt {
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

/// Asks the leader of a group to hand it over to a node.
pub(super) async fn hand_over(
    node: &CoreNode,
    leader: NodeId,
    group: GroupId,
    to: NodeId,
) -> Result<(), TransferLeaderError> {
    let mut bytes = group.0.to_le_bytes().to_vec();
    bytes.extend(to.0.to_le_bytes());
    let until = Core::current().now().plus(PROPOSE_TIMEOUT).plus(ANSWER_TIMEOUT);
    match ask_until(node, leader, &bytes, until).await {
        Attempt::Applied(_, answer) => decode_handed(&answer, to),
        Attempt::Unknown => Err(TransferLeaderError::TimedOut),
        Attempt::NotTaken(_) | Attempt::Stopped | Attempt::Foreign => {
            Err(TransferLeaderError::NotLeader { leader: Some(leader) })
        }
    }
}

fn handed_over(bytes: &[u8]) -> Option<(GroupId, NodeId)> {
    let bytes = <&[u8; HAND_OVER_BYTES]>::try_from(bytes).ok()?;
    let (group, to) = (u32::from_le_bytes(field_at(bytes, 0)), u64::from_le_bytes(field_at(bytes, 4)));
    Some((GroupId(group), NodeId(to)))
}

const DONE: u8 = 0;
const NO_SUCH_GROUP: u8 = 1;
const NOT_LEADER: u8 = 2;
const NOT_A_VOTER: u8 = 3;
const TIMED_OUT: u8 = 4;
const STOPPED: u8 = 5;
const BUSY: u8 = 6;

fn encode_handed(done: &Result<(), TransferLeaderError>) -> Vec<u8> {
    let (code, leader) = match done {
        Ok(()) => (DONE, None),
        Err(TransferLeaderError::NoSuchGroup) => (NO_SUCH_GROUP, None),
        Err(TransferLeaderError::NotLeader { leader }) => (NOT_LEADER, *leader),
        Err(TransferLeaderError::NotAVoter { .. }) => (NOT_A_VOTER, None),
        Err(TransferLeaderError::TimedOut) => (TIMED_OUT, None),
        Err(TransferLeaderError::Stopped) => (STOPPED, None),
        Err(TransferLeaderError::Busy) => (BUSY, None),
    };
    let mut out = vec![code];
    out.extend(leader.map_or(0, |node| node.0).to_le_bytes());
    out
}

fn decode_handed(bytes: &[u8], to: NodeId) -> Result<(), TransferLeaderError> {
    let Ok(bytes) = <&[u8; 9]>::try_from(bytes) else { return Err(TransferLeaderError::TimedOut) };
    let leader = Some(NodeId(u64::from_le_bytes(field_at(bytes, 1)))).filter(|node| node.0 != 0);
    Err(match bytes[0] {
        DONE => return Ok(()),
        NO_SUCH_GROUP => TransferLeaderError::NoSuchGroup,
        NOT_LEADER => TransferLeaderError::NotLeader { leader },
        NOT_A_VOTER => TransferLeaderError::NotAVoter { node: to },
        STOPPED => TransferLeaderError::Stopped,
        BUSY => TransferLeaderError::Busy,
        // Of a code that a newer build has, nothing is known.
        _ => TransferLeaderError::TimedOut,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_what_came_of_handing_over_is_read_as_it_was_written() {
        let to = NodeId(3);
        let all = [
            Ok(()),
            Err(TransferLeaderError::NoSuchGroup),
            Err(TransferLeaderError::NotLeader { leader: Some(NodeId(2)) }),
            Err(TransferLeaderError::NotLeader { leader: None }),
            Err(TransferLeaderError::NotAVoter { node: to }),
            Err(TransferLeaderError::TimedOut),
            Err(TransferLeaderError::Stopped),
            Err(TransferLeaderError::Busy),
        ];
        for done in all {
            assert_eq!(decode_handed(&encode_handed(&done), to), done);
        }
        for strange in [&[][..], &[0; 8], &[9, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(decode_handed(strange, to), Err(TransferLeaderError::TimedOut));
        }
        assert_eq!((handed_over(&[1; 11]), handed_over(&[1; 13])), (None, None));
    }
}
