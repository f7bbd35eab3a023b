//! One at a time for each key: two operations on one name, two checkpoints of one landing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use crate::uring::Notify;

/// Locks by key, for tasks of one core.
#[derive(Debug)]
pub(super) struct Locks<K: Ord + Clone>(Rc<Table<K>>);

#[derive(Debug)]
struct Table<K> {
    taken: RefCell<BTreeSet<K>>,
    freed: Notify,
}

/// A lock that is held; dropping it frees the key.
pub(super) struct Locked<K: Ord + Clone> {
    table: Rc<Table<K>>,
    key: K,
}

impl<K: Ord + Clone> Default for Locks<K> {
    fn default() -> Self {
        Self(Rc::new(Table { taken: RefCell::default(), freed: Notify::default() }))
    }
}

impl<K: Ord + Clone> Locks<K> {
    /// Waits until the key is free and takes it.
    pub(super) async fn lock(&self, key: K) -> Locked<K> {
        self.0.freed.until(|| self.try_lock(&key)).await
    }

    /// Takes all keys, in their order, so that two who want several never wait for each other.
    pub(super) async fn lock_all(&self, keys: BTreeSet<K>) -> Vec<Locked<K>> {
        let mut locked = Vec::with_capacity(keys.len());
        for key in keys {
            locked.push(self.lock(key).await);
        }
        locked
    }

    /// Takes the key if it is free.
    pub(super) fn try_lock(&self, key: &K) -> Option<Locked<K>> {
        let taken = self.0.taken.borrow_mut().insert(key.clone());
        taken.then(|| Locked { table: Rc::clone(&self.0), key: key.clone() })
    }

    /// Keys that are taken.
    pub(super) fn len(&self) -> usize {
        self.0.taken.borrow().len()
    }

    /// Whether the key is taken.
    pub(super) fn is_locked(&self, key: &K) -> bool {
        self.0.taken.borrow().contains(key)
    }
}

impl<K: Ord + Clone> Drop for Locked<K> {
    fn drop(&mut self) {
        self.table.taken.borrow_mut().remove(&self.key);
        self.table.freed.notify();
    }
}

impl<K: Ord + Clone + fmt::Debug> fmt::Debug for Locked<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({:?})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_once_until_it_is_freed() {
        let locks = Locks::default();
        let first = locks.try_lock(&1).unwrap();
        assert!(locks.try_lock(&1).is_none());
        assert!(locks.try_lock(&2).is_some(), "another key is free");
        drop(first);
        assert!(!locks.is_locked(&1));
        assert!(locks.try_lock(&1).is_some());
    }
}
