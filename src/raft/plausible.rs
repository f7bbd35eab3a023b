//! What a member says only if it is faulty, and consensus takes for granted that nobody says: it would stop the node
//! that is told so, or end the group for good.

use crate::limits::TERM_LEAP_MAX;
use crate::wire::CodecError;

use super::types::{Entry, LogId, Point, Vote};

/// What is wrong, in the words of the codec.
fn no(of: &'static str) -> CodecError {
    CodecError::Unknown { of, found: 0 }
}

/// Entries follow each other and what is before them, and none is of a term after its leader's: consensus takes that
/// for granted, and the log stops the node that is given anything else.
pub(super) fn check_order(vote: &Vote, before: Option<&LogId>, entries: &[Entry]) -> Result<(), CodecError> {
    let mut last = before.map_or((0, 0), |id| (id.committed_leader_id().term, id.index));
    let mut is_first = before.is_none();
    for entry in entries {
        let found = (entry.log_id.committed_leader_id().term, entry.log_id.index);
        let next = if is_first { Some(0) } else { last.1.checked_add(1) };
        if Some(found.1) != next || found.0 < last.0 || found.0 > vote.leader_id().term {
            return Err(no("place in the log"));
        }
        (last, is_first) = (found, false);
    }
    Ok(())
}

/// The vote of a leader: a quorum has granted it.
pub(super) fn leaders(vote: Vote) -> Result<Vote, CodecError> {
    if vote.committed { Ok(vote) } else { Err(no("leader's vote")) }
}

/// The vote of a candidate, which nobody has granted yet.
pub(super) fn candidates(vote: Vote) -> Result<Vote, CodecError> {
    if vote.committed { Err(no("candidate's vote")) } else { Ok(vote) }
}

/// The term of a vote is one that elections may have reached since `known`. Who knows none yet takes any.
pub(super) fn check_leap(vote: &Vote, known: u64) -> Result<(), CodecError> {
    if known == 0 || vote.leader_id.term.saturating_sub(known) <= TERM_LEAP_MAX {
        Ok(())
    } else {
        Err(no("term so far ahead"))
    }
}

/// What is believed of a vote that somebody answered with: nobody is made a leader by it, and its term is not too far
/// ahead of the asker's. It is no error: whoever has been led that far ahead has to be caught up with, step by step.
pub(super) fn believed(answered: Vote, asked_by: Vote) -> Vote {
    let (theirs, ours) = (answered.leader_id, asked_by.leader_id);
    if answered == asked_by || theirs.term <= ours.term {
        return answered;
    }
    Vote::new(theirs.term.min(ours.term.saturating_add(TERM_LEAP_MAX)), theirs.voted_for)
}

/// A snapshot does not contradict what is committed here: one of a later term at an entry that is committed already
/// would be of another history.
pub(super) fn check_history(snapshot: Point, committed: Point) -> Result<(), CodecError> {
    let is_other = snapshot > committed && snapshot.index <= committed.index;
    if is_other { Err(no("snapshot of what is committed here")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogIndex, Term};

    #[test]
    fn terms_are_never_used_up_by_one_word() {
        let of = |term| Vote::new(term, 2);
        for (term, known) in [(5, 4), (3, 9), (TERM_LEAP_MAX, 0), (u64::MAX, u64::MAX - 1)] {
            assert_eq!(check_leap(&of(term), known), Ok(()), "{term} after {known}");
        }
        for (term, known) in [(TERM_LEAP_MAX + 2, 1), (u64::MAX, 7)] {
            assert!(check_leap(&of(term), known).is_err(), "{term} after {known}");
        }
        assert_eq!(check_leap(&of(u64::MAX), 0), Ok(()), "who knows none takes any");
    }

    #[test]
    fn an_answer_makes_nobody_a_leader_and_is_caught_up_with_in_steps() {
        let ours = Vote::new_committed(4, 1);
        assert_eq!(believed(ours, ours), ours, "it agrees");
        assert_eq!(believed(Vote::new_committed(3, 2), ours), Vote::new_committed(3, 2), "a late one");
        assert_eq!(
            believed(Vote::new_committed(5, 1), ours),
            Vote::new(5, 1),
            "nobody has elected the asker"
        );
        let (far, mut steps) = (Vote::new(3 * TERM_LEAP_MAX, 2), vec![ours.leader_id.term]);
        while *steps.last().expect("one") < far.leader_id.term {
            steps.push(believed(far, Vote::new(steps[steps.len() - 1], 1)).leader_id.term);
        }
        assert_eq!(steps.len(), 4, "{steps:?}");
    }

    #[test]
    fn a_snapshot_is_later_or_known_but_never_of_another_history() {
        let point = |term, index| Point { term: Term(term), index: LogIndex(index) };
        for sound in [point(3, 11), point(2, 10), point(1, 4), Point::START] {
            assert_eq!(check_history(sound, point(2, 10)), Ok(()), "{sound}");
        }
        for other in [point(3, 10), point(9, 1)] {
            assert!(check_history(other, point(2, 10)).is_err(), "{other}");
        }
    }
}
