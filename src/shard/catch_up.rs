//! Catching up after a start: until the leader has said what is committed, nobody here knows what was committed without
//! this node, and it is not ready.

use std::rc::Rc;

use crate::ids::Nanos;
use crate::limits::READY_LAG;
use crate::uring::{sleep, timeout};

use super::parts::Overdue;
use super::shard::{Inner, Shard};

/// To one answer of the leader, and to applying what it names.
const BARRIER_TIMEOUT: Nanos = Nanos::from_secs(2);
/// Rest before the leader is asked again.
const RETRY: Nanos = Nanos::from_millis(50);

impl Shard {
    /// What this node lacks to be ready. None until everything was once applied here that was committed anywhere when
    /// the leader was asked, since this start, and while what is missing is not derived from the manifest as it is.
    #[must_use]
    pub fn overdue(&self) -> Option<Overdue> {
        let due = self.0.due.get().filter(|_| !self.0.deriving.is_due())?;
        Some(Overdue { due, missing: self.0.installed.borrow().missing_to(due) })
    }
}

impl Inner {
    /// Asks until a read barrier has passed.
    pub(super) async fn catch_up(self: Rc<Self>) {
        while !self.stopped.get() {
            match self.group().read_barrier(BARRIER_TIMEOUT).await {
                Ok(index) => {
                    tracing::debug!(shard = %self.id, %index, "applied what was committed without this node");
                    self.due.set(Some(index));
                    self.changed.notify();
                    self.sweep_drafts().await;
                    return self.keep_due().await;
                }
                Err(error) => tracing::trace!(%error, shard = %self.id, "not caught up yet"),
            }
            sleep(RETRY).await;
        }
    }

    /// Under a load without a pause something is always on its way: what is committed has its time to come before it
    /// is due.
    async fn keep_due(&self) {
        loop {
            let committed = self.group().watermarks().committed;
            if timeout(READY_LAG, self.changed.until(|| self.stopped.get().then_some(()))).await.is_ok() {
                return;
            }
            self.due.set(self.due.get().max(Some(committed)));
        }
    }

    /// Lets go of the files that an earlier process has digested and nobody has registered: everything that it
    /// proposed and that is committed is applied by now, and pinned. Waits for a moment without a registration.
    async fn sweep_drafts(&self) {
        let is_quiet = || (self.preparing.get() == 0 && self.pinning.borrow().is_empty()).then_some(());
        self.changed.until(is_quiet).await;
        self.sweeping.set(true);
        let swept = self.store.sweep_drafts().await;
        if swept > 0 {
            tracing::info!(swept, shard = %self.id, "let go of files that were never registered");
        }
        self.sweeping.set(false);
        self.changed.notify();
    }
}
