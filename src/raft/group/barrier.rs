//! Read barriers: up to where a read has to wait so that it misses nothing that was acknowledged before it began.

use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{Raft, ReadPolicy};

use crate::ids::{LogIndex, Nanos, NodeId};
use crate::raft::keeper::Keeper;
use crate::raft::machine::Machine;
use crate::raft::network::{CallError, LineUse};
use crate::raft::rpc::{Call, read_number};
use crate::raft::types::{Point, Types};
use crate::uring::{Core, deadline};

use super::error::BarrierError;
use super::handle::Group;
use super::watch::GroupRole;

/// The last entry that was committed when this was asked, by the leader, which has heard from a quorum since.
pub(in crate::raft) async fn leader_barrier<M: Machine>(
    raft: &Raft<Types, Keeper<M>>,
) -> Result<LogIndex, BarrierError> {
    match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((read, _applied)) => Ok(Point::of(Some(read.log_id())).index),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(BarrierError::NotLeader { leader: forward.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(BarrierError::NoQuorum),
        Err(RaftError::Fatal(fatal)) => Err(BarrierError::Stopped { why: fatal.to_string() }),
    }
}

impl<M: Machine> Group<M> {
    /// Waits until everything is applied here that was acknowledged anywhere before this was called: a read that
    /// follows sees it. Works on every member. Gives the entry that had to be waited for.
    ///
    /// # Errors
    /// `BarrierError`; the read may be tried again.
    pub async fn read_barrier(&self, within: Nanos) -> Result<LogIndex, BarrierError> {
        let end = Core::current().now().plus(within);
        let late = |due| BarrierError::TimedOut { after: within, due };
        let due = deadline(end, self.barrier()).await.unwrap_or(Err(late(LogIndex(0))))?;
        let applied = self.changed().until(|| {
            let marks = self.watermarks();
            let stopped = || Err(BarrierError::Stopped { why: self.why_stopped() });
            match marks.role {
                _ if marks.applied >= due => Some(Ok(())),
                GroupRole::Stopped => Some(stopped()),
                GroupRole::Learner | GroupRole::Follower | GroupRole::Candidate | GroupRole::Leader => None,
            }
        });
        deadline(end, applied).await.unwrap_or(Err(late(due))).map(|()| due)
    }

    async fn barrier(&self) -> Result<LogIndex, BarrierError> {
        let marks = self.watermarks();
        let leader = marks.leader.ok_or(BarrierError::NoLeader)?;
        if leader == self.node() {
            return leader_barrier(self.raft()).await;
        }
        let member = self.members().into_iter().find(|member| member.node == leader);
        let member = member.ok_or(BarrierError::NoLeader)?.member;
        let call = (Call::Barrier, Vec::new());
        let target = (leader.0, &member);
        let answer = self.lines().call(target, LineUse::Signs, call, self.config().election_max).await;
        let answer = answer.map_err(BarrierError::Leader)?;
        let index = read_number(&answer).map_err(|error| BarrierError::Leader(CallError::Answer(error)))?;
        Ok(LogIndex(index))
    }
}
