//! What to fetch next, from whom, and when again: pure, driven by what the caller saw.
//!
//! Level-triggered: the plan holds a bounded part of the difference between manifest and inventory. When it had
//! to leave something out, or loses its way, the caller derives the difference again; nothing is lost by forgetting.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::config::Work;
use crate::digest::chunk_count;
use crate::ids::{Digest, Nanos, NodeId, SegmentId};
use crate::limits::{
    BACKOFF_MAX, FETCH_ATTEMPTS_MAX, FETCH_QUEUE_BEHIND_MAX, FETCH_QUEUE_MAX, FETCHES_BEHIND_MAX,
    FETCHES_MAX, NODES_MAX, ORIGIN_ASKS_MAX, ORIGIN_PAUSE, SPREAD_BYTES_MIN,
};

use super::failure::Failure;
use super::look::Looks;
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
    /// What it is fetched for, as it was when it was planned.
    pub work: Work,
}

/// When a segment is due. What is live comes first, whenever the others are.
type Due = (Work, Nanos, SegmentId);

#[derive(Debug)]
struct Item {
    want: Want,
    planned_at: Nanos,
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
    /// It is due, and nobody can be asked for it.
    is_stranded: bool,
    /// Times in a row that the embedder knew nobody to ask for it.
    unknown: u32,
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
    ready: BTreeSet<Due>,
    in_flight: BTreeMap<SegmentId, NodeId>,
    /// Of those in flight, how many are not live.
    behind: usize,
    paused_until: Option<Nanos>,
    overflowed: bool,
    /// Segments that were stranded since somebody asked.
    stranded: u64,
    /// Large segments are fetched from several nodes at once, this node being the one.
    spread: Option<NodeId>,
    /// What is looked for on this node before anybody is asked.
    looks: Option<Looks>,
}

impl Plan {
    /// From now on large segments are fetched from several nodes at once; `me` is this one.
    pub fn spread(&mut self, me: NodeId) {
        self.spread = Some(me);
    }

    /// From now on each segment is looked for on this node first.
    pub fn look_first(&mut self) {
        self.looks.get_or_insert_default();
    }

    /// The next segments to look for on this node; `stands` says of each whether its content stands in this shard. The
    /// caller tells of each that it has `landed`, or `found_nothing`.
    pub fn take_looks(&mut self, now: Nanos, stands: impl Fn(&Want) -> bool) -> Vec<Want> {
        let Some(looks) = self.looks.as_mut().filter(|_| self.paused_until.is_none_or(|until| until <= now))
        else {
            return Vec::new();
        };
        let of = |id| &self.items.get(&id).expect("what is looked for is known").want;
        looks.take(of, stands).into_iter().cloned().collect()
    }

    /// This node does not hold the content of a segment: it is fetched.
    pub fn found_nothing(&mut self, id: SegmentId, now: Nanos) {
        if self.looks.as_mut().is_some_and(|looks| looks.found_nothing(id)) {
            let item = self.items.get_mut(&id).expect("what is looked for is known");
            item.ready_at = now;
            self.ready.insert(item.due());
            self.check();
        }
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
        let most = if want.work == Work::Live { FETCH_QUEUE_MAX } else { FETCH_QUEUE_BEHIND_MAX };
        if self.items.len() >= most {
            self.overflowed = true;
            return false;
        }
        let due = (want.work, now, want.id);
        let item = Item {
            want,
            planned_at: now,
            ready_at: now,
            attempts: 0,
            busy: 0,
            met_busy: false,
            early: 0,
            tried: Vec::new(),
            may_share: true,
            last: None,
            failing_since: None,
            is_stranded: false,
            unknown: 0,
        };
        let is_looked_for = self.looks.as_mut().is_some_and(|looks| looks.add(&item.want));
        self.items.insert(due.2, item);
        if !is_looked_for {
            self.ready.insert(due);
        }
        self.check();
        true
    }

    /// Forgets a segment that the manifest no longer has. The caller stops the fetch of it, if there is one.
    pub fn forget(&mut self, id: SegmentId, sources: &mut Sources) {
        let Some(item) = self.items.remove(&id) else { return };
        self.ready.remove(&item.due());
        self.end_look(&item.want);
        if let Some(source) = self.end_flight(&item.want) {
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
            let (.., id) = due;
            let item = self.items.get_mut(&id).expect("what is ready is known");
            if item.tried.len() >= sources.count().min(NODES_MAX) {
                item.tried.clear();
            }
            let listed = sources.listed(item.want.origin, &item.want.path, now);
            if listed.as_ref().is_some_and(Vec::is_empty) {
                // Not failed: whoever is asked knows of nobody yet.
                item.ready_at = now.plus(back_off(item.unknown));
                item.unknown = item.unknown.saturating_add(1);
                let later = item.due();
                self.ready.remove(&due);
                self.ready.insert(later);
                self.stranded += 1;
                continue;
            }
            let first = listed.as_ref().and_then(|listed| sources.first_of(listed, &item.tried, now));
            let own_choice = || sources.choose(id, item.want.origin, &item.tried, now);
            let Some(source) = first.or_else(own_choice) else {
                self.stranded += u64::from(!std::mem::replace(&mut item.is_stranded, true));
                continue;
            };
            (item.is_stranded, item.unknown) = (false, 0);
            let mut parts = match self.spread.filter(|_| item.may_share) {
                Some(me) => divide(&item.want, me, source, sources, now),
                None => Vec::new(),
            };
            if listed.is_some_and(|listed| !parts.iter().all(|part| listed.contains(&part.node))) {
                parts.clear();
            }
            let start = Start { want: item.want.clone(), source, parts };
            self.ready.remove(&due);
            self.in_flight.insert(id, source);
            self.behind += usize::from(start.want.work != Work::Live);
            sources.begin(source);
            self.check();
            return Some(start);
        }
        None
    }

    /// The first that is ready by now, behind `after`. What is not live leaves room for what is.
    fn first_due(&self, after: Option<Due>, now: Nanos) -> Option<Due> {
        let first = |work: Work| {
            let after = after.filter(|(of, ..)| *of == work);
            let behind =
                after.map_or(Bound::Included((work, Nanos(0), SegmentId::default())), Bound::Excluded);
            let until = (work, now, SegmentId::MAX);
            if after.is_some_and(|after| after >= until) {
                return None;
            }
            self.ready.range((behind, Bound::Included(until))).next().copied()
        };
        let has_room = |work: &Work| *work == Work::Live || self.behind < behind_max();
        let from = after.map_or(Work::Live, |(work, ..)| work);
        Work::ALL.into_iter().filter(|work| *work >= from).filter(has_room).find_map(first)
    }

    /// A fetch is under way no more: from whom it was, if it was.
    fn end_flight(&mut self, want: &Want) -> Option<NodeId> {
        let source = self.in_flight.remove(&want.id)?;
        self.behind -= usize::from(want.work != Work::Live);
        Some(source)
    }

    fn end_look(&mut self, want: &Want) {
        if let Some(looks) = &mut self.looks {
            looks.end(want);
        }
    }

    /// The segment stands, verified and durable. If it was planned: for how long.
    pub fn landed(&mut self, id: SegmentId, sources: &mut Sources, now: Nanos) -> Option<Nanos> {
        let item = self.items.remove(&id)?;
        if let Some(source) = self.end_flight(&item.want) {
            sources.end(source, Ok(()), now);
        }
        self.ready.remove(&item.due());
        self.end_look(&item.want);
        self.check();
        Some(now.since(item.planned_at))
    }

    /// The fetch failed. `jitter` is 0..=255, drawn by the caller.
    pub fn failed(&mut self, id: SegmentId, failure: Failure, jitter: u8, sources: &mut Sources, now: Nanos) {
        let Some(want) = self.items.get(&id).map(|item| item.want.clone()) else { return };
        let Some(source) = self.end_flight(&want) else { return };
        sources.end(source, Err(failure), now);
        if let Some(looks) = &mut self.looks {
            looks.give_way(&want);
        }
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
        self.ready.insert((want.work, again, id));
        self.check();
    }

    /// Those that rest and that `is_meant` says so of, by what they failed in last, are due.
    pub fn hurry(&mut self, now: Nanos, is_meant: impl Fn(&Want, Option<Failure>) -> bool) {
        let resting: Vec<Due> = self.ready.iter().filter(|(_, at, _)| *at > now).copied().collect();
        for due in resting {
            let (work, _, id) = due;
            let item = self.items.get_mut(&id).expect("what is ready is known");
            if is_meant(&item.want, item.last) {
                item.ready_at = now;
                item.tried.clear();
                self.ready.remove(&due);
                self.ready.insert((work, now, id));
            }
        }
        self.check();
    }

    /// All that rest are due, and none waits for room on the disk.
    pub fn hurry_all(&mut self, now: Nanos) {
        self.paused_until = None;
        self.hurry(now, |_, _| true);
    }

    /// When `next` may give something that it does not give now.
    #[must_use]
    pub fn next_deadline(&self, sources: &Sources, now: Nanos) -> Option<Nanos> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Some(until);
        }
        let first = |work: Work| {
            let mut of = self.ready.range((work, Nanos(0), SegmentId::default())..);
            let at = of.next().filter(|(found, ..)| *found == work).map(|(_, at, _)| *at)?;
            if at > now { Some(at) } else { sources.next_rested(now) }
        };
        Work::ALL.into_iter().filter_map(first).min()
    }

    /// There was no room for a part of the difference, and there is now: derive it again.
    pub fn take_overflow(&mut self) -> bool {
        self.items.len() < FETCH_QUEUE_MAX / 2 && std::mem::take(&mut self.overflowed)
    }

    /// How often a segment was due and nobody could be asked for it, since this was asked last.
    pub fn take_stranded(&mut self) -> u64 {
        std::mem::take(&mut self.stranded)
    }

    /// The segment is planned or under way.
    #[must_use]
    pub fn contains(&self, id: SegmentId) -> bool {
        self.items.contains_key(&id)
    }

    /// From whom a segment is being fetched.
    #[must_use]
    pub fn source_of(&self, id: SegmentId) -> Option<NodeId> {
        self.in_flight.get(&id).copied()
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

    /// Of them, those that are not live.
    #[must_use]
    pub fn in_flight_behind(&self) -> usize {
        self.behind
    }

    /// Whether a segment is one of those that `unavailable` names.
    #[must_use]
    pub fn is_unavailable(&self, id: SegmentId) -> bool {
        self.items.get(&id).is_some_and(Item::is_unavailable)
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
        debug_assert!(
            self.behind <= self.in_flight.len(),
            "{} of {} fetches",
            self.behind,
            self.in_flight.len()
        );
        let looked_for = self.looks.as_ref().map_or(0, Looks::len);
        debug_assert_eq!(
            self.items.len(),
            self.ready.len() + self.in_flight.len() + looked_for,
            "each is ready, in flight or looked for"
        );
    }
}

impl Item {
    fn due(&self) -> Due {
        (self.want.work, self.ready_at, self.want.id)
    }

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

/// How many of them may be for what is not live.
fn behind_max() -> usize {
    if broken::is(Broken::FetchesUnbounded) { usize::MAX } else { FETCHES_BEHIND_MAX }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
