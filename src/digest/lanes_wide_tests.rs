//! Eight and sixteen lanes: the published vectors, lanes of any lengths, and which leaves go together.

use std::cell::RefCell;

use super::*;
use crate::digest::lanes::tests::{content, expected, next, vectors};
use crate::limits::LEAF_BYTES;

/// Runs `check` for each number of lanes that this machine has; names those that it lacks.
macro_rules! each_width {
    ($check:ident) => {
        match Avx512::detect() {
            Some(lanes) => $check::<WIDE>(&|states, blocks| lanes.compress(states, blocks)),
            None => eprintln!("not tried: this machine lacks avx512"),
        }
        match Avx2::detect() {
            Some(lanes) => $check::<EIGHT>(&|states, blocks| lanes.compress(states, blocks)),
            None => eprintln!("not tried: this machine lacks avx2"),
        }
    };
}

type Compress<'a, const N: usize> = &'a dyn Fn(&mut [[u32; N]; 8], &[&[BlockBytes]; N]);

const START: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

fn gives_the_vectors<const N: usize>(compress: Compress<'_, N>) {
    for (message, digest) in vectors() {
        let tail = Tail::new(0, &message);
        let blocks = [message.as_chunks().0, tail.blocks()].concat();
        let mut states = START.map(|word| [word; N]);
        compress(&mut states, &[&blocks; N]);
        for lane in 0..N {
            assert_eq!(digest_of(states.map(|words| words[lane])).to_string(), digest, "lane {lane} of {N}");
        }
    }
}

#[test]
fn every_lane_gives_the_published_digests() {
    each_width!(gives_the_vectors);
}

fn keeps_messages_apart<const N: usize>(compress: Compress<'_, N>) {
    let bytes = content(N * 2 * BLOCK_BYTES);
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let lanes: [&[BlockBytes]; N] = std::array::from_fn(|lane| &blocks[2 * lane..2 * lane + 2]);
    let mut together = START.map(|word| [word; N]);
    compress(&mut together, &lanes);
    for (lane, blocks) in lanes.into_iter().enumerate() {
        let mut alone = START.map(|word| [word; N]);
        compress(&mut alone, &[blocks; N]);
        assert_eq!(together.map(|words| words[lane]), alone.map(|words| words[lane]), "lane {lane} of {N}");
    }
}

#[test]
fn every_lane_has_its_own_message() {
    each_width!(keeps_messages_apart);
}

fn ends_each_lane_where_it_ends<const N: usize>(compress: Compress<'_, N>) {
    let bytes = content(LEAF_BYTES + 200);
    let mut state = 0x0bad_cafe_0bad_cafe;
    for round in 0..200 {
        let count = 1 + round % N;
        let longest = [130, 3000, LEAF_BYTES + 1][round % 3];
        let mut leaf = || {
            let (len, start) = (next(&mut state) % longest, next(&mut state) % 200);
            &bytes[start..start + len]
        };
        let leaves: Vec<&[u8]> = (0..count).map(|_| leaf()).collect();
        let mut found = vec![Digest::default(); count];
        wide(compress, &leaves, &mut found);
        assert_eq!(found, expected(&leaves), "round {round}, {count} of {N} lanes");
    }
    let (empty, mut found): ([&[u8]; N], _) = ([&[]; N], [Digest::default(); N]);
    wide(compress, &empty, &mut found);
    assert_eq!(found, *expected(&empty), "empty");
}

#[test]
fn lanes_of_any_lengths_end_where_each_ends() {
    each_width!(ends_each_lane_where_it_ends);
}

/// What went through lanes, as numbers of leaves at once, and how many leaves went elsewhere.
fn dealt(lens: &[usize]) -> (usize, Vec<usize>) {
    let bytes = content(LEAF_BYTES);
    let leaves: Vec<&[u8]> = lens.iter().map(|len| &bytes[..*len]).collect();
    let (blocks, narrow) = (RefCell::new(0), RefCell::new(Vec::new()));
    let compress = |_: &mut [[u32; WIDE]; 8], lanes: &[&[BlockBytes]; WIDE]| {
        *blocks.borrow_mut() += lanes[0].len();
    };
    let narrowly = |leaves: &[&[u8]], _: &mut [Digest]| {
        narrow.borrow_mut().extend(leaves.iter().map(|leaf| leaf.len()));
    };
    let mut out = vec![Digest::default(); lens.len()];
    in_wide(compress, WIDE_LEAVES_MIN, narrowly, &leaves, &mut out);
    (blocks.into_inner(), narrow.into_inner())
}

#[test]
fn leaves_go_together_where_the_longest_does_not_keep_the_others_waiting() {
    const WHOLE: usize = LEAF_BYTES;
    let all = WHOLE / BLOCK_BYTES + 1;
    assert_eq!(dealt(&[WHOLE; 16]), (all, vec![]));
    assert_eq!(dealt(&[WHOLE; 34]), (2 * all, vec![WHOLE; 2]));
    assert_eq!(dealt(&[WHOLE; 9]), (0, vec![WHOLE; 9]));
    // The last leaf of a segment, and a small segment between large ones, stop nobody.
    let mut lens = [WHOLE; 16];
    (lens[3], lens[15]) = (100, 5000);
    assert_eq!(dealt(&lens), (all, vec![]));
    // Fifteen small leaves do not wait for a whole one.
    let mut lens = [640; 16];
    lens[0] = WHOLE;
    assert_eq!(dealt(&lens), (11, vec![WHOLE]));
}
