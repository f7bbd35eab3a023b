//! Consensus: the log, driving openraft, its network and its state machines. openraft's types stop at this door.
//!
//! `log` is what is durable, `runtime` lets openraft run on a core.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the group itself comes next")]

mod keeper;
mod log;
mod machine;
mod members;
mod payload;
mod runtime;
mod snapshot;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod testing;
mod types;

pub use log::{
    CREATE, CreateStep, Fault, Log, LogFigures, LogOpenError, LogStopped, LogSummary, RecordFault, summary,
};
pub use machine::{Applied, ClusterRefused, IncomingCluster, Machine};
pub use payload::CommandBytes;
pub use snapshot::{SnapshotFault, SnapshotStep, WRITE};
pub use types::{Member, Point};
