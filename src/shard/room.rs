//! Room: what the plan of fetches had none for comes when it has, and a full disk is told of once.

use crate::config::Work;
use crate::manifest::Entry;
use crate::transfer::{Failure, Want};

use super::shard::Inner;

impl Inner {
    /// Has a segment fetched, as soon as the plan has room for it.
    pub(super) fn fetch(&self, entry: &Entry, work: Work) {
        if !self.plan(entry, work) {
            let first = self.left_out.get().map_or(entry.id, |first| first.min(entry.id));
            self.left_out.set(Some(first));
        }
    }

    /// False if the plan of fetches has no room for it.
    fn plan(&self, entry: &Entry, work: Work) -> bool {
        let Some(driver) = self.driver.get() else { return true };
        self.pinning.borrow().contains(&entry.id)
            || driver.want(Want {
                id: entry.id,
                path: entry.path().as_str().into(),
                bytes: entry.bytes,
                root: entry.root,
                origin: entry.origin,
                work,
            })
    }

    /// Gives the plan what it had no room for, from the first entry that was left out: however many are missing, each
    /// is passed a few times and not once for every landing.
    pub(super) fn refill(&self) {
        let (Some(driver), Some(group)) = (self.driver.get(), self.group.get()) else { return };
        if !driver.take_overflow() {
            return;
        }
        let Some(from) = self.left_out.take() else { return };
        let machine = group.machine();
        let state = machine.borrow();
        let rest = state.entry(&from).into_iter().chain(state.entries(Some(from)));
        for entry in rest {
            if !self.store.is_held(entry.id, entry.root) && !self.plan(entry, Work::CatchUp) {
                return self.left_out.set(Some(entry.id));
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.driver.get().is_some_and(|driver| driver.with_plan(|plan| plan.paused_until().is_some()))
    }

    /// Tells once that the disk is full, and once that it has room again.
    pub(super) fn heard_of_room(&self, done: Result<(), Failure>) {
        let shard = self.id;
        match done {
            Err(Failure::DiskFull) if !self.is_full.replace(true) => {
                tracing::warn!(%shard, "the disk is full; fetching resumes when there is room");
            }
            // What was under way already may end well during the pause.
            Ok(()) if !self.is_paused() && self.is_full.replace(false) => {
                tracing::warn!(%shard, "the disk has room again");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
