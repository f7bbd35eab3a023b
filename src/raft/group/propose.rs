//! Proposals on the leader. openraft takes those that come together as one batch, and the log flushes them together.

use openraft::errors::{ClientWriteError, ForwardReason};
use openraft::impls::OneshotResponder;

use crate::ids::{LogIndex, Nanos, NodeId};
use crate::limits::{ENTRY_BYTES_MAX, PROPOSALS_IN_FLIGHT_MAX};
use crate::raft::machine::Machine;
use crate::raft::payload::CommandBytes;
use crate::raft::types::{Point, Types};
use crate::uring::timeout;

use super::error::ProposeError;
use super::handle::Group;
use super::watch::GroupRole;

impl<M: Machine> Group<M> {
    /// Proposes a command; gives its log index and the bytes of its outcome when it is applied here. The bytes
    /// proposed are the bytes logged and sent.
    ///
    /// # Errors
    /// `ProposeError`; it says whether the command may have been committed all the same.
    pub async fn propose(
        &self,
        command: impl Into<CommandBytes>,
        within: Nanos,
    ) -> Result<(LogIndex, Vec<u8>), ProposeError> {
        let command = command.into();
        self.check(&command)?;
        let _place = self.place().ok_or(ProposeError::Full { most: PROPOSALS_IN_FLIGHT_MAX })?;
        let (responder, outcome) = OneshotResponder::<Types, _>::new_pair();
        let stopped = |why: String| ProposeError::Stopped { why };
        // Boxed: it is over at once, and the wait for the outcome has no room for it.
        let handed = Box::pin(self.raft().client_write_ff(command, Some(responder))).await;
        handed.map_err(|fatal| stopped(fatal.to_string()))?;
        let Ok(outcome) = timeout(within, outcome).await else {
            return Err(ProposeError::TimedOut { after: within });
        };
        match outcome {
            Ok(Ok(response)) => Ok((Point::of(Some(&response.log_id)).index, response.data.0)),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(_no_answer) => Err(stopped(self.why_stopped())),
        }
    }

    fn check(&self, command: &CommandBytes) -> Result<(), ProposeError> {
        if command.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes: command.len(), most: ENTRY_BYTES_MAX });
        }
        let marks = self.watermarks();
        match marks.role {
            GroupRole::Stopped => Err(ProposeError::Stopped { why: self.why_stopped() }),
            GroupRole::Leader => Ok(()),
            GroupRole::Learner | GroupRole::Follower | GroupRole::Candidate => {
                let leader = marks.leader.filter(|leader| *leader != self.node());
                Err(ProposeError::NotLeader { leader })
            }
        }
    }

    fn refused(&self, error: ClientWriteError<Types>) -> ProposeError {
        match error {
            // It leads, but has not heard from a quorum, or not yet since it was elected.
            ClientWriteError::ForwardToLeader(forward) if forward.reason == ForwardReason::LeaseExpired => {
                ProposeError::NoQuorum { since: self.quorum_answered().unwrap_or_default() }
            }
            ClientWriteError::ForwardToLeader(forward) => {
                ProposeError::NotLeader { leader: forward.leader_id.map(NodeId) }
            }
            ClientWriteError::LogEntryDiscarded(forward) => {
                ProposeError::OutcomeUnknown { leader: forward.leader_id.map(NodeId) }
            }
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
                unreachable!("a command changes no members and has no precondition")
            }
        }
    }
}
