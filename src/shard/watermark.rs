//! The watermarks of a shard on one node, declared once and asserted: proposed >= committed >= applied >= installed.
//!
//! Installed is the highest index below which every entry is installed here, superseded or deleted. It counts landings,
//! not health: what rots later is `damaged`, which readiness reads too, and moves no watermark.

use std::collections::BTreeSet;

use crate::ids::{LogIndex, SegmentId};
use crate::limits::ANNOUNCE_EXCEPTIONS_MAX;

/// The watermarks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Highest index in the leader's log; on other nodes the same as `committed`.
    pub proposed: LogIndex,
    /// Highest index known to be committed.
    pub committed: LogIndex,
    /// Highest index in this node's manifest.
    pub applied: LogIndex,
    /// Highest index below which every segment stands here.
    pub installed: LogIndex,
}

impl Watermarks {
    /// Asserts their order.
    ///
    /// # Panics
    /// If they are out of order: a bug.
    pub fn check(&self) {
        assert!(self.proposed >= self.committed, "proposed {} < committed {}", self.proposed, self.committed);
        assert!(self.committed >= self.applied, "committed {} < applied {}", self.committed, self.applied);
        assert!(self.applied >= self.installed, "applied {} < installed {}", self.applied, self.installed);
    }
}

/// Which applied entries have their segments here.
#[derive(Debug, Default)]
pub struct Installed {
    applied: LogIndex,
    missing: BTreeSet<SegmentId>,
    damaged: BTreeSet<SegmentId>,
    reached: LogIndex,
    /// What is missing was derived since the start, and since the last snapshot.
    known: bool,
}

impl Installed {
    /// The manifest has been applied up to `index`.
    pub fn applied(&mut self, index: LogIndex) {
        assert!(index >= self.applied, "applied goes from {} back to {index}", self.applied);
        self.applied = index;
        self.raise();
    }

    /// A segment of the manifest is not here yet. Called before `applied` reaches its index.
    pub fn lacks(&mut self, id: SegmentId) {
        self.missing.insert(id);
    }

    /// The manifest has become another one at once: nothing is raised and nothing claimed before what is missing was
    /// derived from it.
    pub fn unknown(&mut self) {
        self.known = false;
    }

    /// Forgets what is missing: the caller derives it again and says so, then `applied`.
    pub fn begin_again(&mut self) {
        self.missing.clear();
        self.known = true;
    }

    /// A segment that was missing is here, superseded or deleted.
    pub fn settled(&mut self, id: SegmentId) {
        self.missing.remove(&id);
        self.damaged.remove(&id);
        self.raise();
    }

    /// A segment that stood here is found to be damaged. Moves no watermark.
    pub fn damage(&mut self, id: SegmentId) {
        self.damaged.insert(id);
    }

    fn raise(&mut self) {
        if !self.known {
            return;
        }
        let reached = match self.missing.first() {
            Some(first) => LogIndex(first.index.0.saturating_sub(1)).min(self.applied),
            None => self.applied,
        };
        // Segments that a restart finds missing lie below the watermark that another life of the node had
        // reached; within one life it only rises.
        self.reached = self.reached.max(reached);
    }

    /// The watermark.
    #[must_use]
    pub fn installed(&self) -> LogIndex {
        self.reached
    }

    /// Entries of the manifest whose segments are not here.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing.len() as u64
    }

    /// Segments found damaged and not repaired yet.
    #[must_use]
    pub fn damaged(&self) -> &BTreeSet<SegmentId> {
        &self.damaged
    }

    /// For other nodes: an index, and the few indexes at or below it whose segments cannot be served from here.
    #[must_use]
    pub fn held(&self) -> (LogIndex, Vec<u64>) {
        if !self.known {
            return (LogIndex(0), Vec::new());
        }
        let mut exceptions: Vec<u64> =
            self.missing.iter().chain(&self.damaged).map(|id| id.index.0).collect();
        exceptions.sort_unstable();
        exceptions.dedup();
        match exceptions.get(ANNOUNCE_EXCEPTIONS_MAX) {
            Some(first_left_out) => {
                let held_to = LogIndex(first_left_out - 1);
                exceptions.truncate(ANNOUNCE_EXCEPTIONS_MAX);
                (held_to, exceptions)
            }
            None => (self.applied, exceptions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64, ordinal: u32) -> SegmentId {
        SegmentId { index: LogIndex(index), ordinal }
    }

    #[test]
    fn installed_waits_for_the_first_missing_segment_and_for_all_of_its_entry() {
        let mut installed = Installed { known: true, ..Installed::default() };
        installed.lacks(id(3, 0));
        installed.lacks(id(3, 1));
        installed.lacks(id(5, 0));
        installed.applied(LogIndex(6));
        assert_eq!(installed.installed(), LogIndex(2));
        installed.settled(id(5, 0));
        installed.settled(id(3, 1));
        assert_eq!(installed.installed(), LogIndex(2));
        installed.settled(id(3, 0));
        assert_eq!(installed.installed(), LogIndex(6));
    }

    #[test]
    fn before_what_is_missing_is_known_nothing_is_raised_and_nothing_claimed() {
        let mut installed = Installed::default();
        installed.applied(LogIndex(6));
        assert_eq!((installed.installed(), installed.held()), (LogIndex(0), (LogIndex(0), vec![])));
        installed.begin_again();
        installed.lacks(id(5, 0));
        installed.applied(LogIndex(6));
        assert_eq!(installed.installed(), LogIndex(4));
        installed.unknown();
        installed.settled(id(5, 0));
        installed.applied(LogIndex(9));
        assert_eq!(installed.installed(), LogIndex(4), "a snapshot came, and nobody has looked yet");
    }

    #[test]
    fn a_segment_that_is_settled_twice_settles_no_other_of_its_batch() {
        let mut installed = Installed { known: true, ..Installed::default() };
        installed.lacks(id(3, 0));
        installed.lacks(id(3, 1));
        installed.applied(LogIndex(3));
        installed.settled(id(3, 0));
        installed.settled(id(3, 0));
        assert_eq!(installed.installed(), LogIndex(2));
    }

    #[test]
    fn damage_moves_no_watermark_but_is_told_to_others() {
        let mut installed = Installed { known: true, ..Installed::default() };
        installed.applied(LogIndex(6));
        installed.damage(id(4, 0));
        assert_eq!(installed.installed(), LogIndex(6));
        assert_eq!(installed.held(), (LogIndex(6), vec![4]));
        installed.settled(id(4, 0));
        assert_eq!(installed.held(), (LogIndex(6), vec![]));
    }

    #[test]
    fn what_is_told_is_bounded_and_never_claims_too_much() {
        let mut installed = Installed { known: true, ..Installed::default() };
        for index in 1..=200 {
            installed.lacks(id(index * 2, 0));
        }
        installed.applied(LogIndex(1000));
        let (held_to, exceptions) = installed.held();
        assert_eq!(exceptions.len(), ANNOUNCE_EXCEPTIONS_MAX);
        let first_left_out = (ANNOUNCE_EXCEPTIONS_MAX as u64 + 1) * 2;
        assert_eq!(held_to, LogIndex(first_left_out - 1));
    }

    #[test]
    #[should_panic(expected = "applied 3 < installed 4")]
    fn watermarks_out_of_order_are_a_bug() {
        let at = LogIndex;
        Watermarks { proposed: at(5), committed: at(5), applied: at(3), installed: at(4) }.check();
    }
}
