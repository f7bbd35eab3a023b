//! The numbering of one node's proposals in its session: what lets a proposal be sent again and happen once.

use std::collections::BTreeSet;

use crate::ids::SessionId;
use crate::limits::PROPOSALS_IN_FLIGHT_MAX;

/// A session and the proposals of it that have no outcome yet.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    next: u64,
    outstanding: BTreeSet<u64>,
}

/// A number to propose under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The session.
    pub session: SessionId,
    /// The number in it.
    pub number: u64,
    /// Every number below has its outcome.
    pub low_water: u64,
}

impl Session {
    /// A session that nobody has proposed in.
    #[must_use]
    pub fn new(id: SessionId) -> Self {
        Self { id, next: 0, outstanding: BTreeSet::new() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// A number for a new proposal; `None` while as many as may be are outstanding, or the oldest one is so old
    /// that the manifest would no longer keep outcomes up to here.
    pub fn ticket(&mut self) -> Option<Ticket> {
        let low_water = self.outstanding.first().copied().unwrap_or(self.next);
        if self.outstanding.len() >= PROPOSALS_IN_FLIGHT_MAX
            || self.next - low_water >= PROPOSALS_IN_FLIGHT_MAX as u64
        {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.outstanding.insert(number);
        Some(Ticket { session: self.id, number, low_water: low_water.min(number) })
    }

    /// The proposal has its outcome, or nobody will send it again.
    pub fn finish(&mut self, number: u64) {
        self.outstanding.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_water_mark_is_the_oldest_without_an_outcome() {
        let mut session = Session::new(SessionId([1; 16]));
        let first = session.ticket().expect("free");
        let second = session.ticket().expect("free");
        assert_eq!((first.number, first.low_water), (0, 0));
        assert_eq!((second.number, second.low_water), (1, 0));
        session.finish(0);
        assert_eq!(session.ticket().expect("free").low_water, 1);
    }

    #[test]
    fn one_that_hangs_holds_back_the_window_and_not_for_ever() {
        let mut session = Session::new(SessionId([1; 16]));
        let hanging = session.ticket().expect("free");
        for _ in 1..PROPOSALS_IN_FLIGHT_MAX {
            let ticket = session.ticket().expect("free");
            session.finish(ticket.number);
        }
        assert_eq!(session.ticket(), None);
        session.finish(hanging.number);
        assert!(session.ticket().is_some());
    }
}
