//! Ringway keeps the sealed, immutable segment files of a storage engine the same on several Linux hosts. A manifest
//! that Raft commits says which segments there are; io_uring moves their bytes; SHA-256 is checked on every byte on its
//! way; a segment counts only when it is durable under its final name.
//!
//! An engine opens a node in its own process and speaks to it from any thread and any asynchronous runtime, or without
//! one: every call gives a [`engine::Reply`], which is a future and can also be waited for.
//!
//! ```
//! use std::io::Read;
//! use std::time::Duration;
//!
//! use ringway::engine::{Ask, BootstrapError, Durability, Engine, Locator, Sealed, block_on};
//! use ringway::ids::{ClusterId, NodeId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! // A cluster of one. Others are named by `member`, each with the address under which it is reached. The root is an
//! // absolute path.
//! let engine = Engine::builder()
//!     .cluster(ClusterId::from_hex("5d2fc2f1b0e44a3c9a5e6b7081c2d3e4").expect("32 digits, drawn at random once"))
//!     .node(NodeId(1), "127.0.0.1:0".parse()?)
//!     .root(dir.path())
//!     .secret("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")
//!     .open()?;
//! match engine.bootstrap().wait() {
//!     Ok(()) | Err(BootstrapError::AlreadyFounded) => {} // once in the cluster's life; founded at every later start
//!     Err(error) => return Err(error.into()),
//! }
//!
//! // The engine seals a file in the shard's directory and registers it.
//! let shard = engine.shards().next().expect("one, unless more are asked for");
//! std::fs::write(shard.directory().join("000017.seg"), b"what the engine has sealed")?;
//! let asked = Ask::durable(Durability::LandedQuorum);
//! let done = shard.register(Sealed::at("000017.seg"), asked).wait()?;
//!
//! // On every node: it lands by itself, and is opened as it was verified.
//! shard.wait_installed(done.index, Duration::from_secs(10)).wait()?;
//! let mut segment = block_on(shard.open_segment(Locator::Path("000017.seg".to_owned())))?;
//! let mut content = String::new();
//! segment.file.read_to_string(&mut content)?;
//! assert_eq!(content, "what the engine has sealed");
//!
//! engine.shut_down();
//! # Ok(())
//! # }
//! ```
//!
//! [`engine::Shard`] has the rest: updates, deletes and batches that happen together or not at all; events in order;
//! pages of the manifest. An engine that says nothing of its files gets a [`engine::DirectoryAdapter`]. Features:
//! `daemon`, on by default, is the `ringway` binary and nothing that an embedder needs; `tokio-uring` and `glommio` let
//! a node's cores run inside executors of the embedder's own ([`engine::GuestCore`]); `sim` opens the inside to the
//! crate's own tests and promises nothing.
#![cfg_attr(
    not(feature = "sim"),
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "a room's door is whole: `sim` opens it to the tests, which use all of it"
    )
)]

// Row 0: plain values, in use everywhere.
#[cfg(not(feature = "sim"))]
mod broken;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod broken;
pub mod config;
pub mod ids;
pub mod limits;
pub mod stats;

// The rooms, row by row; imports point up this list only (ARCHITECTURE.md, checked by tests/tidy.rs). The feature `sim`
// opens them to the crate's own tests and benches. Each is declared twice, for rustfmt follows no `mod` in a macro.

// Row 1: bytes, the outside, digests.
#[cfg(not(feature = "sim"))]
mod digest;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod digest;
#[cfg(not(feature = "sim"))]
#[expect(unsafe_code, reason = "the one door to the kernel")]
mod uring;
#[cfg(feature = "sim")]
#[doc(hidden)]
#[expect(unsafe_code, reason = "the one door to the kernel")]
pub mod uring;
#[cfg(not(feature = "sim"))]
mod wire;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod wire;

// Row 2: what is agreed, what is on disk, who a peer is.
#[cfg(not(feature = "sim"))]
mod auth;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod auth;
#[cfg(not(feature = "sim"))]
mod cluster;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod cluster;
#[cfg(not(feature = "sim"))]
mod journal;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod journal;
#[cfg(not(feature = "sim"))]
mod manifest;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod manifest;
#[cfg(not(feature = "sim"))]
mod segment;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod segment;

// Row 3: connections between nodes.
#[cfg(not(feature = "sim"))]
mod transport;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod transport;

// Row 4: consensus, and the movement of segments.
#[cfg(not(feature = "sim"))]
mod raft;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod raft;
#[cfg(not(feature = "sim"))]
mod transfer;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod transfer;

// Row 6: one shard on its core.
#[cfg(not(feature = "sim"))]
mod shard;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod shard;

// Row 7: the embedding API.
pub mod engine;
