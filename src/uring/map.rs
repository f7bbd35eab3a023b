//! Read-only mappings of sealed files, as bytes that outlive the file's handle.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// The bytes of a sealed file. Only files that nobody writes or truncates are mapped: a truncated one would end the
/// process with SIGBUS. See kernel-notes/mappings.md.
#[derive(Clone)]
pub struct Mapping(Rc<Bytes>);

enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Box<[u8]>),
}

impl Mapping {
    /// From the kernel.
    #[must_use]
    pub fn mapped(map: memmap2::Mmap) -> Self {
        Self(Rc::new(Bytes::Mapped(map)))
    }

    /// From memory: empty files, and the simulator.
    #[must_use]
    pub fn owned(bytes: Box<[u8]>) -> Self {
        Self(Rc::new(Bytes::Owned(bytes)))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}
