//! Consensus: the log, driving openraft, its network and its state machines. openraft's types stop at this door.
//!
//! `group` is the handle; `log` is what is durable; `keeper` holds the state, `machine` says what a state is;
//! `snapshot` writes, moves and reads states; `network` calls other members, `serve` answers them, `rpc` is what
//! they say; `runtime` lets openraft run on a core.

mod bridge;
mod group;
mod installing;
mod keeper;
mod log;
mod machine;
mod members;
mod network;
mod payload;
mod plausible;
mod rpc;
mod runtime;
mod serve;
#[cfg(test)]
mod serve_tests;
mod snapshot;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod testing;
mod types;

pub use bridge::{Bridge, bridge};
pub use group::{
    BarrierError, BootstrapError, Group, GroupConfig, GroupFigures, GroupOptions, GroupRole, Inspected,
    MemberState, MembersError, OpenError, ProposeError, TransferError, Watermarks, condense, inspect,
};
pub use keeper::Hook;
pub use log::{
    CREATE, CreateStep, Fault, LogFigures, LogOpenError, LogStopped, LogSummary, RecordFault, summary,
};
pub use machine::{Applied, ClusterRefused, IncomingCluster, Machine};
pub use network::{CallError, Resolve};
pub use payload::CommandBytes;
pub use snapshot::{SnapshotFault, SnapshotStep, WRITE};
pub use types::{Member, Point};
