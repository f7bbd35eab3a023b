//! How a large segment is divided among several sources: pure.
//!
//! One that several replicas hold comes from all of them, a part from each. One that only its origin holds is wanted by
//! every replica at the same time: each asks the origin for a part of its own, and the other replicas for theirs, which
//! they serve on as soon as they have verified it. So a new segment leaves its origin about once. Nothing depends on it
//! that the nodes agree: what does not come from another is asked of the source.

use std::ops::Range;

use crate::ids::{Nanos, NodeId};
use crate::limits::{SPREAD_PATIENCE, SPREAD_SOURCES_MAX};

/// Who is asked for which chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The node.
    pub node: NodeId,
    /// The chunks.
    pub chunks: Range<u32>,
}

/// Part `index` of `parts` about equal ones.
fn part(count: u32, index: usize, parts: usize) -> Range<u32> {
    let at = |index: usize| {
        let place = u64::from(count) * index as u64 / parts as u64;
        u32::try_from(place).expect("a part of the count is no larger")
    };
    at(index)..at(index + 1)
}

/// How many parts there are at most: none is empty.
fn parts_max(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(SPREAD_SOURCES_MAX)
}

/// A part from the source and from each of the others that hold it; the source's is the first.
#[must_use]
pub fn among_holders(source: NodeId, others: &[NodeId], count: u32) -> Vec<Part> {
    let nodes: Vec<NodeId> =
        std::iter::once(source).chain(others.iter().copied()).take(parts_max(count)).collect();
    let parts = nodes.len();
    nodes.iter().enumerate().map(|(at, node)| Part { node: *node, chunks: part(count, at, parts) }).collect()
}

/// `me`'s own part from the origin, the first, and the parts of the other replicas from them, beginning with the one
/// behind `me`. Every replica divides it alike if it knows of the same ones. Of more replicas than parts the later ones
/// ask the origin for one of the first ones' parts once more.
#[must_use]
pub fn among_replicas(origin: NodeId, me: NodeId, others: &[NodeId], count: u32) -> Vec<Part> {
    let mut replicas: Vec<NodeId> =
        others.iter().copied().chain([me]).filter(|node| *node != origin).collect();
    replicas.sort_unstable();
    replicas.dedup();
    let Ok(place) = replicas.binary_search(&me) else { return Vec::new() };
    let parts = replicas.len().min(parts_max(count));
    if parts == 0 {
        return Vec::new();
    }
    let mine = place % parts;
    let others = (1..parts).map(|step| (mine + step) % parts);
    std::iter::once(Part { node: origin, chunks: part(count, mine, parts) })
        .chain(others.map(|at| Part { node: replicas[at], chunks: part(count, at, parts) }))
        .collect()
}

/// For how long the others' shares are waited for when the source has given its own part: no longer than the source
/// would take for what has come of them and `SPREAD_PATIENCE`, and `SPREAD_PATIENCE` for the next chunk. So what is
/// slow costs that much, however slow it is.
#[derive(Debug)]
pub(super) struct Patience {
    begun: Nanos,
    /// What the source has taken for one.
    each: Nanos,
    came: u32,
    heard: Nanos,
}

impl Patience {
    /// From `now` on, of a source that has given `own` chunks in `took`.
    pub(super) fn new(own: u32, took: Nanos, now: Nanos) -> Self {
        Self { begun: now, each: Nanos(took.0 / u64::from(own.max(1))), came: 0, heard: now }
    }

    /// When it ends if no more comes.
    pub(super) fn until(&self) -> Nanos {
        let earned = Nanos(self.each.0.saturating_mul(u64::from(self.came)));
        self.begun.plus(earned).min(self.heard).plus(SPREAD_PATIENCE)
    }

    /// So many have come since it began.
    pub(super) fn came(&mut self, count: u32, now: Nanos) {
        if count > self.came {
            (self.came, self.heard) = (count, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().map(|number| NodeId(*number)).collect()
    }

    fn covers(parts: &[Part], count: u32) {
        let mut ranges: Vec<_> = parts.iter().map(|part| part.chunks.clone()).collect();
        ranges.sort_by_key(|range| range.start);
        let end = ranges.iter().fold(0, |end, range| {
            assert_eq!(range.start, end, "{parts:?}");
            range.end
        });
        assert_eq!(end, count, "{parts:?}");
    }

    #[test]
    fn every_replica_asks_the_origin_for_a_part_that_no_other_asks_it_for() {
        let all = nodes(&[1, 2, 3, 4]);
        for count in [3, 8, 100, 101] {
            let mut of_origin = Vec::new();
            for me in &all[1..] {
                let others: Vec<_> = all.iter().copied().filter(|node| node != me).collect();
                let parts = among_replicas(NodeId(1), *me, &others, count);
                covers(&parts, count);
                assert!(
                    parts[1..].iter().all(|part| part.node != *me && part.node != NodeId(1)),
                    "{parts:?}"
                );
                of_origin.push(Part { node: *me, ..parts[0].clone() });
                assert_eq!(parts[0].node, NodeId(1));
            }
            covers(&of_origin, count);
        }
    }

    #[test]
    fn a_part_of_another_is_the_one_that_it_asks_the_origin_for() {
        let (two, three) = (
            among_replicas(NodeId(1), NodeId(2), &nodes(&[1, 3, 4]), 30),
            among_replicas(NodeId(1), NodeId(3), &nodes(&[1, 2, 4]), 30),
        );
        assert_eq!(
            two.iter().find(|part| part.node == NodeId(3)).map(|part| &part.chunks),
            Some(&three[0].chunks)
        );
    }

    #[test]
    fn shares_are_waited_for_as_long_as_they_keep_up_with_the_source_and_not_without_a_word() {
        let (second, begun) = (Nanos::SECOND, Nanos::from_secs(100));
        let mut steady = Patience::new(10, Nanos::from_secs(10), begun);
        for came in 1..=30 {
            assert!(steady.until() > begun.plus(Nanos(second.0 * u64::from(came))), "{steady:?}");
            steady.came(came, begun.plus(Nanos(second.0 * u64::from(came))));
        }
        assert_eq!(steady.until(), begun.plus(Nanos::from_secs(30)).plus(SPREAD_PATIENCE));
        steady.came(1000, begun.plus(Nanos::from_secs(31)));
        assert_eq!(
            steady.until(),
            begun.plus(Nanos::from_secs(31)).plus(SPREAD_PATIENCE),
            "nothing is saved up"
        );
        let mut slow = Patience::new(1000, Nanos::SECOND, begun);
        for came in 1..=1000 {
            slow.came(came, Nanos(slow.until().0 - 1));
        }
        assert!(slow.until() <= begun.plus(SPREAD_PATIENCE).plus(Nanos::SECOND), "{slow:?}");
    }

    #[test]
    fn holders_give_a_part_each() {
        let parts = among_holders(NodeId(3), &nodes(&[1, 2]), 10);
        covers(&parts, 10);
        assert_eq!(parts[0].node, NodeId(3));
        assert_eq!(among_holders(NodeId(3), &[], 10), [Part { node: NodeId(3), chunks: 0..10 }]);
        let many: Vec<_> = (10..100).map(NodeId).collect();
        let parts = among_holders(NodeId(3), &many, 700);
        assert_eq!(parts.len(), SPREAD_SOURCES_MAX);
        covers(&parts, 700);
    }

    #[test]
    fn no_part_is_empty_with_more_nodes_than_chunks_and_every_replica_has_one_of_its_own() {
        let all: Vec<_> = (1..100).map(NodeId).collect();
        for count in [2, 7, 15, 16, 17] {
            let mut divided = vec![among_holders(NodeId(3), &all[10..], count)];
            divided.extend(all[1..].iter().map(|me| among_replicas(NodeId(1), *me, &all, count)));
            for parts in divided {
                assert!(parts.iter().all(|part| !part.chunks.is_empty()), "{count}: {parts:?}");
                assert_eq!(parts.len(), SPREAD_SOURCES_MAX.min(count as usize));
                covers(&parts, count);
            }
        }
        assert_eq!(among_replicas(NodeId(1), NodeId(2), &all, 0), []);
    }
}
