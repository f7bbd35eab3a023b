//! The replicated state of the cluster, in group 0: nodes, incarnations, roles, shards, limits. Pure.
//!
//! Read `state` first. `placement` alone decides which nodes own a shard.

mod command;
mod outcome;
mod placement;
mod roll;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod validate;

pub use command::{Bootstrap, Command, Limit, NodeRecord, Replicas, Role};
pub use outcome::{Change, Effect, NodeReason, Outcome, Refusal};
pub use roll::Roll;
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
pub use state::{Admission, ClusterState, Node};
