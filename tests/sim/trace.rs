//! The log of a run as a rolling digest, printed line by line with `TRACE=1`.
//!
//! Two runs of one seed have to agree on the digest; the first line in which their traces differ is where chance
//! came in from outside.

use std::fmt::Write as _;

use ringway::ids::{Nanos, NodeId};

/// The log of a run.
#[derive(Debug)]
pub struct Trace {
    digest: u64,
    events: u64,
    print: bool,
}

/// A fast digest of bytes; against accidents, not against people.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word: [u8; 8] = word.try_into().expect("chunks of eight");
        state = mix(state, u64::from_le_bytes(word));
    }
    for byte in words.remainder() {
        state = mix(state, u64::from(*byte));
    }
    state
}

fn mix(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29)
}

impl Trace {
    /// An empty log; it prints if the environment says `TRACE=1`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let print = std::env::var_os("TRACE").is_some_and(|value| value != "0");
        Self { digest: mix(0, seed), events: 0, print }
    }

    /// One event of a node, told in numbers.
    pub fn note(&mut self, now: Nanos, node: NodeId, what: &str, numbers: &[u64]) {
        self.events += 1;
        self.digest = mix(mix(self.digest, now.0), node.0);
        self.digest = mix(self.digest, hash(what.as_bytes()));
        for number in numbers {
            self.digest = mix(self.digest, *number);
        }
        if self.print {
            let mut line = format!("{:>14} n{} {what}", now.0, node.0);
            for number in numbers {
                let _infallible = write!(line, " {number}");
            }
            eprintln!("{line}");
        }
    }

    /// The digest of all events so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}
