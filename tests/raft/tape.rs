//! A replicated state that forgets nothing: the digest of every command, by index. What consensus is checked with.

use std::collections::BTreeMap;
use std::fmt;

use ringway::ids::LogIndex;
use ringway::manifest::Replaced;
use ringway::raft::Machine;
use rkyv::util::AlignedVec;

use crate::sim::trace::hash;

/// Commands of one part of a snapshot.
const PART: usize = 64;

/// The digests of all commands.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    applied: LogIndex,
    commands: BTreeMap<LogIndex, u64>,
    rolling: u64,
    /// Of which taking-in or beginning this is: a view of an earlier one is of no use.
    life: u64,
}

/// What one command did.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Its digest.
    pub digest: u64,
    /// The digest of all commands up to it.
    pub rolling: u64,
}

/// A view that is being written.
pub struct View {
    tape: Tape,
    after: Option<LogIndex>,
    done: bool,
}

/// A snapshot that this tape cannot be read from.
#[derive(Debug)]
pub struct NotATape;

impl fmt::Display for NotATape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a tape")
    }
}

impl std::error::Error for NotATape {}

/// The digest of a command.
pub fn digest(command: &[u8]) -> u64 {
    hash(command)
}

impl Tape {
    /// Every command's digest, by index.
    pub fn commands(&self) -> &BTreeMap<LogIndex, u64> {
        &self.commands
    }

    /// The digest of all commands.
    pub fn rolling(&self) -> u64 {
        self.rolling
    }

    fn add(&mut self, index: LogIndex, digest: u64) {
        self.rolling =
            hash(&[self.rolling.to_le_bytes(), index.0.to_le_bytes(), digest.to_le_bytes()].concat());
        let other = self.commands.insert(index, digest);
        assert!(other.is_none(), "entry {index} comes twice");
    }
}

impl Machine for Tape {
    type Effect = Heard;
    type Frozen = View;
    type Incoming = Tape;
    type Refused = NotATape;

    fn empty() -> Self {
        Self::default()
    }

    fn apply(&mut self, index: LogIndex, command: &[u8]) -> Heard {
        self.pass(index);
        let digest = digest(command);
        self.add(index, digest);
        Heard { digest, rolling: self.rolling }
    }

    fn outcome(effect: &Heard) -> Vec<u8> {
        effect.digest.to_le_bytes().to_vec()
    }

    fn pass(&mut self, index: LogIndex) {
        assert_eq!(index.0, self.applied.0 + 1, "entries come one behind the other");
        self.applied = index;
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }

    fn freeze(&mut self) -> View {
        View { tape: self.clone(), after: None, done: false }
    }

    fn next_part(&self, frozen: &mut View) -> Result<Option<AlignedVec<16>>, Replaced> {
        if frozen.tape.life != self.life {
            return Err(Replaced);
        }
        if frozen.done {
            return Ok(None);
        }
        let from = frozen.after.map_or(LogIndex(0), |after| LogIndex(after.0 + 1));
        let mut part = AlignedVec::new();
        part.extend_from_slice(&frozen.tape.applied.0.to_le_bytes());
        let mut count = 0;
        for (index, digest) in frozen.tape.commands.range(from..).take(PART) {
            part.extend_from_slice(&index.0.to_le_bytes());
            part.extend_from_slice(&digest.to_le_bytes());
            frozen.after = Some(*index);
            count += 1;
        }
        frozen.done = count < PART;
        Ok(Some(part))
    }

    fn incoming() -> Tape {
        Tape::default()
    }

    fn push_part(mut incoming: Tape, part: &[u8]) -> Result<Tape, NotATape> {
        let mut words =
            part.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        incoming.applied = LogIndex(words.next().ok_or(NotATape)?);
        while let Some(index) = words.next() {
            incoming.add(LogIndex(index), words.next().ok_or(NotATape)?);
        }
        Ok(incoming)
    }

    fn finish(mut incoming: Tape) -> Result<Self, NotATape> {
        incoming.life = incoming.applied.0 + 1;
        Ok(incoming)
    }
}
