//! Where each entry of the log is: the one index of it in memory.

use std::collections::VecDeque;

use crate::ids::{LogIndex, Term};
use crate::raft::types::Point;

/// Where an entry's record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    /// Not written yet: the ticket tells it from an earlier entry of the same index.
    Waiting(u64),
    /// In a file.
    Written(Written),
}

/// A record's place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Written {
    /// The file's number.
    pub(super) file: u64,
    /// Where the record begins.
    pub(super) offset: u32,
    /// Its bytes, padding included.
    pub(super) bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    term: Term,
    spot: Spot,
}

/// The entries of a log, from the first that is not purged.
#[derive(Debug, Default)]
pub(super) struct Index {
    purged: Point,
    first: u64,
    places: VecDeque<Place>,
}

impl Index {
    /// An empty log behind `purged`.
    pub(super) fn new(purged: Point) -> Self {
        Self { purged, first: purged.index.0 + 1, places: VecDeque::new() }
    }

    /// The last entry that went into a snapshot.
    pub(super) fn purged(&self) -> Point {
        self.purged
    }

    /// The last entry, or the last purged one.
    pub(super) fn last(&self) -> Point {
        self.places
            .back()
            .map_or(self.purged, |place| Point { term: place.term, index: LogIndex(self.end() - 1) })
    }

    /// Indexes from the first entry to behind the last.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        self.first..self.end()
    }

    fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    fn place(&self, index: u64) -> Option<&Place> {
        self.places.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The entry at `index`.
    pub(super) fn get(&self, index: u64) -> Option<(Point, Spot)> {
        self.place(index).map(|place| (Point { term: place.term, index: LogIndex(index) }, place.spot))
    }

    /// Adds the entry behind the last; the first of all may be any.
    pub(super) fn push(&mut self, point: Point, spot: Spot) {
        if self.places.is_empty() && self.purged == Point::START {
            self.first = point.index.0;
        }
        assert_eq!(point.index.0, self.end(), "entries come one behind the other");
        self.places.push_back(Place { term: point.term, spot });
    }

    /// Lets an empty log begin at `index`: the files before it are gone.
    pub(super) fn begin_at(&mut self, index: u64) {
        assert!(self.places.is_empty(), "only an empty log begins");
        self.first = index;
    }

    /// The record with `ticket` was written; false if its entry is void by now.
    pub(super) fn wrote(&mut self, index: u64, ticket: u64, at: Written) -> bool {
        let Some(offset) = index.checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok())
        else {
            return false;
        };
        match self.places.get_mut(offset) {
            Some(place) if place.spot == Spot::Waiting(ticket) => {
                place.spot = Spot::Written(at);
                true
            }
            _ => false,
        }
    }

    /// Takes away the entries behind `index`, and names the file of each that was written.
    pub(super) fn truncate_after(&mut self, index: u64) -> Vec<u64> {
        let keep = usize::try_from((index + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let gone = self.places.split_off(keep.min(self.places.len()));
        files_of(gone)
    }

    /// Takes away the entries up to `point`, and names the file of each that was written.
    pub(super) fn purge(&mut self, point: Point) -> Vec<u64> {
        if point <= self.purged {
            return Vec::new();
        }
        self.purged = point;
        let behind = point.index.0 + 1;
        let count = usize::try_from(behind.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let gone = self.places.drain(..count.min(self.places.len())).collect();
        self.first = self.first.max(behind);
        files_of(gone)
    }

    /// The file of every written entry.
    pub(super) fn files(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.iter().filter_map(|place| match place.spot {
            Spot::Written(at) => Some(at.file),
            Spot::Waiting(_) => None,
        })
    }
}

fn files_of(places: VecDeque<Place>) -> Vec<u64> {
    let file = |place: Place| match place.spot {
        Spot::Written(at) => Some(at.file),
        Spot::Waiting(_) => None,
    };
    places.into_iter().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(term: u64, index: u64) -> Point {
        Point { term: Term(term), index: LogIndex(index) }
    }

    fn at(file: u64) -> Spot {
        Spot::Written(Written { file, offset: 0, bytes: 32 })
    }

    #[test]
    fn purging_and_truncating_leave_the_middle_and_name_the_files() {
        let mut index = Index::new(Point::START);
        for n in 1..=6 {
            index.push(point(1, n), at(n / 3));
        }
        assert_eq!(index.purge(point(1, 2)), [0, 0]);
        assert_eq!(index.truncate_after(4), [1, 2]);
        assert_eq!((index.range(), index.last(), index.purged()), (3..5, point(1, 4), point(1, 2)));
        assert_eq!(index.purge(point(1, 1)), [] as [u64; 0], "purging goes one way");
        assert_eq!(index.purge(point(2, 9)), [1, 1]);
        assert_eq!(
            (index.range(), index.last()),
            (10..10, point(2, 9)),
            "a snapshot may be ahead of the log"
        );
        index.push(point(2, 10), at(3));
    }

    #[test]
    fn a_late_write_of_a_void_entry_does_not_take_the_place_of_its_successor() {
        let mut index = Index::new(Point::START);
        index.push(point(1, 1), Spot::Waiting(1));
        index.truncate_after(0);
        index.push(point(2, 1), Spot::Waiting(2));
        let place = Written { file: 0, offset: 0, bytes: 32 };
        assert!(!index.wrote(1, 1, place));
        assert!(index.wrote(1, 2, place));
        assert_eq!(index.get(1), Some((point(2, 1), Spot::Written(place))));
    }
}
