//! The members of each group follow what the cluster has agreed on: who was added learns, and votes when it has
//! installed; who was removed goes. So does a node that comes back with another life (D15): the cluster's leader takes
//! the new one over from the old, and each group's leader removes the old voter and admits the new one.
//!
//! Level-triggered: each leader looks again and again at what the cluster has agreed on and at its group's members, and
//! does one step of what is between the two. Of a life that comes back only one that was found where the node itself is
//! dialled counts: nobody takes a node's place by calling from elsewhere.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::broken::{self, Broken};
use crate::cluster::{Admission, ClusterState, Command, NodeRecord, Role};
use crate::ids::{Incarnation, LogIndex, Nanos, NodeId};
use crate::limits::PROPOSE_TIMEOUT;
use crate::raft::{Group, GroupRole, Machine, MemberState, MembersError};
use crate::shard::Shard;
use crate::uring::{Core, MailSender, sleep};

use super::door::Door;
use super::placement::Placement;
use super::reply::{NoAnswer, Replier, reply};
use super::request::{ClusterRequest, Request};

/// Between two looks.
const LOOK_INTERVAL: Nanos = Nanos::from_millis(250);
/// For one step.
const STEP_TIMEOUT: Nanos = Nanos::from_secs(10);
/// A node that was removed and has the entry hears in this time that it is committed.
const FAREWELL: Nanos = Nanos::from_millis(500);
/// And one that does not answer is a member of the cluster group no longer than this.
const FAREWELL_MAX: Nanos = Nanos::from_secs(5);

/// Keeps the records of returned nodes, and the members of the cluster group, as long as it runs.
pub(super) async fn keep_cluster(group: Group<ClusterState>, door: Rc<Door>) {
    let mut seats = Seats::default();
    while let Some(role) = look(&group).await {
        if role != GroupRole::Leader {
            seats = Seats::default();
            continue;
        }
        let wish = wish(&group.machine().borrow(), &group.voters(), &mut door.returning().borrow_mut());
        if let Some(record) = wish {
            let (node, incarnation, role) = (record.id, record.incarnation, record.role);
            let seen = group.machine().borrow().nodes_changed();
            let command = Command::SetNode { record, seen }.encode();
            match group.propose(command, PROPOSE_TIMEOUT).await {
                Ok(_) => tracing::info!(%node, %incarnation, %role, "the node's record is another one"),
                Err(error) => tracing::debug!(%error, %node, "the node's record stays for now"),
            }
        }
        let agreed = || Placement::of(&group.machine().borrow(), &group.agreed_members(), None);
        let mut placement = agreed();
        if placement.as_ref().is_some_and(|placement| takes_away(&group.members(), placement)) {
            // A leader that was elected just now may have to apply what undoes it.
            placement = group.read_barrier(STEP_TIMEOUT).await.ok().and_then(|_| agreed());
        }
        if let Some(placement) = placement {
            let removed = group.machine().borrow().nodes_changed();
            let matched = group.figures().matched;
            let has_heard = |node, since: Nanos| {
                let waited = Core::current().now().since(since);
                let has_entry = matched.get(&node).is_some_and(|at| *at >= removed);
                waited >= FAREWELL_MAX || (has_entry && waited >= FAREWELL)
            };
            seats.step(&group, &placement, |_, _, _| true, has_heard).await;
        }
    }
}

/// Keeps the members of a shard's group, as long as it runs. `cluster` is the core of the cluster group.
pub(super) async fn keep_shard(shard: Shard, door: Rc<Door>, cluster: MailSender<Request>) {
    let mut seats = Seats::default();
    let has_installed = |node, life, index| shard.installed_by(node, life).is_some_and(|at| at >= index);
    while let Some(role) = look(shard.group()).await {
        let placement = door.placement().filter(|_| role == GroupRole::Leader);
        let Some(mut placement) = placement else {
            seats = Seats::default();
            continue;
        };
        if takes_away(&shard.group().members(), &placement) {
            match confirmed(&cluster).await {
                Some(now) => placement = now,
                None => continue,
            }
        }
        seats.step(shard.group(), &placement, has_installed, |_, _| true).await;
    }
}

/// Whether a member is to lose its seat or its vote: what a leader may not do that has not heard the latest.
fn takes_away(members: &[MemberState], placement: &Placement) -> bool {
    members.iter().any(|member| match placement.nodes.get(&member.node) {
        None => true,
        Some(placed) => {
            placed.life != member.member.incarnation || (member.voter && placed.role == Role::NonVoter)
        }
    })
}

/// What the cluster has agreed on by now, if its leader says so.
async fn confirmed(cluster: &MailSender<Request>) -> Option<Arc<Placement>> {
    let (replier, waiting) = reply::<_, NoAnswer>();
    cluster.try_send(Request::Cluster(ClusterRequest::Placement(replier))).ok()?;
    waiting.await.ok()
}

/// Answers with what the cluster has agreed on before this was asked.
pub(super) async fn confirm(group: Group<ClusterState>, replier: Replier<Result<Arc<Placement>, NoAnswer>>) {
    if let Err(error) = group.read_barrier(STEP_TIMEOUT).await {
        tracing::debug!(%error, "nobody says what the cluster has agreed on");
        return replier.answer(Err(NoAnswer::Busy));
    }
    let placement = Placement::of(&group.machine().borrow(), &group.agreed_members(), None);
    replier.answer(placement.map(Arc::new).ok_or(NoAnswer::Busy));
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

/// What a leader remembers of seats that are not as they are to be.
#[derive(Default)]
struct Seats {
    /// Up to where each learner has to have come before it votes.
    due: BTreeMap<NodeId, LogIndex>,
    /// Since when members are known that the cluster has removed.
    removed: BTreeMap<NodeId, Nanos>,
}

impl Seats {
    /// Does one step for each node whose seat in the group is not as it is to be.
    async fn step<M: Machine>(
        &mut self,
        group: &Group<M>,
        placement: &Placement,
        has_installed: impl Fn(NodeId, Incarnation, LogIndex) -> bool,
        may_go: impl Fn(NodeId, Nanos) -> bool,
    ) {
        if group.is_changing() {
            match group.end_change(STEP_TIMEOUT).await {
                Ok(()) => {
                    tracing::info!(group = %group.id(), "a change of the voters that was left half done is ended")
                }
                Err(error) => {
                    tracing::debug!(group = %group.id(), %error, "a change of the voters is under way")
                }
            }
            return;
        }
        let members = group.members();
        self.removed.retain(|node, _| !placement.nodes.contains_key(node));
        for member in members.iter().filter(|member| !placement.nodes.contains_key(&member.node)) {
            let since = *self.removed.entry(member.node).or_insert_with(|| Core::current().now());
            if may_go(member.node, since) {
                let gone = group.remove_member(member.node, STEP_TIMEOUT).await;
                tell(group, member.node, gone.map(|()| "it is no member any more"));
            }
        }
        for (node, placed) in &placement.nodes {
            let done = match members.iter().find(|member| member.node == *node) {
                None => {
                    let learner = group.add_learner(*node, placed.member(), STEP_TIMEOUT).await;
                    learner.map(|()| "it is a learner")
                }
                Some(member) if member.member.incarnation != placed.life => {
                    self.due.remove(node);
                    let removed = group.remove_member(*node, STEP_TIMEOUT).await;
                    removed.map(|()| "its old life is no member any more")
                }
                // This node leads.
                Some(member)
                    if placed.role == Role::NonVoter && (member.voter || hands_over(group, *node)) =>
                {
                    group.demote(*node, STEP_TIMEOUT).await.map(|()| "it votes no more")
                }
                Some(member) if member.voter || placed.role == Role::NonVoter => continue,
                Some(_) => {
                    let index = *self.due.entry(*node).or_insert(group.watermarks().committed);
                    let matched = group.figures().matched.get(node).copied();
                    if matched.is_none_or(|at| at < index) || !has_installed(*node, placed.life, index) {
                        continue;
                    }
                    group.promote(*node, STEP_TIMEOUT).await.map(|()| "it votes")
                }
            };
            tell(group, *node, done);
        }
    }
}

fn hands_over<M: Machine>(group: &Group<M>, node: NodeId) -> bool {
    node == group.node() && !broken::is(Broken::LeadsWithoutVote)
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
