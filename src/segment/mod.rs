//! The immutable segment files on this disk: names, staging, landing, inventory, pins, quarantine, recovery on open.
//!
//! Promises: what stands under a segment's final name was verified against its root before it got there; what was
//! acknowledged as landed survives a power cut; what nobody knows is never deleted. Refuses: sockets, the manifest,
//! and any name of a peer's choosing.

mod adopt;
mod begin;
mod bitmap;
mod bytes;
mod chunked;
mod drafts;
mod exchange;
mod fault;
mod folder_sync;
mod hollow;
mod hooks;
mod identity;
mod intents;
mod inventory;
mod landing;
mod landing_error;
mod lend;
mod link;
mod locks;
mod look;
mod names;
mod naming;
mod open;
mod partial;
mod path;
mod pins;
mod quarantine;
mod reader;
mod reconcile;
mod record;
mod recovery;
mod scan;
mod staged;
mod staging;
mod staging_error;
mod store;
mod table;
mod taken;
mod writer;

pub use chunked::{ChunkUnread, ChunkedFile, is_resident};
pub use fault::{DiskError, Doing};
#[cfg(feature = "sim")]
pub use hooks::{Edge, Sabotage, Verdict};
pub use identity::Identity;
pub use inventory::{INVENTORY, records_in};
pub use landing::{Landed, Step};
pub use landing_error::LandError;
pub use lend::{Lent, LentFile, Outline};
pub use link::{LinkError, Shared, Sharing, Spare};
pub use names::{Stem, captured_name};
pub use open::{OpenError, Recovery, hold};
pub use partial::{NotReady, Partial};
pub use path::{PRIVATE_FOLDER, PathRefused, RelativePath};
pub use pins::{DigestError, Digested, PinError};
pub use quarantine::{Gone, Health, Why};
pub use reader::{ReadError, Reader};
pub use reconcile::Reconciled;
pub use record::{InventoryCut, Ownership, Record};
pub use staged::Staging;
pub use staging::{Landing, VerifiedChunk, WithBuffer};
pub use staging_error::{BeginError, CheckpointError, WriteError};
pub use store::{Held, Paths, Store, StoreOptions, Want};
pub use writer::{ChunkSink, ChunkWriter};
