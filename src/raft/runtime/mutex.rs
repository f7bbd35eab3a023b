//! openraft's locks: held across waits, by one task at a time.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::{Deref, DerefMut};

use openraft_rt::{Mutex, OptionalSend};

use crate::uring::Notify;

/// A lock of one core.
#[derive(Debug)]
pub struct CoreMutex<T> {
    held: Cell<bool>,
    released: Notify,
    value: RefCell<T>,
}

/// The value, as long as the lock is held.
#[derive(Debug)]
pub struct Held<'a, T> {
    held: &'a Cell<bool>,
    released: &'a Notify,
    value: RefMut<'a, T>,
}

impl<T: OptionalSend + 'static> Mutex<T> for CoreMutex<T> {
    type Guard<'a> = Held<'a, T>;

    fn new(value: T) -> Self {
        Self { held: Cell::new(false), released: Notify::default(), value: RefCell::new(value) }
    }

    async fn lock(&self) -> Held<'_, T> {
        self.released.until(|| (!self.held.replace(true)).then_some(())).await;
        Held { held: &self.held, released: &self.released, value: self.value.borrow_mut() }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // Who is woken runs in a later poll, when the borrow has ended too.
        self.held.set(false);
        self.released.notify();
    }
}
