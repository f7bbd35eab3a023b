//! The line of a shard's latest events, numbered without a gap.

use std::collections::VecDeque;

use crate::ids::{LogIndex, SegmentId};
use crate::limits::EVENTS_MAX;
use crate::manifest::Entry;

/// What happened to a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
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

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// From 1, without a gap.
    pub number: u64,
    /// The log index that the node had applied then.
    pub applied: LogIndex,
    /// The segment.
    pub segment: SegmentId,
    /// Its path.
    pub path: String,
    /// What happened.
    pub what: Happening,
}

/// The latest events, as many as `EVENTS_MAX`; older ones go, and the gap in the numbers says so.
#[derive(Debug, Default)]
pub struct Events {
    last: u64,
    line: VecDeque<Event>,
}

impl Events {
    /// Appends an event.
    pub fn push(&mut self, applied: LogIndex, entry: &Entry, what: Happening) {
        self.last += 1;
        if self.line.len() == EVENTS_MAX {
            self.line.pop_front();
        }
        let path = entry.path().as_str().to_owned();
        self.line.push_back(Event { number: self.last, applied, segment: entry.id, path, what });
    }

    /// Events after the one with this number.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<Event> {
        self.line.iter().filter(|event| event.number > number).cloned().collect()
    }
}
