//! Who can serve a segment, and how well: soft state, for choosing only. Nothing is decided by it that safety needs.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, LogIndex, Nanos, NodeId, SegmentId};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};
use crate::stats::Seldom;

use super::aside::Aside;
use super::failure::Failure;
use super::resolve::{Panicked, Resolver};

/// What a node last told of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// Its data root's life.
    pub incarnation: Incarnation,
    /// Highest index below which every entry is installed there, superseded or deleted.
    pub installed: LogIndex,
    /// Highest index below which every entry is installed there but for the exceptions; at or above `installed`.
    pub held_to: LogIndex,
    /// Log indexes at or below `held_to` with a segment that it cannot serve just now.
    pub exceptions: Vec<u64>,
    /// Segments that it serves to whomever.
    pub load: u32,
}

#[derive(Debug, Default)]
struct Source {
    announced: Option<Announced>,
    fetches: u32,
    failures: u32,
    rests_until: Nanos,
    /// It rests as it was out of reach.
    was_out_of_reach: bool,
    /// Shares that did not come, in a row.
    late: u32,
    /// Asked for no share until then; for all else it may be.
    shares_from: Nanos,
    aside: Aside,
}

/// The shard's other replicas, as sources.
#[derive(Debug, Default)]
pub struct Sources {
    nodes: BTreeMap<NodeId, Source>,
    /// The embedder's.
    resolver: Option<Resolver>,
    panic_told: Seldom,
}

impl Sources {
    /// Replaces the set of nodes; what is known of those that stay is kept.
    pub fn set(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut known = std::mem::take(&mut self.nodes);
        self.nodes = nodes.into_iter().map(|node| (node, known.remove(&node).unwrap_or_default())).collect();
    }

    /// Takes what a node tells; one that is no replica is ignored. What it told before, if that was another part of
    /// the shard.
    pub fn announce(&mut self, node: NodeId, announced: Announced) -> Option<Announced> {
        let source = self.nodes.get_mut(&node)?;
        let is_new_life =
            source.announced.as_ref().is_some_and(|told| told.incarnation != announced.incarnation);
        if is_new_life {
            source.aside.forget();
        }
        let before = source.announced.take().unwrap_or_default();
        let is_other = (before.held_to, &before.exceptions) != (announced.held_to, &announced.exceptions);
        source.announced = Some(announced);
        is_other.then_some(before)
    }

    /// A node that may have been out of reach is there: it is asked again at once.
    pub fn came_back(&mut self, node: NodeId) {
        if let Some(source) = self.nodes.get_mut(&node).filter(|source| source.was_out_of_reach) {
            source.rest_no_more();
        }
    }

    /// Every node is asked again at once.
    pub fn rest_no_more(&mut self) {
        self.nodes.values_mut().for_each(Source::rest_no_more);
    }

    /// What a node last told.
    #[must_use]
    pub fn announced(&self, node: NodeId) -> Option<&Announced> {
        self.nodes.get(&node)?.announced.as_ref()
    }

    /// From now on this is asked first whom to ask.
    pub fn resolve_by(&mut self, resolver: Resolver) {
        self.resolver = Some(resolver);
    }

    /// Those that the embedder wants to be asked for a segment, without who is no replica. `None` if it has no say.
    pub(super) fn listed(&self, origin: NodeId, path: &str, now: Nanos) -> Option<Vec<NodeId>> {
        match self.resolver.as_ref()?.ask(origin, path) {
            Ok(nodes) => Some(nodes.into_iter().filter(|node| self.nodes.contains_key(node)).collect()),
            Err(Panicked) => {
                if self.panic_told.is_due(now) {
                    tracing::error!(path, "the engine's own choice of sources has panicked: it is not asked");
                }
                None
            }
        }
    }

    /// The first of these that may be asked now.
    pub(super) fn first_of(&self, listed: &[NodeId], tried: &[NodeId], now: Nanos) -> Option<NodeId> {
        let may_be = |node: &NodeId| {
            let source = self.nodes.get(node);
            !tried.contains(node)
                && source.is_some_and(|source| source.rests_until <= now && !source.aside.is_aside(now))
        };
        listed.iter().copied().find(may_be)
    }

    /// The best node to ask for a segment: one that says it has it, rested, with the least to do; then the
    /// origin; then any. One that is set aside only when no other is left. `None` if all have been tried or rest.
    #[must_use]
    pub fn choose(&self, id: SegmentId, origin: NodeId, tried: &[NodeId], now: Nanos) -> Option<NodeId> {
        let untried = || self.nodes.iter().filter(|(node, _)| !tried.contains(node));
        let is_good = untried().any(|(_, source)| !source.aside.is_aside(now));
        let is_meant = |source: &Source| !is_good || !source.aside.is_aside(now);
        let candidates = untried().filter(|(_, source)| is_meant(source) && source.rests_until <= now);
        let rank = |node: NodeId, source: &Source| {
            let tells = source.announced.as_ref().is_some_and(|told| told.holds(id));
            let likely = if tells {
                0
            } else if node == origin {
                1
            } else {
                2
            };
            let told = source.announced.as_ref().map_or(0, |told| told.load);
            // What it tells is its own word: any number.
            let load = source.fetches.saturating_add(told);
            (likely, load, node)
        };
        candidates.map(|(node, source)| rank(*node, source)).min().map(|(_, _, node)| node)
    }

    /// Those who say that they hold a segment and may be asked for a share of it, but for `source`.
    #[must_use]
    pub fn holders(&self, id: SegmentId, source: NodeId, now: Nanos) -> Vec<NodeId> {
        let holds = |other: &Source| other.announced.as_ref().is_some_and(|told| told.holds(id));
        let others = self.nodes.iter().filter(|(node, other)| **node != source && holds(other));
        others.map(|(node, _)| *node).filter(|node| self.may_share(*node, now)).collect()
    }

    /// Whether a node may be asked for a share now.
    #[must_use]
    pub fn may_share(&self, node: NodeId, now: Nanos) -> bool {
        let is_ready = |source: &Source| source.rests_until.max(source.shares_from) <= now;
        self.nodes.get(&node).is_some_and(|source| is_ready(source) && !source.aside.is_aside(now))
    }

    /// When the first source that rests may be asked again.
    #[must_use]
    pub fn next_rested(&self, now: Nanos) -> Option<Nanos> {
        self.nodes.values().map(|source| source.rests_until).filter(|at| *at > now).min()
    }

    /// A fetch from the node has begun.
    pub fn begin(&mut self, node: NodeId) {
        if let Some(source) = self.nodes.get_mut(&node) {
            source.fetches += 1;
        }
    }

    /// A fetch from the node was given up; it says nothing of the node.
    pub fn release(&mut self, node: NodeId) {
        if let Some(source) = self.nodes.get_mut(&node) {
            source.fetches = source.fetches.saturating_sub(1);
        }
    }

    /// A fetch from the node has ended. It rests if it or the way to it was at fault.
    pub fn end(&mut self, node: NodeId, done: Result<(), Failure>, now: Nanos) {
        let Some(source) = self.nodes.get_mut(&node) else { return };
        source.fetches = source.fetches.saturating_sub(1);
        let Some(failure) = done.err().filter(|failure| failure.blames_source()) else {
            source.failures = 0;
            return;
        };
        if source.rests_until <= now {
            source.rests_until = now.plus(back_off(source.failures));
            source.failures = source.failures.saturating_add(1);
            source.was_out_of_reach = failure.is_out_of_reach();
        }
    }

    /// A share of the node has come, or not in time. In the second case it is asked for none for a while, longer each
    /// time; as a source it is asked as before.
    pub fn share_ended(&mut self, node: NodeId, came: bool, now: Nanos) {
        let Some(source) = self.nodes.get_mut(&node) else { return };
        source.fetches = source.fetches.saturating_sub(1);
        if came {
            source.late = 0;
        } else if source.shares_from <= now {
            source.shares_from = now.plus(back_off(source.late));
            source.late = source.late.saturating_add(1);
        }
    }

    /// Chunks of a node came damaged. True if it is set aside for it now.
    pub fn damaged(&mut self, node: NodeId, now: Nanos) -> bool {
        self.nodes.get_mut(&node).is_some_and(|source| source.aside.damaged(now))
    }

    /// For how long a node is still set aside.
    #[must_use]
    pub fn aside(&self, node: NodeId, now: Nanos) -> Nanos {
        self.nodes.get(&node).map_or_else(Nanos::default, |source| source.aside.rest(now))
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.keys().copied()
    }

    /// How many nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }
}

impl Source {
    fn rest_no_more(&mut self) {
        self.rests_until = Nanos::default();
        self.failures = 0;
    }
}

impl Announced {
    /// It says that it can serve the segment.
    #[must_use]
    pub fn holds(&self, id: SegmentId) -> bool {
        id.index <= self.held_to && !self.exceptions.contains(&id.index.0)
    }
}

/// The rest after `failures` failures in a row: doubling from `BACKOFF_FIRST` to `BACKOFF_MAX`.
#[must_use]
pub fn back_off(failures: u32) -> Nanos {
    let factor = 1_u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX);
    Nanos(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MAX.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SOURCE_ASIDE;

    const ID: SegmentId = SegmentId { index: LogIndex(5), ordinal: 0 };

    fn told(installed: u64, load: u32) -> Announced {
        Announced { held_to: LogIndex(installed), load, ..Announced::default() }
    }

    #[test]
    fn a_holder_that_is_idle_goes_before_a_busy_origin() {
        let mut sources = Sources::default();
        sources.set([NodeId(1), NodeId(2), NodeId(3)]);
        sources.announce(NodeId(1), told(9, 7));
        sources.announce(NodeId(2), told(9, 0));
        sources.announce(NodeId(3), told(4, 0));
        assert_eq!(sources.choose(ID, NodeId(1), &[], Nanos(0)), Some(NodeId(2)));
        assert_eq!(sources.choose(ID, NodeId(1), &[NodeId(2)], Nanos(0)), Some(NodeId(1)));
        assert_eq!(sources.choose(ID, NodeId(1), &[NodeId(2), NodeId(1)], Nanos(0)), Some(NodeId(3)));
        assert_eq!(sources.choose(ID, NodeId(1), &[NodeId(1), NodeId(2), NodeId(3)], Nanos(0)), None);
    }

    #[test]
    fn a_load_that_no_node_has_makes_nobody_the_first() {
        let mut sources = Sources::default();
        sources.set([NodeId(1), NodeId(2)]);
        sources.announce(NodeId(1), told(9, u32::MAX));
        sources.announce(NodeId(2), told(9, 3));
        sources.begin(NodeId(1));
        assert_eq!(sources.choose(ID, NodeId(1), &[], Nanos(0)), Some(NodeId(2)));
    }

    #[test]
    fn without_announcements_the_origin_is_asked_first() {
        let mut sources = Sources::default();
        sources.set([NodeId(1), NodeId(2)]);
        assert_eq!(sources.choose(ID, NodeId(2), &[], Nanos(0)), Some(NodeId(2)));
    }

    #[test]
    fn a_node_whose_shares_do_not_come_is_asked_for_none_for_a_while_and_stays_a_source() {
        let mut sources = Sources::default();
        sources.set([NodeId(1), NodeId(2)]);
        for node in [1, 2] {
            sources.announce(NodeId(node), told(9, 0));
        }
        let mut now = Nanos(1);
        for rest in [1, 2, 4] {
            assert_eq!(sources.holders(ID, NodeId(2), now), [NodeId(1)]);
            for _ in 0..2 {
                sources.begin(NodeId(1));
                assert_eq!(sources.choose(ID, NodeId(1), &[], now), Some(NodeId(2)), "it has more to do");
                sources.share_ended(NodeId(1), false, now);
            }
            assert_eq!(sources.holders(ID, NodeId(2), now), []);
            assert_eq!(
                sources.choose(ID, NodeId(1), &[], now),
                Some(NodeId(1)),
                "for all of a segment it is asked"
            );
            now = now.plus(Nanos(BACKOFF_FIRST.0 * rest));
        }
        sources.share_ended(NodeId(1), true, now);
        sources.share_ended(NodeId(1), false, now);
        assert!(sources.may_share(NodeId(1), now.plus(BACKOFF_FIRST)), "the first of another row");
    }

    #[test]
    fn a_source_that_was_out_of_reach_is_asked_at_once_when_it_comes_and_one_that_failed_otherwise_is_not() {
        for (failure, is_asked) in
            [(Failure::Unreachable, true), (Failure::NotAllowed, true), (Failure::Corrupt, false)]
        {
            let mut sources = Sources::default();
            sources.set([NodeId(1)]);
            sources.end(NodeId(1), Err(failure), Nanos(1));
            sources.came_back(NodeId(1));
            assert_eq!(sources.choose(ID, NodeId(1), &[], Nanos(1)).is_some(), is_asked, "{failure:?}");
            sources.rest_no_more();
            assert_eq!(sources.choose(ID, NodeId(1), &[], Nanos(1)), Some(NodeId(1)));
        }
    }

    /// Node 1 is set aside at second 3.
    fn with_one_aside() -> Sources {
        let mut sources = Sources::default();
        sources.set([NodeId(1), NodeId(2)]);
        sources.announce(NodeId(1), told(9, 0));
        let found = [1, 2, 3].map(|second| sources.damaged(NodeId(1), Nanos::from_secs(second)));
        assert_eq!(found, [false, false, true]);
        sources
    }

    #[test]
    fn p3_one_that_is_set_aside_is_asked_when_nobody_else_is_left_and_not_because_others_rest() {
        let (mut sources, now) = (with_one_aside(), Nanos::from_secs(4));
        let choose = |sources: &Sources, tried: &[NodeId]| sources.choose(ID, NodeId(1), tried, now);
        assert_eq!(choose(&sources, &[]), Some(NodeId(2)), "it says that it has it, and is its origin");
        assert!(sources.holders(ID, NodeId(2), now).is_empty(), "nor is it asked for a share");
        sources.end(NodeId(2), Err(Failure::Unreachable), now);
        assert_eq!(choose(&sources, &[]), None, "the other one rests for a moment");
        assert_eq!(choose(&sources, &[NodeId(2)]), Some(NodeId(1)), "the other one has not got it");
        sources.set([NodeId(1)]);
        assert_eq!(choose(&sources, &[]), Some(NodeId(1)));
    }

    #[test]
    fn p3_one_that_was_set_aside_is_back_in_another_life_or_after_its_time() {
        let mut sources = with_one_aside();
        let now = Nanos::from_secs(4);
        sources.announce(NodeId(1), told(20, 0));
        assert_eq!(sources.aside(NodeId(1), now), SOURCE_ASIDE.since(Nanos::SECOND), "in the same life");
        assert_eq!(sources.choose(ID, NodeId(1), &[], now.plus(SOURCE_ASIDE)), Some(NodeId(1)));
        sources.announce(NodeId(1), Announced { incarnation: Incarnation([1; 16]), ..told(20, 0) });
        assert_eq!(sources.aside(NodeId(1), now), Nanos(0));
        assert_eq!(sources.choose(ID, NodeId(1), &[], now), Some(NodeId(1)));
    }

    #[test]
    fn what_a_node_told_before_is_given_when_it_holds_another_part_now() {
        let mut sources = Sources::default();
        sources.set([NodeId(1)]);
        let except =
            |load, exceptions: &[u64]| Announced { exceptions: exceptions.to_vec(), ..told(9, load) };
        assert_eq!(sources.announce(NodeId(1), except(0, &[4])), Some(Announced::default()));
        assert_eq!(sources.announce(NodeId(1), except(7, &[4])), None, "it is as it was");
        assert_eq!(sources.announce(NodeId(1), except(7, &[5])), Some(except(7, &[4])));
        assert_eq!(sources.announce(NodeId(2), except(0, &[])), None, "no replica");
    }

    #[test]
    fn a_source_that_fails_rests_for_longer_each_time_and_comes_back() {
        let mut sources = Sources::default();
        sources.set([NodeId(1)]);
        sources.begin(NodeId(1));
        sources.end(NodeId(1), Err(Failure::NoProgress), Nanos(0));
        assert_eq!(sources.choose(ID, NodeId(1), &[], Nanos(0)), None);
        let first = sources.next_rested(Nanos(0)).expect("it rests");
        assert_eq!(first, BACKOFF_FIRST);
        assert_eq!(sources.choose(ID, NodeId(1), &[], first), Some(NodeId(1)));
        sources.end(NodeId(1), Err(Failure::NoProgress), first);
        assert_eq!(sources.next_rested(first), Some(first.plus(Nanos(BACKOFF_FIRST.0 * 2))));
        assert_eq!(back_off(40), BACKOFF_MAX);
    }
}
