//! Places for what runs at a time: whoever finds none waits.

use std::cell::Cell;
use std::rc::Rc;

use super::local::Notify;

/// So many places. Clones are the same.
#[derive(Clone, Debug)]
pub struct Places(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    taken: Cell<usize>,
    freed: Notify,
}

/// One place; free again when it is dropped.
#[derive(Debug)]
pub struct Place(Rc<Inner>);

impl Places {
    /// `most` of them, all free.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Rc::new(Inner { most, taken: Cell::new(0), freed: Notify::default() }))
    }

    /// Waits until one is free.
    pub async fn room(&self) {
        self.0.freed.until(|| (self.0.taken.get() < self.0.most).then_some(())).await;
    }

    /// Takes one, whether `room` was waited for or not.
    #[must_use]
    pub fn take(&self) -> Place {
        self.0.taken.set(self.0.taken.get() + 1);
        Place(Rc::clone(&self.0))
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        self.0.freed.notify();
    }
}
