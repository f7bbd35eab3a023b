//! The embedding API: build a node, change a shard's manifest, wait for bytes, follow events; and the hosts that drive
//! cores.

mod adapter;
mod change;
mod digests;
mod identity;
mod reply;
mod tree;

pub use adapter::{Cut, CutError, DirectoryAdapter, SealRule};
pub use change::{Ask, Change, ChangeError, Committed, Durability, Sealed};
pub use digests::{flat_digest, tree_digest};
pub use reply::{Reply, Stopped, block_on};
pub use tree::{Facts, Found, SkipReason, Skipped, Walk, walk};
