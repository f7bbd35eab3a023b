//! The embedding API: build a node, change a shard's manifest, wait for bytes, follow events; and the hosts that drive
//! cores.

mod change;
mod digests;
mod identity;
mod reply;

pub use change::{Ask, Change, ChangeError, Committed, Durability, Sealed};
pub use digests::{flat_digest, tree_digest};
pub use reply::{Reply, Stopped, block_on};
