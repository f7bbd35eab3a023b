//! Ringway: an io_uring replication engine for the immutable segment files of storage engines.
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
