//! Snapshots of a group's state as files: written in slices while the log goes on, moved as bytes, checked part by
//! part when they are taken in.
//!
//! A file is a sequence of the log's records: a head that says of which entry it is and who the members were, one
//! record for each part, and an end that counts them. A file that has its name is whole.

mod error;
mod format;
mod incoming;
mod load;
mod write;

pub use error::SnapshotFault;
pub(super) use incoming::{Incoming, give_up};
pub use write::{SnapshotStep, WRITE};

pub(super) use format::SnapshotHead;
pub(super) use load::{Loaded, latest, load};
pub(super) use write::{SnapshotFile, settle, write};
