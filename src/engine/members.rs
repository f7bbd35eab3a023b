//! Changing who is a member: a change is committed in the cluster group; the groups follow it by themselves
//! (`seats.rs`).

use std::fmt;
use std::net::SocketAddr;

use crate::cluster::{Command, NodeRecord, Outcome, Refusal, Role};
use crate::ids::{Nanos, NodeId};
use crate::uring::{Core, deadline};

use super::cluster::{NoLife, life_of};
use super::cluster_calls::{NoOutcome, propose};
use super::error::{OUTCOME_UNKNOWN, no_leader};
use super::node::CoreNode;
use super::reply::NoAnswer;
use super::request::MemberChange;

/// What a member is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberRole {
    /// It learns, and votes as soon as it has installed what was committed when it came: a vote without the bytes would
    /// let a quorum consist of nodes that do not hold them. Until then its role is told as `promotable`.
    Voter,
    /// It learns and fetches, and never votes.
    NonVoter,
}

/// The members were not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemberError {
    /// There is no cluster yet: found it first.
    NotFounded,
    /// The node to add did not answer, or does not let this one in: it has to run, with the cluster's secret and id,
    /// and its configuration has to list the members that there are.
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The node is a member at another address; remove it first.
    OtherAddress {
        /// The node.
        node: NodeId,
        /// Where it is known.
        address: String,
    },
    /// The node is no member.
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// No voter would be left.
    LastVoter,
    /// The cluster group refuses.
    Refused {
        /// Why.
        why: String,
    },
    /// No leader was reached in time: nothing has happened.
    NoLeader {
        /// The leader last known.
        last: Option<NodeId>,
    },
    /// The time ran out after the change was sent; asking again is safe.
    OutcomeUnknown,
    /// The node has stopped.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl MemberError {
    /// The same may succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoLeader { .. } | Self::OutcomeUnknown | Self::Busy)
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFounded => f.write_str("there is no cluster yet; found it first"),
            Self::Unreachable { node, why } => write!(
                f,
                "node {node} cannot be added: {why}; it has to run, with this cluster's secret and id, and its \
                 configuration has to list the members that there are"
            ),
            Self::OtherAddress { node, address } => {
                write!(f, "node {node} is a member at {address}; remove it first")
            }
            Self::Unknown { node } => write!(f, "node {node} is no member"),
            Self::LastVoter => f.write_str("no voter would be left"),
            Self::Refused { why } => write!(f, "the cluster group refuses: {why}"),
            Self::NoLeader { last } => no_leader(f, *last),
            Self::OutcomeUnknown => f.write_str(OUTCOME_UNKNOWN),
            Self::Stopped => NoAnswer::Stopped.fmt(f),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for MemberError {}

/// Commits a change of the members; one that is so already is done.
pub(super) async fn change_members(
    node: &CoreNode,
    change: MemberChange,
    within: Nanos,
) -> Result<(), MemberError> {
    let until = Core::current().now().plus(within);
    let Some(seat) = &node.cluster else { return Err(MemberError::Stopped) };
    loop {
        // What this node has applied may be old; the leader says so then.
        let (seen, wished) = {
            let machine = seat.group().machine();
            let state = machine.borrow();
            state.cluster().ok_or(MemberError::NotFounded)?;
            let known = match change {
                MemberChange::Add(id, ..) | MemberChange::Role(id, _) | MemberChange::Remove(id) => {
                    state.node(id)
                }
            };
            (state.nodes_changed(), wished(change, known.map(|known| &known.record))?)
        };
        let command = match wished {
            Wished::Nothing => return Ok(()),
            Wished::Gone(id) => Command::RemoveNode { node: id, seen },
            Wished::Known(record) => Command::SetNode { record, seen },
            Wished::New(id, address, role) => {
                node.door.expect(id);
                let life = life_of(node, id, address, until).await;
                node.door.expect_no_more(id);
                let incarnation =
                    life.map_err(|why| MemberError::Unreachable { node: id, why: why.to_string() })?;
                let (name, address) = (format!("node-{id}"), address.to_string());
                let record = NodeRecord { id, name, address, admin_address: None, incarnation, role };
                Command::SetNode { record, seen }
            }
        };
        match propose(node, &command, until).await {
            Ok(Outcome::Applied | Outcome::Unchanged) => return Ok(()),
            Ok(Outcome::Refused(Refusal::Stale { changed })) => {
                let applied = seat
                    .group()
                    .changed()
                    .until(|| (seat.group().machine().borrow().nodes_changed() >= changed).then_some(()));
                if deadline(until, applied).await.is_err() {
                    return Err(MemberError::OutcomeUnknown);
                }
            }
            Ok(Outcome::Refused(Refusal::LastVoter)) => return Err(MemberError::LastVoter),
            Ok(Outcome::Refused(why)) => return Err(MemberError::Refused { why: why.to_string() }),
            Err(NoOutcome::NoLeader { last }) => return Err(MemberError::NoLeader { last }),
            Err(NoOutcome::Unknown) => return Err(MemberError::OutcomeUnknown),
            Err(NoOutcome::Stopped) => return Err(MemberError::Stopped),
        }
    }
}

/// What has to be committed for a change.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Wished {
    Nothing,
    Gone(NodeId),
    Known(NodeRecord),
    New(NodeId, SocketAddr, Role),
}

fn wished(change: MemberChange, known: Option<&NodeRecord>) -> Result<Wished, MemberError> {
    let with_role = |record: &NodeRecord, role: MemberRole| match (role, record.role) {
        (MemberRole::Voter, Role::Voter | Role::Promotable) | (MemberRole::NonVoter, Role::NonVoter) => {
            Wished::Nothing
        }
        (role, _) => Wished::Known(NodeRecord { role: recorded(role), ..record.clone() }),
    };
    match (change, known) {
        (MemberChange::Add(id, address, role), None) => Ok(Wished::New(id, address, recorded(role))),
        (MemberChange::Add(node, address, _), Some(record)) if record.address != address.to_string() => {
            Err(MemberError::OtherAddress { node, address: record.address.clone() })
        }
        (MemberChange::Add(_, _, role) | MemberChange::Role(_, role), Some(record)) => {
            Ok(with_role(record, role))
        }
        (MemberChange::Role(node, _), None) => Err(MemberError::Unknown { node }),
        (MemberChange::Remove(_), None) => Ok(Wished::Nothing),
        (MemberChange::Remove(node), Some(_)) => Ok(Wished::Gone(node)),
    }
}

/// How a node is recorded that is to have a role from now on.
fn recorded(role: MemberRole) -> Role {
    match role {
        MemberRole::Voter => Role::Promotable,
        MemberRole::NonVoter => Role::NonVoter,
    }
}

impl fmt::Display for NoLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str("another life of it is known"),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn record(role: Role) -> NodeRecord {
        NodeRecord {
            id: NodeId(4),
            name: "node-4".to_owned(),
            address: "10.0.0.4:7400".to_owned(),
            admin_address: None,
            incarnation: Incarnation([4; 16]),
            role,
        }
    }

    #[test]
    fn r2_each_change_asks_for_what_is_not_so_already() {
        let address: SocketAddr = "10.0.0.4:7400".parse().expect("an address");
        let other: SocketAddr = "10.0.0.5:7400".parse().expect("an address");
        let add = |address, role| MemberChange::Add(NodeId(4), address, role);
        let (voter, non_voter) = (MemberRole::Voter, MemberRole::NonVoter);
        let known = |role| Ok(Wished::Known(record(role)));
        let (nothing, node) = (Ok(Wished::Nothing), NodeId(4));
        assert_eq!(wished(add(address, voter), None), Ok(Wished::New(node, address, Role::Promotable)));
        assert_eq!(wished(add(address, non_voter), None), Ok(Wished::New(node, address, Role::NonVoter)));
        for role in [Role::Voter, Role::Promotable] {
            assert_eq!(wished(add(address, voter), Some(&record(role))), nothing, "it comes, or is there");
            assert_eq!(wished(add(address, non_voter), Some(&record(role))), known(Role::NonVoter));
        }
        assert_eq!(
            wished(MemberChange::Role(node, voter), Some(&record(Role::NonVoter))),
            known(Role::Promotable)
        );
        assert_eq!(wished(MemberChange::Role(node, voter), None), Err(MemberError::Unknown { node }));
        let address = "10.0.0.4:7400".to_owned();
        let moved = Err(MemberError::OtherAddress { node, address });
        assert_eq!(wished(add(other, voter), Some(&record(Role::Voter))), moved);
        assert_eq!(wished(MemberChange::Remove(node), None), nothing);
        assert_eq!(wished(MemberChange::Remove(node), Some(&record(Role::Voter))), Ok(Wished::Gone(node)));
    }
}
