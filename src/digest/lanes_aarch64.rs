//! One or two lanes of SHA-256 by the SHA-2 instructions of ARMv8. A round waits for the one before it; a second
//! message fills the wait.
//!
//! Promises: the compression function of FIPS 180-4 for each lane. Refuses: padding, lengths, choice (`lanes.rs`).
//! Unsafe for two reasons only: entering code of these processor features, and loading through a pointer.

#![expect(unsafe_code, reason = "instructions that only some processors have, and loads through pointers")]
#![expect(clippy::needless_range_loop, reason = "one index walks several arrays; the compiler unrolls it")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use crate::digest::lanes::{BlockBytes, K, State};

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(in crate::digest) struct ArmSha2(());

impl ArmSha2 {
    /// The proof, where the processor gives it.
    pub(in crate::digest) fn detect() -> Option<Self> {
        let there = is_aarch64_feature_detected!("sha2") && is_aarch64_feature_detected!("neon");
        there.then_some(Self(()))
    }

    /// Takes all blocks of every lane into its state. The lanes have equally many.
    pub(in crate::digest) fn compress<const N: usize>(
        self,
        states: &mut [State; N],
        lanes: &[&[BlockBytes]; N],
    ) {
        let count = lanes.first().map_or(0, |lane| lane.len());
        assert!(lanes.iter().all(|lane| lane.len() == count), "lanes of unequal length");
        // SAFETY: `detect` made `self`, the only way to have one, and saw both features.
        unsafe { compress(states, lanes, count) }
    }
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: a reference to 16 bytes is readable for 16 bytes, and this load asks for no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn load_words(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: a reference to 4 words is readable for 16 bytes, and this load asks for no alignment.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn store_words(words: &mut [u32; 4], from: uint32x4_t) {
    // SAFETY: a unique reference to 4 words is writable for 16 bytes, and this store asks for no alignment.
    unsafe { vst1q_u32(words.as_mut_ptr(), from) }
}

/// Rounds `4 * $i` to `4 * $i + 3` of every lane, one instruction of each in turn; with them, the words of sixteen
/// rounds later over those of now.
macro_rules! four_rounds {
    ($abcd:ident, $efgh:ident, $w:ident, $($i:literal)*) => { $(
        let keys = load_words(&[K[4 * $i], K[4 * $i + 1], K[4 * $i + 2], K[4 * $i + 3]]);
        let mut sums = [keys; N];
        for lane in 0..N {
            sums[lane] = vaddq_u32($w[lane][$i & 3], keys);
        }
        if $i < 12 {
            for lane in 0..N {
                let begun = vsha256su0q_u32($w[lane][$i & 3], $w[lane][($i + 1) & 3]);
                let (late, later) = ($w[lane][($i + 2) & 3], $w[lane][($i + 3) & 3]);
                $w[lane][$i & 3] = vsha256su1q_u32(begun, late, later);
            }
        }
        let before = $abcd;
        for lane in 0..N {
            $abcd[lane] = vsha256hq_u32($abcd[lane], $efgh[lane], sums[lane]);
        }
        for lane in 0..N {
            $efgh[lane] = vsha256h2q_u32($efgh[lane], before[lane], sums[lane]);
        }
    )* };
}

#[target_feature(enable = "neon,sha2")]
fn compress<const N: usize>(states: &mut [State; N], lanes: &[&[BlockBytes]; N], count: usize) {
    let zero = vdupq_n_u32(0);
    let (mut abcd, mut efgh) = ([zero; N], [zero; N]);
    for lane in 0..N {
        let (halves, _) = states[lane].as_chunks::<4>();
        (abcd[lane], efgh[lane]) = (load_words(&halves[0]), load_words(&halves[1]));
    }
    for at in 0..count {
        let begun = (abcd, efgh);
        let mut w = [[zero; 4]; N];
        for lane in 0..N {
            let (quarters, _) = lanes[lane][at].as_chunks::<16>();
            for i in 0..4 {
                // Words of a message are big-endian: the bytes of each are turned round.
                w[lane][i] = vreinterpretq_u32_u8(vrev32q_u8(load(&quarters[i])));
            }
        }
        four_rounds!(abcd, efgh, w, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abcd[lane] = vaddq_u32(abcd[lane], begun.0[lane]);
            efgh[lane] = vaddq_u32(efgh[lane], begun.1[lane]);
        }
    }
    for lane in 0..N {
        let (halves, _) = states[lane].as_chunks_mut::<4>();
        store_words(&mut halves[0], abcd[lane]);
        store_words(&mut halves[1], efgh[lane]);
    }
}
