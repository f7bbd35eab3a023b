//! The sidecar: a segment's verified chunk list as bytes for the disk, so that a restart need not hash again.
//!
//! A checksum tells a torn or rotten sidecar from one of another segment; trust comes from the root alone. A bad
//! sidecar condemns nothing: the list is computed again from the file.

use std::fmt;

use crate::digest::{ChunkList, ChunkListError, VerifiedChunks, chunk_count};
use crate::ids::Digest;

const MAGIC: [u8; 8] = *b"RWCHUNKS";
const VERSION: u32 = 1;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const CHECKSUM_AT: usize = VERSION_AT + 4;
const LEN_AT: usize = CHECKSUM_AT + 4;
const COUNT_AT: usize = LEN_AT + 8;
const RESERVED_AT: usize = COUNT_AT + 4;
const ROOT_AT: usize = RESERVED_AT + 4;
const HEADER_BYTES: usize = ROOT_AT + Digest::BYTES;
const _: () = assert!(HEADER_BYTES == 64, "FORMAT.md says 64");
const _: () = assert!(LEN_AT.is_multiple_of(8) && ROOT_AT.is_multiple_of(8));

/// Bytes of the sidecar of a segment of `chunk_count` chunks.
#[must_use]
pub fn sidecar_bytes(chunk_count: u32) -> usize {
    HEADER_BYTES + usize::try_from(chunk_count).expect("u32 fits usize on 64-bit Linux") * Digest::BYTES
}

/// The sidecar of these chunks.
#[must_use]
pub fn sidecar_encode(chunks: &VerifiedChunks) -> Vec<u8> {
    let mut out = Vec::with_capacity(sidecar_bytes(chunks.chunk_count()));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]); // the checksum's place
    out.extend_from_slice(&chunks.len().to_le_bytes());
    out.extend_from_slice(&chunks.chunk_count().to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&chunks.root().0);
    chunks.digests().iter().for_each(|digest| out.extend_from_slice(&digest.0));
    assert_eq!(out.len(), sidecar_bytes(chunks.chunk_count()), "a sidecar has its exact size");
    let checksum = checksum(&out);
    out[CHECKSUM_AT..LEN_AT].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads the sidecar of the segment with this root.
///
/// # Errors
/// When the bytes are not a whole, sound sidecar of this version, or are another segment's.
pub fn sidecar_decode(bytes: &[u8], root: Digest) -> Result<VerifiedChunks, SidecarError> {
    let Some((header, digests)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(SidecarError::Truncated { expected: HEADER_BYTES, found: bytes.len() });
    };
    let magic = field(header, MAGIC_AT);
    if magic != MAGIC {
        return Err(SidecarError::Magic { found: magic });
    }
    let version = u32::from_le_bytes(field(header, VERSION_AT));
    if version != VERSION {
        return Err(SidecarError::Version { found: version });
    }
    let len = u64::from_le_bytes(field(header, LEN_AT));
    let count = u32::from_le_bytes(field(header, COUNT_AT));
    if chunk_count(len) != Some(count) {
        return Err(SidecarError::Count { len, found: count });
    }
    let expected = sidecar_bytes(count);
    match bytes.len() {
        found if found < expected => return Err(SidecarError::Truncated { expected, found }),
        found if found > expected => return Err(SidecarError::Trailing { expected, found }),
        _ => {}
    }
    let (expected, found) = (u32::from_le_bytes(field(header, CHECKSUM_AT)), checksum(bytes));
    if expected != found {
        return Err(SidecarError::Checksum { expected, found });
    }
    let reserved = u32::from_le_bytes(field(header, RESERVED_AT));
    if reserved != 0 {
        return Err(SidecarError::Reserved { found: reserved });
    }
    let found = Digest(field(header, ROOT_AT));
    if found != root {
        return Err(SidecarError::OtherRoot { expected: root, found });
    }
    let (digests, rest) = digests.as_chunks::<{ Digest::BYTES }>();
    assert!(rest.is_empty(), "the size was checked");
    let chunks = digests.iter().copied().map(Digest).collect();
    ChunkList { len, chunks }.verify(root).map_err(SidecarError::List)
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    header[at..at + N].try_into().expect("N bytes were taken")
}

/// crc32 of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CHECKSUM_AT]);
    hasher.update(&bytes[LEN_AT..]);
    hasher.finalize()
}

/// Why some bytes are not the sidecar of their segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SidecarError {
    /// The bytes end too early.
    Truncated {
        /// Bytes of the whole sidecar, or of its header where that is cut.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// Bytes follow the last digest.
    Trailing {
        /// Bytes of the whole sidecar.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// Not a sidecar.
    Magic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// A sidecar of a version that this build does not read.
    Version {
        /// Its version.
        found: u32,
    },
    /// The length is past the limit, or has another number of chunks.
    Count {
        /// The length, in bytes.
        len: u64,
        /// The number of digests.
        found: u32,
    },
    /// Torn or rotten.
    Checksum {
        /// The checksum written.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// A reserved field is not zero.
    Reserved {
        /// Its value.
        found: u32,
    },
    /// The sidecar of another segment.
    OtherRoot {
        /// The root asked for.
        expected: Digest,
        /// The root written.
        found: Digest,
    },
    /// Sound bytes whose list does not hash to the root.
    List(ChunkListError),
}

impl fmt::Display for SidecarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { expected, found } => {
                write!(f, "the sidecar has {found} bytes of at least {expected}")
            }
            Self::Trailing { expected, found } => write!(f, "the sidecar has {found} bytes, not {expected}"),
            Self::Magic { found } => write!(f, "not a sidecar: it begins with {found:02x?}"),
            Self::Version { found } => {
                write!(f, "a sidecar of format version {found}; this build reads {VERSION}")
            }
            Self::Count { len, found } => write!(f, "a segment of {len} bytes cannot have {found} chunks"),
            Self::Checksum { expected, found } => {
                write!(f, "the sidecar's checksum is {expected:08x}, its bytes give {found:08x}")
            }
            Self::Reserved { found } => write!(f, "a reserved field of the sidecar holds {found}"),
            Self::OtherRoot { expected, found } => {
                write!(f, "the sidecar is of root {found}, not {expected}")
            }
            Self::List(error) => write!(f, "the sidecar's list: {error}"),
        }
    }
}

impl std::error::Error for SidecarError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::List(error) => Some(error),
            Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Magic { .. }
            | Self::Version { .. }
            | Self::Count { .. }
            | Self::Checksum { .. }
            | Self::Reserved { .. }
            | Self::OtherRoot { .. } => None,
        }
    }
}

#[cfg(test)]
#[path = "sidecar_tests.rs"]
mod tests;
