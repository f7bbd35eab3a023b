//! What happens on a node to a shard and its segments, in order.

use std::fmt;

use crate::ids::{LogIndex, NodeId, SegmentId};
use crate::raft::GroupRole;

/// A place in the line of a shard's events on one node. A consumer that keeps it goes on from there, after a restart of
/// the node or its own, as long as the events behind it are kept: the latest 100,000 or so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventCursor {
    /// The start of the node that the event before it belongs to.
    pub life: u64,
    /// Events before this place, counted over all starts.
    pub number: u64,
}

/// Something that happened on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The place behind this event: ask for what is after it.
    pub cursor: EventCursor,
    /// The log index that the node had applied then.
    pub applied: LogIndex,
    /// The segment that it is about; none for `What::RoleChanged`.
    pub segment: Option<EventSegment>,
    /// What happened.
    pub what: What,
}

/// The segment that an event is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventSegment {
    /// Its id.
    pub id: SegmentId,
    /// Its path.
    pub path: String,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// The segment is in the manifest under a new path.
    Registered,
    /// It is in the manifest as the path's new content.
    Updated,
    /// It is no more in the manifest.
    Deleted {
        /// As the deleter said.
        reason: String,
    },
    /// It stands here, verified and durable. After a kill of the node some are told again.
    Installed,
    /// It stood here and does not any more, or not as it was verified. It is fetched again.
    Damaged,
    /// It stands here again, verified and durable.
    Repaired,
    /// No source could serve it so far. It is asked for again and again.
    Unavailable {
        /// In a word.
        why: String,
    },
    /// The node is another one in the shard's group, or somebody else leads it.
    RoleChanged {
        /// What the node is.
        role: GroupRole,
        /// Who leads, if it is known.
        leader: Option<NodeId>,
    },
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.life, self.number)
    }
}
