//! Eight or sixteen leaves at once: which go together, and lanes that end one after the other.
//!
//! Safe code; the compression functions are in `lanes_avx512.rs` and `lanes_avx2.rs`.

use crate::digest::lanes::{BlockBytes, LEAF_START, Tail, digest_of, in_pairs};
use crate::digest::lanes_avx2::{Avx2, EIGHT};
use crate::digest::lanes_avx512::{Avx512, WIDE};
use crate::digest::lanes_sha_ni::ShaNi;
use crate::digest::tree::{BLOCK_BYTES, one_by_one};
use crate::ids::Digest;

/// How full sixteen lanes must be to be faster than pairs, in leaves as long as the longest of them. Nine whole leaves
/// take as long either way, kernel-notes/sha256-lanes.md.
const WIDE_LEAVES_MIN: usize = 10;
/// The same beside one stream without the SHA extensions: eight lanes are over three times as fast, sixteen over eight.
const WIDE_LEAVES_MIN_ALONE: usize = 3;

/// Up to `N` leaves of any lengths, all lanes at once as far as the shortest that is left goes. A lane that has ended
/// or never began does another's work again.
pub(in crate::digest) fn wide<const N: usize>(
    compress: impl Fn(&mut [[u32; N]; 8], &[&[BlockBytes]; N]),
    leaves: &[&[u8]],
    out: &mut [Digest],
) {
    assert!(leaves.len() <= N && leaves.len() == out.len(), "{} leaves in {N} lanes", leaves.len());
    let leaf = |lane: usize| leaves.get(lane).copied().unwrap_or_default();
    let tails: [Tail; N] = std::array::from_fn(|lane| Tail::new(BLOCK_BYTES, leaf(lane)));
    let mut states = LEAF_START.map(|word| [word; N]);
    let mut rest: [&[BlockBytes]; N] = std::array::from_fn(|lane| leaf(lane).as_chunks().0);
    let mut in_tail = [false; N];
    let mut left = leaves.len();
    while left > 0 {
        for (lane, rest) in rest.iter_mut().enumerate().take(leaves.len()) {
            if rest.is_empty() && !in_tail[lane] {
                (*rest, in_tail[lane]) = (tails[lane].blocks(), true);
            }
        }
        let going = rest.iter().filter(|rest| !rest.is_empty());
        let shortest = going.min_by_key(|rest| rest.len()).copied().unwrap_or_default();
        let feed = rest.map(|rest| rest.get(..shortest.len()).unwrap_or(shortest));
        compress(&mut states, &feed);
        for (lane, rest) in rest.iter_mut().enumerate().filter(|(_, rest)| !rest.is_empty()) {
            *rest = &rest[shortest.len()..];
            if rest.is_empty() && in_tail[lane] {
                out[lane] = digest_of(states.map(|words| words[lane]));
                left -= 1;
            }
        }
    }
}

/// Up to `N` leaves at a time where that pays, the others by `narrow`. It pays where they are together as long as
/// `enough` leaves of the length of the longest: the longest is what the time of all lanes goes by.
fn in_wide<const N: usize>(
    compress: impl Fn(&mut [[u32; N]; 8], &[&[BlockBytes]; N]),
    enough: usize,
    narrow: impl Fn(&[&[u8]], &mut [Digest]),
    leaves: &[&[u8]],
    out: &mut [Digest],
) {
    let blocks = |leaf: &&[u8]| leaf.len().div_ceil(BLOCK_BYTES);
    let (mut left, mut at) = (0, 0);
    while at < leaves.len() {
        let window = &leaves[at..leaves.len().min(at + N)];
        let longest = window.iter().map(blocks).max().unwrap_or_default();
        if window.iter().map(blocks).sum::<usize>() < enough * longest {
            at += 1;
            continue;
        }
        narrow(&leaves[left..at], &mut out[left..at]);
        wide(&compress, window, &mut out[at..at + window.len()]);
        at += window.len();
        left = at;
    }
    narrow(&leaves[left..], &mut out[left..]);
}

/// As `in_wide` in sixteen lanes, the others in pairs or one by one.
pub(in crate::digest) fn in_sixteens(lanes: Avx512, leaves: &[&[u8]], out: &mut [Digest]) {
    let compress =
        |states: &mut [[u32; WIDE]; 8], blocks: &[&[BlockBytes]; WIDE]| lanes.compress(states, blocks);
    match ShaNi::detect() {
        Some(pairs) => {
            let narrow = |leaves: &[&[u8]], out: &mut [Digest]| in_pairs(pairs, leaves, out);
            in_wide(compress, WIDE_LEAVES_MIN, narrow, leaves, out);
        }
        None => in_wide(compress, WIDE_LEAVES_MIN_ALONE, one_by_one, leaves, out),
    }
}

/// As `in_wide` in eight lanes, the others one by one.
pub(in crate::digest) fn in_eights(lanes: Avx2, leaves: &[&[u8]], out: &mut [Digest]) {
    let compress =
        |states: &mut [[u32; EIGHT]; 8], blocks: &[&[BlockBytes]; EIGHT]| lanes.compress(states, blocks);
    in_wide(compress, WIDE_LEAVES_MIN_ALONE, one_by_one, leaves, out);
}

#[cfg(test)]
#[path = "lanes_wide_tests.rs"]
mod tests;
