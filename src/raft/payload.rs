//! The bytes of commands and outcomes on their way through consensus. They are proposed, logged, sent and read back as
//! they are; nobody in this room looks into them.

use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use rkyv::util::AlignedVec;

use crate::uring::Mapping;

/// The bytes of a command as they were proposed. Clones share the memory.
#[derive(Clone)]
pub struct CommandBytes(Source);

#[derive(Clone)]
enum Source {
    /// A part of memory that may hold several commands: what came in one message.
    Memory(Rc<AlignedVec<16>>, Range<usize>),
    /// A part of a sealed log file.
    Mapped(Mapping, Range<usize>),
}

/// The bytes that applying a command gave.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OutcomeBytes(pub Vec<u8>);

impl CommandBytes {
    /// A copy of `bytes`, aligned to 16.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut memory = AlignedVec::with_capacity(bytes.len());
        memory.extend_from_slice(bytes);
        Self::from(memory)
    }

    pub(super) fn part_of(memory: &Rc<AlignedVec<16>>, range: Range<usize>) -> Self {
        assert!(range.end <= memory.len(), "{range:?} of {} bytes", memory.len());
        Self(Source::Memory(Rc::clone(memory), range))
    }

    pub(super) fn mapped(mapping: &Mapping, range: Range<usize>) -> Self {
        assert!(range.end <= mapping.len(), "{range:?} of {} bytes", mapping.len());
        Self(Source::Mapped(mapping.clone(), range))
    }
}

impl From<AlignedVec<16>> for CommandBytes {
    fn from(memory: AlignedVec<16>) -> Self {
        let range = 0..memory.len();
        Self(Source::Memory(Rc::new(memory), range))
    }
}

impl Deref for CommandBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Memory(memory, range) => &memory[range.clone()],
            Source::Mapped(mapping, range) => &mapping[range.clone()],
        }
    }
}

impl PartialEq for CommandBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for CommandBytes {}

impl fmt::Debug for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl fmt::Display for CommandBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl fmt::Debug for OutcomeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for OutcomeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
