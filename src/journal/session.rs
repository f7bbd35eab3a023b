//! A proposer's session on this disk: its id and how far its numbers are reserved.
//!
//! Numbers are reserved in blocks and durable before the first of a block is used, so that a proposal costs no flush
//! and no number is ever used twice, whatever is cut off. The file is replaced as a whole; FORMAT.md, section 8, has
//! its bytes.

use std::fmt;

use crate::ids::SessionId;
use crate::uring::{Buffer, Dir, Errno, OpenOptions};
use crate::wire::field_at;

use super::replace::replace;

/// The file's name in a shard's folder.
pub const NAME: &str = "session";
const SET_ASIDE: &str = "session.damaged";
const MAGIC: [u8; 8] = *b"RWYSESSN";
const VERSION: u32 = 1;
const AT_VERSION: usize = 8;
const AT_ZERO: usize = 12;
const AT_SESSION: usize = 16;
const AT_RESERVED: usize = 32;
const AT_CHECKSUM: usize = 40;
const BYTES: usize = 44;

const _: () = assert!(AT_RESERVED == AT_SESSION + SessionId::BYTES);
const _: () = assert!(BYTES == AT_CHECKSUM + 4);

/// A session as it stands on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// The session.
    pub session: SessionId,
    /// Numbers below this may have been used: a new start goes on from here.
    pub reserved: u64,
}

/// Why there is no record to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionFileError {
    /// The file has another size than a record.
    Size {
        /// Its bytes, at most one more than a record has.
        bytes: usize,
    },
    /// It begins with other bytes than ours.
    Magic,
    /// It is of another version: a newer build wrote it.
    Version {
        /// The file's.
        found: u32,
    },
    /// Its bytes are not those that were written.
    Checksum {
        /// Of the bytes.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// A reserved field is not zero.
    Reserved,
    /// The disk refuses.
    Disk {
        /// Why.
        errno: Errno,
    },
}

impl SessionFileError {
    /// The file is damaged, and nothing else is wrong: a session under a new id may take its place.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Size { .. } | Self::Magic | Self::Checksum { .. } | Self::Reserved)
    }
}

impl SessionRecord {
    /// The record in a folder; `None` if there never was one.
    ///
    /// # Errors
    /// `SessionFileError`. Nothing is changed.
    pub async fn load(dir: &Dir) -> Result<Option<Self>, SessionFileError> {
        let disk = |errno| SessionFileError::Disk { errno };
        let file = match dir.open(NAME, OpenOptions::default()).await {
            Ok(file) => file,
            Err(Errno::NOT_FOUND) => return Ok(None),
            Err(errno) => return Err(disk(errno)),
        };
        let (count, buffer) = file.read_at(Buffer::heap(BYTES + 1), 0..BYTES + 1, 0).await;
        let bytes = buffer.memory().get(..count.map_err(disk)?).unwrap_or_default();
        Self::decode(bytes).map(Some)
    }

    /// Puts the record in the place of the one before it; durable when this returns. After an error either of the two
    /// may stand there.
    ///
    /// # Errors
    /// The disk's.
    pub async fn store(&self, dir: &Dir) -> Result<(), Errno> {
        replace(dir, NAME, async |_| Ok(self.encode())).await
    }

    /// Keeps a damaged file under another name, for a look at it.
    ///
    /// # Errors
    /// The disk's.
    pub async fn set_damaged_aside(dir: &Dir) -> Result<(), Errno> {
        dir.rename(NAME, dir, SET_ASIDE).await?;
        dir.sync().await
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[..AT_VERSION].copy_from_slice(&MAGIC);
        out[AT_VERSION..AT_ZERO].copy_from_slice(&VERSION.to_le_bytes());
        out[AT_SESSION..AT_RESERVED].copy_from_slice(&self.session.0);
        out[AT_RESERVED..AT_CHECKSUM].copy_from_slice(&self.reserved.to_le_bytes());
        let checksum = crc32fast::hash(&out[..AT_CHECKSUM]);
        out[AT_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// A record out of the file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionFileError> {
        let Ok(bytes) = <&[u8; BYTES]>::try_from(bytes) else {
            return Err(SessionFileError::Size { bytes: bytes.len() });
        };
        if bytes[..AT_VERSION] != MAGIC {
            return Err(SessionFileError::Magic);
        }
        let (expected, found) = (crc32fast::hash(&bytes[..AT_CHECKSUM]), u32_at(bytes, AT_CHECKSUM));
        if expected != found {
            return Err(SessionFileError::Checksum { expected, found });
        }
        match u32_at(bytes, AT_VERSION) {
            VERSION => {}
            found => return Err(SessionFileError::Version { found }),
        }
        if u32_at(bytes, AT_ZERO) != 0 {
            return Err(SessionFileError::Reserved);
        }
        let session = SessionId(field_at(bytes, AT_SESSION));
        Ok(Self { session, reserved: u64::from_le_bytes(field_at(bytes, AT_RESERVED)) })
    }
}

fn u32_at(bytes: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes(field_at(bytes, at))
}

impl fmt::Display for SessionFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { bytes } => write!(f, "the session's file is damaged: {bytes} bytes, not {BYTES}"),
            Self::Magic => f.write_str("the session's file is damaged: it does not begin with its magic"),
            Self::Version { found } => {
                write!(f, "the session's file has version {found}; this build reads {VERSION}")
            }
            Self::Checksum { expected, found } => {
                write!(f, "the session's file is damaged: checksum {found:08x}, not {expected:08x}")
            }
            Self::Reserved => f.write_str("the session's file is damaged: a reserved field is not zero"),
            Self::Disk { errno } => write!(f, "the session's file: {errno}"),
        }
    }
}

impl std::error::Error for SessionFileError {}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: SessionRecord = SessionRecord { session: SessionId([7; 16]), reserved: 0x0102_0304_0506 };

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(SessionRecord::decode(&RECORD.encode()), Ok(RECORD));
    }

    #[test]
    fn every_byte_that_is_not_as_it_was_written_is_noticed_and_every_cut() {
        let whole = RECORD.encode();
        for at in 0..BYTES {
            for bit in 0..8 {
                let mut bytes = whole;
                bytes[at] ^= 1 << bit;
                let error = SessionRecord::decode(&bytes).expect_err("one bit is another");
                assert!(error.is_damage(), "{at}.{bit}: {error}");
            }
            assert_eq!(SessionRecord::decode(&whole[..at]), Err(SessionFileError::Size { bytes: at }));
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(SessionRecord::decode(&longer), Err(SessionFileError::Size { bytes: BYTES + 1 }));
    }

    fn sealed(change: impl Fn(&mut [u8; BYTES])) -> [u8; BYTES] {
        let mut bytes = RECORD.encode();
        change(&mut bytes);
        let checksum = crc32fast::hash(&bytes[..AT_CHECKSUM]);
        bytes[AT_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_later_version_is_no_damage_and_a_field_of_the_future_is() {
        let later = SessionRecord::decode(&sealed(|bytes| bytes[AT_VERSION] = 2));
        assert_eq!(later, Err(SessionFileError::Version { found: 2 }));
        assert!(!SessionFileError::Version { found: 2 }.is_damage());
        let future = SessionRecord::decode(&sealed(|bytes| bytes[AT_ZERO] = 1));
        assert_eq!(future, Err(SessionFileError::Reserved));
    }
}
