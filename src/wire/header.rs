//! The header of every frame: 40 bytes, checked before anything that it announces is awaited.
//!
//! The checksum covers the header but for itself, and the body: it guards against accidents, in order to tell a bug
//! from an attack. The session tag guards against people, and the committed digest guards the payload.

use std::fmt;

use crate::ids::{GroupId, StreamId};
use crate::wire::codec::field_at;
use crate::wire::kind::Kind;

/// The first bytes of a frame: "RWF" and a byte that no text has.
pub const MAGIC: u32 = u32::from_le_bytes(*b"RWF\xf1");
/// The version that this build writes.
pub const VERSION: u8 = 1;
/// The oldest version that this build reads.
pub const VERSION_MIN: u8 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 40;
/// Bytes of a session tag, which follows the body where the header says so.
pub const TAG_BYTES: usize = 16;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 4;
const KIND_AT: usize = VERSION_AT + 1;
const FLAGS_AT: usize = KIND_AT + 1;
const GROUP_AT: usize = FLAGS_AT + 2;
const STREAM_AT: usize = GROUP_AT + 4;
const SEQUENCE_AT: usize = STREAM_AT + 4;
const BODY_BYTES_AT: usize = SEQUENCE_AT + 8;
const PAYLOAD_BYTES_AT: usize = BODY_BYTES_AT + 4;
const CHECKSUM_AT: usize = PAYLOAD_BYTES_AT + 4;
const RESERVED_AT: usize = CHECKSUM_AT + 4;
const _: () = assert!(RESERVED_AT + 4 == HEADER_BYTES);
const _: () = assert!(SEQUENCE_AT.is_multiple_of(8) && HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(VERSION_MIN <= VERSION);

/// A session tag follows the body. The only flag of this version.
const FLAG_TAGGED: u16 = 1;

/// What a frame's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// The group that it is about.
    pub group: GroupId,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its number among the frames of this connection and direction, from 0; bound by the tag.
    pub sequence: u64,
    /// Whether a session tag follows the body.
    pub tagged: bool,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Bytes of the payload, behind body and tag.
    pub payload_bytes: usize,
    /// crc32 of the header without this field, and the body.
    pub checksum: u32,
}

impl Header {
    /// Reads a header; what comes out is within the limits of its kind.
    ///
    /// # Errors
    /// When it is none, of another version or kind, or announces more than may be.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let magic = u32::from_le_bytes(field_at(bytes, MAGIC_AT));
        if magic != MAGIC {
            return Err(HeaderError::Magic { found: magic });
        }
        let version = bytes[VERSION_AT];
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(HeaderError::Version { found: version });
        }
        let code = bytes[KIND_AT];
        let kind = Kind::from_code(code).ok_or(HeaderError::Kind { found: code })?;
        let flags = u16::from_le_bytes(field_at(bytes, FLAGS_AT));
        if flags & !FLAG_TAGGED != 0 {
            return Err(HeaderError::Flags { found: flags });
        }
        let reserved = u32::from_le_bytes(field_at(bytes, RESERVED_AT));
        if reserved != 0 {
            return Err(HeaderError::Reserved { found: reserved });
        }
        let body_bytes = size(field_at(bytes, BODY_BYTES_AT));
        let max = kind.body_bytes_max();
        if body_bytes > max {
            return Err(HeaderError::Body { kind, found: body_bytes, max });
        }
        let payload_bytes = size(field_at(bytes, PAYLOAD_BYTES_AT));
        let max = kind.payload_bytes_max();
        if payload_bytes > max {
            return Err(HeaderError::Payload { kind, found: payload_bytes, max });
        }
        Ok(Self {
            kind,
            group: GroupId(u32::from_le_bytes(field_at(bytes, GROUP_AT))),
            stream: StreamId(u32::from_le_bytes(field_at(bytes, STREAM_AT))),
            sequence: u64::from_le_bytes(field_at(bytes, SEQUENCE_AT)),
            tagged: flags & FLAG_TAGGED != 0,
            body_bytes,
            payload_bytes,
            checksum: u32::from_le_bytes(field_at(bytes, CHECKSUM_AT)),
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[MAGIC_AT..VERSION_AT].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[VERSION_AT] = VERSION;
        bytes[KIND_AT] = self.kind.code();
        let flags = if self.tagged { FLAG_TAGGED } else { 0 };
        bytes[FLAGS_AT..GROUP_AT].copy_from_slice(&flags.to_le_bytes());
        bytes[GROUP_AT..STREAM_AT].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[STREAM_AT..SEQUENCE_AT].copy_from_slice(&self.stream.0.to_le_bytes());
        bytes[SEQUENCE_AT..BODY_BYTES_AT].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[BODY_BYTES_AT..PAYLOAD_BYTES_AT].copy_from_slice(&short(self.body_bytes));
        bytes[PAYLOAD_BYTES_AT..CHECKSUM_AT].copy_from_slice(&short(self.payload_bytes));
        bytes[CHECKSUM_AT..RESERVED_AT].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// The checksum that this header should have over this body.
    #[must_use]
    pub fn checksum_over(&self, body: &[u8]) -> u32 {
        let bytes = self.encode();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..CHECKSUM_AT]);
        hasher.update(&bytes[RESERVED_AT..]);
        hasher.update(body);
        hasher.finalize()
    }

    /// Bytes of the tag behind the body.
    #[must_use]
    pub const fn tag_bytes(&self) -> usize {
        if self.tagged { TAG_BYTES } else { 0 }
    }

    /// Bytes of body and tag: what is to be received before the frame can be read.
    #[must_use]
    pub const fn control_bytes(&self) -> usize {
        self.body_bytes + self.tag_bytes()
    }

    /// Bytes of the whole frame, the payload included.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.control_bytes() + self.payload_bytes
    }
}

fn size(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).expect("u32 fits usize on 64-bit Linux")
}

fn short(size: usize) -> [u8; 4] {
    u32::try_from(size).expect("a size within its kind's limit fits u32").to_le_bytes()
}

/// Why some bytes are not a header that this build takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Not a frame of ours.
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// A version that this build does not speak.
    Version {
        /// The version.
        found: u8,
    },
    /// No kind of this version.
    Kind {
        /// The code.
        found: u8,
    },
    /// Flags that this version does not know.
    Flags {
        /// All flags.
        found: u16,
    },
    /// The reserved field is not zero.
    Reserved {
        /// Its value.
        found: u32,
    },
    /// A body past its kind's limit.
    Body {
        /// The kind.
        kind: Kind,
        /// Bytes announced.
        found: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A payload past its kind's limit, which is 0 for most.
    Payload {
        /// The kind.
        kind: Kind,
        /// Bytes announced.
        found: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { found } => write!(f, "not a frame: it begins with {found:08x}, not {MAGIC:08x}"),
            Self::Version { found } => {
                write!(f, "a frame of version {found}; this build speaks {VERSION_MIN} to {VERSION}")
            }
            Self::Kind { found } => write!(f, "no frame kind has code {found}"),
            Self::Flags { found } => write!(f, "the frame has unknown flags: {found:04x}"),
            Self::Reserved { found } => write!(f, "a reserved field of the frame holds {found:08x}"),
            Self::Body { kind, found, max } => {
                write!(f, "a {kind} frame with a body of {found} bytes; at most {max} are allowed")
            }
            Self::Payload { kind, found, max } => {
                write!(f, "a {kind} frame with a payload of {found} bytes; at most {max} are allowed")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
