//! The one source of chance in a simulated world: xoshiro256** from a 64-bit seed (Blackman and Vigna, 2018).

use std::ops::RangeInclusive;

use ringway::ids::Nanos;

/// A seeded generator. The same seed gives the same draws, on every machine.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

/// How likely something is, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chance(pub u32);

impl Chance {
    /// It does not happen.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// `count` of a hundred.
    #[must_use]
    pub const fn percent(count: u32) -> Self {
        Self(count * 10_000)
    }
}

impl Rng {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // splitmix64 spreads the seed, so that neighbouring seeds share nothing.
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        }))
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number from 0 to `bound` - 1.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing to draw from");
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into something of `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number of the range, both ends included.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.below((high - low).saturating_add(1).max(1))
    }

    /// A length of time between two, both included.
    pub fn time(&mut self, range: (Nanos, Nanos)) -> Nanos {
        Nanos(self.within(range.0.0..=range.1.0.max(range.0.0)))
    }

    /// Whether it happens this time.
    pub fn happens(&mut self, chance: Chance) -> bool {
        // No draw for what is switched off, so that a switch moves nothing else of the run.
        chance.0 > 0 && self.below(1_000_000) < u64::from(chance.0)
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.word() >> 63 == 1
    }

    /// Fills with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}
