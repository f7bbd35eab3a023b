//! Places for what runs at a time: whoever finds none waits, or is told so. Places may be a share of others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

use super::local::Notify;

/// So many places. Clones are the same.
#[derive(Clone, Debug)]
pub struct Places(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    /// So many are there when all those that these are a share of are taken.
    least: usize,
    taken: Cell<usize>,
    whole: Option<Places>,
    /// The whole's, and so that of all its shares.
    freed: Rc<Notify>,
}

/// One place; free again when it is dropped.
#[derive(Debug)]
pub struct Place(Places);

impl Places {
    /// `most` of them, all free.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (taken, freed) = (Cell::new(0), Rc::default());
        Self(Rc::new(Inner { most, least: 0, taken, whole: None, freed }))
    }

    /// Up to `most` of these, as a share; `least` of them are there even when all of these are taken, and come on top.
    #[must_use]
    pub fn share(&self, most: usize, least: usize) -> Self {
        let (taken, freed) = (Cell::new(0), Rc::clone(&self.0.freed));
        Self(Rc::new(Inner { most, least, taken, whole: Some(self.clone()), freed }))
    }

    /// Whether one is free.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let Inner { most, least, taken, whole, .. } = &*self.0;
        taken.get() < *least || taken.get() < *most && whole.as_ref().is_none_or(Self::has_room)
    }

    /// Waits until one is free.
    pub async fn room(&self) {
        self.until(|| self.has_room().then_some(())).await;
    }

    /// Waits until `ready` gives a value, looking again when a place is freed, and after `notify`.
    pub async fn until<T>(&self, ready: impl FnMut() -> Option<T>) -> T {
        self.0.freed.until(ready).await
    }

    /// Whoever waits for a place of these shall look again.
    pub fn notify(&self) {
        self.0.freed.notify();
    }

    /// Takes one, whether `room` was waited for or not.
    #[must_use]
    pub fn take(&self) -> Place {
        self.count(|taken| taken + 1);
        Place(self.clone())
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.get()
    }

    /// Changes the count of these and of what they are a share of.
    fn count(&self, change: impl Fn(usize) -> usize) {
        let mut next = Some(self);
        while let Some(places) = next {
            places.0.taken.set(change(places.0.taken.get()));
            next = places.0.whole.as_ref();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count(|taken| taken - 1);
        self.0.0.freed.notify();
    }
}

/// Places that many share by name: none of them has more than `each`, and whoever has none gets one, however many the
/// others have.
#[derive(Debug)]
pub struct Shares<K> {
    all: Places,
    each: usize,
    known: RefCell<BTreeMap<K, Places>>,
}

impl<K: Ord> Shares<K> {
    /// `most` in all, those not counted that come on top of a share's first; `each` for one name.
    #[must_use]
    pub fn new(most: usize, each: usize) -> Self {
        Self { all: Places::new(most), each, known: RefCell::default() }
    }

    /// The share of that name. To be kept by whoever takes places of it: one that nobody keeps is forgotten.
    pub fn of(&self, name: K) -> Places {
        let mut known = self.known.borrow_mut();
        known.retain(|_, share| Rc::strong_count(&share.0) > 1);
        known.entry(name).or_insert_with(|| self.all.share(self.each, 1)).clone()
    }

    /// How many are taken in all.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.all.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::task::Priority;
    use crate::uring::test_ring::core;

    fn all(places: &Places) -> Vec<Place> {
        std::iter::from_fn(|| places.has_room().then(|| places.take())).collect()
    }

    #[test]
    fn nobody_has_more_than_a_share_and_whoever_has_none_gets_one() {
        let shares = Shares::new(8, 5);
        let (first, second) = (shares.of("first"), shares.of("second"));
        let line = first.share(2, 0);
        let on_the_line = all(&line);
        assert_eq!(on_the_line.len(), 2, "the line's own bound");
        let of_first = all(&first.share(9, 0));
        assert_eq!(on_the_line.len() + of_first.len(), 5, "the bound of one name");
        let of_second = all(&second);
        assert_eq!(of_second.len(), 3, "the bound of all");
        let third = shares.of("third");
        let of_third = all(&third);
        assert_eq!((of_third.len(), shares.taken()), (1, 9), "one on top, for who has none");
        assert!(!third.has_room(), "who has one has no claim");
        drop(on_the_line);
        assert!(line.has_room() && third.has_room(), "7 of 8: {shares:?}");
    }

    #[test]
    fn whoever_waits_is_woken_when_a_place_is_free_for_it_in_whichever_share() {
        let (core, ..) = core();
        let shares = Shares::new(2, 2);
        let (one, two) = (shares.of("one"), shares.of("two"));
        let (mut of_one, _on_top) = (all(&one), two.take());
        let waiting = two.clone();
        let waits = core.spawn(Priority::Bulk, async move { waiting.room().await });
        for is_free in [false, true] {
            core.turn();
            assert!(!waits.is_ended(), "{shares:?}");
            of_one.pop();
            core.turn();
            assert_eq!(waits.is_ended(), is_free, "{shares:?}");
        }
    }

    #[test]
    fn a_name_whose_share_nobody_keeps_is_forgotten_and_a_place_keeps_it() {
        let shares = Shares::new(8, 1);
        let place = shares.of(1).take();
        assert!(!shares.of(1).has_room(), "the place is known by its name");
        drop(place);
        drop(shares.of(2));
        assert_eq!((shares.known.borrow().len(), shares.taken()), (1, 0));
    }
}
