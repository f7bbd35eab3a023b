//! What happens to a shard's segments on a node, in order.

use crate::ids::{LogIndex, SegmentId};

/// Something that happened to a segment here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Counts the shard's events on this node since it started, from 1, without a gap.
    pub number: u64,
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
