//! Proposers' sessions: what makes a proposal happen at most once.
//!
//! A session numbers its proposals. The state keeps the outcomes of the numbers in a fixed window above the
//! low-water mark that the proposer moves; below it a proposal is answered as expired. Sessions end by a
//! committed entry only, and a retired id is remembered, so that a late message cannot open it again and
//! repeat a proposal.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::outcome::{Outcome, Refusal};
use crate::broken::{self, Broken};
use crate::ids::{LogIndex, SessionId};
use crate::limits::{SESSION_OUTCOMES_MAX, SESSIONS_MAX, SESSIONS_RETIRED_MAX};

/// All sessions of a manifest. A clone shares the windows until one of the two changes them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Rc<Session>>,
    retired: BTreeMap<SessionId, LogIndex>,
}

/// One proposer's session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Log index that it was opened at.
    pub opened: LogIndex,
    /// Log index of its latest proposal, or of its opening.
    pub used: LogIndex,
    /// Outcomes below this number are no longer kept.
    pub low_water: u64,
    /// Outcomes kept, by number.
    pub(super) outcomes: BTreeMap<u64, Outcome>,
}

/// Whether a proposal is to be performed.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// Perform it and keep its outcome.
    New,
    /// It was performed: this was the outcome.
    Repeated(Outcome),
    /// Neither.
    Refused(Refusal),
}

impl Session {
    /// A number that no proposal has had, as far as outcomes are kept.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.outcomes.last_key_value().map_or(self.low_water, |(last, _)| self.low_water.max(last + 1))
    }
}

impl Sessions {
    pub(super) fn open(&mut self, id: SessionId, index: LogIndex) -> Outcome {
        if self.open.contains_key(&id) {
            return Outcome::SessionOpened;
        }
        if self.retired.contains_key(&id) {
            return Outcome::Refused(Refusal::SessionRetired);
        }
        if self.open.len() >= SESSIONS_MAX {
            return Outcome::Refused(Refusal::SessionsFull);
        }
        let session = Session { opened: index, used: index, low_water: 0, outcomes: BTreeMap::new() };
        self.open.insert(id, Rc::new(session));
        Outcome::SessionOpened
    }

    pub(super) fn retire(&mut self, id: SessionId, index: LogIndex) -> Outcome {
        self.open.remove(&id);
        // An unknown session is remembered too: its opening may still be on the way.
        self.retired.entry(id).or_insert(index);
        if self.retired.len() > SESSIONS_RETIRED_MAX {
            let oldest = self.retired.iter().min_by_key(|(_, index)| **index).map(|(id, _)| *id);
            self.retired.remove(&oldest.expect("the list is longer than its limit"));
        }
        Outcome::SessionRetired
    }

    /// Decides on proposal `number`, and forgets the outcomes that the proposer has.
    pub(super) fn admit(&mut self, id: SessionId, index: LogIndex, number: u64, low_water: u64) -> Admission {
        let Some(session) = self.open.get_mut(&id) else {
            let retired = self.retired.contains_key(&id);
            return Admission::Refused(if retired {
                Refusal::SessionRetired
            } else {
                Refusal::SessionUnknown
            });
        };
        if low_water > number {
            return Admission::Refused(Refusal::LowWaterAboveNumber);
        }
        let session = Rc::make_mut(session);
        session.used = index;
        if low_water > session.low_water {
            session.low_water = low_water;
            session.outcomes = session.outcomes.split_off(&low_water);
        }
        let low_water = session.low_water;
        if broken::is(Broken::AnswerForgotten) {
            session.outcomes.remove(&number);
        }
        match session.outcomes.get(&number) {
            Some(outcome) => Admission::Repeated(*outcome),
            None if number < low_water => Admission::Refused(Refusal::Expired { low_water }),
            None if number - low_water >= SESSION_OUTCOMES_MAX as u64 => {
                Admission::Refused(Refusal::TooFarAhead { low_water })
            }
            None => Admission::New,
        }
    }

    /// Keeps the outcome of a proposal that was admitted as new.
    pub(super) fn keep(&mut self, id: SessionId, number: u64, outcome: Outcome) {
        let session = self.open.get_mut(&id).expect("admitted as new, so the session is open");
        let kept = Rc::make_mut(session).outcomes.insert(number, outcome);
        assert_eq!(kept, None, "proposal {number} of session {id} was performed twice");
    }

    /// Puts back a session from a snapshot; false if it breaks a rule.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) -> bool {
        let window = session.low_water..session.low_water.saturating_add(SESSION_OUTCOMES_MAX as u64);
        let sound = session.outcomes.keys().all(|number| window.contains(number))
            && session.opened <= session.used
            && self.open.len() < SESSIONS_MAX
            && !self.retired.contains_key(&id)
            && self.open.last_key_value().is_none_or(|(last, _)| *last < id);
        self.open.insert(id, Rc::new(session));
        sound
    }

    /// Puts back a retired id from a snapshot, before any that is open; false if it breaks a rule.
    pub(super) fn restore_retired(&mut self, id: SessionId, index: LogIndex) -> bool {
        let sound = self.retired.len() < SESSIONS_RETIRED_MAX
            && self.retired.last_key_value().is_none_or(|(last, _)| *last < id);
        self.retired.insert(id, index);
        sound
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.open.iter().map(|(id, session)| (*id, session.as_ref()))
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.open.get(&id).map(Rc::as_ref)
    }

    pub(super) fn after(&self, id: Option<SessionId>) -> impl Iterator<Item = (SessionId, &Session)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = id.map_or(Unbounded, Excluded);
        self.open.range((start, Unbounded)).map(|(id, session)| (*id, session.as_ref()))
    }

    pub(super) fn retired(&self) -> impl Iterator<Item = (SessionId, LogIndex)> {
        self.retired.iter().map(|(id, index)| (*id, *index))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1; 16]);

    fn opened() -> Sessions {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.open(ID, LogIndex(1)), Outcome::SessionOpened);
        sessions
    }

    fn applied(index: u64) -> Outcome {
        Outcome::Applied { index: LogIndex(index), changed: 1, unchanged: 0 }
    }

    #[test]
    fn m4_a_repeated_number_is_answered_with_the_kept_outcome() {
        let mut sessions = opened();
        assert_eq!(sessions.admit(ID, LogIndex(2), 5, 0), Admission::New);
        sessions.keep(ID, 5, applied(2));
        assert_eq!(sessions.admit(ID, LogIndex(3), 5, 0), Admission::Repeated(applied(2)));
        assert_eq!(sessions.admit(ID, LogIndex(4), 4, 0), Admission::New, "numbers come in any order");
        assert_eq!(
            sessions.get(ID).map(|session| (session.opened, session.used)),
            Some((LogIndex(1), LogIndex(4)))
        );
    }

    #[test]
    fn m4_the_window_is_fixed_and_moves_with_the_low_water_mark() {
        let mut sessions = opened();
        let width = SESSION_OUTCOMES_MAX as u64;
        assert_eq!(sessions.admit(ID, LogIndex(2), width - 1, 0), Admission::New);
        let ahead = Admission::Refused(Refusal::TooFarAhead { low_water: 0 });
        assert_eq!(sessions.admit(ID, LogIndex(3), width, 0), ahead);
        assert_eq!(sessions.admit(ID, LogIndex(4), width, 1), Admission::New);
        let expired = Admission::Refused(Refusal::Expired { low_water: 1 });
        assert_eq!(sessions.admit(ID, LogIndex(5), 0, 0), expired, "an older mark does not move it back");
        let above = Admission::Refused(Refusal::LowWaterAboveNumber);
        assert_eq!(sessions.admit(ID, LogIndex(6), 7, 8), above);
    }

    #[test]
    fn m4_a_retired_session_does_not_come_back() {
        let mut sessions = opened();
        assert_eq!(sessions.retire(ID, LogIndex(2)), Outcome::SessionRetired);
        assert_eq!(sessions.retire(ID, LogIndex(3)), Outcome::SessionRetired);
        let refused = Refusal::SessionRetired;
        assert_eq!(sessions.open(ID, LogIndex(4)), Outcome::Refused(refused));
        assert_eq!(sessions.admit(ID, LogIndex(5), 1, 0), Admission::Refused(refused));
        let unknown = Admission::Refused(Refusal::SessionUnknown);
        assert_eq!(sessions.admit(SessionId([2; 16]), LogIndex(6), 1, 0), unknown);
    }

    #[test]
    fn m4_sessions_and_retired_ids_are_bounded() {
        let mut sessions = Sessions::default();
        let id = |number: u64| SessionId(u128::from(number).to_be_bytes());
        for number in 0..SESSIONS_MAX as u64 {
            assert_eq!(sessions.open(id(number), LogIndex(number)), Outcome::SessionOpened);
        }
        assert_eq!(sessions.open(ID, LogIndex(9_999)), Outcome::Refused(Refusal::SessionsFull));
        for number in 0..=SESSIONS_RETIRED_MAX as u64 {
            sessions.retire(id(number), LogIndex(10_000 + number));
        }
        assert_eq!(sessions.retired.len(), SESSIONS_RETIRED_MAX);
        assert!(!sessions.retired.contains_key(&id(0)), "the oldest is forgotten first");
        assert_eq!(sessions.open(ID, LogIndex(20_000)), Outcome::SessionOpened);
    }
}
