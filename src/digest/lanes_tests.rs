//! Every kernel of this machine against `ring` and the published vectors, at every length that padding cares for.
//! More than two lanes at once: `lanes_wide_tests.rs`.

use super::*;
use crate::digest::{Kernel, TreeHasher, chunk_digest};
use crate::limits::{CHUNK_BYTES, LEAF_BYTES};

/// As many leaves as any kernel takes at once.
const MANY: usize = 16;

/// The kernels to try. Those that the machine lacks are named, so that a run without them is seen.
fn kernels() -> Vec<Kernel> {
    for kernel in Kernel::ALL.iter().filter(|kernel| !kernel.is_present()) {
        eprintln!("not tried: this machine lacks {kernel}");
    }
    Kernel::present().collect()
}

/// xorshift: chance as an argument.
pub(in crate::digest) fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

pub(in crate::digest) fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    (0..len).map(|_| next(&mut state) as u8).collect()
}

/// The definition of a leaf's digest: `ring` over its domain block and its bytes.
pub(in crate::digest) fn expected(leaves: &[&[u8]]) -> Vec<Digest> {
    let mut out = vec![Digest::default(); leaves.len()];
    one_by_one(leaves, &mut out);
    out
}

fn check(kernel: Kernel, leaves: &[&[u8]], what: &str) {
    let mut found = vec![Digest::default(); leaves.len()];
    kernel.leaves(leaves, &mut found);
    assert!(found == expected(leaves), "{kernel}: {what}");
}

/// The examples of FIPS 180-4, of NIST's further examples (bytes repeated, around the ends of blocks) and of its
/// SHA256ShortMsg. Miri, which takes a second for a few blocks, leaves out the long ones.
pub(in crate::digest) fn vectors() -> Vec<(Vec<u8>, &'static str)> {
    let long = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
        hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    let mut vectors = vec![
        (Vec::new(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc".to_vec(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (long.to_vec(), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
        (vec![0xbd], "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"),
        (vec![0xc9, 0x8c, 0x8e, 0x55], "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504"),
        (vec![0; 55], "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"),
        (vec![0; 56], "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"),
        (vec![0; 57], "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785"),
        (vec![0; 64], "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"),
        (vec![0xd3], "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
        (vec![0x11, 0xaf], "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"),
        (vec![0xb4, 0x19, 0x0e], "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"),
        (vec![0x74, 0xba, 0x25, 0x21], "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"),
    ];
    if !cfg!(miri) {
        vectors.extend([
            (vec![0; 1000], "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53"),
            (vec![b'A'; 1000], "c2e686823489ced2017f6059b8b239318b6364f6dcd835d0a519105a1eadd6e4"),
            (vec![b'U'; 1005], "f4d62ddec0f3dd90ea1380fa16a5ff8dc4c54b21740650f24afc4120903552b0"),
            (vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
            (vec![0; 1_000_000], "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025"),
        ]);
    }
    vectors
}

#[test]
fn the_compilers_compression_function_gives_the_published_digests() {
    for (message, digest) in vectors() {
        let tail = Tail::new(0, &message);
        let blocks = [message.as_chunks().0, tail.blocks()].concat();
        assert_eq!(digest_of(blocks.iter().fold(START, compress)).to_string(), digest);
    }
}

/// With and without what only some processors have.
#[cfg(target_arch = "x86_64")]
fn all_pairs(lanes: Pairs) -> Vec<Pairs> {
    vec![lanes, lanes.plainly()]
}

#[cfg(target_arch = "aarch64")]
fn all_pairs(lanes: Pairs) -> Vec<Pairs> {
    vec![lanes]
}

#[test]
fn one_lane_and_two_give_the_published_digests() {
    let Some(lanes) = Pairs::detect() else { return eprintln!("not tried: this machine lacks two lanes") };
    for (lanes, (message, digest)) in all_pairs(lanes)
        .into_iter()
        .flat_map(|lanes| vectors().into_iter().map(move |vector| (lanes, vector)))
    {
        let tail = Tail::new(0, &message);
        let blocks = [message.as_chunks().0, tail.blocks()].concat();
        let (mut one, mut two) = ([START], [START; 2]);
        lanes.compress(&mut one, &[&blocks]);
        lanes.compress(&mut two, &[&blocks; 2]);
        let found = [one[0], two[0], two[1]].map(|state| digest_of(state).to_string());
        assert_eq!(found, [digest; 3]);
    }
}

#[test]
fn two_lanes_do_not_mix() {
    let Some(lanes) = Pairs::detect() else { return eprintln!("not tried: this machine lacks two lanes") };
    let bytes = content(8 * BLOCK_BYTES);
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let plain = [&blocks[..4], &blocks[4..]].map(|blocks| blocks.iter().fold(LEAF_START, compress));
    for lanes in all_pairs(lanes) {
        let mut states = [LEAF_START; 2];
        lanes.compress(&mut states, &[&blocks[..4], &blocks[4..]]);
        assert_eq!(states, plain);
    }
}

#[test]
fn sixteen_different_messages_do_not_mix() {
    let bytes = content(MANY * 321);
    let leaves: Vec<&[u8]> = bytes.chunks(321).collect();
    for kernel in kernels() {
        check(kernel, &leaves, "sixteen");
        for lane in 0..MANY {
            let mut other = bytes.clone();
            other[lane * 321 + lane] ^= 0x80;
            let others: Vec<&[u8]> = other.chunks(321).collect();
            let (mut before, mut after) = ([Digest::default(); MANY], [Digest::default(); MANY]);
            kernel.leaves(&leaves, &mut before);
            kernel.leaves(&others, &mut after);
            let changed: Vec<usize> = (0..MANY).filter(|at| before[*at] != after[*at]).collect();
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
    let bytes = content(LEAF_BYTES + MANY);
    for kernel in kernels() {
        for len in lengths() {
            // Each lane starts one byte further: no start but one is aligned.
            let leaves: Vec<&[u8]> = (0..MANY).map(|lane| &bytes[lane..lane + len]).collect();
            check(kernel, &leaves, &format!("sixteen of {len} bytes"));
        }
        for count in 1..=2 * MANY + 1 {
            let leaves: Vec<&[u8]> = (0..count).map(|lane| &bytes[lane % MANY..][..119]).collect();
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
fn an_empty_message_is_padding_alone_in_both_lanes() {
    let Some(lanes) = Pairs::detect() else { return eprintln!("not tried: this machine lacks two lanes") };
    let (empty, mut found): ([&[u8]; 2], _) = ([&[]; 2], [Digest::default(); 2]);
    in_pairs(lanes, &empty, &mut found);
    assert_eq!(found, *expected(&empty));
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
