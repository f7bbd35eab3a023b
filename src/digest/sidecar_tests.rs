//! The sidecar: what was written is read, and every other bytes are refused with their reason.

use super::*;
use crate::digest::{Kernel, TreeHasher};
use crate::limits::{CHUNK_BYTES, SEGMENT_BYTES_MAX};

fn chunks(len: usize) -> VerifiedChunks {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(&vec![0x5a; len]);
    let tree = hasher.finish();
    let root = tree.root;
    ChunkList::from(tree).verify(root).unwrap()
}

/// A sidecar changed and its checksum made right again: what a writer with a bug would leave.
fn forged(chunks: &VerifiedChunks, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = sidecar_encode(chunks);
    change(&mut bytes);
    let sum = checksum(&bytes);
    bytes[CHECKSUM_AT..LEN_AT].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn a_sidecar_reads_what_it_wrote() {
    for len in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 3] {
        let chunks = chunks(len);
        let bytes = sidecar_encode(&chunks);
        assert_eq!(bytes.len(), sidecar_bytes(chunks.chunk_count()));
        assert_eq!(sidecar_decode(&bytes, chunks.root()), Ok(chunks));
    }
}

#[test]
fn a_sidecar_cut_at_any_length_is_truncated() {
    let chunks = chunks(2 * CHUNK_BYTES);
    let bytes = sidecar_encode(&chunks);
    for len in 0..bytes.len() {
        let expected = if len < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        let found = sidecar_decode(&bytes[..len], chunks.root());
        assert_eq!(found, Err(SidecarError::Truncated { expected, found: len }));
    }
}

#[test]
fn bytes_after_the_last_digest_are_refused() {
    let chunks = chunks(1);
    let mut bytes = sidecar_encode(&chunks);
    bytes.push(0);
    let found = sidecar_decode(&bytes, chunks.root());
    assert_eq!(found, Err(SidecarError::Trailing { expected: 96, found: 97 }));
}

#[test]
fn any_flipped_bit_is_caught() {
    let chunks = chunks(2 * CHUNK_BYTES);
    let good = sidecar_encode(&chunks);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(sidecar_decode(&bytes, chunks.root()).is_err(), "bit {bit}");
    }
}

#[test]
fn another_magic_and_another_version_are_told_apart() {
    let chunks = chunks(1);
    let bytes = forged(&chunks, |bytes| bytes[0] = b'X');
    let found = sidecar_decode(&bytes, chunks.root());
    assert_eq!(found, Err(SidecarError::Magic { found: *b"XWCHUNKS" }));
    let bytes = forged(&chunks, |bytes| bytes[VERSION_AT] = 2);
    assert_eq!(sidecar_decode(&bytes, chunks.root()), Err(SidecarError::Version { found: 2 }));
}

#[test]
fn a_rotten_digest_is_a_checksum_error_and_a_forged_one_a_root_error() {
    let chunks = chunks(1);
    let mut bytes = sidecar_encode(&chunks);
    bytes[HEADER_BYTES] ^= 1;
    assert!(matches!(sidecar_decode(&bytes, chunks.root()), Err(SidecarError::Checksum { .. })));
    let bytes = forged(&chunks, |bytes| bytes[HEADER_BYTES] ^= 1);
    let found = sidecar_decode(&bytes, chunks.root());
    assert!(matches!(found, Err(SidecarError::List(ChunkListError::Root { .. }))), "{found:?}");
}

#[test]
fn a_length_that_does_not_fit_the_count_is_refused_before_anything_is_allocated() {
    let chunks = chunks(1);
    let put = |len: u64, count: u32| {
        forged(&chunks, move |bytes| {
            bytes[LEN_AT..COUNT_AT].copy_from_slice(&len.to_le_bytes());
            bytes[COUNT_AT..RESERVED_AT].copy_from_slice(&count.to_le_bytes());
        })
    };
    for (len, count) in [(0, 1), (1, 2), (SEGMENT_BYTES_MAX + 1, 1), (u64::MAX, u32::MAX), (1, u32::MAX)] {
        let found = sidecar_decode(&put(len, count), chunks.root());
        assert_eq!(found, Err(SidecarError::Count { len, found: count }));
    }
}

#[test]
fn the_sidecar_of_another_segment_is_refused() {
    let chunks = chunks(1);
    let other = Digest([9; 32]);
    let found = sidecar_decode(&sidecar_encode(&chunks), other);
    assert_eq!(found, Err(SidecarError::OtherRoot { expected: other, found: chunks.root() }));
}

#[test]
fn a_reserved_field_that_is_used_is_refused() {
    let chunks = chunks(1);
    let bytes = forged(&chunks, |bytes| bytes[RESERVED_AT] = 1);
    assert_eq!(sidecar_decode(&bytes, chunks.root()), Err(SidecarError::Reserved { found: 1 }));
}
