//! The line of a shard's latest events, numbered without a gap. Who has fallen out of it is told, and reads the
//! manifest.

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

/// The latest events, as many as `EVENTS_MAX`.
#[derive(Debug, Default)]
pub struct Events {
    last: u64,
    line: VecDeque<Event>,
}

/// Events after a number are not all in the line any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsGone;

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

    /// The manifest has become another one at once: what lies between has no events.
    pub fn leap(&mut self) {
        self.last += 1;
        self.line.clear();
    }

    /// The number of the last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Events after the one with this number.
    ///
    /// # Errors
    /// They are not all here.
    pub fn after(&self, number: u64) -> Result<Vec<Event>, EventsGone> {
        let first = self.last - self.line.len() as u64;
        if number < first || number > self.last {
            return Err(EventsGone);
        }
        let passed = usize::try_from(number - first).map_err(|_| EventsGone)?;
        Ok(self.line.iter().skip(passed).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::ids::{Digest, NodeId, SessionId, UnixNanos};
    use crate::manifest::{Batch, Command, Operation, Registration, State, Tier};

    fn entry() -> Rc<Entry> {
        let (mut state, session) = (State::new(), SessionId([1; 16]));
        state.apply(LogIndex(1), &Command::OpenSession { session }.encode());
        let registration = Registration {
            path: "a".to_owned(),
            bytes: 1,
            root: Digest([1; 32]),
            flat: None,
            origin: NodeId(1),
            sealed_at: UnixNanos(1),
            tier: Tier(0),
            labels: Vec::new(),
        };
        let operations = vec![Operation::Register(registration)];
        let batch = Batch { session, number: 0, low_water: 0, proposed_at: UnixNanos(1), operations };
        state.apply(LogIndex(2), &Command::Batch(batch).encode());
        Rc::clone(state.by_path("a").expect("it is registered"))
    }

    #[test]
    fn m6_a_consumer_hears_every_event_or_that_some_are_gone() {
        let (mut events, entry) = (Events::default(), entry());
        assert_eq!(events.after(0), Ok(Vec::new()));
        assert_eq!(events.after(1), Err(EventsGone), "no such event was ever told");
        for number in 1..=EVENTS_MAX as u64 {
            events.push(LogIndex(number), &entry, Happening::Installed);
        }
        assert_eq!(events.after(0).map(|all| all.len()), Ok(EVENTS_MAX));
        events.push(LogIndex(9), &entry, Happening::Registered);
        assert_eq!(events.after(0), Err(EventsGone));
        let rest = events.after(1).expect("still in the line");
        assert_eq!((rest[0].number, rest.len()), (2, EVENTS_MAX));
        let last = events.last();
        events.leap();
        assert_eq!(events.after(last), Err(EventsGone), "a snapshot has no events");
        assert_eq!(events.after(events.last()), Ok(Vec::new()));
    }
}
