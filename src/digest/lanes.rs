//! Leaves dealt to lanes: padding, the state after the leaf's domain block, two at once.
//!
//! Safe code; the compression functions are in `lanes_sha_ni.rs` and `lanes_aarch64.rs`. More than two at once:
//! `lanes_wide.rs`. Why lanes, and what they were measured at: kernel-notes/sha256-lanes.md.

#[cfg(target_arch = "aarch64")]
use crate::digest::lanes_aarch64::ArmSha2 as Pairs;
#[cfg(target_arch = "x86_64")]
use crate::digest::lanes_sha_ni::ShaNi as Pairs;
use crate::digest::tree::{BLOCK_BYTES, Role, domain_block, one_by_one};
use crate::ids::Digest;

/// One block of a message.
pub(in crate::digest) type BlockBytes = [u8; BLOCK_BYTES];
/// The eight words between two blocks.
pub(in crate::digest) type State = [u32; 8];

/// The round constants of FIPS 180-4, 4.2.2.
pub(in crate::digest) const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// The state before the first block, FIPS 180-4, 5.3.3.
const START: State =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The state after the leaf's domain block: computed by the compiler, so that no kernel needs another for it.
pub(in crate::digest) const LEAF_START: State = compress(START, &domain_block(Role::Leaf));

/// The compression function, plainly, for the compiler.
const fn compress(state: State, block: &BlockBytes) -> State {
    let mut w = [0_u32; 64];
    let mut i = 0;
    while i < 64 {
        w[i] = if i < 16 {
            u32::from_be_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]])
        } else {
            let low = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let high = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w[i - 16].wrapping_add(low).wrapping_add(w[i - 7]).wrapping_add(high)
        };
        i += 1;
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    i = 0;
    while i < 64 {
        let turned = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let chosen = (e & f) ^ (!e & g);
        let first = h.wrapping_add(turned).wrapping_add(chosen).wrapping_add(K[i]).wrapping_add(w[i]);
        let turned = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = turned.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
        i += 1;
    }
    let after = [a, b, c, d, e, f, g, h];
    let mut sum = state;
    i = 0;
    while i < 8 {
        sum[i] = sum[i].wrapping_add(after[i]);
        i += 1;
    }
    sum
}

/// A message's last blocks: what is left of it, a one bit, zeros, its length in bits, domain block included.
pub(in crate::digest) struct Tail {
    blocks: [BlockBytes; 2],
    count: usize,
}

impl Tail {
    /// Of a message of which `before` bytes, whole blocks, are in the state already.
    pub(in crate::digest) fn new(before: usize, message: &[u8]) -> Self {
        let (_, rest) = message.as_chunks::<BLOCK_BYTES>();
        let mut blocks = [[0; BLOCK_BYTES]; 2];
        let bytes = blocks.as_flattened_mut();
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        let count = if rest.len() < BLOCK_BYTES - 8 { 1 } else { 2 };
        let bits = u64::try_from(8 * (before + message.len())).expect("usize fits u64");
        bytes[BLOCK_BYTES * count - 8..BLOCK_BYTES * count].copy_from_slice(&bits.to_be_bytes());
        Self { blocks, count }
    }

    pub(in crate::digest) fn blocks(&self) -> &[BlockBytes] {
        &self.blocks[..self.count]
    }
}

pub(in crate::digest) fn digest_of(state: State) -> Digest {
    let mut digest = Digest::default();
    for (bytes, word) in digest.0.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Two leaves of any lengths: together as far as the shorter one goes.
fn pair(lanes: Pairs, leaves: [&[u8]; 2]) -> [Digest; 2] {
    let mut states = [LEAF_START; 2];
    let tails = leaves.map(|leaf| Tail::new(BLOCK_BYTES, leaf));
    let whole = leaves.map(|leaf| leaf.as_chunks::<BLOCK_BYTES>().0);
    let both = whole[0].len().min(whole[1].len());
    lanes.compress(&mut states, &whole.map(|blocks| &blocks[..both]));
    if whole[0].len() == whole[1].len() && tails[0].count == tails[1].count {
        lanes.compress(&mut states, &[tails[0].blocks(), tails[1].blocks()]);
        return states.map(digest_of);
    }
    let [first, second] = states;
    let rest = |state, lane: usize| {
        let mut states = [state];
        lanes.compress(&mut states, &[&whole[lane][both..]]);
        lanes.compress(&mut states, &[tails[lane].blocks()]);
        digest_of(states[0])
    };
    [rest(first, 0), rest(second, 1)]
}

/// In pairs; an odd one out in one stream of `ring`.
pub(in crate::digest) fn in_pairs(lanes: Pairs, leaves: &[&[u8]], out: &mut [Digest]) {
    let (pairs, odd) = leaves.as_chunks::<2>();
    let (pairs_out, odd_out) = out.as_chunks_mut::<2>();
    for (two, digests) in pairs.iter().zip(pairs_out) {
        *digests = pair(lanes, *two);
    }
    one_by_one(odd, odd_out);
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
pub(in crate::digest) mod tests;
