//! The other cores of a node or of a pull, as the one that asks them for help knows them: each is hired for one segment
//! at a time.

use std::cell::Cell;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::select;

use crate::ids::Nanos;
use crate::limits::LEND_CORES_MAX;
use crate::uring::{Core, Notify, sleep_until};

use super::helper::Loan;

/// The other cores: how many, and how one of them is asked to help.
pub struct Helpers {
    ask: Box<dyn Fn(u32, Box<Loan>)>,
    others: Vec<Other>,
    changed: Notify,
}

#[derive(Default)]
struct Other {
    is_hired: Cell<bool>,
    /// It has declined or failed, and is not asked before.
    rests_until: Cell<Nanos>,
}

/// One of them, for one segment. Free for another when it is dropped.
pub(super) struct Hired {
    helpers: Rc<Helpers>,
    place: usize,
}

impl Helpers {
    /// So many, `LEND_CORES_MAX` at most; `ask` hands a loan to one of them, or drops it.
    #[must_use]
    pub fn new(count: u16, ask: impl Fn(u32, Box<Loan>) + 'static) -> Self {
        let others = (0..count.min(LEND_CORES_MAX)).map(|_| Other::default()).collect();
        Self { ask: Box::new(ask), others, changed: Notify::default() }
    }

    /// Hires up to so many of those that are free now.
    pub(super) fn hire(self: &Rc<Self>, most: usize) -> Vec<Hired> {
        let now = Core::current().now();
        let is_free = |place: &usize| {
            !self.others[*place].is_hired.get() && self.others[*place].rests_until.get() <= now
        };
        let hire = |place: usize| {
            self.others[place].is_hired.set(true);
            Hired { helpers: Rc::clone(self), place }
        };
        (0..self.others.len()).filter(is_free).take(most).map(hire).collect()
    }

    /// Hires the next one that is free.
    pub(super) async fn next(self: &Rc<Self>) -> Hired {
        loop {
            let changed = self.changed.notified();
            if let Some(hired) = self.hire(1).pop() {
                return hired;
            }
            let idle = self.others.iter().filter(|other| !other.is_hired.get());
            match idle.map(|other| other.rests_until.get()).min() {
                Some(until) => drop(select(changed, pin!(sleep_until(until))).await),
                None => changed.await,
            }
        }
    }
}

impl Hired {
    /// Asks it to help.
    pub(super) fn lend(&self, loan: Loan) {
        (self.helpers.ask)(u32::try_from(self.place).expect("no more than LEND_CORES_MAX"), Box::new(loan));
    }

    /// It is not hired again for so long.
    pub(super) fn rest(&self, pause: Nanos) {
        self.helpers.others[self.place].rests_until.set(Core::current().now().plus(pause));
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        self.helpers.others[self.place].is_hired.set(false);
        self.helpers.changed.notify();
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hired = self.others.iter().filter(|other| other.is_hired.get()).count();
        write!(f, "Helpers({hired} of {} cores hired)", self.others.len())
    }
}

impl fmt::Debug for Hired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hired({} of {:?})", self.place, self.helpers)
    }
}
