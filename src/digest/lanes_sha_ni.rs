//! One or two lanes of SHA-256 by the SHA extensions of x86-64. A round waits for the one before it; a second message
//! fills the wait. Where AVX-512 is there too, four words of the schedule come without `sha256msg1`, which on Intel's
//! cores takes turns with the rounds: see kernel-notes/sha256-lanes.md.
//!
//! Promises: the compression function of FIPS 180-4 for each lane. Refuses: padding, lengths, choice (`lanes.rs`).
//! Unsafe for three reasons only: entering code of these processor features, loading through a pointer, and
//! instructions as text.

#![expect(unsafe_code, reason = "instructions that only some processors have, loads through pointers, text")]
#![expect(clippy::needless_range_loop, reason = "one index walks several arrays; the compiler unrolls it")]

use std::arch::asm;
use std::arch::x86_64::*;

use crate::digest::lanes::{BlockBytes, K, State};

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(in crate::digest) struct ShaNi {
    /// Whether it has those of AVX-512 for registers of 128 bits, too.
    rotates: bool,
}

impl ShaNi {
    /// The proof, where the processor gives it.
    pub(in crate::digest) fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        let rotates = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        there.then_some(Self { rotates })
    }

    /// Without AVX-512, as on a processor that lacks it.
    #[cfg(test)]
    pub(in crate::digest) fn plainly(self) -> Self {
        Self { rotates: false }
    }

    /// Takes all blocks of every lane into its state. The lanes have equally many.
    pub(in crate::digest) fn compress<const N: usize>(
        self,
        states: &mut [State; N],
        lanes: &[&[BlockBytes]; N],
    ) {
        let count = lanes.first().map_or(0, |lane| lane.len());
        assert!(lanes.iter().all(|lane| lane.len() == count), "lanes of unequal length");
        if self.rotates {
            // SAFETY: `detect` made `self`, the only way to have one, and saw all five features.
            unsafe { compress::<N, true>(states, lanes, count) }
        } else {
            // SAFETY: `detect` made `self`, the only way to have one, and saw all three features.
            unsafe { compress::<N, false>(states, lanes, count) }
        }
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

/// Four words of sixteen rounds before, and what the words after each of them add: `sha256msg1`, or the same by
/// rotations. Those stand as text because a function with AVX-512 may copy its arrays through wide registers, and with
/// one of them in use a step between old and new instructions costs hundreds of cycles, kernel-notes/sha256-lanes.md.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn begun<const ROTATES: bool>(words: __m128i, next: __m128i) -> __m128i {
    if !ROTATES {
        return _mm_sha256msg1_epu32(words, next);
    }
    let sum: __m128i;
    // SAFETY: registers alone; only `compress::<_, true>` comes here, whose caller has seen AVX-512.
    unsafe {
        asm!(
            "vpalignr {sum}, {next}, {words}, 4",
            "vprord {seven}, {sum}, 7",
            "vprord {eighteen}, {sum}, 18",
            "vpsrld {sum}, {sum}, 3",
            "vpternlogd {sum}, {seven}, {eighteen}, 0x96",
            "vpaddd {sum}, {sum}, {words}",
            words = in(xmm_reg) words,
            next = in(xmm_reg) next,
            sum = out(xmm_reg) sum,
            seven = out(xmm_reg) _,
            eighteen = out(xmm_reg) _,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Whatever came before: no wide register is in use from here on.
#[inline]
fn narrow_registers() {
    // SAFETY: it changes registers alone, and says which; only `compress::<_, true>` comes here, with AVX there.
    unsafe {
        asm!(
            "vzeroupper",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Rounds `4 * $i` to `4 * $i + 3` of every lane, one instruction of each in turn. Between the halves, while the rounds
/// wait for each other, the words of sixteen rounds later over those of now.
macro_rules! four_rounds {
    ($abef:ident, $cdgh:ident, $w:ident, $rotates:ident, $($i:literal)*) => { $(
        let [k0, k1, k2, k3] = [K[4 * $i], K[4 * $i + 1], K[4 * $i + 2], K[4 * $i + 3]].map(u32::cast_signed);
        let keys = _mm_set_epi32(k3, k2, k1, k0);
        let mut sums = [keys; N];
        for lane in 0..N {
            sums[lane] = _mm_add_epi32($w[lane][$i & 3], keys);
        }
        for lane in 0..N {
            $cdgh[lane] = _mm_sha256rnds2_epu32($cdgh[lane], $abef[lane], sums[lane]);
        }
        if $i < 12 {
            for lane in 0..N {
                let (late, later) = ($w[lane][($i + 2) & 3], $w[lane][($i + 3) & 3]);
                let begun = begun::<$rotates>($w[lane][$i & 3], $w[lane][($i + 1) & 3]);
                let begun = _mm_add_epi32(begun, _mm_alignr_epi8::<4>(later, late));
                $w[lane][$i & 3] = _mm_sha256msg2_epu32(begun, later);
            }
        }
        for lane in 0..N {
            let high = _mm_shuffle_epi32::<0x0e>(sums[lane]);
            $abef[lane] = _mm_sha256rnds2_epu32($abef[lane], $cdgh[lane], high);
        }
    )* };
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize, const ROTATES: bool>(
    states: &mut [State; N],
    lanes: &[&[BlockBytes]; N],
    count: usize,
) {
    if ROTATES {
        narrow_registers();
    }
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
        four_rounds!(abef, cdgh, w, ROTATES, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
        }
    }
    for lane in 0..N {
        states[lane] = whole(abef[lane], cdgh[lane]);
    }
}
