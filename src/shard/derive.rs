//! What is missing and what is too much, derived from manifest and inventory: level-triggered, whatever was missed.

use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::config::Work;
use crate::ids::SegmentId;
use crate::limits::DERIVE_INTERVAL;
use crate::manifest::{Difference, difference};
use crate::uring::{Core, Priority, sleep};

use super::events::Local;
use super::shard::Inner;

impl Inner {
    /// In a task of its own: the state is borrowed by whoever applies just now.
    pub(super) fn derive_soon(self: &Rc<Self>) {
        if self.driver.get().is_some() {
            let shard = Rc::clone(self);
            drop(Core::current().spawn(Priority::Urgent, async move { shard.derive() }));
        }
    }

    pub(super) async fn derive_forever(self: Rc<Self>) {
        self.derive();
        while !self.stopped.get() {
            sleep(DERIVE_INTERVAL).await;
            self.derive();
        }
    }

    /// Derives from manifest and inventory what is missing and what is too much.
    pub(super) fn derive(self: &Rc<Self>) {
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let walk = &self.stats.walk;
        walk.began.set(Core::current().wall());
        let machine = self.group().machine();
        let state = machine.borrow();
        let held = self.store.held().map(|held| (held.id, held.root)).collect::<Vec<_>>();
        for difference in difference(&state, None, held) {
            match difference {
                Difference::Missing(entry) => missing.push(Rc::clone(entry)),
                // The log may not have come back yet to what stands here: that it lacks.
                Difference::Surplus { id, .. } if id.index > state.applied() => {}
                Difference::Surplus { id, .. } => surplus.push(id),
            }
        }
        let left = self.store.unfinished().into_iter();
        surplus.extend(left.filter(|id| id.index <= state.applied() && state.entry(id).is_none()));
        // A manifest that came as a snapshot says of nothing that it has gone.
        let planned =
            self.driver.get().map_or_else(Vec::new, |driver| driver.with_plan(|plan| plan.ids().collect()));
        let gone: Vec<SegmentId> = planned
            .into_iter()
            .filter(|id| id.index <= state.applied() && state.entry(id).is_none())
            .collect();
        let (applied, entries) = (state.applied(), state.len() as u64);
        drop(state);
        for id in gone {
            self.driver.get().expect("it has planned").forget(id);
            surplus.push(id);
        }
        let mut installed = self.installed.take();
        let reached = installed.installed();
        let lost = missing.iter().filter(|entry| !installed.lacks_now(entry.id));
        lost.for_each(|entry| self.events.borrow_mut().local(entry, Local::Lost(reached)));
        let lacked = missing.iter().map(|entry| (entry.id, entry.bytes));
        walk.found.add(installed.derived(lacked, Core::current().now()));
        installed.applied(applied);
        self.installed.replace(installed);
        self.derive_due.set(false);
        if !broken::is(Broken::MissingForgotten) {
            missing.iter().for_each(|entry| self.obtain(entry, Work::CatchUp));
        }
        surplus.into_iter().for_each(|id| self.remove(id));
        self.retire_soon();
        walk.walks.count();
        walk.entries.add(entries);
        walk.held.add(entries.saturating_sub(missing.len() as u64));
        walk.ended.set(Core::current().wall());
        self.changed.notify();
    }
}
