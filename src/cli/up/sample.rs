//! The sample of a root that nothing is imported into: the same files on every machine.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// Files of the sample.
const FILES: u64 = 32;
/// Bytes of each; 64 MiB in all.
const FILE_BYTES: u64 = 2 << 20;
const BLOCK: usize = 64 * 1024;

/// One file of the sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sample {
    seed: u64,
}

impl Sample {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (1..=FILES).map(|seed| Self { seed })
    }

    pub(super) fn path(self) -> String {
        format!("sample/{:04}.segment", self.seed)
    }

    pub(super) fn bytes(self) -> u64 {
        FILE_BYTES
    }

    /// The same for ever, so that a later start knows the file again.
    pub(super) fn modified(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.seed)
    }

    /// Writes the content: xorshift64 (Marsaglia 2003), begun with the file's number.
    pub(super) fn write(self, out: &mut impl Write) -> io::Result<()> {
        let mut state = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut block = vec![0; BLOCK];
        for _ in 0..FILE_BYTES / BLOCK as u64 {
            for word in block.as_chunks_mut::<8>().0 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *word = state.to_le_bytes();
            }
            out.write_all(&block)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_as_large_as_it_says_and_no_two_files_are_the_same() {
        let contents: std::collections::BTreeSet<Vec<u8>> = Sample::all()
            .map(|sample| {
                let mut out = Vec::new();
                sample.write(&mut out).expect("memory");
                assert_eq!(out.len() as u64, sample.bytes());
                out
            })
            .collect();
        assert_eq!(contents.len(), 32);
    }
}
