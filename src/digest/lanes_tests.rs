//! Every kernel of this machine against `ring` and the published vectors, at every length that padding cares for.

use super::*;
use crate::digest::{Kernel, TreeHasher, chunk_digest};
use crate::limits::{CHUNK_BYTES, LEAF_BYTES};

/// The kernels to try. Those that the machine lacks are named, so that a run without them is seen.
fn kernels() -> Vec<Kernel> {
    for kernel in Kernel::ALL.iter().filter(|kernel| !kernel.is_present()) {
        eprintln!("not tried: this machine lacks {kernel}");
    }
    Kernel::present().collect()
}

/// xorshift: chance as an argument.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    (0..len).map(|_| next(&mut state) as u8).collect()
}

/// The definition of a leaf's digest: `ring` over its domain block and its bytes.
fn expected(leaves: &[&[u8]]) -> Vec<Digest> {
    let mut out = vec![Digest::default(); leaves.len()];
    one_by_one(leaves, &mut out);
    out
}

fn check(kernel: Kernel, leaves: &[&[u8]], what: &str) {
    let mut found = vec![Digest::default(); leaves.len()];
    kernel.leaves(leaves, &mut found);
    assert!(found == expected(leaves), "{kernel}: {what}");
}

// FIPS 180-4 examples, as in NIST's SHA256ShortMsg and SHA256LongMsg.
fn vectors() -> Vec<(Vec<u8>, &'static str)> {
    let long = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
        hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    vec![
        (Vec::new(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (long.to_vec(), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
        (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ]
}

#[test]
fn every_compression_function_gives_the_published_digests() {
    kernels();
    for (message, digest) in vectors() {
        let tail = Tail::new(0, &message);
        let blocks = [message.as_chunks().0, tail.blocks()].concat();
        let plain = blocks.iter().fold(START, compress);
        assert_eq!(digest_of(plain).to_string(), digest, "the compiler's");
        if let Some(lanes) = ShaNi::detect() {
            let (mut one, mut two) = ([START], [START; 2]);
            lanes.compress(&mut one, &[&blocks]);
            lanes.compress(&mut two, &[&blocks; 2]);
            assert_eq!([one[0], two[0], two[1]], [plain; 3], "sha-ni");
        }
        if let Some(lanes) = Avx512::detect() {
            let mut states = START.map(|word| [word; WIDE]);
            lanes.compress(&mut states, &[&blocks; WIDE]);
            assert_eq!(states, plain.map(|word| [word; WIDE]), "avx512");
        }
    }
}

#[test]
fn sixteen_different_messages_do_not_mix() {
    let bytes = content(WIDE * 321);
    let leaves: Vec<&[u8]> = bytes.chunks(321).collect();
    for kernel in kernels() {
        check(kernel, &leaves, "sixteen");
        for lane in 0..WIDE {
            let mut other = bytes.clone();
            other[lane * 321 + lane] ^= 0x80;
            let others: Vec<&[u8]> = other.chunks(321).collect();
            let (mut before, mut after) = ([Digest::default(); WIDE], [Digest::default(); WIDE]);
            kernel.leaves(&leaves, &mut before);
            kernel.leaves(&others, &mut after);
            let changed: Vec<usize> = (0..WIDE).filter(|at| before[*at] != after[*at]).collect();
            assert_eq!(changed, [lane], "{kernel}");
        }
    }
}

/// 1 to 200, and around a whole leaf: one block of padding or two, a last block full or not.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=200).chain(LEAF_BYTES - 130..=LEAF_BYTES)
}

#[test]
fn every_length_of_padding_is_right_in_every_number_of_lanes() {
    let bytes = content(LEAF_BYTES + WIDE);
    for kernel in kernels() {
        for len in lengths() {
            // Each lane starts one byte further: no start but one is aligned.
            let leaves: Vec<&[u8]> = (0..WIDE).map(|lane| &bytes[lane..lane + len]).collect();
            check(kernel, &leaves, &format!("sixteen of {len} bytes"));
        }
        for count in 1..=2 * WIDE + 1 {
            let leaves: Vec<&[u8]> = (0..count).map(|lane| &bytes[lane % WIDE..][..119]).collect();
            check(kernel, &leaves, &format!("{count} leaves"));
        }
    }
}

#[test]
fn two_lanes_of_different_lengths_end_where_each_ends() {
    let bytes = content(LEAF_BYTES + 3);
    for kernel in kernels() {
        for len in lengths() {
            for other in [1, 55, 56, 63, 64, 119, 120, 200, LEAF_BYTES] {
                check(kernel, &[&bytes[3..3 + len], &bytes[1..=other]], &format!("{len} and {other} bytes"));
            }
        }
    }
}

#[test]
fn an_empty_message_is_padding_alone_in_every_lane() {
    let empty: [&[u8]; WIDE] = [&[]; WIDE];
    let (mut two, mut wide_out) = (vec![Digest::default(); 2], vec![Digest::default(); WIDE]);
    if let Some(lanes) = ShaNi::detect() {
        in_pairs(lanes, &empty[..2], &mut two);
        assert_eq!(two, expected(&empty[..2]));
    }
    if let Some(lanes) = Avx512::detect() {
        wide(lanes, &empty, &mut wide_out);
        assert_eq!(wide_out, expected(&empty));
    }
}

#[test]
fn any_list_of_leaves_gives_what_ring_gives() {
    let bytes = content(2 * LEAF_BYTES);
    let mut state = 0x0123_4567_89ab_cdef;
    for kernel in kernels() {
        for round in 0..60 {
            let mut leaves: Vec<&[u8]> = Vec::new();
            for _ in 0..1 + next(&mut state) % 5 {
                // Runs of one length from one to twenty leaves, short, middling or whole.
                let len = 1 + next(&mut state) % [200, 5000, LEAF_BYTES][round % 3];
                for _ in 0..1 + next(&mut state) % 20 {
                    let start = next(&mut state) % (bytes.len() - len);
                    leaves.push(&bytes[start..start + len]);
                }
            }
            check(kernel, &leaves, &format!("round {round}, {} leaves", leaves.len()));
        }
    }
}

#[test]
fn chunks_and_trees_are_the_same_by_every_kernel_around_every_boundary() {
    let bytes = content(CHUNK_BYTES + 3 * LEAF_BYTES);
    let around = |at: usize| [at - 65, at - 64, at - 9, at - 8, at - 1, at, at + 1, at + 63, at + 64];
    let places = [1, 2, 9, 10, 15, 16, 17].map(|leaves| leaves * LEAF_BYTES);
    let mut state = 0xfeed_face_cafe_beef;
    for kernel in kernels() {
        for len in places.into_iter().flat_map(around) {
            let content = &bytes[7..7 + len];
            let tree = |kernel, longest: usize, state: &mut u64| {
                let (mut hasher, mut rest) = (TreeHasher::new(kernel), content);
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((1 + next(state) % longest).min(rest.len()));
                    hasher.update(piece);
                    rest = after;
                }
                hasher.finish()
            };
            let whole = tree(Kernel::Ring, 9000, &mut 1);
            assert_eq!(tree(kernel, 2 * CHUNK_BYTES, &mut state), whole, "{kernel}, {len} bytes");
            let chunks: Vec<Digest> = content.chunks(CHUNK_BYTES).map(|c| chunk_digest(kernel, c)).collect();
            assert_eq!(chunks, whole.chunks, "{kernel}, {len} bytes");
        }
    }
}
