//! What to fetch next, from whom, and when again: pure, driven by what the caller saw.
//!
//! Level-triggered: the plan holds a bounded part of the difference between manifest and inventory. When it had
//! to leave something out, or loses its way, the caller derives the difference again; nothing is lost by forgetting.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::digest::chunk_count;
use crate::ids::{Digest, Nanos, NodeId, SegmentId};
use crate::limits::{
    BACKOFF_MAX, FETCH_ATTEMPTS_MAX, FETCH_QUEUE_MAX, FETCHES_MAX, NODES_MAX, ORIGIN_ASKS_MAX, ORIGIN_PAUSE,
    SPREAD_BYTES_MIN,
};

use super::failure::Failure;
use super::source::{Sources, back_off};
use super::spread::{Part, among_holders, among_replicas};

/// A segment that the manifest has and this disk lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// Its id.
    pub id: SegmentId,
    /// Where it will stand.
    pub path: Rc<str>,
    /// Its size.
    pub bytes: u64,
    /// Root of its digest tree.
    pub root: Digest,
    /// The node that registered it.
    pub origin: NodeId,
}

#[derive(Debug)]
struct Item {
    want: Want,
    ready_at: Nanos,
    attempts: u32,
    /// Rounds of all sources in which one was busy: no attempts, as it may have the segment.
    busy: u32,
    met_busy: bool,
    /// Answers of its origin that it is not there: at first it may not have been pinned yet.
    early: u32,
    tried: Vec<NodeId>,
    /// It may be fetched from several nodes at once: no attempt has failed but because the segment was not there. What
    /// was damaged, or came too slowly, comes from one node after the other, and so does the rest of what has begun.
    may_share: bool,
    last: Option<Failure>,
    failing_since: Option<Nanos>,
}

/// A fetch to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// What.
    pub want: Want,
    /// From whom.
    pub source: NodeId,
    /// If from several at once: which part from whom, the source's first; empty if all of it from the source.
    pub parts: Vec<Part>,
}

/// A segment that no source could serve yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unavailable {
    /// Which.
    pub id: SegmentId,
    /// Attempts at all sources so far, those not counted in which one was busy.
    pub attempts: u32,
    /// Why, at the last attempt.
    pub failure: Failure,
    /// Since when.
    pub since: Nanos,
}

/// The fetches of one shard.
#[derive(Debug, Default)]
pub struct Plan {
    items: BTreeMap<SegmentId, Item>,
    ready: BTreeSet<(Nanos, SegmentId)>,
    in_flight: BTreeMap<SegmentId, NodeId>,
    paused_until: Option<Nanos>,
    overflowed: bool,
    /// Large segments are fetched from several nodes at once, this node being the one.
    spread: Option<NodeId>,
}

impl Plan {
    /// From now on large segments are fetched from several nodes at once; `me` is this one.
    pub fn spread(&mut self, me: NodeId) {
        self.spread = Some(me);
    }

    /// All that is planned or under way.
    pub fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.items.keys().copied()
    }

    /// Takes a segment to fetch; one that is known already stays as it is. False if there is no room: derive
    /// again later.
    pub fn want(&mut self, want: Want, now: Nanos) -> bool {
        if self.items.contains_key(&want.id) {
            return true;
        }
        if self.items.len() >= FETCH_QUEUE_MAX {
            self.overflowed = true;
            return false;
        }
        let id = want.id;
        let item = Item {
            want,
            ready_at: now,
            attempts: 0,
            busy: 0,
            met_busy: false,
            early: 0,
            tried: Vec::new(),
            may_share: true,
            last: None,
            failing_since: None,
        };
        self.items.insert(id, item);
        self.ready.insert((now, id));
        self.check();
        true
    }

    /// Forgets a segment that the manifest no longer has. The caller stops the fetch of it, if there is one.
    pub fn forget(&mut self, id: SegmentId, sources: &mut Sources) {
        let Some(item) = self.items.remove(&id) else { return };
        self.ready.remove(&(item.ready_at, id));
        if let Some(source) = self.in_flight.remove(&id) {
            sources.release(source);
        }
        self.check();
    }

    /// The next fetch to begin, or `None` if nothing can begin now.
    pub fn next(&mut self, sources: &mut Sources, now: Nanos) -> Option<Start> {
        if self.in_flight.len() >= fetches_max() || self.paused_until.is_some_and(|until| until > now) {
            return None;
        }
        self.paused_until = None;
        // One after the other, and not a list of them: there may be very many, and most often it is the first.
        let mut after = None;
        while let Some(due) = self.first_due(after, now) {
            after = Some(due);
            let (_, id) = due;
            let item = self.items.get_mut(&id).expect("what is ready is known");
            if item.tried.len() >= sources.count().min(NODES_MAX) {
                item.tried.clear();
            }
            let Some(source) = sources.choose(id, item.want.origin, &item.tried, now) else { continue };
            let parts = match self.spread.filter(|_| item.may_share) {
                Some(me) => divide(&item.want, me, source, sources, now),
                None => Vec::new(),
            };
            let start = Start { want: item.want.clone(), source, parts };
            self.ready.remove(&(item.ready_at, id));
            self.in_flight.insert(id, source);
            sources.begin(source);
            self.check();
            return Some(start);
        }
        None
    }

    /// The first that is ready by now, behind `after`.
    fn first_due(&self, after: Option<(Nanos, SegmentId)>, now: Nanos) -> Option<(Nanos, SegmentId)> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let until = (now, SegmentId::MAX);
        if after.is_some_and(|after| after >= until) {
            return None;
        }
        self.ready.range((behind, Bound::Included(until))).next().copied()
    }

    /// The segment stands, verified and durable.
    pub fn landed(&mut self, id: SegmentId, sources: &mut Sources, now: Nanos) {
        if let Some(source) = self.in_flight.remove(&id) {
            sources.end(source, true, now);
        }
        if let Some(item) = self.items.remove(&id) {
            self.ready.remove(&(item.ready_at, id));
        }
        self.check();
    }

    /// The fetch failed. `jitter` is 0..=255, drawn by the caller.
    pub fn failed(&mut self, id: SegmentId, failure: Failure, jitter: u8, sources: &mut Sources, now: Nanos) {
        let Some(source) = self.in_flight.remove(&id) else { return };
        sources.end(source, !failure.blames_source(), now);
        let Some(item) = self.items.get_mut(&id) else { return };
        item.last = Some(failure);
        item.may_share &= failure == Failure::NotHere;
        item.failing_since.get_or_insert(now);
        item.met_busy |= failure == Failure::Busy;
        let others = sources.nodes().any(|node| node != source && !item.tried.contains(&node));
        item.tried.push(source);
        let is_early = failure == Failure::NotHere && source == item.want.origin;
        let again = if is_early && item.early < ORIGIN_ASKS_MAX {
            item.early += 1;
            item.tried.pop();
            now.plus(ORIGIN_PAUSE)
        } else if failure == Failure::DiskFull {
            self.paused_until = Some(now.plus(back_off(1)));
            item.tried.pop();
            now
        } else if others {
            // The next source is asked at once.
            now
        } else {
            let rest = item.end_round();
            now.plus(Nanos(rest.0 - rest.0 / 4 * u64::from(jitter) / 255))
        };
        item.ready_at = again;
        self.ready.insert((again, id));
        self.check();
    }

    /// When `next` may give something that it does not give now.
    #[must_use]
    pub fn next_deadline(&self, sources: &Sources, now: Nanos) -> Option<Nanos> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Some(until);
        }
        let first = self.ready.first().map(|(at, _)| *at)?;
        if first > now { Some(first) } else { sources.next_rested(now) }
    }

    /// There was no room for a part of the difference, and there is now: derive it again.
    pub fn take_overflow(&mut self) -> bool {
        self.items.len() < FETCH_QUEUE_MAX / 2 && std::mem::take(&mut self.overflowed)
    }

    /// All fetches wait for room on the disk until this time.
    #[must_use]
    pub fn paused_until(&self) -> Option<Nanos> {
        self.paused_until
    }

    /// Segments known and not landed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Nothing is left to fetch, as far as the plan knows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.overflowed
    }

    /// Fetches under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Segments whose every attempt failed so far, and those whose sources say again and again that they are busy.
    pub fn unavailable(&self) -> impl Iterator<Item = Unavailable> {
        self.items.iter().filter(|(_, item)| item.is_unavailable()).filter_map(|(id, item)| {
            Some(Unavailable {
                id: *id,
                attempts: item.attempts,
                failure: item.last?,
                since: item.failing_since?,
            })
        })
    }

    fn check(&self) {
        debug_assert!(self.items.len() <= FETCH_QUEUE_MAX, "{} segments planned", self.items.len());
        debug_assert!(self.in_flight.len() <= fetches_max(), "{} fetches", self.in_flight.len());
        debug_assert_eq!(
            self.items.len(),
            self.ready.len() + self.in_flight.len(),
            "each is ready or in flight"
        );
    }
}

impl Item {
    /// All sources have been asked: how long it rests now.
    fn end_round(&mut self) -> Nanos {
        if std::mem::take(&mut self.met_busy) {
            self.busy = self.busy.saturating_add(1);
            return back_off(self.busy - 1);
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= FETCH_ATTEMPTS_MAX { BACKOFF_MAX } else { back_off(self.attempts - 1) }
    }

    /// All sources were asked for it in vain, or were busy so often that it is worth a word.
    fn is_unavailable(&self) -> bool {
        self.attempts > 0 || self.busy >= FETCH_ATTEMPTS_MAX
    }
}

/// The parts of a large segment: from all who hold it, or if that is its origin alone, from the replicas that want it
/// with this one. None if there is nobody beside the source, who then gives all of it.
fn divide(want: &Want, me: NodeId, source: NodeId, sources: &Sources, now: Nanos) -> Vec<Part> {
    let Some(count) = chunk_count(want.bytes).filter(|_| want.bytes >= SPREAD_BYTES_MIN) else {
        return Vec::new();
    };
    let holders = sources.holders(want.id, source, now);
    let mut parts = if !holders.is_empty() {
        among_holders(source, &holders, count)
    } else if source == want.origin {
        let others: Vec<NodeId> = sources.nodes().collect();
        among_replicas(source, me, &others, count)
    } else {
        Vec::new()
    };
    parts.retain(|part| part.node == source || sources.may_share(part.node, now));
    if parts.len() > 1 { parts } else { Vec::new() }
}

/// How many fetches go on at a time.
fn fetches_max() -> usize {
    if broken::is(Broken::FetchesUnbounded) { usize::MAX } else { FETCHES_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogIndex;
    use crate::transfer::source::Announced;

    fn want(index: u64) -> Want {
        let id = SegmentId { index: LogIndex(index), ordinal: 0 };
        Want { id, path: "a".into(), bytes: 1, root: Digest([1; 32]), origin: NodeId(1) }
    }

    fn sources(nodes: &[u64]) -> Sources {
        let mut sources = Sources::default();
        sources.set(nodes.iter().map(|node| NodeId(*node)));
        sources
    }

    #[test]
    fn a_segment_that_one_source_lacks_is_asked_of_the_next_at_once_and_of_an_early_origin_again() {
        let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
        assert!(plan.want(want(5), now));
        let first = plan.next(&mut from, now).expect("one is ready");
        assert_eq!(first.source, NodeId(1));
        assert_eq!(plan.next(&mut from, now), None, "it is in flight once");
        for _ in 0..ORIGIN_ASKS_MAX {
            plan.failed(first.want.id, Failure::NotHere, 0, &mut from, now);
            assert_eq!(plan.next_deadline(&from, now), Some(now.plus(ORIGIN_PAUSE)));
            now = now.plus(ORIGIN_PAUSE);
            assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
        }
        plan.failed(first.want.id, Failure::NotHere, 0, &mut from, now);
        let second = plan.next(&mut from, now).expect("another source");
        assert_eq!(second.source, NodeId(2));
        plan.landed(second.want.id, &mut from, now);
        assert!(plan.is_empty());
    }

    #[test]
    fn p6_a_large_segment_of_its_origin_alone_is_divided_among_the_replicas_and_one_of_many_holders_among_them()
     {
        let (mut plan, mut from, now) = (Plan::default(), sources(&[1, 2, 4]), Nanos(1));
        plan.spread(NodeId(3));
        let large = |index| Want { bytes: SPREAD_BYTES_MIN * 3, ..want(index) };
        plan.want(large(5), now);
        let first = plan.next(&mut from, now).expect("it is ready");
        let asked: Vec<_> = first.parts.iter().map(|part| (part.node, part.chunks.clone())).collect();
        assert_eq!(asked, [(NodeId(1), 2..4), (NodeId(4), 4..6), (NodeId(2), 0..2)]);
        for node in [2, 4] {
            from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
        }
        plan.want(large(6), now);
        let second = plan.next(&mut from, now).expect("it is ready");
        let asked: Vec<_> = second.parts.iter().map(|part| part.node).collect();
        assert_eq!(asked, [NodeId(2), NodeId(4)]);
        plan.failed(large(6).id, Failure::Corrupt, 0, &mut from, now);
        let again = plan.next(&mut from, now).expect("another source");
        assert!(again.want == large(6) && again.parts.is_empty(), "one after the other: {again:?}");
        plan.want(want(7), now);
        assert_eq!(plan.next(&mut from, now).map(|start| start.parts), Some(Vec::new()), "a small one");
    }

    /// Once one whose disk had been full, or that was asked for by a second node after damage, was divided again.
    #[test]
    fn p6_a_segment_that_was_not_there_is_divided_again_and_one_that_has_begun_to_come_is_not() {
        use Failure::{Corrupt, Disk, DiskFull, NoProgress, NotHere};
        let cases: [(&[Failure], bool); 6] = [
            (&[NotHere], true),
            (&[NotHere, NotHere], true),
            (&[DiskFull], false),
            (&[Disk, NotHere], false),
            (&[Corrupt, NotHere], false),
            (&[NotHere, NoProgress, NotHere], false),
        ];
        for (failures, is_divided) in cases {
            let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2, 4]), Nanos(1));
            plan.spread(NodeId(3));
            plan.want(Want { bytes: SPREAD_BYTES_MIN * 3, ..want(5) }, now);
            for failure in failures {
                let start = plan.next(&mut from, now).expect("it is due");
                plan.failed(start.want.id, *failure, 0, &mut from, now);
                now = now.plus(BACKOFF_MAX);
            }
            // Another node is asked by now, and has it from others.
            for node in [1, 2, 4] {
                from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
            }
            let again = plan.next(&mut from, now).expect("it is due");
            assert_eq!(again.parts.len() > 1, is_divided, "{failures:?}: {again:?}");
        }
    }

    #[test]
    fn a_segment_that_nobody_has_is_unavailable_and_tried_again_for_ever() {
        let (mut plan, mut from) = (Plan::default(), sources(&[1]));
        let mut now = Nanos(1);
        plan.want(want(5), now);
        for _ in 0..10 {
            let start = plan.next(&mut from, now).expect("it is due");
            plan.failed(start.want.id, Failure::NotHere, 0, &mut from, now);
            assert_eq!(plan.next(&mut from, now), None);
            let at = plan.next_deadline(&from, now).expect("it will be due");
            assert!(at > now && at <= now.plus(BACKOFF_MAX));
            now = at;
        }
        assert_eq!(plan.unavailable().count(), 1);
    }

    #[test]
    fn a_busy_source_costs_no_attempt_and_those_without_the_segment_are_asked_again_beside_it() {
        let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
        plan.want(want(5), now);
        let mut asked = [0, 0];
        while now < Nanos::from_secs(600) {
            while let Some(start) = plan.next(&mut from, now) {
                let (failure, place) = match start.source {
                    NodeId(1) => (Failure::Busy, 0),
                    _ => (Failure::NotHere, 1),
                };
                asked[place] += 1;
                plan.failed(start.want.id, failure, 0, &mut from, now);
            }
            let at = plan.next_deadline(&from, now).expect("it will be due");
            assert!(at > now && at <= now.plus(BACKOFF_MAX), "{at} after {now}");
            now = at;
        }
        assert!(asked.iter().all(|count| *count >= 600 / 30), "{asked:?}");
        let lost = plan.unavailable().next().expect("status names it");
        assert_eq!((lost.attempts, lost.since), (0, Nanos(1)));
        plan.next(&mut from, now.plus(BACKOFF_MAX)).expect("either");
        plan.landed(want(5).id, &mut from, now);
        assert!(plan.is_empty());
    }

    #[test]
    fn a_full_disk_pauses_everything_and_blames_no_source() {
        let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(1));
        plan.want(want(5), now);
        plan.want(want(6), now);
        let start = plan.next(&mut from, now).expect("ready");
        plan.failed(start.want.id, Failure::DiskFull, 0, &mut from, now);
        assert_eq!(plan.next(&mut from, now), None);
        let at = plan.next_deadline(&from, now).expect("a pause ends");
        assert!(plan.next(&mut from, at).is_some());
    }

    #[test]
    fn what_has_no_room_is_derived_again_when_there_is_room() {
        let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(1));
        for index in 0..FETCH_QUEUE_MAX as u64 {
            assert!(plan.want(want(index + 1), now));
        }
        assert!(!plan.want(want(1 << 40), now), "full");
        assert!(!plan.take_overflow(), "still full");
        for index in 0..FETCH_QUEUE_MAX as u64 {
            plan.landed(want(index + 1).id, &mut from, now);
        }
        assert!(!plan.is_empty(), "something was left out");
        assert!(plan.take_overflow());
        assert!(plan.is_empty());
    }

    /// A fetch that was given up counted as under way for ever: its source came last for everything else.
    #[test]
    fn a_segment_forgotten_in_flight_weighs_on_its_source_no_more() {
        let (mut plan, mut from, now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
        for node in [1, 2] {
            from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
        }
        plan.want(want(5), now);
        plan.forget(want(4).id, &mut from);
        assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
        plan.forget(want(5).id, &mut from);
        plan.failed(want(5).id, Failure::Unreachable, 0, &mut from, now);
        assert!(plan.is_empty());
        plan.want(want(6), now);
        assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
    }
}
