//! Chance from a seed that is printed when a round fails, and given back through `SEED`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// splitmix64: small, and each seed gives its own bytes.
pub struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    pub fn byte(&mut self) -> u8 {
        (self.u64() >> 56) as u8
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One change of the kinds that break decoders.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.byte());
            return;
        }
        let at = self.below(bytes.len());
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.byte(),
            2 => bytes[at] = self.one_of(&[0, 1, 0x7f, 0x80, 0xff]),
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, self.byte()),
            5 => bytes.truncate(at),
            _ => {
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill(self.one_of(&[0, 0xff]));
            }
        }
    }
}

/// `rounds` rounds of a test, each from a seed of its own; `SEED` runs that one alone, `ROUNDS` takes the place of
/// the number.
pub fn run(rounds: u64, test: impl Fn(&mut Chance)) {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    let seeds = number("SEED").map_or(0..number("ROUNDS").unwrap_or(rounds), |seed| seed..seed + 1);
    for seed in seeds {
        let round = AssertUnwindSafe(|| test(&mut Chance::new(seed)));
        if let Err(panic) = catch_unwind(round) {
            eprintln!("SEED={seed} replays this");
            resume_unwind(panic);
        }
    }
}
