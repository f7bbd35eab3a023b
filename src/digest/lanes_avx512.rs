//! Sixteen lanes of SHA-256 in AVX-512 registers: word `n` of sixteen messages stands in one register.
//!
//! Promises: the compression function of FIPS 180-4, sixteen times at once. Refuses: padding, lengths, choice
//! (`lanes.rs`). Unsafe for two reasons only: entering code of these processor features, and loading through a pointer.

#![expect(unsafe_code, reason = "instructions that only some processors have, and loads through pointers")]
#![expect(clippy::needless_range_loop, reason = "one index walks several arrays; the compiler unrolls it")]

use std::arch::x86_64::*;

use crate::digest::lanes::{BlockBytes, K};

/// Lanes of one pass.
pub(in crate::digest) const WIDE: usize = 16;

/// Word `n` of the states of all lanes, for each `n`.
pub(in crate::digest) type WideState = [[u32; WIDE]; 8];

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(in crate::digest) struct Avx512(());

impl Avx512 {
    /// The proof, where the processor and the operating system give it.
    pub(in crate::digest) fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        there.then_some(Self(()))
    }

    /// Takes all blocks of every lane into its state. The lanes have equally many.
    pub(in crate::digest) fn compress(self, states: &mut WideState, lanes: &[&[BlockBytes]; WIDE]) {
        let count = lanes[0].len();
        assert!(lanes.iter().all(|lane| lane.len() == count), "lanes of unequal length");
        // SAFETY: `detect` made `self`, the only way to have one, and saw both features.
        unsafe { compress(states, lanes, count) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &BlockBytes) -> __m512i {
    // SAFETY: a reference to 64 bytes is readable for 64 bytes, and this load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_words(words: &[u32; WIDE]) -> __m512i {
    // SAFETY: a reference to 16 words is readable for 64 bytes, and this load asks for no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_words(words: &mut [u32; WIDE], from: __m512i) {
    // SAFETY: a unique reference to 16 words is writable for 64 bytes, and this store asks for no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), from) }
}

/// Rows become columns: from one message a register to one word of all messages a register. Shuffles, because a gather
/// fetches each word on its own.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..4 {
        fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut words = fours;
    for i in 0..4 {
        let even_low = _mm512_shuffle_i32x4::<0x88>(fours[i], fours[4 + i]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(fours[i], fours[4 + i]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(fours[8 + i], fours[12 + i]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(fours[8 + i], fours[12 + i]);
        words[i] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        words[4 + i] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        words[8 + i] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        words[12 + i] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
    words
}

/// The truth tables of `vpternlogd`: a ^ b ^ c, a ? b : c, the majority.
const XOR: i32 = 0x96;
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// Word `$i` of the schedule over word `$i - 16`, which is not needed any more.
macro_rules! schedule {
    ($w:ident, $i:literal) => {
        let (early, late) = ($w[($i + 1) & 15], $w[($i + 14) & 15]);
        let turned = _mm512_xor_si512(_mm512_ror_epi32::<7>(early), _mm512_ror_epi32::<18>(early));
        let low = _mm512_xor_si512(turned, _mm512_srli_epi32::<3>(early));
        let turned = _mm512_ror_epi32::<17>(late);
        let high = _mm512_ternarylogic_epi32::<XOR>(
            turned,
            _mm512_ror_epi32::<19>(late),
            _mm512_srli_epi32::<10>(late),
        );
        let sum = _mm512_add_epi32(_mm512_add_epi32($w[$i & 15], $w[($i + 9) & 15]), low);
        $w[$i & 15] = _mm512_add_epi32(sum, high);
    };
}

/// Round `$i`. The state stands still and the names turn: `a` of this round is the place that `h` had in the last.
macro_rules! round {
    ($s:ident, $w:ident, $i:literal) => {
        let (a, b, c) = ($s[(64 - $i) & 7], $s[(65 - $i) & 7], $s[(66 - $i) & 7]);
        let (e, f, g) = ($s[(68 - $i) & 7], $s[(69 - $i) & 7], $s[(70 - $i) & 7]);
        let key = _mm512_add_epi32($w[$i & 15], _mm512_set1_epi32(K[$i].cast_signed()));
        let turned = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<6>(e),
            _mm512_ror_epi32::<11>(e),
            _mm512_ror_epi32::<25>(e),
        );
        let chosen = _mm512_ternarylogic_epi32::<CHOOSE>(e, f, g);
        let first =
            _mm512_add_epi32(_mm512_add_epi32($s[(71 - $i) & 7], key), _mm512_add_epi32(turned, chosen));
        let turned = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<2>(a),
            _mm512_ror_epi32::<13>(a),
            _mm512_ror_epi32::<22>(a),
        );
        let second = _mm512_add_epi32(turned, _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c));
        $s[(67 - $i) & 7] = _mm512_add_epi32($s[(67 - $i) & 7], first);
        $s[(71 - $i) & 7] = _mm512_add_epi32(first, second);
    };
}

macro_rules! first_rounds { ($s:ident, $w:ident, $($i:literal)*) => { $( round!($s, $w, $i); )* }; }

macro_rules! rounds {
    ($s:ident, $w:ident, $($i:literal)*) => { $( schedule!($w, $i); round!($s, $w, $i); )* };
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut WideState, lanes: &[&[BlockBytes]; WIDE], count: usize) {
    // Words of a message are big-endian: the bytes of each are turned round.
    let order = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    let mut s = [_mm512_setzero_si512(); 8];
    for i in 0..8 {
        s[i] = load_words(&states[i]);
    }
    for at in 0..count {
        // Not a loop: the compiler leaves it one, with a detour of every row through memory.
        let row = |lane: usize| _mm512_shuffle_epi8(load(&lanes[lane][at]), order);
        let mut w = transpose([
            row(0),
            row(1),
            row(2),
            row(3),
            row(4),
            row(5),
            row(6),
            row(7),
            row(8),
            row(9),
            row(10),
            row(11),
            row(12),
            row(13),
            row(14),
            row(15),
        ]);
        let before = s;
        first_rounds!(s, w, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        rounds!(s, w, 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        rounds!(s, w, 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47);
        rounds!(s, w, 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
        for i in 0..8 {
            s[i] = _mm512_add_epi32(s[i], before[i]);
        }
    }
    for i in 0..8 {
        store_words(&mut states[i], s[i]);
    }
}
