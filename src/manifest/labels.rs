//! Labels: each distinct pair of name and value held once, and the segments that carry it in order of their
//! ids.
//!
//! The index is one set of 16-byte postings for all labels, because most entries carry several labels and a
//! set for each would waste its nodes. The numbers of labels are local to this state: they order nothing that
//! is seen.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included};
use std::rc::Rc;

use crate::ids::{LogIndex, SegmentId};

/// Parts name and value; no label contains it, for control characters are refused.
const SEPARATOR: char = '\0';

/// A label shared by all entries that carry it, ordered by name and value.
#[derive(Clone, Debug)]
pub(super) struct LabelRef(Rc<LabelText>);

#[derive(Debug)]
struct LabelText {
    number: u32,
    name_bytes: u32,
    text: Box<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Posting {
    label: u32,
    id: PackedId,
}

/// A segment id in 12 bytes aligned to 4, so that a posting has 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct PackedId {
    index_high: u32,
    index_low: u32,
    ordinal: u32,
}

const _: () = assert!(size_of::<Posting>() == 16);

/// The labels in use and who carries them.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    labels: BTreeSet<LabelRef>,
    postings: BTreeSet<Posting>,
    free: Vec<u32>,
    scratch: String,
}

/// Who carries which label, noted entry by entry in any order, for `LabelIndex::restore`.
#[derive(Debug, Default)]
pub(super) struct Carriers(Vec<Vec<PackedId>>);

impl Carriers {
    pub(super) fn note(&mut self, id: SegmentId, labels: &[LabelRef]) {
        for label in labels {
            let at = label.0.number as usize;
            if at >= self.0.len() {
                self.0.resize_with(at + 1, Vec::new);
            }
            self.0[at].push(PackedId::new(id));
        }
    }
}

impl LabelIndex {
    /// The shared form of a label. It is in use from the first `add` on, and must get one.
    pub(super) fn share(&mut self, name: &str, value: &str) -> LabelRef {
        self.scratch.clear();
        self.scratch.push_str(name);
        self.scratch.push(SEPARATOR);
        self.scratch.push_str(value);
        if let Some(label) = self.labels.get(self.scratch.as_str()) {
            return label.clone();
        }
        let fresh = u32::try_from(self.labels.len()).expect("ENTRIES_MAX * LABELS_MAX fits");
        let number = self.free.pop().unwrap_or(fresh);
        let name_bytes = u32::try_from(name.len()).expect("LABEL_BYTES_MAX fits");
        let label = LabelRef(Rc::new(LabelText { number, name_bytes, text: self.scratch.as_str().into() }));
        self.labels.insert(label.clone());
        label
    }

    /// Enters a segment under its labels.
    pub(super) fn add(&mut self, id: SegmentId, labels: &[LabelRef]) {
        for label in labels {
            let new = self.postings.insert(Posting::new(label, id));
            assert!(new, "segment {id} carries label {:?} twice", label.0.text);
        }
    }

    /// The index of labels that `share` gave out, carried as `carriers` noted: at once, and its nodes full.
    pub(super) fn restore(self, carriers: Carriers) -> Self {
        let postings = (0..).zip(carriers.0).flat_map(|(label, mut ids)| {
            ids.sort_unstable_by_key(|id| id.number());
            ids.into_iter().map(move |id| Posting { label, id })
        });
        Self { postings: postings.collect(), ..self }
    }

    /// Takes a segment out, and forgets labels that nobody carries any more.
    pub(super) fn remove(&mut self, id: SegmentId, labels: &[LabelRef]) {
        for label in labels {
            let known = self.postings.remove(&Posting::new(label, id));
            assert!(known, "segment {id} does not carry label {:?}", label.0.text);
            if self.carriers(label, None).next().is_none() {
                self.labels.remove(label);
                self.free.push(label.0.number);
            }
        }
    }

    /// Lets go of `count` of who carries what; whether any may be left.
    pub(super) fn shed(&mut self, count: usize) -> bool {
        (0..count).all(|_| self.postings.pop_first().is_some())
    }

    /// The segments with this label, in order of their ids, behind `after`.
    pub(super) fn find(
        &self,
        name: &str,
        value: &str,
        after: Option<SegmentId>,
    ) -> impl Iterator<Item = SegmentId> {
        let text = format!("{name}{SEPARATOR}{value}");
        let label = self.labels.get(text.as_str()).filter(|label| label.name() == name);
        label.into_iter().flat_map(move |label| self.carriers(label, after))
    }

    fn carriers(
        &self,
        label: &LabelRef,
        after: Option<SegmentId>,
    ) -> impl Iterator<Item = SegmentId> + use<'_> {
        let last = SegmentId { index: LogIndex(u64::MAX), ordinal: u32::MAX };
        let start = match after {
            Some(id) => Excluded(Posting::new(label, id)),
            None => Included(Posting::new(label, SegmentId::default())),
        };
        self.postings.range((start, Included(Posting::new(label, last)))).map(|posting| posting.id.unpack())
    }
}

impl Posting {
    fn new(label: &LabelRef, id: SegmentId) -> Self {
        Self { label: label.0.number, id: PackedId::new(id) }
    }
}

impl PackedId {
    fn new(id: SegmentId) -> Self {
        let [index_high, index_low] = [id.index.0 >> 32, id.index.0 & u64::from(u32::MAX)]
            .map(|half| u32::try_from(half).expect("half of 64 bits"));
        Self { index_high, index_low, ordinal: id.ordinal }
    }

    /// Orders as the id does, in one comparison without a branch.
    fn number(self) -> u128 {
        let index = (u128::from(self.index_high) << 32) | u128::from(self.index_low);
        (index << 32) | u128::from(self.ordinal)
    }

    fn unpack(self) -> SegmentId {
        let index = (u64::from(self.index_high) << 32) | u64::from(self.index_low);
        SegmentId { index: LogIndex(index), ordinal: self.ordinal }
    }
}

impl LabelRef {
    pub(super) fn name(&self) -> &str {
        &self.0.text[..self.name_bytes()]
    }

    pub(super) fn value(&self) -> &str {
        &self.0.text[self.name_bytes() + SEPARATOR.len_utf8()..]
    }

    /// Name and value in one text that orders as they do, for tables of labels.
    pub(super) fn text(&self) -> &str {
        &self.0.text
    }

    fn name_bytes(&self) -> usize {
        usize::try_from(self.0.name_bytes).expect("LABEL_BYTES_MAX fits")
    }
}

impl Borrow<str> for LabelRef {
    fn borrow(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for LabelRef {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for LabelRef {}

impl PartialOrd for LabelRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.text.cmp(&other.0.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64, ordinal: u32) -> SegmentId {
        SegmentId { index: LogIndex(index), ordinal }
    }

    #[test]
    fn segments_are_found_by_label_in_order_of_their_ids() {
        let mut index = LabelIndex::default();
        let cpu = index.share("measurement", "cpu");
        let memory = index.share("measurement", "mem");
        let far = u64::from(u32::MAX) + 1;
        for segment in [id(far, 0), id(3, 1), id(3, 0)] {
            index.add(segment, std::slice::from_ref(&cpu));
        }
        index.add(id(4, 0), &[memory]);
        let found: Vec<_> = index.find("measurement", "cpu", None).collect();
        assert_eq!(found, [id(3, 0), id(3, 1), id(far, 0)]);
        let found: Vec<_> = index.find("measurement", "cpu", Some(id(3, 1))).collect();
        assert_eq!(found, [id(far, 0)]);
        assert_eq!(index.find("measurement", "", None).count(), 0);
        assert_eq!(index.find("measurement\0cpu", "", None).count(), 0);
        assert_eq!(index.find("", "measurement\0cpu", None).count(), 0);
    }

    #[test]
    fn labels_that_nobody_carries_are_forgotten_and_their_numbers_used_again() {
        let mut index = LabelIndex::default();
        for round in 0..1000_u64 {
            let label = index.share("time", &round.to_string());
            assert_eq!((label.name(), label.value()), ("time", round.to_string().as_str()));
            index.add(id(round, 0), std::slice::from_ref(&label));
            index.remove(id(round, 0), &[label]);
        }
        assert_eq!((index.labels.len(), index.postings.len(), index.free.len()), (0, 0, 1));
    }
}
