//! Nothing verified is fetched twice: of each shard a process takes in, beside what arrives damaged or unasked, no more
//! bytes than what it lacked had, each time that it lacked it.

use std::collections::BTreeSet;

use ringway::ids::SegmentId;
use ringway::manifest::Entry;
use ringway::shard::Shard;
use ringway::transfer::Failure;

use crate::sim::check::{Verdict, Violation};

/// What one process may fetch of a shard.
#[derive(Default)]
pub struct Budget {
    life: u32,
    /// What is not here, as it was last looked at.
    lacks: BTreeSet<SegmentId>,
    bytes: u64,
    /// What was fetched before anybody looked: the shards of a node go on before the node has been opened.
    before: Option<u64>,
}

impl Budget {
    fn of(&mut self, life: u32) -> &mut Self {
        if self.life != life {
            *self = Self { life, ..Self::default() };
        }
        self
    }

    fn lacks(&mut self, entry: &Entry) {
        if self.lacks.insert(entry.id) {
            self.bytes += entry.bytes;
        }
    }

    /// An entry comes into the manifest: it may be lacked and land before anybody looks.
    pub fn came(&mut self, life: u32, entry: &Entry) {
        self.of(life).lacks(entry);
    }

    /// Holds what a process has fetched against what it lacked until now.
    pub fn look(&mut self, life: u32, shard: &Shard) -> Verdict {
        let budget = self.of(life);
        let machine = shard.group().machine();
        let state = machine.borrow();
        let is_here = |entry: &Entry| shard.store().is_held(entry.id, entry.root);
        for entry in state.entries(None).filter(|entry| !is_here(entry)) {
            budget.lacks(entry);
        }
        budget.lacks.retain(|id| state.entry(id).is_some_and(|entry| !is_here(entry)));
        let stats = shard.stats();
        // What could not be written is fetched again.
        let refused = [Failure::Disk, Failure::DiskFull].map(|failure| stats.failures[failure.place()].get());
        let fetched = stats.bytes_fetched.get() - stats.bytes_refetched.get();
        let fetched = fetched - *budget.before.get_or_insert(fetched);
        if refused == [0, 0] && fetched > budget.bytes {
            return Err(Violation(format!(
                "life {life} has fetched {fetched} bytes of {}, and lacked {}",
                shard.id(),
                budget.bytes
            )));
        }
        Ok(())
    }
}
