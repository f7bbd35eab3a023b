//! One or two lanes of SHA-256 by the SHA extensions of x86-64. A round waits for the one before it; a second message
//! fills the wait.
//!
//! Promises: the compression function of FIPS 180-4 for each lane. Refuses: padding, lengths, choice (`lanes.rs`).
//! Unsafe for two reasons only: entering code of these processor features, and loading through a pointer.

#![expect(unsafe_code, reason = "instructions that only some processors have, and loads through pointers")]
#![expect(clippy::needless_range_loop, reason = "one index walks several arrays; the compiler unrolls it")]

use std::arch::x86_64::*;

use crate::digest::lanes::{BlockBytes, K, State};

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(in crate::digest) struct ShaNi(());

impl ShaNi {
    /// The proof, where the processor gives it.
    pub(in crate::digest) fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
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
        // SAFETY: `detect` made `self`, the only way to have one, and saw all three features.
        unsafe { compress(states, lanes, count) }
    }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: a reference to 16 bytes is readable for 16 bytes, and this load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The instructions want the state as `abef` and `cdgh`, the first letter in the highest word.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn halves(state: &State) -> (__m128i, __m128i) {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    (_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h))
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn whole(abef: __m128i, cdgh: __m128i) -> State {
    let (a, b) = (_mm_extract_epi32::<3>(abef), _mm_extract_epi32::<2>(abef));
    let (e, f) = (_mm_extract_epi32::<1>(abef), _mm_extract_epi32::<0>(abef));
    let (c, d) = (_mm_extract_epi32::<3>(cdgh), _mm_extract_epi32::<2>(cdgh));
    let (g, h) = (_mm_extract_epi32::<1>(cdgh), _mm_extract_epi32::<0>(cdgh));
    [a, b, c, d, e, f, g, h].map(i32::cast_unsigned)
}

/// Rounds `4 * $i` to `4 * $i + 3` of every lane, one instruction of each in turn.
macro_rules! four_rounds {
    ($abef:ident, $cdgh:ident, $w:ident, $($i:literal)*) => { $(
        let [k0, k1, k2, k3] = [K[4 * $i], K[4 * $i + 1], K[4 * $i + 2], K[4 * $i + 3]].map(u32::cast_signed);
        let keys = _mm_set_epi32(k3, k2, k1, k0);
        let mut sums = [keys; N];
        for lane in 0..N {
            sums[lane] = _mm_add_epi32($w[lane][$i & 3], keys);
        }
        for lane in 0..N {
            $cdgh[lane] = _mm_sha256rnds2_epu32($cdgh[lane], $abef[lane], sums[lane]);
        }
        for lane in 0..N {
            let high = _mm_shuffle_epi32::<0x0e>(sums[lane]);
            $abef[lane] = _mm_sha256rnds2_epu32($abef[lane], $cdgh[lane], high);
        }
    )* };
}

/// The words of rounds `4 * $i` to `4 * $i + 3` over those of sixteen rounds before; then those rounds.
macro_rules! scheduled {
    ($abef:ident, $cdgh:ident, $w:ident, $($i:literal)*) => { $(
        for lane in 0..N {
            let (late, later) = ($w[lane][($i + 2) & 3], $w[lane][($i + 3) & 3]);
            let begun = _mm_sha256msg1_epu32($w[lane][$i & 3], $w[lane][($i + 1) & 3]);
            let begun = _mm_add_epi32(begun, _mm_alignr_epi8::<4>(later, late));
            $w[lane][$i & 3] = _mm_sha256msg2_epu32(begun, later);
        }
        four_rounds!($abef, $cdgh, $w, $i);
    )* };
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], lanes: &[&[BlockBytes]; N], count: usize) {
    // Words of a message are big-endian: the bytes of each are turned round.
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (mut abef, mut cdgh) = ([order; N], [order; N]);
    for lane in 0..N {
        (abef[lane], cdgh[lane]) = halves(&states[lane]);
    }
    for at in 0..count {
        let before = (abef, cdgh);
        let mut w = [[order; 4]; N];
        for lane in 0..N {
            let (quarters, _) = lanes[lane][at].as_chunks::<16>();
            for i in 0..4 {
                w[lane][i] = _mm_shuffle_epi8(load(&quarters[i]), order);
            }
        }
        four_rounds!(abef, cdgh, w, 0 1 2 3);
        scheduled!(abef, cdgh, w, 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
        }
    }
    for lane in 0..N {
        states[lane] = whole(abef[lane], cdgh[lane]);
    }
}
