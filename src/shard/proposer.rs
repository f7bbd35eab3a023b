//! The numbering of one node's proposals in its session: what lets a proposal be sent again and happen once.

use std::collections::BTreeSet;

use crate::ids::SessionId;
use crate::limits::PROPOSALS_IN_FLIGHT_MAX;

/// A session and the proposals of it that have no outcome yet.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    next: u64,
    /// Numbers below this are reserved on the disk.
    reserved: u64,
    outstanding: BTreeSet<u64>,
}

/// A number to propose under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The session.
    pub session: SessionId,
    /// The number in it.
    pub number: u64,
    /// Every number below has its outcome, or will never be sent again.
    pub low_water: u64,
}

/// Why there is no number now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTicket {
    /// As many as may be are outstanding, or the oldest one is so old that the manifest would no longer keep outcomes
    /// up to here.
    Full,
    /// The next number is not reserved on the disk yet.
    Unreserved,
}

impl Session {
    /// A session whose numbers from `first` on nobody has used, reserved below `reserved`.
    #[must_use]
    pub fn new(id: SessionId, first: u64, reserved: u64) -> Self {
        Self { id, next: first, reserved, outstanding: BTreeSet::new() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Where the reserved numbers end.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// More numbers are reserved.
    pub fn reserve(&mut self, reserved: u64) {
        assert!(reserved >= self.reserved, "reserved goes from {} back to {reserved}", self.reserved);
        self.reserved = reserved;
    }

    /// A number for a new proposal.
    ///
    /// # Errors
    /// `NoTicket`.
    pub fn ticket(&mut self) -> Result<Ticket, NoTicket> {
        let low_water = self.outstanding.first().copied().unwrap_or(self.next);
        if self.outstanding.len() >= PROPOSALS_IN_FLIGHT_MAX
            || self.next - low_water >= PROPOSALS_IN_FLIGHT_MAX as u64
        {
            return Err(NoTicket::Full);
        }
        if self.next >= self.reserved {
            return Err(NoTicket::Unreserved);
        }
        let number = self.next;
        self.next += 1;
        self.outstanding.insert(number);
        Ok(Ticket { session: self.id, number, low_water })
    }

    /// The proposal has its outcome, or nobody will send it again.
    pub fn finish(&mut self, number: u64) {
        self.outstanding.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1; 16]);

    #[test]
    fn the_low_water_mark_is_the_oldest_without_an_outcome() {
        let mut session = Session::new(ID, 0, 4096);
        let first = session.ticket().expect("free");
        let second = session.ticket().expect("free");
        assert_eq!((first.number, first.low_water), (0, 0));
        assert_eq!((second.number, second.low_water), (1, 0));
        session.finish(second.number);
        assert_eq!(session.ticket().expect("free").low_water, 0);
        session.finish(first.number);
        assert_eq!(session.ticket().expect("free").low_water, 2);
    }

    #[test]
    fn the_window_of_the_manifest_is_never_left() {
        let mut session = Session::new(ID, 0, 1 << 20);
        let first = session.ticket().expect("free");
        for _ in 1..PROPOSALS_IN_FLIGHT_MAX {
            let ticket = session.ticket().expect("free");
            session.finish(ticket.number);
        }
        assert_eq!(session.ticket(), Err(NoTicket::Full), "the oldest is too old");
        session.finish(first.number);
        assert!(session.ticket().is_ok());
    }

    #[test]
    fn m4_no_number_is_given_that_is_not_reserved() {
        let mut session = Session::new(ID, 4096, 4098);
        let numbers = [session.ticket(), session.ticket()].map(|ticket| ticket.expect("reserved").number);
        assert_eq!(numbers, [4096, 4097], "after a restart it goes on where the reserved ones ended");
        assert_eq!(session.ticket(), Err(NoTicket::Unreserved));
        session.reserve(4099);
        assert_eq!(session.ticket().expect("reserved").number, 4098);
        assert_eq!(session.ticket(), Err(NoTicket::Unreserved));
    }
}
