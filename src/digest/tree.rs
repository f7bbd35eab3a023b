//! The tree: leaf, chunk and root digests, at once and from a stream.
//!
//! Every hash begins with a block of its own role, so that no digest of one level can stand for another's, and
//! the block is 64 bytes, one SHA-256 block, so that data stays aligned and the state after it is computed once.

use std::sync::LazyLock;

use ring::digest::{Context, SHA256};

use crate::digest::{ChunkList, Kernel};
use crate::ids::Digest;
use crate::limits::{CHUNK_BYTES, CHUNK_LEAVES, LEAF_BYTES};

/// Bytes of a domain block: one block of SHA-256.
pub const BLOCK_BYTES: usize = 64;
/// Version of the digest format; the last four bytes of every domain block.
pub const DIGEST_VERSION: u32 = 1;

/// What a hash is the hash of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Up to `LEAF_BYTES` of content.
    Leaf,
    /// The digests of a chunk's leaves.
    Chunk,
    /// A segment's length and the digests of its chunks.
    Root,
}

impl Role {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Leaf => b"ringway segment leaf",
            Self::Chunk => b"ringway segment chunk",
            Self::Root => b"ringway segment root",
        }
    }
}

/// The block that a hash of this role begins with: its text, zeros, the format version.
#[must_use]
pub const fn domain_block(role: Role) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let text = role.text();
    block.split_at_mut(text.len()).0.copy_from_slice(text);
    block.split_at_mut(BLOCK_BYTES - 4).1.copy_from_slice(&DIGEST_VERSION.to_le_bytes());
    block
}

/// The states after each domain block. Cloning one is a copy of its 200-odd bytes.
static BEGUN: LazyLock<[Context; 3]> = LazyLock::new(|| {
    [Role::Leaf, Role::Chunk, Role::Root].map(|role| {
        let mut context = Context::new(&SHA256);
        context.update(&domain_block(role));
        context
    })
});

/// A hash of this role, its domain block already in.
pub(in crate::digest) fn begin(role: Role) -> Context {
    let [leaf, chunk, root] = &*BEGUN;
    match role {
        Role::Leaf => leaf.clone(),
        Role::Chunk => chunk.clone(),
        Role::Root => root.clone(),
    }
}

/// The digest of all that went into `context`.
pub(in crate::digest) fn end(context: Context) -> Digest {
    let digest = context.finish();
    Digest(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// Each leaf in one stream of `ring`.
pub(in crate::digest) fn one_by_one(leaves: &[&[u8]], out: &mut [Digest]) {
    for (leaf, digest) in leaves.iter().zip(out) {
        let mut context = begin(Role::Leaf);
        context.update(leaf);
        *digest = end(context);
    }
}

fn chunk_of_leaves(leaves: &[Digest]) -> Digest {
    let mut context = begin(Role::Chunk);
    leaves.iter().for_each(|leaf| context.update(&leaf.0));
    end(context)
}

/// The digest of one chunk of 1 to `CHUNK_BYTES` bytes.
#[must_use]
pub fn chunk_digest(kernel: Kernel, bytes: &[u8]) -> Digest {
    let mut digest = [Digest::default()];
    chunk_digests(kernel, &[bytes], &mut digest);
    digest[0]
}

/// The digests of chunks of 1 to `CHUNK_BYTES` bytes each, in order, into `out`. They may be of several segments: small
/// ones, a leaf each, fill the kernel's lanes together.
pub fn chunk_digests(kernel: Kernel, chunks: &[&[u8]], out: &mut [Digest]) {
    assert_eq!(chunks.len(), out.len(), "one digest for each chunk");
    for bytes in chunks {
        assert!((1..=CHUNK_BYTES).contains(&bytes.len()), "a chunk of {} bytes", bytes.len());
    }
    let mut ready: [&[u8]; CHUNK_LEAVES] = [&[]; CHUNK_LEAVES];
    let mut digests = [Digest::default(); CHUNK_LEAVES];
    let mut leaves = chunks.iter().flat_map(|bytes| bytes.chunks(LEAF_BYTES));
    // The chunk whose leaves are coming out, and how many of them came.
    let (mut open, mut chunk, mut done) = (begin(Role::Chunk), 0, 0);
    loop {
        let mut count = 0;
        for (slot, leaf) in ready.iter_mut().zip(&mut leaves) {
            *slot = leaf;
            count += 1;
        }
        if count == 0 {
            return;
        }
        kernel.leaves(&ready[..count], &mut digests[..count]);
        for leaf in &digests[..count] {
            open.update(&leaf.0);
            done += 1;
            if done == chunks[chunk].len().div_ceil(LEAF_BYTES) {
                out[chunk] = end(std::mem::replace(&mut open, begin(Role::Chunk)));
                (chunk, done) = (chunk + 1, 0);
            }
        }
    }
}

/// The root of a segment of `len` bytes with these chunk digests.
#[must_use]
pub fn root_digest(len: u64, chunks: &[Digest]) -> Digest {
    let mut context = begin(Role::Root);
    context.update(&len.to_le_bytes());
    chunks.iter().for_each(|chunk| context.update(&chunk.0));
    end(context)
}

/// One chunk, from pieces as they arrive. Holds no content: a leaf in pieces is hashed as it comes, whole leaves
/// go to the kernel together.
#[derive(Clone)]
pub struct ChunkHasher {
    kernel: Kernel,
    leaves: [Digest; CHUNK_LEAVES],
    leaf_count: usize,
    open: Context,
    open_bytes: usize,
}

impl ChunkHasher {
    /// A chunk of which nothing has come.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        let leaves = [Digest::default(); CHUNK_LEAVES];
        Self { kernel, leaves, leaf_count: 0, open: begin(Role::Leaf), open_bytes: 0 }
    }

    /// Takes what still belongs to this chunk and returns the rest, which is empty unless the chunk is full.
    pub fn update<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() && self.leaf_count < CHUNK_LEAVES {
            bytes = if self.open_bytes == 0 && bytes.len() >= LEAF_BYTES {
                self.take_leaves(bytes)
            } else {
                self.take_piece(bytes)
            };
        }
        bytes
    }

    /// The chunk's digest. A chunk has at least one byte.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        self.take()
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.leaf_count * LEAF_BYTES + self.open_bytes
    }

    /// Whether the chunk has all of its bytes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.leaf_count == CHUNK_LEAVES
    }

    /// The digest of what has come; then empty, for the next chunk.
    fn take(&mut self) -> Digest {
        assert!(self.bytes() > 0, "the digest of an empty chunk");
        if self.open_bytes > 0 {
            self.close_leaf();
        }
        let digest = chunk_of_leaves(&self.leaves[..self.leaf_count]);
        self.leaf_count = 0;
        digest
    }

    fn take_leaves<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = (bytes.len() / LEAF_BYTES).min(CHUNK_LEAVES - self.leaf_count);
        let (whole, rest) = bytes.split_at(count * LEAF_BYTES);
        let mut leaves: [&[u8]; CHUNK_LEAVES] = [&[]; CHUNK_LEAVES];
        for (slot, leaf) in leaves.iter_mut().zip(whole.chunks_exact(LEAF_BYTES)) {
            *slot = leaf;
        }
        self.kernel.leaves(&leaves[..count], &mut self.leaves[self.leaf_count..self.leaf_count + count]);
        self.leaf_count += count;
        rest
    }

    fn take_piece<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (piece, rest) = bytes.split_at(bytes.len().min(LEAF_BYTES - self.open_bytes));
        self.open.update(piece);
        self.open_bytes += piece.len();
        if self.open_bytes == LEAF_BYTES {
            self.close_leaf();
        }
        rest
    }

    fn close_leaf(&mut self) {
        let leaf = std::mem::replace(&mut self.open, begin(Role::Leaf));
        self.leaves[self.leaf_count] = end(leaf);
        self.leaf_count += 1;
        self.open_bytes = 0;
    }
}

/// What hashing a whole segment gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Length of the segment, in bytes.
    pub len: u64,
    /// Its identity.
    pub root: Digest,
    /// The digest of each chunk; none for an empty segment.
    pub chunks: Vec<Digest>,
}

impl From<Tree> for ChunkList {
    fn from(tree: Tree) -> Self {
        Self { len: tree.len, chunks: tree.chunks }
    }
}

/// A segment's tree, from a stream cut anywhere. The caller holds the length under `SEGMENT_BYTES_MAX`.
#[derive(Clone)]
pub struct TreeHasher {
    chunk: ChunkHasher,
    chunks: Vec<Digest>,
}

impl TreeHasher {
    /// Of an empty segment.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self { chunk: ChunkHasher::new(kernel), chunks: Vec::new() }
    }

    /// Of a segment whose length is known, so that the chunk list is allocated once.
    #[must_use]
    pub fn with_chunks(kernel: Kernel, chunk_count: u32) -> Self {
        let capacity = usize::try_from(chunk_count).expect("u32 fits usize on 64-bit Linux");
        Self { chunk: ChunkHasher::new(kernel), chunks: Vec::with_capacity(capacity) }
    }

    /// The next bytes of the segment.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = self.chunk.update(bytes);
            if self.chunk.is_full() {
                self.chunks.push(self.chunk.take());
            }
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        let whole = self.chunks.len() * CHUNK_BYTES;
        u64::try_from(whole + self.chunk.bytes()).expect("usize fits u64")
    }

    /// Whether nothing has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tree of all that came.
    #[must_use]
    pub fn finish(mut self) -> Tree {
        let len = self.len();
        if self.chunk.bytes() > 0 {
            self.chunks.push(self.chunk.take());
        }
        Tree { len, root: root_digest(len, &self.chunks), chunks: self.chunks }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
