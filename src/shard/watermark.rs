//! The watermarks of a shard on one node, declared once and asserted: proposed >= committed >= applied >= installed.
//!
//! Installed is the highest index below which every entry is installed here, superseded or deleted. It counts landings,
//! not health: what rots later is `damaged`, which readiness reads too, and moves no watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::ops::Bound;

use crate::ids::{LogIndex, Nanos, SegmentId};
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

/// A segment that is not here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lack {
    /// Its size.
    pub bytes: u64,
    /// When this was known first.
    pub since: Nanos,
    /// A walk through the manifest has found it, and no entry that was applied.
    pub by_walk: bool,
}

/// What is missing, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    /// Segments.
    pub segments: u64,
    /// Of them, those that a walk has found.
    pub by_walk: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Since when the one is missing that has been for longest.
    pub since: Option<Nanos>,
}

/// Which applied entries have their segments here.
#[derive(Debug, Default)]
pub struct Installed {
    applied: LogIndex,
    missing: BTreeMap<SegmentId, Lack>,
    /// How many of them are missing since when: what comes in one walk is one.
    since: BTreeMap<Nanos, u64>,
    lag: Lag,
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

    /// A segment of the manifest is not here yet. Called before `applied` reaches its index. One that was known to be
    /// missing stays as it is.
    pub fn lacks(&mut self, id: SegmentId, lack: Lack) {
        if self.missing.contains_key(&id) {
            return;
        }
        self.missing.insert(id, lack);
        *self.since.entry(lack.since).or_default() += 1;
        self.lag.segments += 1;
        self.lag.by_walk += u64::from(lack.by_walk);
        self.lag.bytes = self.lag.bytes.saturating_add(lack.bytes);
    }

    fn has(&mut self, id: SegmentId) {
        let Some(lack) = self.missing.remove(&id) else { return };
        self.lag.segments -= 1;
        self.lag.by_walk -= u64::from(lack.by_walk);
        self.lag.bytes = self.lag.bytes.saturating_sub(lack.bytes);
        let count = self.since.get_mut(&lack.since).expect("it was counted when it went missing");
        *count -= 1;
        if *count == 0 {
            self.since.remove(&lack.since);
        }
    }

    /// The manifest has become another one at once: nothing is raised and nothing claimed before what is missing was
    /// derived from it.
    pub fn unknown(&mut self) {
        self.known = false;
    }

    /// What is missing was derived from the manifest behind one id and up to another: these, with their sizes, and no
    /// others. How many of them were not known to be.
    pub fn derived(
        &mut self,
        after: Option<SegmentId>,
        to: Option<SegmentId>,
        missing: impl IntoIterator<Item = (SegmentId, u64)>,
        now: Nanos,
    ) -> u64 {
        let range =
            (after.map_or(Bound::Unbounded, Bound::Excluded), to.map_or(Bound::Unbounded, Bound::Included));
        let mut before: BTreeSet<SegmentId> = self.missing.range(range).map(|(id, _)| *id).collect();
        let mut found = 0;
        for (id, bytes) in missing {
            found += u64::from(!before.remove(&id));
            self.lacks(id, Lack { bytes, since: now, by_walk: true });
        }
        before.into_iter().for_each(|id| self.has(id));
        found
    }

    /// All of it was. The caller says `applied` then.
    pub fn all_derived(&mut self) {
        self.known = true;
    }

    /// A segment that was missing is here, superseded or deleted.
    pub fn settled(&mut self, id: SegmentId) {
        self.has(id);
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
        let reached = match self.missing.keys().next() {
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

    /// What of the manifest is not here.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag { since: self.since.keys().next().copied(), ..self.lag }
    }

    /// A walk has found that the segment is missing, and it still is.
    #[must_use]
    pub fn lacks_by_walk(&self, id: SegmentId) -> bool {
        self.missing.get(&id).is_some_and(|lack| lack.by_walk)
    }

    /// The segment is missing, and known to be.
    #[must_use]
    pub fn lacks_now(&self, id: SegmentId) -> bool {
        self.missing.contains_key(&id)
    }

    /// Those of them that were committed up to `index`.
    #[must_use]
    pub fn missing_to(&self, index: LogIndex) -> u64 {
        // Most of them are before it, or none.
        let behind = (Bound::Excluded(SegmentId { index, ordinal: u32::MAX }), Bound::Unbounded);
        if self.lacks_to(index) { self.lag.segments - self.missing.range(behind).count() as u64 } else { 0 }
    }

    /// Whether any of them are missing.
    #[must_use]
    pub fn lacks_to(&self, index: LogIndex) -> bool {
        self.missing.first_key_value().is_some_and(|(first, _)| first.index <= index)
    }

    /// Segments found damaged and not repaired yet.
    #[must_use]
    pub fn damaged(&self) -> &BTreeSet<SegmentId> {
        &self.damaged
    }

    /// The segment, if there is one of this id, stands here and is sound.
    #[must_use]
    pub fn holds(&self, id: SegmentId) -> bool {
        let is_applied = self.known && id.index <= self.applied;
        is_applied && !self.missing.contains_key(&id) && !self.damaged.contains(&id)
    }

    /// For other nodes: an index, and the few indexes at or below it whose segments cannot be served from here.
    #[must_use]
    pub fn held(&self) -> (LogIndex, Vec<u64>) {
        if !self.known {
            return (LogIndex(0), Vec::new());
        }
        // Very many may be missing, and nodes tell each other all the time.
        let first = self.exception_behind(None);
        let all = iter::successors(first, |last| self.exception_behind(Some(*last)));
        let mut exceptions: Vec<u64> = all.take(ANNOUNCE_EXCEPTIONS_MAX + 1).map(|index| index.0).collect();
        match exceptions.get(ANNOUNCE_EXCEPTIONS_MAX) {
            Some(first_left_out) => {
                let held_to = LogIndex(first_left_out - 1);
                exceptions.truncate(ANNOUNCE_EXCEPTIONS_MAX);
                (held_to, exceptions)
            }
            None => (self.applied, exceptions),
        }
    }

    /// The next index behind another whose segments are not all sound here.
    fn exception_behind(&self, last: Option<LogIndex>) -> Option<LogIndex> {
        let last = last.map(|index| SegmentId { index, ordinal: u32::MAX });
        let behind = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let missing = self.missing.range(behind).next().map(|(id, _)| id);
        let damaged = self.damaged.range(behind).next();
        missing.into_iter().chain(damaged).min().map(|id| id.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LACK: Lack = Lack { bytes: 10, since: Nanos(7), by_walk: false };

    fn id(index: u64, ordinal: u32) -> SegmentId {
        SegmentId { index: LogIndex(index), ordinal }
    }

    /// One page with everything.
    fn all(installed: &mut Installed, missing: &[(SegmentId, u64)], now: Nanos) -> u64 {
        let found = installed.derived(None, None, missing.iter().copied(), now);
        installed.all_derived();
        found
    }

    #[test]
    fn c1_a_page_says_of_its_own_part_what_is_missing_and_of_no_other() {
        let mut installed = Installed::default();
        all(&mut installed, &[(id(2, 0), 1), (id(4, 0), 1), (id(6, 0), 1)], Nanos(0));
        installed.unknown();
        let found = installed.derived(Some(id(2, 0)), Some(id(4, 0)), [(id(3, 0), 1)], Nanos(1));
        assert_eq!(found, 1);
        let missing = |installed: &Installed| [2, 3, 4, 6].map(|at| installed.lacks_now(id(at, 0)));
        assert_eq!(missing(&installed), [true, true, false, true]);
        assert_eq!(installed.derived(None, Some(id(2, 0)), [], Nanos(1)), 0);
        assert_eq!(installed.derived(Some(id(4, 0)), None, [(id(6, 0), 1)], Nanos(1)), 0);
        assert_eq!(missing(&installed), [false, true, false, true]);
        installed.applied(LogIndex(7));
        assert_eq!(installed.installed(), LogIndex(0), "other pages may lack something");
        installed.all_derived();
        installed.applied(LogIndex(7));
        assert_eq!(installed.installed(), LogIndex(2));
    }

    #[test]
    fn installed_waits_for_the_first_missing_segment_and_for_all_of_its_entry() {
        let mut installed = Installed { known: true, ..Installed::default() };
        installed.lacks(id(3, 0), LACK);
        installed.lacks(id(3, 1), LACK);
        installed.lacks(id(5, 0), LACK);
        installed.applied(LogIndex(6));
        assert_eq!(installed.installed(), LogIndex(2));
        assert_eq!([2, 3, 4, 5].map(|to| installed.missing_to(LogIndex(to))), [0, 2, 2, 3]);
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
        all(&mut installed, &[(id(5, 0), 1)], Nanos(0));
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
        installed.lacks(id(3, 0), LACK);
        installed.lacks(id(3, 1), LACK);
        installed.applied(LogIndex(3));
        installed.settled(id(3, 0));
        installed.settled(id(3, 0));
        assert_eq!(installed.installed(), LogIndex(2));
    }

    #[test]
    fn p9_lag_is_what_is_missing_its_bytes_and_the_time_of_what_has_been_for_longest() {
        let mut installed = Installed::default();
        assert_eq!(installed.lag(), Lag::default());
        all(&mut installed, &[(id(3, 0), 100), (id(5, 0), 20)], Nanos(50));
        installed.lacks(id(6, 0), Lack { bytes: 3, since: Nanos(60), by_walk: false });
        installed.lacks(id(6, 0), Lack { bytes: 9, since: Nanos(70), by_walk: false });
        let lag = |segments, by_walk, bytes, since: u64| Lag {
            segments,
            by_walk,
            bytes,
            since: Some(Nanos(since)),
        };
        assert_eq!(installed.lag(), lag(3, 2, 123, 50));
        // What a later walk finds again is missing for as long as before, and no find.
        let again = [(id(3, 0), 100), (id(6, 0), 3), (id(7, 0), 1)];
        assert_eq!(all(&mut installed, &again, Nanos(80)), 1);
        assert_eq!(installed.lag(), lag(3, 2, 104, 50));
        installed.settled(id(3, 0));
        installed.settled(id(3, 0));
        assert_eq!(installed.lag(), lag(2, 1, 4, 60));
        assert!(installed.lacks_by_walk(id(7, 0)) && !installed.lacks_by_walk(id(6, 0)));
        installed.settled(id(6, 0));
        installed.settled(id(7, 0));
        assert_eq!(installed.lag(), Lag::default());
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
            installed.lacks(id(index * 2, 0), LACK);
            installed.lacks(id(index * 2, 7), LACK);
        }
        installed.applied(LogIndex(1000));
        installed.damage(id(2, 1));
        installed.damage(id(3, 0));
        let (held_to, exceptions) = installed.held();
        let told = [2, 3].into_iter().chain((2..=ANNOUNCE_EXCEPTIONS_MAX as u64 - 1).map(|index| index * 2));
        assert_eq!(exceptions, told.collect::<Vec<_>>());
        let first_left_out = ANNOUNCE_EXCEPTIONS_MAX as u64 * 2;
        assert_eq!(held_to, LogIndex(first_left_out - 1));
    }

    #[test]
    #[should_panic(expected = "applied 3 < installed 4")]
    fn watermarks_out_of_order_are_a_bug() {
        let at = LogIndex;
        Watermarks { proposed: at(5), committed: at(5), applied: at(3), installed: at(4) }.check();
    }
}
