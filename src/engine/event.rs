//! What happens to a shard's segments on a node, in order.

use std::fmt;

use crate::ids::{LogIndex, SegmentId};

/// A place in the line of a shard's events on one node. Good until the node starts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventCursor {
    /// The start of the node that the line belongs to.
    pub life: u64,
    /// Events before this place, counted from the start.
    pub number: u64,
}

/// Something that happened to a segment here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The place behind this event: ask for what is after it.
    pub cursor: EventCursor,
    /// The log index that the node had applied then.
    pub applied: LogIndex,
    /// The segment.
    pub segment: SegmentId,
    /// Its path.
    pub path: String,
    /// What happened.
    pub what: What,
}

/// What happened to a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// It is in the manifest under a new path.
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
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.life, self.number)
    }
}
