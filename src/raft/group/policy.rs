//! When the state goes into a snapshot. openraft is told of one that is written; one that cannot be written is
//! logged and tried again later, and ends nothing.

use std::rc::Rc;

use openraft::Raft;

use crate::ids::Nanos;
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};
use crate::raft::keeper::Keeper;
use crate::raft::log::Log;
use crate::raft::machine::Machine;
use crate::raft::snapshot::SnapshotFault;
use crate::raft::types::Types;
use crate::uring::{Notify, sleep};

use super::options::GroupConfig;

/// What a policy looks at, and what it can do.
pub(super) struct Policy<M: Machine> {
    pub(super) raft: Raft<Types, Keeper<M>>,
    pub(super) keeper: Keeper<M>,
    pub(super) log: Log,
    pub(super) config: GroupConfig,
    pub(super) changed: Rc<Notify>,
    pub(super) failed: Rc<std::cell::Cell<u64>>,
}

impl<M: Machine> Policy<M> {
    /// Runs until its group ends it.
    pub(super) async fn run(self) {
        // Bytes that are there already count from the start.
        let mut written = 0;
        let mut back_off = BACKOFF_FIRST;
        loop {
            let base = written;
            self.changed.until(|| self.is_due(base).then_some(())).await;
            let bytes = self.log.figures().bytes;
            match self.snapshot().await {
                Ok(()) => {
                    written = bytes;
                    back_off = BACKOFF_FIRST;
                }
                Err(fault) => {
                    self.failed.set(self.failed.get() + 1);
                    tracing::warn!(%fault, "a snapshot was not written; it is tried again");
                    sleep(back_off).await;
                    back_off = Nanos(back_off.0.saturating_mul(2)).min(BACKOFF_MAX);
                }
            }
        }
    }

    fn is_due(&self, base: u64) -> bool {
        let taken = self.keeper.snapshot().map_or(0, |(point, _)| point.index.0);
        let entries = self.keeper.applied().index.0 - taken;
        let bytes = self.log.figures().bytes - base;
        entries >= self.config.snapshot_log_entries
            || (entries > 0 && bytes >= self.config.snapshot_log_bytes)
    }

    /// Writes a snapshot, and lets the log go of what is in it.
    async fn snapshot(&self) -> Result<(), SnapshotFault> {
        self.keeper.write_snapshot().await?;
        // A group that has stopped has no use for it.
        let _stopped = self.raft.trigger().snapshot().await;
        Ok(())
    }
}
