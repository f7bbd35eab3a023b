//! A simulated file system: inodes, names, links, room, locks, and what of all that survives a power cut.

mod change;
mod content;
mod hands;
pub mod names;
mod power;
mod tree;

pub use content::{BLOCK_BYTES, Content, Loss, SECTOR_BYTES, SyncPoint};
pub use tree::{Body, Disk, Meta, NAME_BYTES_MAX, ROOT};
