//! The members of a group and their changes: one step at a time, each safe to be asked for again.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardReason, RaftError};
use openraft_rt::WatchReceiver;

use crate::ids::{Incarnation, Nanos, NodeId};
use crate::raft::machine::Machine;
use crate::raft::types::{Member, Types};
use crate::uring::timeout;

use super::error::{MembersError, TransferError};
use super::handle::Group;
use super::watch::GroupRole;

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberState {
    /// Which node.
    pub node: NodeId,
    /// Where it listens, and in which life.
    pub member: Member,
    /// It votes, now or when the change that is under way is done.
    pub voter: bool,
}

type Change = ChangeMembers<u64, Member>;

impl<M: Machine> Group<M> {
    /// The members, as this node knows them.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        let state = |(id, member): (&u64, &Member)| MemberState {
            node: NodeId(*id),
            member: member.clone(),
            voter: voters.contains(id),
        };
        members.nodes().map(state).collect()
    }

    /// The voters that are agreed on, each in its life: a change counts as soon as it is known here that it is
    /// committed, and of one that is half done nobody counts but who votes before and after it.
    #[must_use]
    pub fn voters(&self) -> BTreeMap<NodeId, Incarnation> {
        let members = self.keeper().members();
        let mut sets = members.get_joint_config().iter();
        let first = sets.next().cloned().unwrap_or_default();
        let in_all = sets.fold(first, |all, set| all.intersection(set).copied().collect());
        let life = |id| members.get_node(&id).map(|member| (NodeId(id), member.incarnation));
        in_all.into_iter().filter_map(life).collect()
    }

    /// Everybody that is agreed on as a member, voters and learners, as far as is known here.
    #[must_use]
    pub fn agreed_members(&self) -> BTreeMap<NodeId, Member> {
        let members = self.keeper().members();
        members.nodes().map(|(id, member)| (NodeId(*id), member.clone())).collect()
    }

    /// Whether a change of the voters is half done. Its leader ends it; if that is lost, `end_change` of the next one
    /// does.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.raft().server_metrics().borrow_watched().membership_config.membership().get_joint_config().len()
            > 1
    }

    /// Ends a change of the voters that a leader has left half done: until then it takes a majority of the voters
    /// before it, and one of those after it.
    ///
    /// # Errors
    /// `MembersError`.
    pub async fn end_change(&self, within: Nanos) -> Result<(), MembersError> {
        // No voter more: what is left to be done is the second half.
        if self.is_changing() {
            self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), within).await
        } else {
            Ok(())
        }
    }

    /// Adds a node that receives entries and does not vote. One that is there already, in the same life, is left as
    /// it is.
    ///
    /// # Errors
    /// `MembersError`.
    pub async fn add_learner(&self, node: NodeId, member: Member, within: Nanos) -> Result<(), MembersError> {
        match self.member(node) {
            Some(known) if known.member == member => return Ok(()),
            Some(_) => return Err(MembersError::OtherLife { node }),
            None => {}
        }
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node.0, member)])), within).await
    }

    /// Makes a learner a voter. A voter stays one.
    ///
    /// # Errors
    /// `MembersError`.
    pub async fn promote(&self, node: NodeId, within: Nanos) -> Result<(), MembersError> {
        match self.member(node) {
            None => Err(MembersError::Unknown { node }),
            Some(known) if known.voter => Ok(()),
            Some(_) => self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), within).await,
        }
    }

    /// Takes a voter's vote; it stays a learner. One that does not vote is left as it is. The leader hands over first,
    /// and without a vote too: whoever lost it by the change of a leader before it leads until it does.
    ///
    /// # Errors
    /// `MembersError`; `HandedOver` if the node led: the new leader takes its vote.
    pub async fn demote(&self, node: NodeId, within: Nanos) -> Result<(), MembersError> {
        match self.member(node) {
            Some(known) if known.voter => self.remove_voter(node, true, within).await,
            Some(_) if self.leads(node) => self.handed_over(within).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Removes a node from the group. One that is no member is not there already. The leader hands over first.
    ///
    /// # Errors
    /// `MembersError`; `HandedOver` if the node led: the new leader removes it.
    pub async fn remove_member(&self, node: NodeId, within: Nanos) -> Result<(), MembersError> {
        match self.member(node) {
            None => Ok(()),
            Some(known) if known.voter => self.remove_voter(node, false, within).await,
            Some(_) if self.leads(node) => self.handed_over(within).await,
            Some(_) => self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), within).await,
        }
    }

    /// With `stays` it is a learner then.
    async fn remove_voter(&self, node: NodeId, stays: bool, within: Nanos) -> Result<(), MembersError> {
        if !self.members().iter().any(|other| other.voter && other.node != node) {
            return Err(MembersError::LastVoter);
        }
        if self.leads(node) {
            return self.handed_over(within).await;
        }
        self.change_retaining(ChangeMembers::RemoveVoters(BTreeSet::from([node.0])), stays, within).await
    }

    fn leads(&self, node: NodeId) -> bool {
        node == self.node() && self.watermarks().role == GroupRole::Leader
    }

    async fn handed_over(&self, within: Nanos) -> Result<(), MembersError> {
        match self.hand_over(within).await {
            Ok(()) => Err(MembersError::HandedOver { leader: self.watermarks().leader }),
            Err(TransferError::Stopped { why }) => Err(MembersError::Stopped { why }),
            Err(_) => Err(MembersError::TimedOut { after: within }),
        }
    }

    /// Hands leadership to the other voter that is furthest. Where there is none, nothing happens.
    async fn hand_over(&self, within: Nanos) -> Result<(), TransferError> {
        let matched = self.figures().matched;
        let others = self.members().into_iter().filter(|other| other.voter && other.node != self.node());
        let furthest = others.map(|other| other.node).max_by_key(|node| matched.get(node));
        self.transfer_leader(furthest.unwrap_or_else(|| self.node()), within).await
    }

    async fn change(&self, change: Change, within: Nanos) -> Result<(), MembersError> {
        self.change_retaining(change, true, within).await
    }

    /// With `retain` a voter that is removed as one stays a learner.
    async fn change_retaining(
        &self,
        change: Change,
        retain: bool,
        within: Nanos,
    ) -> Result<(), MembersError> {
        let done = timeout(within, self.raft().change_membership(change, retain)).await;
        match done {
            Err(_elapsed) => Err(MembersError::TimedOut { after: within }),
            Ok(Ok(_response)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(MembersError::Stopped { why: fatal.to_string() }),
            Ok(Err(RaftError::APIError(error))) => Err(refused(error)),
        }
    }

    fn member(&self, node: NodeId) -> Option<MemberState> {
        self.members().into_iter().find(|member| member.node == node)
    }

    /// Hands leadership to another voter, and waits until it has taken over.
    ///
    /// # Errors
    /// `TransferError`; this node then still leads, or another does.
    pub async fn transfer_leader(&self, to: NodeId, within: Nanos) -> Result<(), TransferError> {
        let marks = self.watermarks();
        if marks.role != GroupRole::Leader {
            return Err(TransferError::NotLeader { leader: marks.leader });
        }
        if to == self.node() {
            return Ok(());
        }
        if !self.member(to).is_some_and(|member| member.voter) {
            return Err(TransferError::NotAVoter { node: to });
        }
        let stopped = |why| TransferError::Stopped { why };
        self.raft().trigger().transfer_leader(to.0).await.map_err(|fatal| stopped(fatal.to_string()))?;
        let taken = self.changed().until(|| {
            let now = self.watermarks();
            match now.role {
                GroupRole::Stopped => Some(Err(stopped(self.why_stopped()))),
                _ if now.term > marks.term && now.leader == Some(to) => Some(Ok(())),
                _ if now.term > marks.term && now.leader.is_some() => {
                    Some(Err(TransferError::NotLeader { leader: now.leader }))
                }
                GroupRole::Learner | GroupRole::Follower | GroupRole::Candidate | GroupRole::Leader => None,
            }
        });
        timeout(within, taken).await.unwrap_or(Err(TransferError::TimedOut { after: within }))
    }
}

fn refused(error: ClientWriteError<Types>) -> MembersError {
    match error {
        // It leads, but has not heard from a quorum, or not yet since it was elected.
        ClientWriteError::ForwardToLeader(forward) if forward.reason == ForwardReason::LeaseExpired => {
            MembersError::NoQuorum
        }
        ClientWriteError::ForwardToLeader(forward) => {
            MembersError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        ClientWriteError::LogEntryDiscarded(forward) => {
            MembersError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                MembersError::InProgress
            }
            ChangeMembershipError::EmptyMembership(_) => MembersError::LastVoter,
            ChangeMembershipError::LearnerNotFound(error) => {
                MembersError::Unknown { node: NodeId(error.node_id) }
            }
            ChangeMembershipError::NodeMetadataChanged(error) => {
                MembersError::OtherLife { node: NodeId(error.node_id) }
            }
            ChangeMembershipError::UnsupportedMembershipTransition(error) => {
                MembersError::Refused { why: error.to_string() }
            }
        },
        ClientWriteError::PreconditionFailed(error) => MembersError::Refused { why: error.to_string() },
    }
}
