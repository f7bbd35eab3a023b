//! One event.

use crate::ids::{LogIndex, NodeId, SegmentId};
use crate::raft::GroupRole;

use super::line::Place;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// The segment is in the manifest under a new path.
    Registered,
    /// It is in the manifest as the path's new content.
    Updated,
    /// It is no more in the manifest.
    Deleted {
        /// As the deleter said.
        reason: String,
    },
    /// It stands here, verified and durable.
    Installed,
    /// It stood here and does not any more, or not as it was verified.
    Damaged,
    /// It stands here again.
    Repaired,
    /// No source could serve it so far.
    Unavailable {
        /// In a word.
        why: String,
    },
    /// The node is another one in the shard's group, or somebody else leads it.
    Role {
        /// What the node is.
        role: GroupRole,
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The place behind it.
    pub place: Place,
    /// The log index that the node had applied then.
    pub applied: LogIndex,
    /// The segment and its path; nothing of a role.
    pub segment: Option<(SegmentId, String)>,
    /// What happened.
    pub what: Happening,
}
