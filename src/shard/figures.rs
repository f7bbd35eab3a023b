//! How a shard stands, in numbers: what it has counted, what it lacks, and what other nodes have told of theirs.

use std::rc::Rc;

use crate::ids::{Incarnation, LogIndex, Nanos, NodeId};
use crate::stats::{ProposalStats, TransferStats};
use crate::transfer::{Announced, Driver};
use crate::uring::{Core, Places};

use super::parts::Transfers;
use super::shard::Shard;

impl Shard {
    /// What its transfers have counted.
    #[must_use]
    pub fn stats(&self) -> &Rc<TransferStats> {
        &self.0.stats
    }

    /// Proposals that were refused because a peer made them in another node's session.
    #[must_use]
    pub fn foreign_proposals(&self) -> u64 {
        self.0.foreign_proposals.get()
    }

    /// Proposals of peers that are being answered now.
    #[must_use]
    pub fn answering(&self) -> usize {
        self.0.answering.borrow().values().map(Places::taken).sum()
    }

    /// Something is being fetched.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.0.driver.get().is_some_and(|driver| driver.with_plan(|plan| plan.in_flight() > 0))
    }

    /// How its fetches stand; at most `shown` unavailable segments are named.
    #[must_use]
    pub fn transfers(&self, shown: usize) -> Transfers {
        let installed = self.0.installed.borrow();
        let lag = installed.lag();
        let mut transfers = Transfers {
            missing: lag.segments,
            missing_bytes: lag.bytes,
            missing_since: lag.since,
            damaged: installed.damaged().len() as u64,
            ..Transfers::default()
        };
        if let Some(driver) = self.0.driver.get() {
            driver.with_plan(|plan| {
                transfers.in_flight = plan.in_flight() as u64;
                transfers.in_flight_behind = plan.in_flight_behind() as u64;
                transfers.queued = (plan.len() - plan.in_flight()) as u64;
                transfers.unavailable = plan.unavailable().take(shown).collect();
                transfers.unavailable_count = plan.unavailable().count() as u64;
                transfers.unavailable_since = plan.unavailable().map(|lost| lost.since).min();
                let by_walk = plan.unavailable().filter(|lost| installed.lacks_by_walk(lost.id));
                transfers.catching_up = (lag.by_walk, by_walk.count() as u64);
                transfers.paused = plan.paused_until().is_some();
            });
        }
        transfers
    }

    /// How far a node has installed the shard, as far as it has told us.
    #[must_use]
    pub fn installed_at(&self, node: NodeId) -> Option<LogIndex> {
        if node == self.0.node {
            return Some(self.0.installed.borrow().installed());
        }
        self.0.driver.get()?.with_sources(|sources| sources.announced(node).map(|told| told.installed))
    }

    /// How far a node has installed the shard in this life, as far as it has told us. Of this node too: one that leads
    /// and has lost its vote gives itself another.
    #[must_use]
    pub fn installed_by(&self, node: NodeId, life: Incarnation) -> Option<LogIndex> {
        if (node, life) == (self.0.node, self.0.incarnation) {
            return Some(self.0.installed.borrow().installed());
        }
        let told = |told: &Announced| (told.incarnation == life).then_some(told.installed);
        self.0.driver.get()?.with_sources(|sources| sources.announced(node).and_then(told))
    }

    /// How many segments a node serves from the core of the shard, as far as it has told us.
    #[must_use]
    pub fn load_of(&self, node: NodeId) -> Option<u32> {
        self.0.driver.get()?.with_sources(|sources| sources.announced(node).map(|told| told.load))
    }

    /// For how long a node is still set aside as a source, as its chunks came damaged.
    #[must_use]
    pub fn aside(&self, node: NodeId) -> Nanos {
        let of =
            |driver: &Rc<Driver>| driver.with_sources(|sources| sources.aside(node, Core::current().now()));
        self.0.driver.get().map_or_else(Nanos::default, of)
    }

    /// What became of its proposals.
    #[must_use]
    pub fn proposals(&self) -> &ProposalStats {
        &self.0.proposals
    }
}
