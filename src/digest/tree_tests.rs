//! The tree against a naive one, at every boundary and under every cut.

use super::*;

/// The definition, written out a second time: concatenate and hash.
fn naive(bytes: &[u8]) -> Tree {
    let hash = |role: &str, parts: &[u8]| {
        let mut text = role.as_bytes().to_vec();
        text.resize(60, 0);
        text.extend_from_slice(&[1, 0, 0, 0]);
        text.extend_from_slice(parts);
        Digest(ring::digest::digest(&SHA256, &text).as_ref().try_into().unwrap())
    };
    let chunk = |bytes: &[u8]| {
        let leaves = bytes.chunks(65_536).flat_map(|leaf| hash("ringway segment leaf", leaf).0);
        hash("ringway segment chunk", &leaves.collect::<Vec<_>>())
    };
    let chunks: Vec<Digest> = bytes.chunks(1_048_576).map(chunk).collect();
    let mut parts = (bytes.len() as u64).to_le_bytes().to_vec();
    chunks.iter().for_each(|digest| parts.extend_from_slice(&digest.0));
    Tree { len: bytes.len() as u64, root: hash("ringway segment root", &parts), chunks }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn tree(bytes: &[u8]) -> Tree {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(bytes);
    hasher.finish()
}

/// xorshift: chance as an argument.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

const BOUNDARIES: [usize; 11] = [
    0,
    1,
    LEAF_BYTES - 1,
    LEAF_BYTES,
    LEAF_BYTES + 1,
    2 * LEAF_BYTES,
    CHUNK_BYTES - 1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    2 * CHUNK_BYTES,
    3 * CHUNK_BYTES + LEAF_BYTES + 5,
];

#[test]
fn every_boundary_gives_the_tree_of_the_definition() {
    for len in BOUNDARIES {
        let bytes = content(len);
        assert_eq!(tree(&bytes), naive(&bytes), "{len} bytes");
    }
}

#[test]
fn every_kernel_gives_the_same_leaves() {
    let bytes = content(CHUNK_BYTES + 3);
    let leaves: Vec<&[u8]> = bytes.chunks(LEAF_BYTES).collect();
    let mut expected = vec![Digest::default(); leaves.len()];
    Kernel::Ring.leaves(&leaves, &mut expected);
    assert_eq!(chunk_of_leaves(&expected[..CHUNK_LEAVES]), naive(&bytes).chunks[0]);
    for kernel in Kernel::present() {
        let mut found = vec![Digest::default(); leaves.len()];
        kernel.leaves(&leaves, &mut found);
        assert_eq!(found, expected, "{kernel}");
    }
}

#[test]
fn a_stream_cut_anywhere_gives_the_tree_of_the_whole() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for len in BOUNDARIES {
        let bytes = content(len);
        let whole = tree(&bytes);
        for round in 0..6 {
            let mut hasher = TreeHasher::with_chunks(Kernel::Ring, 4);
            let mut rest = bytes.as_slice();
            let longest = [3 * LEAF_BYTES, 2 * CHUNK_BYTES, 40_000][round % 3];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((next(&mut state) % (longest + 1)).min(rest.len()));
                hasher.update(piece);
                rest = after;
                assert_eq!(hasher.len(), (len - rest.len()) as u64);
            }
            assert_eq!(hasher.finish(), whole, "{len} bytes, round {round}");
        }
    }
}

#[test]
fn cuts_around_each_leaf_boundary_change_nothing() {
    let bytes = content(2 * LEAF_BYTES + 2);
    let whole = tree(&bytes);
    for cut in (0..3).chain(LEAF_BYTES - 2..LEAF_BYTES + 3).chain(2 * LEAF_BYTES - 2..bytes.len()) {
        let (first, second) = bytes.split_at(cut);
        let mut hasher = TreeHasher::new(Kernel::Ring);
        hasher.update(first);
        hasher.update(second);
        assert_eq!(hasher.finish(), whole, "cut at {cut}");
    }
}

#[test]
fn a_chunk_hasher_returns_what_belongs_to_the_next_chunk() {
    let bytes = content(CHUNK_BYTES + 9);
    let mut hasher = ChunkHasher::new(Kernel::Ring);
    assert!(hasher.update(&bytes[..10]).is_empty());
    assert!(!hasher.is_full());
    assert_eq!(hasher.update(&bytes[10..]), &bytes[CHUNK_BYTES..]);
    assert!(hasher.is_full());
    assert_eq!(hasher.bytes(), CHUNK_BYTES);
    assert_eq!(hasher.finish(), chunk_digest(Kernel::Ring, &bytes[..CHUNK_BYTES]));
}

#[test]
fn no_level_can_stand_for_another() {
    let digests = [Role::Leaf, Role::Chunk, Role::Root].map(|role| end(begin(role)));
    assert_ne!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
    assert_ne!(digests[0], digests[2]);
    // A file whose content is a leaf's digest is not the chunk of that leaf.
    let inner = content(100);
    let mut leaf = [Digest::default()];
    Kernel::Ring.leaves(&[&inner], &mut leaf);
    assert_ne!(chunk_digest(Kernel::Ring, &leaf[0].0), chunk_digest(Kernel::Ring, &inner));
}

#[test]
fn the_root_binds_the_length() {
    let chunks = [Digest([7; 32])];
    assert_ne!(root_digest(1, &chunks), root_digest(2, &chunks));
    assert_ne!(root_digest(0, &[]), root_digest(1, &[]));
}

#[test]
fn the_chunk_list_is_allocated_once_when_the_length_is_known() {
    let bytes = content(3 * CHUNK_BYTES);
    let mut hasher = TreeHasher::with_chunks(Kernel::Ring, 3);
    let place = hasher.chunks.as_ptr();
    hasher.update(&bytes);
    let tree = hasher.finish();
    assert_eq!((tree.chunks.len(), tree.chunks.as_ptr()), (3, place));
}

#[test]
#[should_panic(expected = "a chunk of 0 bytes")]
fn an_empty_chunk_is_a_bug() {
    let _ = chunk_digest(Kernel::Ring, &[]);
}

#[test]
fn chunks_of_many_segments_together_have_the_digests_that_each_has_alone() {
    let bytes = content(2 * CHUNK_BYTES);
    let mut state = 0x5eed_5eed_5eed_5eed;
    let mut batches: Vec<Vec<usize>> = vec![Vec::new(), vec![LEAF_BYTES; 16], vec![LEAF_BYTES; 40]];
    batches.push([CHUNK_BYTES, 1, LEAF_BYTES, LEAF_BYTES + 1, CHUNK_BYTES - 1].repeat(2));
    batches.extend((0..12).map(|round| {
        let (longest, most) =
            [(100, 50), (LEAF_BYTES, 40), (4 * LEAF_BYTES, 20), (CHUNK_BYTES, 5)][round % 4];
        (0..next(&mut state) % most).map(|_| 1 + next(&mut state) % longest).collect()
    }));
    for kernel in Kernel::present() {
        for lens in &batches {
            let chunks: Vec<&[u8]> =
                lens.iter().enumerate().map(|(at, len)| &bytes[at * 31..at * 31 + len]).collect();
            let mut found = vec![Digest::default(); chunks.len()];
            chunk_digests(kernel, &chunks, &mut found);
            let expected: Vec<Digest> = chunks.iter().map(|chunk| naive(chunk).chunks[0]).collect();
            assert_eq!(found, expected, "{kernel}: {lens:?}");
        }
    }
}

#[test]
#[should_panic(expected = "one digest for each chunk")]
fn a_place_for_each_chunks_digest_is_needed() {
    chunk_digests(Kernel::Ring, &[&[1]], &mut []);
}
