//! Catching up after a start: until the leader has said what is committed, nobody here knows what was committed without
//! this node, and it is not ready.

use std::rc::Rc;

use crate::ids::Nanos;
use crate::uring::sleep;

use super::shard::{Inner, Shard};

/// To one answer of the leader, and to applying what it names.
const BARRIER_TIMEOUT: Nanos = Nanos::from_secs(2);
/// Rest before the leader is asked again.
const RETRY: Nanos = Nanos::from_millis(50);

impl Shard {
    /// Since this start, everything was once applied here that was committed anywhere when the leader was asked, and
    /// what is missing has been derived from the manifest as it is.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.0.passed_barrier.get() && !self.0.derive_due.get()
    }
}

impl Inner {
    /// Asks until a read barrier has passed.
    pub(super) async fn catch_up(self: Rc<Self>) {
        while !self.stopped.get() {
            match self.group().read_barrier(BARRIER_TIMEOUT).await {
                Ok(index) => {
                    tracing::debug!(shard = %self.id, %index, "applied what was committed without this node");
                    self.passed_barrier.set(true);
                    self.changed.notify();
                    return self.sweep_drafts().await;
                }
                Err(error) => tracing::trace!(%error, shard = %self.id, "not caught up yet"),
            }
            sleep(RETRY).await;
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
