//! The list's checks: each level's corruption is caught, and only the true list passes.

use super::*;
use crate::digest::{Tree, TreeHasher};
use crate::limits::LEAF_BYTES;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 241) as u8).collect()
}

fn tree(bytes: &[u8]) -> Tree {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(bytes);
    hasher.finish()
}

fn verified(bytes: &[u8]) -> VerifiedChunks {
    let tree = tree(bytes);
    let root = tree.root;
    ChunkList::from(tree).verify(root).unwrap()
}

#[test]
fn chunk_counts_and_sizes_follow_the_length() {
    assert_eq!(chunk_count(0), Some(0));
    assert_eq!(chunk_count(1), Some(1));
    assert_eq!(chunk_count(CHUNK), Some(1));
    assert_eq!(chunk_count(CHUNK + 1), Some(2));
    assert_eq!(chunk_count(SEGMENT_BYTES_MAX).map(u64::from), Some(SEGMENT_CHUNKS_MAX));
    assert_eq!(chunk_count(SEGMENT_BYTES_MAX + 1), None);
    let chunks = verified(&content(2 * CHUNK_BYTES + 5));
    let sizes: Vec<_> = (0..4).map(|index| chunks.chunk_bytes(index)).collect();
    assert_eq!(sizes, [Some(CHUNK_BYTES), Some(CHUNK_BYTES), Some(5), None]);
    assert_eq!(chunks.digest(3), None);
    let whole = verified(&content(CHUNK_BYTES));
    assert_eq!(whole.chunk_bytes(0), Some(CHUNK_BYTES));
}

#[test]
fn an_empty_segment_has_a_root_and_no_chunks() {
    let chunks = verified(&[]);
    assert!(chunks.is_empty());
    assert_eq!((chunks.chunk_count(), chunks.digest(0), chunks.chunk_bytes(0)), (0, None, None));
    let found = chunks.check(Kernel::Ring, 0, &[]);
    assert_eq!(found, Err(ChunkError::Range { index: 0, count: 0 }));
}

#[test]
fn every_chunk_of_the_segment_passes_its_check() {
    let bytes = content(2 * CHUNK_BYTES + LEAF_BYTES + 1);
    let chunks = verified(&bytes);
    for (index, chunk) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
        assert_eq!(chunks.check(Kernel::Ring, index, chunk), Ok(()));
    }
}

#[test]
fn one_flipped_bit_in_any_leaf_is_caught() {
    let mut bytes = content(CHUNK_BYTES);
    let chunks = verified(&bytes);
    for leaf in 0..16 {
        let at = leaf * LEAF_BYTES + leaf * 17;
        bytes[at] ^= 1 << (leaf % 8);
        let found = chunks.check(Kernel::Ring, 0, &bytes);
        assert!(matches!(found, Err(ChunkError::Digest { index: 0, .. })), "leaf {leaf}: {found:?}");
        bytes[at] ^= 1 << (leaf % 8);
    }
    assert_eq!(chunks.check(Kernel::Ring, 0, &bytes), Ok(()));
}

#[test]
fn leaves_in_another_order_are_caught() {
    let mut bytes = content(2 * LEAF_BYTES);
    let chunks = verified(&bytes);
    let (first, second) = bytes.split_at_mut(LEAF_BYTES);
    first.swap_with_slice(second);
    assert!(matches!(chunks.check(Kernel::Ring, 0, &bytes), Err(ChunkError::Digest { .. })));
}

#[test]
fn a_chunk_of_another_length_is_refused_before_it_is_hashed() {
    let bytes = content(CHUNK_BYTES + 7);
    let chunks = verified(&bytes);
    let found = chunks.check(Kernel::Ring, 1, &bytes[CHUNK_BYTES..CHUNK_BYTES + 6]);
    assert_eq!(found, Err(ChunkError::Length { index: 1, expected: 7, found: 6 }));
    let found = chunks.check(Kernel::Ring, 1, &[]);
    assert_eq!(found, Err(ChunkError::Length { index: 1, expected: 7, found: 0 }));
}

#[test]
fn a_changed_list_is_not_of_the_root() {
    let good = tree(&content(3 * CHUNK_BYTES));
    let root = good.root;
    let list = |change: fn(&mut ChunkList)| {
        let mut list = ChunkList::from(good.clone());
        change(&mut list);
        list.verify(root)
    };
    let is_root = |found| matches!(found, Err(ChunkListError::Root { .. }));
    assert!(list(|_| ()).is_ok());
    assert!(is_root(list(|list| list.chunks[1].0[31] ^= 1)));
    assert!(is_root(list(|list| list.chunks.swap(0, 2))));
    assert!(is_root(list(|list| list.len -= 1)));
    assert!(is_root(ChunkList::from(good.clone()).verify(Digest([0; 32]))));
}

#[test]
fn a_list_whose_count_does_not_fit_its_length_is_refused() {
    let tree = tree(&content(2 * CHUNK_BYTES));
    let root = tree.root;
    for (len, found, expected) in [(2 * CHUNK, 1, 2), (2 * CHUNK, 3, 2), (2 * CHUNK + 1, 2, 3), (0, 1, 0)] {
        let list = ChunkList { len, chunks: vec![Digest::default(); found] };
        assert_eq!(list.verify(root), Err(ChunkListError::Count { len, expected, found }));
    }
    let list = ChunkList { len: SEGMENT_BYTES_MAX + 1, chunks: Vec::new() };
    assert_eq!(list.verify(root), Err(ChunkListError::TooLong { len: SEGMENT_BYTES_MAX + 1 }));
}

#[test]
fn a_segment_of_at_most_one_chunk_proves_itself() {
    for len in [0, 1, LEAF_BYTES, CHUNK_BYTES] {
        let bytes = content(len);
        let root = tree(&bytes).root;
        let chunks = VerifiedChunks::of_content(Kernel::Ring, &bytes, root).unwrap();
        assert_eq!(chunks, verified(&bytes));
        let other = VerifiedChunks::of_content(Kernel::Ring, &bytes, Digest([1; 32]));
        assert_eq!(other, Err(ChunkListError::Root { expected: Digest([1; 32]), found: root }));
    }
    let bytes = content(CHUNK_BYTES + 1);
    let found = VerifiedChunks::of_content(Kernel::Ring, &bytes, tree(&bytes).root);
    assert_eq!(found, Err(ChunkListError::Count { len: CHUNK + 1, expected: 1, found: 2 }));
}
