//! How what is missing of a segment is divided among the cores that work on it: pure.
//!
//! Its owner takes pieces from the front, the cores that help from the far end, one after the other. The pieces grow
//! smaller as less is left, so that all of them end at about the same time, however fast each is.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{FETCH_RANGES_MAX, LEND_PIECE_CHUNKS_MAX, LEND_PIECE_CHUNKS_MIN};

/// Chunks that one core is to bring next, in ascending order.
pub(super) type Piece = Vec<Range<u32>>;

/// How many chunks a piece has.
pub(super) fn chunks_of(piece: &[Range<u32>]) -> u32 {
    piece.iter().map(|range| range.end - range.start).sum()
}

/// The chunks that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Pieces {
    ranges: VecDeque<Range<u32>>,
    left: u32,
}

impl Pieces {
    /// Of these ranges, in ascending order, none of which is empty.
    pub(super) fn new(ranges: impl Iterator<Item = Range<u32>>) -> Self {
        let ranges: VecDeque<_> = ranges.collect();
        let left = ranges.iter().map(|range| range.end - range.start).sum();
        Self { ranges, left }
    }

    /// Chunks that nobody has taken.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// The owner's next piece, beside so many others who work; empty when nothing is left.
    pub(super) fn take_front(&mut self, others: u32) -> Piece {
        self.take(others, cut_front)
    }

    /// The next piece of one of so many others; empty when nothing is left.
    pub(super) fn take_back(&mut self, others: u32) -> Piece {
        let mut piece = self.take(others, cut_back);
        piece.reverse();
        piece
    }

    fn take(
        &mut self,
        others: u32,
        cut: impl Fn(&mut VecDeque<Range<u32>>, u32) -> Option<Range<u32>>,
    ) -> Piece {
        let mut piece = Piece::new();
        let mut wanted = size(self.left, others);
        while wanted > 0
            && piece.len() < FETCH_RANGES_MAX
            && let Some(taken) = cut(&mut self.ranges, wanted)
        {
            let count = taken.end - taken.start;
            wanted -= count;
            self.left -= count;
            piece.push(taken);
        }
        piece
    }
}

/// At most so many chunks of the first range.
fn cut_front(ranges: &mut VecDeque<Range<u32>>, wanted: u32) -> Option<Range<u32>> {
    let first = ranges.front_mut()?;
    let taken = first.start..first.end.min(first.start.saturating_add(wanted));
    first.start = taken.end;
    ranges.pop_front_if(|first| first.start >= first.end);
    Some(taken)
}

/// At most so many chunks of the last range.
fn cut_back(ranges: &mut VecDeque<Range<u32>>, wanted: u32) -> Option<Range<u32>> {
    let last = ranges.back_mut()?;
    let taken = last.start.max(last.end.saturating_sub(wanted))..last.end;
    last.end = taken.start;
    ranges.pop_back_if(|last| last.start >= last.end);
    Some(taken)
}

/// How many chunks the next piece of so many has, beside so many others. Each core has two pieces, one that it works on
/// and one that it has asked for: so none has much left when another one ends. Whoever is alone waits for nobody.
pub(super) fn size(left: u32, others: u32) -> u32 {
    if others == 0 {
        return LEND_PIECE_CHUNKS_MAX;
    }
    (left / (2 * (others + 1))).clamp(LEND_PIECE_CHUNKS_MIN, LEND_PIECE_CHUNKS_MAX)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "ranges are what is divided")]
mod tests {
    use super::*;

    /// Every chunk of these ranges, taken from both ends in turn.
    fn taken(ranges: &[Range<u32>], others: u32) -> (Vec<Piece>, Vec<Piece>) {
        let mut pieces = Pieces::new(ranges.iter().cloned());
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while pieces.left() > 0 {
            front.push(pieces.take_front(others));
            back.extend((0..others).map(|_| pieces.take_back(others)).filter(|piece| !piece.is_empty()));
        }
        assert_eq!((pieces.take_front(others), pieces.take_back(others)), (Vec::new(), Vec::new()));
        (front, back)
    }

    fn chunks(piece: &Piece) -> Vec<u32> {
        piece.iter().cloned().flatten().collect()
    }

    #[test]
    fn every_chunk_is_taken_once_the_owners_from_the_front_and_the_others_from_the_far_end() {
        let fragments: Vec<Range<u32>> = (0..300).map(|at| at * 3..at * 3 + 1 + at % 2).collect();
        for (ranges, others) in [(vec![0..1000], 1), (vec![0..1000], 7), (fragments, 3), (vec![5..6], 2)] {
            let (front, back) = taken(&ranges, others);
            let expected: Vec<u32> = ranges.iter().cloned().flatten().collect();
            let mut all: Vec<u32> = front.iter().flat_map(chunks).collect();
            assert!(all.is_sorted(), "{front:?}");
            all.extend(back.iter().rev().flat_map(chunks));
            assert_eq!(all, expected, "{ranges:?} among {others} others");
        }
    }

    #[test]
    fn a_piece_is_bounded_in_chunks_and_in_ranges_and_grows_smaller_towards_the_end() {
        for others in [1, 3, 8] {
            let (front, back) = taken(&[0..5000], others);
            let sizes: Vec<u32> = front.iter().map(|piece| chunks_of(piece)).collect();
            assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
            assert_eq!(sizes[0], LEND_PIECE_CHUNKS_MAX);
            let last = back.iter().chain(&front).map(|piece| chunks_of(piece)).min();
            assert!(last <= Some(LEND_PIECE_CHUNKS_MIN), "{last:?} chunks, beside {others}");
        }
        let mut single = Pieces::new((0..1000).map(|at| 2 * at..2 * at + 1));
        assert_eq!(
            (single.take_front(0).len(), single.take_back(1).len()),
            (FETCH_RANGES_MAX, FETCH_RANGES_MAX)
        );
        assert_eq!(single.left() as usize, 1000 - 2 * FETCH_RANGES_MAX);
    }

    /// Cores of very different speed, each with one piece under way and one that it has asked for.
    #[test]
    fn cores_of_different_speed_end_at_about_the_same_time() {
        for paces in [vec![10_u64, 10], vec![10, 40], vec![40, 10, 10, 25]] {
            let others = paces.len() as u32 - 1;
            let mut pieces = Pieces::new(std::iter::once(0..2000));
            let mut ends = vec![0_u64; paces.len()];
            while pieces.left() > 0 {
                let first = (0..ends.len()).min_by_key(|at| ends[*at]).expect("not none");
                let piece = if first == 0 { pieces.take_front(others) } else { pieces.take_back(others) };
                ends[first] += u64::from(chunks_of(&piece)) * paces[first];
            }
            let (last, first) = (ends.iter().max().expect("some"), ends.iter().min().expect("some"));
            assert!((last - first) * 20 < *last, "{paces:?}: {ends:?}");
        }
    }
}
