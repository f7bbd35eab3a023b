//! Whether a source is set aside because its chunks came damaged again and again: pure.
//!
//! One that rests comes back in seconds, and every chunk that it damages is one more round to somebody else; what
//! damages three of them is most often a broken disk, memory or card, and damages the next ones too.

use crate::ids::Nanos;
use crate::limits::{BACKOFF_FIRST, DAMAGE_OCCASIONS_MAX, DAMAGE_WINDOW, SOURCE_ASIDE};

/// When chunks of one source came damaged lately, and until when it is set aside for it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// In their order, fewer than `DAMAGE_OCCASIONS_MAX`.
    occasions: Vec<Nanos>,
    until: Nanos,
}

impl Aside {
    /// Chunks came damaged. True if the source is set aside for it now. What was under way at the same time is one
    /// occasion.
    pub(super) fn damaged(&mut self, now: Nanos) -> bool {
        if self.is_aside(now) || self.occasions.last().is_some_and(|last| now.since(*last) < BACKOFF_FIRST) {
            return false;
        }
        self.occasions.retain(|at| now.since(*at) < DAMAGE_WINDOW);
        self.occasions.push(now);
        if self.occasions.len() < DAMAGE_OCCASIONS_MAX {
            return false;
        }
        self.occasions.clear();
        self.until = now.plus(SOURCE_ASIDE);
        true
    }

    /// The source is another one now: it has a new life.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_aside(&self, now: Nanos) -> bool {
        self.until > now
    }

    /// For how long it still is.
    pub(super) fn rest(&self, now: Nanos) -> Nanos {
        if self.is_aside(now) { self.until.since(now) } else { Nanos::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these moments sets it aside, in seconds.
    fn set_aside_at(moments: &[u64]) -> Vec<u64> {
        let mut aside = Aside::default();
        moments.iter().copied().filter(|at| aside.damaged(Nanos::from_secs(*at))).collect()
    }

    #[test]
    fn p3_three_occasions_within_the_window_set_a_source_aside_and_what_comes_at_once_is_one() {
        let window = DAMAGE_WINDOW.0 / Nanos::SECOND.0;
        assert_eq!(set_aside_at(&[10, 20, 30, 40]), [30]);
        assert_eq!(set_aside_at(&[10, 10, 10, 10, 20, 20]), [0; 0]);
        assert_eq!(set_aside_at(&[10, 20, 10 + window, 11 + window]), [11 + window]);
    }

    #[test]
    fn p3_a_source_that_is_set_aside_comes_back_after_its_time_or_in_another_life() {
        let mut aside = Aside::default();
        let at = Nanos::from_secs;
        assert!([1, 2, 3].map(|second| aside.damaged(at(second)))[2]);
        assert!(aside.is_aside(at(4)) && !aside.damaged(at(4)), "it is, whatever it damages meanwhile");
        assert_eq!(aside.rest(at(3)), SOURCE_ASIDE);
        assert!(!aside.is_aside(at(3).plus(SOURCE_ASIDE)));
        let after = at(4).plus(SOURCE_ASIDE);
        assert!(!aside.damaged(after), "and begins anew");
        assert!([1, 2].map(|second| aside.damaged(after.plus(at(second))))[1]);
        aside.forget();
        assert!(!aside.is_aside(after.plus(at(2))));
    }
}
