//! What only tests reach: a look at everything that a core's shards apply and at the core when it is open, and
//! deliberate faults in its stores. Without the feature `sim` nothing is left of it.

use std::rc::Rc;

use crate::ids::ShardId;
use crate::limits::DERIVE_PAGE_ENTRIES;
use crate::manifest::State;
use crate::raft::Hook;
use crate::segment::{OpenError, Recovery, Store, StoreOptions};
#[cfg(feature = "sim")]
use crate::{raft::Applied, segment::Sabotage};

use super::node::CoreNode;
#[cfg(feature = "sim")]
use super::sim::Seat;

/// Is told what happens on the cores of a simulated node.
#[cfg(feature = "sim")]
pub trait Watch {
    /// A shard's manifest has applied something, on start what its log repeats among it.
    fn applied(&self, shard: ShardId, applied: &Applied<'_, State>);

    /// A core is open: its files are recovered, its groups take part.
    fn opened(&self, seat: Seat);

    /// Entries of the manifest that are compared with the inventory in one turn.
    fn derive_page(&self) -> usize {
        DERIVE_PAGE_ENTRIES
    }

    /// The fault that the stores of the node have.
    fn sabotage(&self) -> Sabotage {
        Sabotage::None
    }
}

/// The hooks of one core.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    #[cfg(feature = "sim")]
    pub(super) watch: Option<Rc<dyn Watch>>,
}

impl Hooks {
    /// The core is open.
    pub(super) fn opened(&self, node: &Rc<CoreNode>) {
        #[cfg(feature = "sim")]
        if let Some(watch) = &self.watch {
            watch.opened(Seat::new(node));
        }
        #[cfg(not(feature = "sim"))]
        let _unused = node;
    }

    /// What a shard's group calls.
    #[cfg(feature = "sim")]
    pub(super) fn on_apply(&self, shard: ShardId, hook: Hook<State>) -> Hook<State> {
        let Some(watch) = self.watch.clone() else { return hook };
        Rc::new(move |applied| {
            watch.applied(shard, &applied);
            hook(applied);
        })
    }

    /// What a shard's group calls.
    #[cfg(not(feature = "sim"))]
    pub(super) fn on_apply(&self, _shard: ShardId, hook: Hook<State>) -> Hook<State> {
        hook
    }

    /// Entries of the manifest that are compared with the inventory in one turn.
    pub(super) fn derive_page(&self) -> usize {
        #[cfg(feature = "sim")]
        if let Some(watch) = &self.watch {
            return watch.derive_page();
        }
        DERIVE_PAGE_ENTRIES
    }

    /// Opens a shard's store.
    pub(super) async fn open_store(&self, options: StoreOptions) -> Result<(Store, Recovery), OpenError> {
        #[cfg(feature = "sim")]
        if let Some(watch) = &self.watch {
            return Store::open_sabotaged(options, watch.sabotage()).await;
        }
        Store::open(options).await
    }
}
