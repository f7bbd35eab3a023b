//! SHA-256 segment digests: the tree, the flat digest beside it, and the kernels that compute them. Pure.
//!
//! Promises: a segment's root binds its length and every byte; a `VerifiedChunks` exists only after its list was
//! checked against a root; no allocation beyond the chunk list. Refuses: I/O, clocks, chance. The bytes of every
//! digest and of the sidecar are in FORMAT.md.

mod chunks;
mod flat;
mod kernel;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod lanes_aarch64;
#[cfg(target_arch = "x86_64")]
mod lanes_avx2;
#[cfg(target_arch = "x86_64")]
mod lanes_avx512;
#[cfg(target_arch = "x86_64")]
mod lanes_sha_ni;
#[cfg(target_arch = "x86_64")]
mod lanes_wide;
mod sidecar;
mod tree;

pub use chunks::{
    ChunkError, ChunkList, ChunkListError, VerifiedChunks, chunk_bytes, chunk_count, chunk_offset,
};
pub use flat::{FlatHasher, TreeAndFlat};
pub use kernel::{AbsentKernel, Kernel, UnknownKernel};
pub use sidecar::{SidecarError, sidecar_bytes, sidecar_decode, sidecar_encode};
pub use tree::{ChunkHasher, Tree, TreeHasher, chunk_digest, chunk_digests, root_digest};
