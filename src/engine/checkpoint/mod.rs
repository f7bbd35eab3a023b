//! Checkpoints of engines whose files change: the engine holds still for a moment, its active files are linked or
//! copied, it goes on, and what was captured is registered as one batch (ARCHITECTURE.md, D19).
//!
//! Promises: each freeze is thawed, once, at the latest when its lease ends, whatever becomes of the asker or the disk;
//! the replicas have a checkpoint whole or not at all. Refuses: to block a core, and to name what nothing has verified.

mod active;
mod ask;
mod capture;
mod error;
mod lease;

pub use active::{ActiveFile, ActiveFiles, Frozen, How};
pub use ask::{Checkpointed, Checkpointing};
pub use error::CheckpointError;
