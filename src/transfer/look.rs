//! Which segments of a plan are still to be looked for on this node itself, before anybody is asked for them: pure.
//!
//! Of several with the same content one goes ahead; the others wait until it stands here, and share it all at once, or
//! until it has failed. Small ones are not looked for: many of them land together, and a link for each costs more.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Work;
use crate::ids::{Digest, SegmentId};
use crate::limits::{LINK_BYTES_MIN, LOOKS_MAX};

use super::plan::Want;

type Content = (Digest, u64);

/// The segments of a plan that wait to be looked for, and those that are being looked for.
#[derive(Debug, Default)]
pub(super) struct Looks {
    waiting: BTreeSet<(Work, SegmentId)>,
    under_way: BTreeSet<SegmentId>,
    /// Who goes ahead with some content, from when it is looked for until it stands or has failed.
    ahead: BTreeMap<Content, SegmentId>,
}

impl Looks {
    /// Takes a segment. False if it is not worth it.
    pub(super) fn add(&mut self, want: &Want) -> bool {
        want.bytes >= LINK_BYTES_MIN && self.waiting.insert((want.work, want.id))
    }

    /// The next ones to look for, as many as may be under way; `of` gives what is wanted of each, `stands` says whether
    /// its content does.
    pub(super) fn take<'a>(
        &mut self,
        of: impl Fn(SegmentId) -> &'a Want,
        stands: impl Fn(&Want) -> bool,
    ) -> Vec<&'a Want> {
        let mut taken = Vec::new();
        for (_, id) in &self.waiting {
            if self.under_way.len() >= LOOKS_MAX {
                break;
            }
            let want = of(*id);
            if stands(want) || *self.ahead.entry(content(want)).or_insert(*id) == *id {
                self.under_way.insert(*id);
                taken.push(want);
            }
        }
        self.waiting.retain(|(_, id)| !self.under_way.contains(id));
        taken
    }

    /// This node does not hold it: it has to be fetched. False if it was not looked for.
    pub(super) fn found_nothing(&mut self, id: SegmentId) -> bool {
        self.under_way.remove(&id)
    }

    /// Whoever has the same content need not wait for this one any more.
    pub(super) fn give_way(&mut self, want: &Want) {
        if self.ahead.get(&content(want)) == Some(&want.id) {
            self.ahead.remove(&content(want));
        }
    }

    /// It stands, or is not wanted any more.
    pub(super) fn end(&mut self, want: &Want) {
        self.waiting.remove(&(want.work, want.id));
        self.under_way.remove(&want.id);
        self.give_way(want);
    }

    /// How many wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }
}

fn content(want: &Want) -> Content {
    (want.root, want.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogIndex, NodeId};

    fn want(index: u64, content: u8, work: Work) -> Want {
        let id = SegmentId { index: LogIndex(index), ordinal: 0 };
        Want {
            id,
            path: "a".into(),
            bytes: LINK_BYTES_MIN,
            root: Digest([content; 32]),
            origin: NodeId(1),
            work,
        }
    }

    fn taken(looks: &mut Looks, wants: &[Want]) -> Vec<u64> {
        let of = |id| wants.iter().find(|want| want.id == id).expect("it was added");
        looks.take(of, |_| false).into_iter().map(|want| want.id.index.0).collect()
    }

    #[test]
    fn p10_of_the_same_content_one_goes_ahead_and_the_next_when_it_stands_or_has_failed() {
        let wants: Vec<Want> =
            [7, 7, 7, 8].into_iter().zip(1..).map(|(byte, at)| want(at, byte, Work::CatchUp)).collect();
        let mut looks = Looks::default();
        assert!(wants.iter().all(|want| looks.add(want)));
        assert_eq!(taken(&mut looks, &wants), [1, 4]);
        assert!(looks.found_nothing(wants[0].id) && !looks.found_nothing(wants[0].id));
        assert_eq!(taken(&mut looks, &wants), [0; 0], "it is being fetched");
        looks.end(&wants[0]);
        assert_eq!(taken(&mut looks, &wants), [2]);
        assert!(looks.found_nothing(wants[1].id));
        looks.give_way(&wants[1]);
        assert_eq!(taken(&mut looks, &wants), [3], "it need not wait for one that nobody has");
        looks.end(&wants[1]);
        assert_eq!(looks.ahead.get(&content(&wants[2])), Some(&wants[2].id), "the third still goes ahead");
        wants.iter().for_each(|want| looks.end(want));
        assert_eq!((looks.len(), looks.ahead.len()), (0, 0));
    }

    #[test]
    fn p10_what_is_live_is_looked_for_first_and_no_more_than_so_many_at_a_time() {
        let behind = |at: u64| Want { root: Digest([(at % 251) as u8; 32]), ..want(at, 0, Work::CatchUp) };
        let mut wants: Vec<Want> =
            (1..=LOOKS_MAX as u64 + 9).map(|at| Want { bytes: LINK_BYTES_MIN + at, ..behind(at) }).collect();
        wants.push(want(9999, 1, Work::Live));
        let mut looks = Looks::default();
        assert!(wants.iter().all(|want| looks.add(want)));
        let first = taken(&mut looks, &wants);
        assert_eq!((first.len(), first.first()), (LOOKS_MAX, Some(&9999)));
        assert_eq!(taken(&mut looks, &wants), [0; 0]);
        assert!(looks.found_nothing(wants[0].id));
        assert_eq!(taken(&mut looks, &wants), [LOOKS_MAX as u64], "one more");
    }

    #[test]
    fn p10_a_small_segment_is_not_looked_for() {
        let mut looks = Looks::default();
        for bytes in [0, LINK_BYTES_MIN - 1] {
            assert!(!looks.add(&Want { bytes, ..want(1, 1, Work::Live) }));
        }
        assert_eq!(looks.len(), 0);
    }

    #[test]
    fn p10_what_has_the_content_of_one_that_stands_goes_at_once() {
        let wants: Vec<Want> = (1..=5).map(|at| want(at, 7, Work::CatchUp)).collect();
        let mut looks = Looks::default();
        assert!(wants.iter().all(|want| looks.add(want)));
        assert_eq!(taken(&mut looks, &wants), [1]);
        looks.end(&wants[0]);
        let of = |id| wants.iter().find(|want| want.id == id).expect("it was added");
        assert_eq!(looks.take(of, |_| true).len(), 4);
        wants.iter().for_each(|want| looks.end(want));
        assert_eq!((looks.len(), looks.ahead.len()), (0, 0));
    }
}
