//! The snapshots that are being taken in, and what must not reach consensus before them.

use std::cell::RefCell;

use crate::wire::CodecError;

use super::plausible::check_history;
use super::types::Point;

/// The entries of which snapshots are being taken in: two at once where one comes while another is still looked at.
#[derive(Debug, Default)]
pub(super) struct Installing(RefCell<Vec<Point>>);

/// One of them, as long as this lives.
#[derive(Debug)]
pub(super) struct Install<'a> {
    all: &'a Installing,
    point: Point,
}

impl Installing {
    /// A snapshot of that entry is being taken in from now on, unless it contradicts another one.
    pub(super) fn begin(&self, point: Point) -> Result<Install<'_>, CodecError> {
        self.check(point)?;
        self.0.borrow().iter().try_for_each(|other| check_history(point, *other))?;
        self.0.borrow_mut().push(point);
        Ok(Install { all: self, point })
    }

    /// What would be committed contradicts none of them.
    pub(super) fn check(&self, committed: Point) -> Result<(), CodecError> {
        self.0.borrow().iter().try_for_each(|snapshot| check_history(*snapshot, committed))
    }
}

impl Drop for Install<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.borrow_mut();
        if let Some(place) = all.iter().position(|point| *point == self.point) {
            all.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogIndex, Term};

    fn point(term: u64, index: u64) -> Point {
        Point { term: Term(term), index: LogIndex(index) }
    }

    /// Once the first that ended ended the other's, too.
    #[test]
    fn each_of_two_counts_until_it_ends_itself() {
        let (all, committed) = (Installing::default(), point(1, 9));
        let first = all.begin(point(2, 4)).expect("the first");
        let (second, again) = (all.begin(point(2, 5)), all.begin(point(2, 5)));
        for ends in [Ok(first), second] {
            assert!(all.check(committed).is_err(), "of another history at entry 5");
            drop(ends.expect("later"));
        }
        assert!(all.check(committed).is_err(), "it is taken in twice");
        drop(again);
        assert_eq!(all.check(committed), Ok(()));
    }

    #[test]
    fn two_that_contradict_each_other_are_not_taken_in_at_once_whichever_comes_first() {
        for (first, second) in [(point(1, 9), point(2, 5)), (point(2, 5), point(1, 9))] {
            let all = Installing::default();
            let taken = all.begin(first).expect("the first");
            assert!(all.begin(second).is_err(), "{second} beside {first}");
            drop(taken);
            all.begin(second).expect("alone");
        }
    }
}
