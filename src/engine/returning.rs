//! Nodes that come back with another life: the cluster's leader takes the new one over from the old, and each group's
//! leader removes the old voter, admits the new one as a learner, and gives it its vote when it has installed (D15).
//!
//! Level-triggered: each leader looks again and again at what the cluster has agreed on and at its group's members, and
//! does one step of what is between the two. Only a life that was found where the node itself is dialled counts: nobody
//! takes a node's place by calling from elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::{Admission, ClusterState, Command, NodeRecord, Role};
use crate::ids::{Incarnation, LogIndex, Nanos, NodeId};
use crate::limits::PROPOSE_TIMEOUT;
use crate::raft::{Group, GroupRole, Machine, Member, MembersError};
use crate::shard::Shard;
use crate::uring::sleep;

use super::placement::Placement;

/// Between two looks.
const LOOK_INTERVAL: Nanos = Nanos::from_millis(250);
/// For one step.
const STEP_TIMEOUT: Nanos = Nanos::from_secs(10);

/// Lives that answered where the cluster knows another one of the same node.
pub(super) type Returning = Rc<RefCell<BTreeMap<NodeId, Incarnation>>>;

type Nodes = BTreeMap<NodeId, (SocketAddr, Incarnation)>;

/// Keeps the records of returned nodes, and the members of the cluster group, as long as it runs.
pub(super) async fn keep_cluster(group: Group<ClusterState>, returning: Returning) {
    let mut due = BTreeMap::new();
    while let Some(role) = look(&group).await {
        if role != GroupRole::Leader {
            due.clear();
            continue;
        }
        let wish = wish(&group.machine().borrow(), &group.voters(), &mut returning.borrow_mut());
        if let Some(record) = wish {
            let (node, incarnation, role) = (record.id, record.incarnation, record.role);
            let seen = group.machine().borrow().nodes_changed();
            let command = Command::SetNode { record, seen }.encode();
            match group.propose(command, PROPOSE_TIMEOUT).await {
                Ok(_) => tracing::info!(%node, %incarnation, %role, "the node's record is another one"),
                Err(error) => tracing::debug!(%error, %node, "the node's record stays for now"),
            }
        }
        let nodes = Placement::of(&group.machine().borrow()).map(|placement| placement.nodes);
        if let Some(nodes) = nodes {
            step(&group, &nodes, &mut due, |_, _, _| true).await;
        }
    }
}

/// Keeps the members of a shard's group, as long as it runs.
pub(super) async fn keep_shard(shard: Shard, placement: Rc<RefCell<Option<Arc<Placement>>>>) {
    let mut due = BTreeMap::new();
    let has_installed = |node, life, index| shard.installed_by(node, life).is_some_and(|at| at >= index);
    while let Some(role) = look(shard.group()).await {
        let placement = placement.borrow().as_ref().map(Arc::clone);
        match placement {
            Some(placement) if role == GroupRole::Leader => {
                step(shard.group(), &placement.nodes, &mut due, has_installed).await;
            }
            Some(_) | None => due.clear(),
        }
    }
}

/// Rests, then tells what this node is in the group; nothing when that has stopped.
async fn look<M: Machine>(group: &Group<M>) -> Option<GroupRole> {
    sleep(LOOK_INTERVAL).await;
    let role = group.watermarks().role;
    (role != GroupRole::Stopped).then_some(role)
}

/// The next record of a node that is to be another one, if there is any.
fn wish(
    state: &ClusterState,
    voting: &BTreeMap<NodeId, Incarnation>,
    returning: &mut BTreeMap<NodeId, Incarnation>,
) -> Option<NodeRecord> {
    returning.retain(|node, life| state.admits(*node, *life) == Admission::Foreign);
    let back = returning.iter().find_map(|(node, life)| {
        let known = &state.node(*node)?.record;
        let role = if known.role == Role::NonVoter { Role::NonVoter } else { Role::Promotable };
        Some(NodeRecord { incarnation: *life, role, ..known.clone() })
    });
    let votes = |record: &NodeRecord| voting.get(&record.id) == Some(&record.incarnation);
    let promoted = || {
        let mut records = state.nodes().map(|node| &node.record);
        let record = records.find(|record| record.role == Role::Promotable && votes(record))?;
        Some(NodeRecord { role: Role::Voter, ..record.clone() })
    };
    back.or_else(promoted)
}

/// Does one step for each node whose seat in the group is not as it is to be. `due` remembers up to where each learner
/// has to have come before it votes.
async fn step<M: Machine>(
    group: &Group<M>,
    nodes: &Nodes,
    due: &mut BTreeMap<NodeId, LogIndex>,
    has_installed: impl Fn(NodeId, Incarnation, LogIndex) -> bool,
) {
    if group.is_changing() {
        match group.end_change(STEP_TIMEOUT).await {
            Ok(()) => {
                tracing::info!(group = %group.id(), "a change of the voters that was left half done is ended")
            }
            Err(error) => tracing::debug!(group = %group.id(), %error, "a change of the voters is under way"),
        }
        return;
    }
    let members = group.members();
    for (node, (address, life)) in nodes {
        let done = match members.iter().find(|member| member.node == *node) {
            None => {
                let member = Member { address: address.to_string(), incarnation: *life };
                group.add_learner(*node, member, STEP_TIMEOUT).await.map(|()| "it is a learner")
            }
            Some(member) if member.member.incarnation != *life => {
                due.remove(node);
                group.remove_member(*node, STEP_TIMEOUT).await.map(|()| "its old life is no member any more")
            }
            Some(member) if member.voter => continue,
            Some(_) => {
                let index = *due.entry(*node).or_insert(group.watermarks().committed);
                let matched = group.figures().matched.get(node).copied();
                if matched.is_none_or(|at| at < index) || !has_installed(*node, *life, index) {
                    continue;
                }
                group.promote(*node, STEP_TIMEOUT).await.map(|()| "it votes")
            }
        };
        tell(group, *node, done);
    }
}

fn tell<M: Machine>(group: &Group<M>, node: NodeId, done: Result<&'static str, MembersError>) {
    let group = group.id();
    match done {
        Ok(what) => tracing::info!(%group, %node, "{what}"),
        Err(error) => tracing::debug!(%group, %node, %error, "the member stays as it is for now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Bootstrap, Replicas};
    use crate::ids::ClusterId;

    fn record(id: u64, role: Role) -> NodeRecord {
        NodeRecord {
            id: NodeId(id),
            name: format!("node-{id}"),
            address: format!("host-{id}:7400"),
            admin_address: None,
            incarnation: Incarnation([id as u8; 16]),
            role,
        }
    }

    #[test]
    fn a_record_says_voter_when_the_nodes_present_life_votes_and_not_while_it_learns() {
        let mut state = ClusterState::new();
        let nodes = vec![record(1, Role::Voter), record(2, Role::Voter)];
        let bootstrap =
            Bootstrap { cluster: ClusterId([1; 16]), nodes, shard_count: 1, replicas: Replicas::All };
        state.apply(LogIndex(1), &Command::Bootstrap(bootstrap).encode());
        let (back, seen) = (record(2, Role::Promotable), state.nodes_changed());
        state.apply(LogIndex(2), &Command::SetNode { record: back, seen }.encode());
        let wish = |voting: &[(u64, u8)]| {
            let life = |(node, life): &(u64, u8)| (NodeId(*node), Incarnation([*life; 16]));
            wish(&state, &voting.iter().map(life).collect(), &mut BTreeMap::new())
        };
        assert_eq!(wish(&[(1, 1)]), None, "it is a learner");
        assert_eq!(wish(&[(1, 1), (2, 9)]), None, "another life of it votes");
        assert_eq!(wish(&[(1, 1), (2, 2)]), Some(record(2, Role::Voter)));
    }
}
