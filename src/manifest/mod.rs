//! The replicated state of a shard: entries, apply, versions, snapshots, difference, safe paths. Pure.
//!
//! Read `state` first. `command` and `format` fix what is on disk and wire; `apply` is the one way to change
//! a state, `install` the one way to replace it.

mod apply;
mod changes;
mod command;
mod difference;
mod entry;
mod format;
mod install;
mod labels;
#[cfg(test)]
mod model;
mod outcome;
mod path;
mod session;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod validate;

pub use changes::{Change, Changes, Effect};
pub use command::{
    ArchivedBatch, ArchivedCommand, ArchivedOperation, Batch, Command, Label, Operation, Registration, Tier,
};
pub use difference::{Difference, difference};
pub use entry::Entry;
pub use format::SNAPSHOT_VERSION;
pub use install::{Installer, SnapshotError};
pub use outcome::{Outcome, Reason, Refusal};
pub use path::{PathError, RESERVED_COMPONENT, SafePath};
pub use session::Session;
pub use snapshot::{Replaced, SnapshotWriter};
pub use state::{Page, State};
