//! What became of one attempt at a proposal, here and on its way back from the leader.

use crate::ids::{LogIndex, NodeId};
use crate::raft::ProposeError;
use crate::wire::ProposeReply;

/// What became of one attempt at a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// It was applied: the outcome's bytes.
    Applied(LogIndex, Vec<u8>),
    /// It was not taken, and did not happen by this attempt; somebody else leads, perhaps this one.
    NotTaken(Option<NodeId>),
    /// It was sent, and whether it happens is not known.
    Unknown,
    /// The group has stopped.
    Stopped,
    /// It is not in this node's own session: nobody takes it.
    Foreign,
}

/// Status byte of a reply.
const APPLIED: u8 = 0;
const NOT_TAKEN: u8 = 1;
const UNKNOWN: u8 = 2;
const STOPPED: u8 = 3;
const FOREIGN: u8 = 4;

impl Attempt {
    /// Of a proposal that was made to this node's own group.
    #[must_use]
    pub fn of(proposed: Result<(LogIndex, Vec<u8>), ProposeError>) -> Self {
        match proposed {
            Ok((index, outcome)) => Self::Applied(index, outcome),
            Err(ProposeError::NotLeader { leader, .. }) => Self::NotTaken(leader),
            Err(ProposeError::Stopped { .. }) => Self::Stopped,
            Err(ProposeError::TimedOut { .. } | ProposeError::OutcomeUnknown { .. }) => Self::Unknown,
            Err(ProposeError::NoQuorum { .. } | ProposeError::Full { .. } | ProposeError::TooLong { .. }) => {
                Self::NotTaken(None)
            }
        }
    }

    /// Reads the leader's reply; one that says nothing that is known here is as good as none.
    #[must_use]
    pub fn read(reply: &ProposeReply<'_>) -> Self {
        match (reply.status, reply.bytes.split_first_chunk::<8>()) {
            (APPLIED, Some((index, outcome))) => {
                Self::Applied(LogIndex(u64::from_le_bytes(*index)), outcome.to_vec())
            }
            (NOT_TAKEN, Some((leader, _))) => {
                let leader = u64::from_le_bytes(*leader);
                Self::NotTaken((leader != 0).then_some(NodeId(leader)))
            }
            (STOPPED, _) => Self::Stopped,
            (FOREIGN, _) => Self::Foreign,
            _ => Self::Unknown,
        }
    }

    /// The status and the bytes of the reply that tells of it.
    #[must_use]
    pub fn encode(self) -> (u8, Vec<u8>) {
        match self {
            Self::Applied(index, outcome) => {
                let mut bytes = index.0.to_le_bytes().to_vec();
                bytes.extend_from_slice(&outcome);
                (APPLIED, bytes)
            }
            Self::NotTaken(leader) => (NOT_TAKEN, leader.map_or(0, |node| node.0).to_le_bytes().to_vec()),
            Self::Unknown => (UNKNOWN, Vec::new()),
            Self::Stopped => (STOPPED, Vec::new()),
            Self::Foreign => (FOREIGN, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_it_reads_back_and_a_reply_without_sense_is_unknown() {
        let all = [
            Attempt::Applied(LogIndex(7), vec![1, 2, 3]),
            Attempt::NotTaken(None),
            Attempt::NotTaken(Some(NodeId(3))),
            Attempt::Unknown,
            Attempt::Stopped,
            Attempt::Foreign,
        ];
        for attempt in all {
            let (status, bytes) = attempt.clone().encode();
            assert_eq!(Attempt::read(&ProposeReply { id: 1, status, bytes: &bytes }), attempt);
        }
        for (status, bytes) in [(APPLIED, &[0; 7][..]), (NOT_TAKEN, &[]), (9, &[0; 8])] {
            assert_eq!(Attempt::read(&ProposeReply { id: 1, status, bytes }), Attempt::Unknown);
        }
    }
}
