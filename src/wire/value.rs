//! Commands and their outcomes as bytes: rkyv archives without a header of their own, for what carries them (a log
//! record, a frame) has one.

use std::fmt;

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::limits::ENTRY_BYTES_MAX;

/// Alignment of the bytes.
pub const VALUE_ALIGNMENT: usize = 16;

/// The bytes of a value.
pub type ValueBytes = AlignedVec<VALUE_ALIGNMENT>;

/// Bytes that are no such value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// More bytes than an entry may have.
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// The checked access refused them.
    Invalid {
        /// What it said.
        why: String,
    },
}

impl DecodeError {
    fn invalid(error: rancor::Error) -> Self {
        Self::Invalid { why: error.to_string() }
    }
}

/// The bytes of a value.
#[must_use]
pub fn encode_value<T>(value: &T) -> ValueBytes
where
    T: for<'a> Serialize<HighSerializer<ValueBytes, ArenaHandle<'a>, rancor::Error>>,
{
    rkyv::api::high::to_bytes_in(value, AlignedVec::new())
        .expect("serialising plain values into memory has no way to fail")
}

/// A value in place, after checking all of it. `scratch` is used only if `bytes` are not aligned.
///
/// # Errors
/// The bytes are no such value, or more than an entry may have.
pub fn access_value<'a, A>(bytes: &'a [u8], scratch: &'a mut ValueBytes) -> Result<&'a A, DecodeError>
where
    A: Portable + for<'b> CheckBytes<HighValidator<'b, rancor::Error>>,
{
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(DecodeError::TooLong { bytes: bytes.len() });
    }
    rkyv::access::<A, rancor::Error>(aligned(bytes, scratch)).map_err(DecodeError::invalid)
}

/// A value copied out.
///
/// # Errors
/// As [`access_value`].
pub fn decode_value<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: Archive,
    T::Archived: for<'b> CheckBytes<HighValidator<'b, rancor::Error>>
        + Deserialize<T, HighDeserializer<rancor::Error>>,
{
    let mut scratch = AlignedVec::new();
    let archived = access_value::<T::Archived>(bytes, &mut scratch)?;
    rkyv::deserialize::<T, rancor::Error>(archived).map_err(DecodeError::invalid)
}

/// `bytes` where they stand if they are aligned, or a copy in `scratch`.
pub fn aligned<'a>(bytes: &'a [u8], scratch: &'a mut ValueBytes) -> &'a [u8] {
    if bytes.as_ptr().addr().is_multiple_of(VALUE_ALIGNMENT) {
        return bytes;
    }
    scratch.clear();
    scratch.extend_from_slice(bytes);
    scratch
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "{bytes} bytes are more than the {ENTRY_BYTES_MAX} of an entry")
            }
            Self::Invalid { why } => write!(f, "the bytes are not of this format: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}
