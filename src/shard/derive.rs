//! What is missing and what is too much, derived from manifest and inventory: level-triggered, whatever was missed.
//!
//! Page by page, in the order of segment ids, with everybody else's turn between two: what is applied or lands
//! meanwhile is told to the watermark as ever, and a page sees both sides as they are when it is its turn. A manifest
//! that comes as a snapshot in the middle is walked from its beginning.

use std::cell::Cell;
use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::config::Work;
use crate::ids::SegmentId;
use crate::limits::DERIVE_INTERVAL;
use crate::manifest::{Difference, Entry, State, difference};
use crate::uring::{Core, Priority, sleep, yield_now};

use super::events::Local;
use super::shard::Inner;

/// When and how often manifest and inventory are compared.
#[derive(Debug)]
pub(super) struct Deriving {
    /// Entries of a page.
    page: usize,
    /// The manifest has become another one since what is missing was derived from it.
    is_due: Cell<bool>,
    /// How often it has.
    manifests: Cell<u64>,
}

impl Deriving {
    /// Nothing is known yet.
    pub(super) fn new(page: usize) -> Self {
        Self { page, is_due: Cell::new(true), manifests: Cell::default() }
    }

    /// What is missing is not derived from the manifest as it is.
    pub(super) fn is_due(&self) -> bool {
        self.is_due.get()
    }

    /// The manifest has become another one.
    pub(super) fn replaced(&self) {
        self.is_due.set(true);
        self.manifests.set(self.manifests.get() + 1);
    }
}

/// A part of both sides, to be acted on when the manifest is let go of.
struct Page {
    missing: Vec<Rc<Entry>>,
    surplus: Vec<SegmentId>,
    entries: u64,
    /// Nothing if it is the last one.
    to: Option<SegmentId>,
}

impl Inner {
    /// In a task of its own: the state is borrowed by whoever applies just now.
    pub(super) fn derive_soon(self: &Rc<Self>) {
        if self.driver.get().is_some() {
            drop(Core::current().spawn(Priority::Urgent, Rc::clone(self).derive()));
        }
    }

    pub(super) async fn derive_forever(self: Rc<Self>) {
        Rc::clone(&self).derive().await;
        while !self.stopped.get() {
            sleep(DERIVE_INTERVAL).await;
            Rc::clone(&self).derive().await;
        }
    }

    /// Derives from manifest and inventory what is missing and what is too much.
    pub(super) async fn derive(self: Rc<Self>) {
        let walk = &self.stats.walk;
        walk.began.set(Core::current().wall());
        let (mut after, mut manifest) = (None, self.deriving.manifests.get());
        while !self.stopped.get() {
            let page = self.page(after);
            let to = page.to;
            self.act_on(page, after);
            if to.is_none() {
                break;
            }
            yield_now().await;
            let now = self.deriving.manifests.get();
            after = to.filter(|_| now == manifest);
            manifest = now;
        }
        self.end_walk();
        walk.walks.count();
        walk.ended.set(Core::current().wall());
        self.changed.notify();
    }

    /// Compares what is behind an id.
    fn page(&self, after: Option<SegmentId>) -> Page {
        let most = self.deriving.page;
        let machine = self.group().machine();
        let state = machine.borrow();
        let held: Vec<_> = self.store.held_after(after).take(most).map(|held| (held.id, held.root)).collect();
        let last_held = (held.len() == most).then(|| held.last().expect("it is full").0);
        let last_listed = state.entries(after).nth(most - 1).map(|entry| entry.id);
        let to = last_held.into_iter().chain(last_listed).min();
        let is_in = |id: &SegmentId| to.is_none_or(|to| *id <= to);
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let held = held.into_iter().take_while(|(id, _)| is_in(id));
        let in_page = difference(&state, after, held).take_while(|found| match found {
            Difference::Missing(entry) => is_in(&entry.id),
            Difference::Surplus { id, .. } => is_in(id),
        });
        for found in in_page {
            match found {
                Difference::Missing(entry) => missing.push(Rc::clone(entry)),
                // The log may not have come back yet to what stands here: that it lacks.
                Difference::Surplus { id, .. } if id.index > state.applied() => {}
                Difference::Surplus { id, .. } => surplus.push(id),
            }
        }
        let entries = state.entries(after).take_while(|entry| is_in(&entry.id)).count() as u64;
        Page { missing, surplus, entries, to }
    }

    fn act_on(self: &Rc<Self>, page: Page, after: Option<SegmentId>) {
        let Page { missing, surplus, entries, to } = page;
        {
            let mut installed = self.installed.borrow_mut();
            let reached = installed.installed();
            for entry in missing.iter().filter(|entry| !installed.lacks_now(entry.id)) {
                self.events.borrow_mut().local(entry, Local::Lost(reached));
            }
            let lacked = missing.iter().map(|entry| (entry.id, entry.bytes));
            self.stats.walk.found.add(installed.derived(after, to, lacked, Core::current().now()));
        }
        self.stats.walk.entries.add(entries);
        self.stats.walk.held.add(entries.saturating_sub(missing.len() as u64));
        if !broken::is(Broken::MissingForgotten) {
            missing.iter().for_each(|entry| self.obtain(entry, Work::CatchUp));
        }
        surplus.into_iter().for_each(|id| self.remove(id));
    }

    fn end_walk(self: &Rc<Self>) {
        let machine = self.group().machine();
        let state = machine.borrow();
        let is_gone = |id: &SegmentId| id.index <= state.applied() && state.entry(id).is_none();
        let left: Vec<SegmentId> = self.store.unfinished().into_iter().filter(is_gone).collect();
        // A manifest that came as a snapshot says of nothing that it has gone.
        let planned =
            self.driver.get().map_or_else(Vec::new, |driver| driver.with_plan(|plan| plan.ids().collect()));
        let gone: Vec<SegmentId> = planned.into_iter().filter(is_gone).collect();
        let applied = State::applied(&state);
        drop(state);
        for id in &gone {
            self.driver.get().expect("it has planned").forget(*id);
        }
        let mut installed = self.installed.borrow_mut();
        installed.all_derived();
        installed.applied(applied);
        drop(installed);
        self.deriving.is_due.set(false);
        left.into_iter().chain(gone).for_each(|id| self.remove(id));
        self.retire_soon();
    }
}
