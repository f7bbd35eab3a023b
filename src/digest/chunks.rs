//! A segment's list of chunk digests: untrusted as it comes, and verified against the root.

use std::fmt;

use crate::digest::Kernel;
use crate::digest::tree::{chunk_digest, root_digest};
use crate::ids::Digest;
use crate::limits::{CHUNK_BYTES, SEGMENT_BYTES_MAX, SEGMENT_CHUNKS_MAX};

const CHUNK: u64 = CHUNK_BYTES as u64;
const _: () = assert!(SEGMENT_CHUNKS_MAX <= u32::MAX as u64, "a chunk's index is a u32");

/// Chunks of a segment of `len` bytes; `None` past `SEGMENT_BYTES_MAX`.
#[must_use]
pub fn chunk_count(len: u64) -> Option<u32> {
    if len > SEGMENT_BYTES_MAX {
        return None;
    }
    u32::try_from(len.div_ceil(CHUNK)).ok()
}

/// Where chunk `index` begins, in bytes.
#[must_use]
pub fn chunk_offset(index: u32) -> u64 {
    u64::from(index) * CHUNK
}

/// Bytes of chunk `index` of a segment of `len` bytes: whole but for the last; `None` past the last.
#[must_use]
pub fn chunk_bytes(len: u64, index: u32) -> Option<usize> {
    let left = len.checked_sub(chunk_offset(index)).filter(|left| *left > 0)?;
    Some(usize::try_from(left.min(CHUNK)).expect("a chunk's size fits usize"))
}

/// A length and chunk digests that nobody has checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkList {
    /// Length of the segment, in bytes.
    pub len: u64,
    /// The digest of each chunk, in order.
    pub chunks: Vec<Digest>,
}

impl ChunkList {
    /// Checks the list against the committed root; what comes out can be trusted chunk by chunk.
    ///
    /// # Errors
    /// When the length is past the limit, the count does not fit the length, or the root is another.
    pub fn verify(self, root: Digest) -> Result<VerifiedChunks, ChunkListError> {
        let Some(expected) = chunk_count(self.len) else {
            return Err(ChunkListError::TooLong { len: self.len });
        };
        if u32::try_from(self.chunks.len()) != Ok(expected) {
            return Err(ChunkListError::Count { len: self.len, expected, found: self.chunks.len() });
        }
        let found = root_digest(self.len, &self.chunks);
        if found != root {
            return Err(ChunkListError::Root { expected: root, found });
        }
        Ok(VerifiedChunks { len: self.len, count: expected, root, chunks: self.chunks })
    }
}

/// A chunk list that hashes to its root: the proof that a chunk with its digest belongs to the segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedChunks {
    len: u64,
    count: u32,
    root: Digest,
    chunks: Vec<Digest>,
}

impl VerifiedChunks {
    /// Of a segment of at most one chunk, from its content: such a segment needs no list.
    ///
    /// # Errors
    /// When the content is longer than a chunk or has another root.
    pub fn of_content(kernel: Kernel, content: &[u8], root: Digest) -> Result<Self, ChunkListError> {
        let len = u64::try_from(content.len()).expect("usize fits u64");
        if content.len() > CHUNK_BYTES {
            return Err(ChunkListError::Count {
                len,
                expected: 1,
                found: content.len().div_ceil(CHUNK_BYTES),
            });
        }
        let chunks = if content.is_empty() { Vec::new() } else { vec![chunk_digest(kernel, content)] };
        ChunkList { len, chunks }.verify(root)
    }

    /// The segment's length, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the segment has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The root that the list was checked against.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Chunks of the segment.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.count
    }

    /// The digest of chunk `index`; `None` past the last.
    #[must_use]
    pub fn digest(&self, index: u32) -> Option<Digest> {
        self.chunks.get(usize::try_from(index).ok()?).copied()
    }

    /// All digests, in order.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.chunks
    }

    /// Bytes of chunk `index`: whole but for the last; `None` past the last.
    #[must_use]
    pub fn chunk_bytes(&self, index: u32) -> Option<usize> {
        chunk_bytes(self.len, index)
    }

    /// Checks the content of one chunk.
    ///
    /// # Errors
    /// When there is no such chunk, or it has another length or another digest.
    pub fn check(&self, kernel: Kernel, index: u32, content: &[u8]) -> Result<(), ChunkError> {
        let (Some(bytes), Some(expected)) = (self.chunk_bytes(index), self.digest(index)) else {
            return Err(ChunkError::Range { index, count: self.count });
        };
        if content.len() != bytes {
            return Err(ChunkError::Length { index, expected: bytes, found: content.len() });
        }
        let found = chunk_digest(kernel, content);
        if found != expected {
            return Err(ChunkError::Digest { index, expected, found });
        }
        Ok(())
    }
}

/// Why a chunk list is not the list of its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkListError {
    /// The length is past `SEGMENT_BYTES_MAX`.
    TooLong {
        /// The length, in bytes.
        len: u64,
    },
    /// The number of digests does not fit the length.
    Count {
        /// The length, in bytes.
        len: u64,
        /// Chunks of a segment of that length.
        expected: u32,
        /// Digests in the list.
        found: usize,
    },
    /// Length and digests hash to another root.
    Root {
        /// The root asked for.
        expected: Digest,
        /// The root of this list.
        found: Digest,
    },
}

impl fmt::Display for ChunkListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(f, "a segment of {len} bytes is past the limit of {SEGMENT_BYTES_MAX}")
            }
            Self::Count { len, expected, found } => {
                write!(f, "a segment of {len} bytes has {expected} chunks, the list has {found}")
            }
            Self::Root { expected, found } => write!(f, "the chunk list is of root {found}, not {expected}"),
        }
    }
}

impl std::error::Error for ChunkListError {}

/// Why some content is not the chunk that it is said to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkError {
    /// The segment has no such chunk.
    Range {
        /// The chunk asked for.
        index: u32,
        /// Chunks of the segment.
        count: u32,
    },
    /// The content has another length.
    Length {
        /// The chunk.
        index: u32,
        /// Its bytes.
        expected: usize,
        /// Bytes of the content.
        found: usize,
    },
    /// The content has another digest: damaged on the way or at the source.
    Digest {
        /// The chunk.
        index: u32,
        /// Its digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { index, count } => write!(f, "no chunk {index} in a segment of {count} chunks"),
            Self::Length { index, expected, found } => {
                write!(f, "chunk {index} has {expected} bytes, {found} came")
            }
            Self::Digest { index, expected, found } => {
                write!(f, "chunk {index} has digest {expected}, the content that came has {found}")
            }
        }
    }
}

impl std::error::Error for ChunkError {}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
