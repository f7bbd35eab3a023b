//! Eight lanes of SHA-256 in AVX2 registers: word `n` of eight messages stands in one register. For processors with
//! neither the SHA extensions nor AVX-512.
//!
//! Promises: the compression function of FIPS 180-4, eight times at once. Refuses: padding, lengths, choice
//! (`lanes_wide.rs`). Unsafe for two reasons only: entering code of these processor features, and loading through a
//! pointer.

#![expect(unsafe_code, reason = "instructions that only some processors have, and loads through pointers")]
#![expect(clippy::needless_range_loop, reason = "one index walks several arrays; the compiler unrolls it")]

use std::arch::x86_64::*;

use crate::digest::lanes::{BlockBytes, K};

/// Lanes of one pass.
pub(in crate::digest) const EIGHT: usize = 8;

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(in crate::digest) struct Avx2(());

impl Avx2 {
    /// The proof, where the processor and the operating system give it.
    pub(in crate::digest) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Takes all blocks of every lane into its state. The lanes have equally many.
    pub(in crate::digest) fn compress(self, states: &mut [[u32; EIGHT]; 8], lanes: &[&[BlockBytes]; EIGHT]) {
        let count = lanes[0].len();
        assert!(lanes.iter().all(|lane| lane.len() == count), "lanes of unequal length");
        // SAFETY: `detect` made `self`, the only way to have one, and saw the feature.
        unsafe { compress(states, lanes, count) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: a reference to 32 bytes is readable for 32 bytes, and this load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_words(words: &[u32; EIGHT]) -> __m256i {
    // SAFETY: a reference to 8 words is readable for 32 bytes, and this load asks for no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_words(words: &mut [u32; EIGHT], from: __m256i) {
    // SAFETY: a unique reference to 8 words is writable for 32 bytes, and this store asks for no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), from) }
}

/// Rows become columns: from half a block of one message a register to one word of all messages a register.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..2 {
        fours[4 * i] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut words = fours;
    for i in 0..4 {
        words[i] = _mm256_permute2x128_si256::<0x20>(fours[i], fours[4 + i]);
        words[4 + i] = _mm256_permute2x128_si256::<0x31>(fours[i], fours[4 + i]);
    }
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

/// `$word` turned right by `$by`: AVX2 has no rotation.
macro_rules! ror {
    ($word:expr, $by:literal) => {
        _mm256_or_si256(_mm256_srli_epi32::<$by>($word), _mm256_slli_epi32::<{ 32 - $by }>($word))
    };
}

/// Word `$i` of the schedule over word `$i - 16`, which is not needed any more.
macro_rules! schedule {
    ($w:ident, $i:literal) => {
        let (early, late) = ($w[($i + 1) & 15], $w[($i + 14) & 15]);
        let low = xor(ror!(early, 7), ror!(early, 18), _mm256_srli_epi32::<3>(early));
        let high = xor(ror!(late, 17), ror!(late, 19), _mm256_srli_epi32::<10>(late));
        let sum = _mm256_add_epi32(_mm256_add_epi32($w[$i & 15], $w[($i + 9) & 15]), low);
        $w[$i & 15] = _mm256_add_epi32(sum, high);
    };
}

/// Round `$i`. The state stands still and the names turn: `a` of this round is the place that `h` had in the last.
/// `$bc` is b ^ c, which was a ^ b of the round before.
macro_rules! round {
    ($s:ident, $w:ident, $bc:ident, $i:literal) => {
        let (a, b) = ($s[(64 - $i) & 7], $s[(65 - $i) & 7]);
        let (e, f, g) = ($s[(68 - $i) & 7], $s[(69 - $i) & 7], $s[(70 - $i) & 7]);
        let key = _mm256_add_epi32($w[$i & 15], _mm256_set1_epi32(K[$i].cast_signed()));
        let turned = xor(ror!(e, 6), ror!(e, 11), ror!(e, 25));
        let chosen = _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(f, g), e), g);
        let first =
            _mm256_add_epi32(_mm256_add_epi32($s[(71 - $i) & 7], key), _mm256_add_epi32(turned, chosen));
        let turned = xor(ror!(a, 2), ror!(a, 13), ror!(a, 22));
        let ab = _mm256_xor_si256(a, b);
        let majority = _mm256_xor_si256(_mm256_and_si256(ab, $bc), b);
        $bc = ab;
        $s[(67 - $i) & 7] = _mm256_add_epi32($s[(67 - $i) & 7], first);
        $s[(71 - $i) & 7] = _mm256_add_epi32(first, _mm256_add_epi32(turned, majority));
    };
}

macro_rules! first_rounds {
    ($s:ident, $w:ident, $bc:ident, $($i:literal)*) => { $( round!($s, $w, $bc, $i); )* };
}

macro_rules! rounds {
    ($s:ident, $w:ident, $bc:ident, $($i:literal)*) => { $( schedule!($w, $i); round!($s, $w, $bc, $i); )* };
}

#[target_feature(enable = "avx2")]
fn compress(states: &mut [[u32; EIGHT]; 8], lanes: &[&[BlockBytes]; EIGHT], count: usize) {
    // Words of a message are big-endian: the bytes of each are turned round.
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let order = _mm256_broadcastsi128_si256(order);
    let mut s = [_mm256_setzero_si256(); 8];
    for i in 0..8 {
        s[i] = load_words(&states[i]);
    }
    for at in 0..count {
        let words = |half: usize| {
            let row = |lane: usize| {
                let (halves, _) = lanes[lane][at].as_chunks::<32>();
                _mm256_shuffle_epi8(load(&halves[half]), order)
            };
            transpose([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)])
        };
        let mut w = [order; 16];
        w[..8].copy_from_slice(&words(0));
        w[8..].copy_from_slice(&words(1));
        let before = s;
        let mut bc = _mm256_xor_si256(s[1], s[2]);
        first_rounds!(s, w, bc, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        rounds!(s, w, bc, 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        rounds!(s, w, bc, 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47);
        rounds!(s, w, bc, 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
        for i in 0..8 {
            s[i] = _mm256_add_epi32(s[i], before[i]);
        }
    }
    for i in 0..8 {
        store_words(&mut states[i], s[i]);
    }
}
