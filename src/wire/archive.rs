//! The checked header before each rkyv archive of a state: what a snapshot is made of, on disk and between
//! nodes.
//!
//! Owns the 48 bytes ahead of the archive, its checksums and its padding to 16 bytes, so that archives laid
//! end to end stay aligned. Refuses anything but the exact bytes that `seal` wrote. Knows nothing of what is
//! inside.

use std::fmt;

use rkyv::util::AlignedVec;

use crate::wire::codec::field_at;

/// Bytes of the header: a multiple of the archive's alignment.
pub const ARCHIVE_HEADER_BYTES: usize = 48;
/// Alignment of an archive in memory, and of its place in a file.
pub const ARCHIVE_ALIGNMENT: usize = 16;

const MAGIC: [u8; 8] = *b"RINGARCH";
const VERSION_AT: usize = 8;
const KIND_AT: usize = 10;
const ORDINAL_AT: usize = 12;
const BYTES_AT: usize = 16;
const INDEX_AT: usize = 24;
const LAST_AT: usize = 32;
const PAYLOAD_CHECKSUM_AT: usize = 36;
const HEADER_CHECKSUM_AT: usize = 44;

const _: () = assert!(ARCHIVE_HEADER_BYTES.is_multiple_of(ARCHIVE_ALIGNMENT));
const _: () = assert!(HEADER_CHECKSUM_AT + 4 == ARCHIVE_HEADER_BYTES);

/// Whose state an archive holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveKind {
    /// A shard's manifest.
    Manifest,
    /// The cluster's state.
    Cluster,
}

impl ArchiveKind {
    fn number(self) -> u16 {
        match self {
            Self::Manifest => 1,
            Self::Cluster => 2,
        }
    }
}

/// What the header says of its archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveHeader {
    /// Whose state.
    pub kind: ArchiveKind,
    /// Version of the state's format.
    pub version: u16,
    /// Place in the sequence of one snapshot, from 0.
    pub ordinal: u32,
    /// Log index that the snapshot stands at.
    pub index: u64,
    /// Whether the sequence ends here.
    pub last: bool,
}

/// Why bytes are not the archive that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveError {
    /// Fewer bytes than a header.
    Short {
        /// Bytes present.
        bytes: usize,
    },
    /// The bytes do not begin as an archive does.
    Magic,
    /// The header's checksum differs.
    HeaderChecksum,
    /// A state of another kind.
    Kind {
        /// The number found.
        found: u16,
        /// The number asked for.
        expected: u16,
    },
    /// A format that this build does not read.
    Version {
        /// The version found.
        found: u16,
        /// The version that this build reads.
        supported: u16,
    },
    /// The header declares another length than what is present, or more than is allowed.
    Length {
        /// Bytes of payload declared.
        declared: u64,
        /// Bytes present, header and padding included.
        present: usize,
    },
    /// A field that this version leaves zero is not.
    Reserved,
    /// The payload's checksum differs.
    PayloadChecksum,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { bytes } => write!(f, "{bytes} bytes are too few for an archive's header"),
            Self::Magic => write!(f, "the bytes do not begin as an archive"),
            Self::HeaderChecksum => write!(f, "the archive's header is damaged: its checksum differs"),
            Self::Kind { found, expected } => {
                write!(f, "the archive is of kind {found}, expected {expected}")
            }
            Self::Version { found, supported } => {
                write!(f, "the archive has format version {found}; this build reads {supported}")
            }
            Self::Length { declared, present } => {
                write!(f, "the archive declares {declared} bytes of payload, but {present} bytes are present")
            }
            Self::Reserved => write!(f, "a reserved field of the archive is not zero"),
            Self::PayloadChecksum => write!(f, "the archive is damaged: its checksum differs"),
        }
    }
}

impl std::error::Error for ArchiveError {}

/// Memory for one archive: serialise behind what is already there, then `seal`.
#[must_use]
pub fn archive_buffer(payload_bytes: usize) -> AlignedVec<ARCHIVE_ALIGNMENT> {
    let mut bytes = AlignedVec::with_capacity(ARCHIVE_HEADER_BYTES + payload_bytes + ARCHIVE_ALIGNMENT);
    bytes.resize(ARCHIVE_HEADER_BYTES, 0);
    bytes
}

/// Writes the header over the first bytes of `bytes` and pads the end.
///
/// # Panics
/// If `bytes` did not come from `archive_buffer`, which leaves room for the header.
pub fn seal_archive(bytes: &mut AlignedVec<ARCHIVE_ALIGNMENT>, header: &ArchiveHeader) {
    assert!(bytes.len() >= ARCHIVE_HEADER_BYTES, "no room for the header in {} bytes", bytes.len());
    let payload_bytes = bytes.len() - ARCHIVE_HEADER_BYTES;
    let checksum = crc32fast::hash(&bytes[ARCHIVE_HEADER_BYTES..]);
    let mut head = [0_u8; ARCHIVE_HEADER_BYTES];
    put(&mut head, 0, &MAGIC);
    put(&mut head, VERSION_AT, &header.version.to_le_bytes());
    put(&mut head, KIND_AT, &header.kind.number().to_le_bytes());
    put(&mut head, ORDINAL_AT, &header.ordinal.to_le_bytes());
    put(&mut head, BYTES_AT, &(payload_bytes as u64).to_le_bytes());
    put(&mut head, INDEX_AT, &header.index.to_le_bytes());
    put(&mut head, LAST_AT, &u32::from(header.last).to_le_bytes());
    put(&mut head, PAYLOAD_CHECKSUM_AT, &checksum.to_le_bytes());
    let checksum = crc32fast::hash(&head[..HEADER_CHECKSUM_AT]);
    put(&mut head, HEADER_CHECKSUM_AT, &checksum.to_le_bytes());
    bytes[..ARCHIVE_HEADER_BYTES].copy_from_slice(&head);
    bytes.resize(bytes.len().next_multiple_of(ARCHIVE_ALIGNMENT), 0);
}

/// Checks the whole of `bytes` as one archive of `kind` and `version` with at most `payload_bytes_max`, and
/// gives its header and payload.
///
/// # Errors
/// The first thing that is not as `seal_archive` wrote it.
pub fn open_archive(
    bytes: &[u8],
    kind: ArchiveKind,
    version: u16,
    payload_bytes_max: usize,
) -> Result<(ArchiveHeader, &[u8]), ArchiveError> {
    let Some((head, body)) = bytes.split_first_chunk::<ARCHIVE_HEADER_BYTES>() else {
        return Err(ArchiveError::Short { bytes: bytes.len() });
    };
    if head[..MAGIC.len()] != MAGIC {
        return Err(ArchiveError::Magic);
    }
    if u32::from_le_bytes(field_at(head, HEADER_CHECKSUM_AT)) != crc32fast::hash(&head[..HEADER_CHECKSUM_AT])
    {
        return Err(ArchiveError::HeaderChecksum);
    }
    let found = u16::from_le_bytes(field_at(head, KIND_AT));
    if found != kind.number() {
        return Err(ArchiveError::Kind { found, expected: kind.number() });
    }
    let found = u16::from_le_bytes(field_at(head, VERSION_AT));
    if found != version {
        return Err(ArchiveError::Version { found, supported: version });
    }
    let declared = u64::from_le_bytes(field_at(head, BYTES_AT));
    let length = ArchiveError::Length { declared, present: bytes.len() };
    let payload_bytes =
        usize::try_from(declared).ok().filter(|&length| length <= payload_bytes_max).ok_or(length)?;
    if body.len() != payload_bytes.next_multiple_of(ARCHIVE_ALIGNMENT) {
        return Err(length);
    }
    let (payload, padding) = body.split_at(payload_bytes);
    let last = u32::from_le_bytes(field_at(head, LAST_AT));
    if last > 1
        || field_at::<4>(head, PAYLOAD_CHECKSUM_AT + 4) != [0; 4]
        || padding.iter().any(|&byte| byte != 0)
    {
        return Err(ArchiveError::Reserved);
    }
    if u32::from_le_bytes(field_at(head, PAYLOAD_CHECKSUM_AT)) != crc32fast::hash(payload) {
        return Err(ArchiveError::PayloadChecksum);
    }
    let ordinal = u32::from_le_bytes(field_at(head, ORDINAL_AT));
    let index = u64::from_le_bytes(field_at(head, INDEX_AT));
    Ok((ArchiveHeader { kind, version, ordinal, index, last: last == 1 }, payload))
}

fn put(head: &mut [u8; ARCHIVE_HEADER_BYTES], at: usize, value: &[u8]) {
    head[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: ArchiveHeader =
        ArchiveHeader { kind: ArchiveKind::Cluster, version: 1, ordinal: 3, index: 99, last: true };

    fn sealed(payload: &[u8]) -> AlignedVec<ARCHIVE_ALIGNMENT> {
        let mut bytes = archive_buffer(payload.len());
        bytes.extend_from_slice(payload);
        seal_archive(&mut bytes, &HEADER);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<(ArchiveHeader, &[u8]), ArchiveError> {
        open_archive(bytes, ArchiveKind::Cluster, 1, 64)
    }

    #[test]
    fn an_archive_opens_as_it_was_sealed_and_stays_aligned() {
        for length in [0, 1, 15, 16, 17, 64] {
            let payload = vec![7_u8; length];
            let bytes = sealed(&payload);
            assert!(bytes.len().is_multiple_of(ARCHIVE_ALIGNMENT));
            assert_eq!(open(&bytes), Ok((HEADER, payload.as_slice())));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = sealed(&[5; 21]);
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open(&bad).is_err(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length]).is_err(), "cut to {length}");
        }
        let mut long = bytes.to_vec();
        long.push(0);
        assert!(matches!(open(&long), Err(ArchiveError::Length { declared: 21, .. })));
    }

    #[test]
    fn another_kind_version_or_size_is_told_apart() {
        let bytes = sealed(&[5; 64]);
        let kind = open_archive(&bytes, ArchiveKind::Manifest, 1, 64);
        assert_eq!(kind, Err(ArchiveError::Kind { found: 2, expected: 1 }));
        let version = open_archive(&bytes, ArchiveKind::Cluster, 2, 64);
        assert_eq!(version, Err(ArchiveError::Version { found: 1, supported: 2 }));
        let size = open_archive(&bytes, ArchiveKind::Cluster, 1, 63);
        assert_eq!(size, Err(ArchiveError::Length { declared: 64, present: 112 }));
    }
}
