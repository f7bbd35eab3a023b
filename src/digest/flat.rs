//! The flat SHA-256 (what `sha256sum` prints, what engines compute in memory), alone and in the tree's pass.

use ring::digest::{Context, SHA256};

use crate::digest::tree::end;
use crate::digest::{Kernel, Tree, TreeHasher};
use crate::ids::Digest;
use crate::limits::CHUNK_BYTES;

/// SHA-256 of a stream, without any domain block.
#[derive(Clone)]
pub struct FlatHasher {
    context: Context,
}

impl FlatHasher {
    /// Of no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { context: Context::new(&SHA256) }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all that came.
    #[must_use]
    pub fn finish(self) -> Digest {
        end(self.context)
    }
}

impl Default for FlatHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Tree and flat digest in one pass over the bytes.
#[derive(Clone)]
pub struct TreeAndFlat {
    tree: TreeHasher,
    flat: FlatHasher,
}

impl TreeAndFlat {
    /// Of an empty segment.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self { tree: TreeHasher::new(kernel), flat: FlatHasher::new() }
    }

    /// The next bytes, a chunk at a time through both, so that the second finds them in cache.
    pub fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_BYTES) {
            self.tree.update(piece);
            self.flat.update(piece);
        }
    }

    /// Both digests of all that came.
    #[must_use]
    pub fn finish(self) -> (Tree, Digest) {
        (self.tree.finish(), self.flat.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(bytes: &[u8]) -> String {
        let mut hasher = FlatHasher::new();
        hasher.update(bytes);
        hasher.finish().to_string()
    }

    // FIPS 180-4 examples, as in NIST's SHA256ShortMsg and SHA256LongMsg.
    #[test]
    fn the_flat_digest_is_plain_sha_256() {
        let cases: [(&[u8], &str); 3] = [
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(flat(bytes), expected);
        }
        let million = vec![b'a'; 1_000_000];
        assert_eq!(flat(&million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn one_pass_gives_what_two_passes_give() {
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 77).map(|i| (i % 251) as u8).collect();
        let mut both = TreeAndFlat::new(Kernel::Ring);
        let mut tree = TreeHasher::new(Kernel::Ring);
        for piece in bytes.chunks(1_300_000) {
            both.update(piece);
        }
        tree.update(&bytes);
        let (tree_of_both, flat_of_both) = both.finish();
        assert_eq!(tree_of_both, tree.finish());
        assert_eq!(flat_of_both.to_string(), flat(&bytes));
    }
}
