//! The body of a received message: a small one in place, so that the frame of a chunk takes no memory of its own.

use std::ops::Deref;

use rkyv::util::AlignedVec;

/// Bytes that stand in place: those of every body that comes with a chunk.
const SMALL_BYTES_MAX: usize = 32;

/// The bytes of a body, aligned to 16.
#[derive(Debug)]
pub struct BodyBytes(Place);

#[derive(Debug)]
enum Place {
    Small(Small),
    Large(AlignedVec),
}

#[derive(Debug)]
#[repr(align(16))]
struct Small {
    bytes: [u8; SMALL_BYTES_MAX],
    len: usize,
}

impl BodyBytes {
    /// A copy of these.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut small = Small { bytes: [0; SMALL_BYTES_MAX], len: bytes.len() };
        if let Some(place) = small.bytes.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            return Self(Place::Small(small));
        }
        let mut large = AlignedVec::with_capacity(bytes.len());
        large.extend_from_slice(bytes);
        Self(Place::Large(large))
    }

    /// The bytes in memory of their own.
    #[must_use]
    pub fn into_memory(self) -> AlignedVec {
        match self.0 {
            Place::Large(large) => large,
            Place::Small(small) => {
                let mut memory = AlignedVec::with_capacity(small.len);
                memory.extend_from_slice(&small.bytes[..small.len]);
                memory
            }
        }
    }
}

impl From<AlignedVec> for BodyBytes {
    fn from(memory: AlignedVec) -> Self {
        Self(Place::Large(memory))
    }
}

impl Deref for BodyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Small(small) => &small.bytes[..small.len],
            Place::Large(large) => large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_every_length_are_whole_and_aligned() {
        for len in 0..100_u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let body = BodyBytes::of(&bytes);
            assert_eq!((&*body, body.as_ptr().addr() % 16), (&bytes[..], 0));
            assert_eq!(&body.into_memory()[..], bytes);
        }
    }
}
