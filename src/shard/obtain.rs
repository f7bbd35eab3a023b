//! Getting what the manifest has and this node lacks: at its origin a segment's file is pinned, elsewhere it is
//! fetched.

use std::rc::Rc;

use crate::config::Work;
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};
use crate::manifest::Entry;
use crate::segment::Want as SegmentWant;
use crate::uring::{Core, Priority, timeout};

use super::shard::{Inner, segment_want};

impl Inner {
    /// What an entry is fetched for that is applied just now. It is live if this node lacks nothing that is due, as
    /// readiness has it. All else is catching up: what is applied while something older is lacking, what a walk finds
    /// missing, what the plan had no room for, and what a node has lost of its own.
    pub(super) fn work_of_applied(&self) -> Work {
        let due = self.due.get().filter(|_| !self.deriving.is_due());
        let is_in_step = due.is_some_and(|due| !self.installed.borrow().lacks_to(due));
        if is_in_step { Work::Live } else { Work::CatchUp }
    }

    /// Gets a segment that is not here: the origin pins the file that it has registered, others fetch it.
    pub(super) fn obtain(self: &Rc<Self>, entry: &Rc<Entry>, work: Work) {
        if self.driver.get().is_none() {
            return;
        }
        let Some(want) = segment_want(entry) else {
            tracing::error!(shard = %self.id, segment = %entry.id, "a path of the manifest cannot stand on a disk");
            return;
        };
        if self.store.id_at(&want.path).is_some_and(|id| id > entry.id) {
            return; // the log comes back to what has superseded it
        }
        if entry.origin != self.node {
            return self.fetch(entry, work);
        }
        if self.pinning.borrow_mut().insert(entry.id) {
            self.stats.own.count();
            drop(Core::current().spawn(Priority::Urgent, Rc::clone(self).pin(Rc::clone(entry), want)));
        }
    }

    /// At the origin. The file is the engine's, and nobody else may have it: a disk that refuses is asked again, and
    /// other content under the name is left alone, since it may be what the engine registers next. Only where there
    /// is no file at all the segment is fetched.
    async fn pin(self: Rc<Self>, entry: Rc<Entry>, want: SegmentWant) {
        let (id, mut rest) = (want.id, BACKOFF_FIRST);
        let is_listed = || self.group().machine().borrow().entry(&id).is_some();
        let pinned = loop {
            match self.store.pin(&want).await {
                Ok(()) => break true,
                Err(error) if error.is_gone() => break false,
                Err(error) => {
                    tracing::warn!(%error, shard = %self.id, segment = %id, "a registered file cannot be pinned yet");
                }
            }
            let gone = self.changed.until(|| (!is_listed() || self.stopped.get()).then_some(()));
            if timeout(rest, gone).await.is_ok() {
                break false;
            }
            rest.0 = BACKOFF_MAX.0.min(rest.0 * 2);
        };
        self.pinning.borrow_mut().remove(&id);
        self.changed.notify();
        match (pinned, is_listed()) {
            (true, true) => self.landed(id),
            (true, false) => self.remove(id),
            (false, true) => self.fetch(&entry, Work::CatchUp),
            (false, false) => {}
        }
    }
}
