//! Records: what a log file is made of.
//!
//! A record is a header of 32 bytes and its payload, padded to 16, so that every payload begins on a multiple of 16
//! in the file, in memory and in a mapping. The checksum covers header and payload and starts from the file's own
//! salt, so that neither a record of another file nor the bytes of a command can pass for one. Records stand in
//! batches: what one write and one fdatasync made durable. A batch begins on a block with a record that numbers it;
//! no durable block is written again.

use crate::ids::{GroupId, LogIndex, Term};
use crate::limits::{ENTRY_BYTES_MAX, IO_ALIGNMENT};
use crate::wire::field_at;

/// Bytes of a record's header.
pub(in crate::raft) const HEADER_BYTES: usize = 32;
/// Every record begins on a multiple of this.
const RECORD_ALIGNMENT: usize = 16;
/// A batch begins on a multiple of this.
pub(super) const BLOCK_BYTES: usize = IO_ALIGNMENT;
/// The format of this build.
pub(super) const VERSION: u8 = 1;
/// What a file's first record begins with.
pub(super) const MAGIC: [u8; 8] = *b"RINGLOG\0";
/// Bytes of a head's payload: magic, salt, 4 of zero, number of the first batch.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes of a batch's payload: bytes of the whole batch, how many records follow.
pub(super) const BATCH_BYTES: usize = 8;

const LENGTH_AT: usize = 0;
const KIND_AT: usize = 4;
const VERSION_AT: usize = 5;
const RESERVED_AT: usize = 6;
const GROUP_AT: usize = 8;
const CHECKSUM_AT: usize = 12;
const TERM_AT: usize = 16;
const INDEX_AT: usize = 24;

const _: () = assert!(INDEX_AT + 8 == HEADER_BYTES);
const _: () = assert!(HEADER_BYTES.is_multiple_of(RECORD_ALIGNMENT));
const _: () = assert!(BLOCK_BYTES.is_multiple_of(RECORD_ALIGNMENT));

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::raft) enum Kind {
    /// Begins a file: its index is the file's number.
    Head,
    /// Begins a batch: its index is the batch's number.
    Batch,
    /// An entry without content, which a new leader commits.
    Blank,
    /// An entry: a command.
    Command,
    /// An entry: the members of the group from here on.
    Members,
    /// The vote: its index is the node that was voted for, its payload one byte, whether a quorum granted it.
    Vote,
    /// Entries up to here are committed.
    Committed,
    /// Entries after this one are void.
    Truncated,
    /// Entries up to this one are in a snapshot, and gone from the log.
    Purged,
    /// Begins a snapshot of the state at this entry; its payload tells the members.
    SnapshotHead,
    /// A part of a snapshot: its index is its place, from 0.
    SnapshotPart,
    /// Ends a snapshot: its index is how many parts there are.
    SnapshotEnd,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Head,
        Self::Batch,
        Self::Blank,
        Self::Command,
        Self::Members,
        Self::Vote,
        Self::Committed,
        Self::Truncated,
        Self::Purged,
        Self::SnapshotHead,
        Self::SnapshotPart,
        Self::SnapshotEnd,
    ];

    fn number(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Batch => 2,
            Self::Blank => 3,
            Self::Command => 4,
            Self::Members => 5,
            Self::Vote => 6,
            Self::Committed => 7,
            Self::Truncated => 8,
            Self::Purged => 9,
            Self::SnapshotHead => 10,
            Self::SnapshotPart => 11,
            Self::SnapshotEnd => 12,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::raft) struct Record<'a> {
    pub(in crate::raft) kind: Kind,
    pub(in crate::raft) term: Term,
    pub(in crate::raft) index: LogIndex,
    pub(in crate::raft) payload: &'a [u8],
}

/// Whose records, and in which file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::raft) struct Stamp {
    pub(in crate::raft) group: GroupId,
    pub(in crate::raft) salt: u32,
}

/// Why bytes are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordFault {
    /// They end before the record does.
    Short,
    /// The length is above what a record may have.
    Length {
        /// The length.
        bytes: u32,
    },
    /// The checksum differs.
    Checksum,
    /// A whole record of a format that this build does not read.
    Version {
        /// The version.
        found: u8,
    },
    /// A whole record of a kind that this build does not know.
    Kind {
        /// The number.
        found: u8,
    },
    /// A whole record of another group.
    Group {
        /// The group.
        found: GroupId,
    },
}

/// Bytes that a record takes in a file.
pub(in crate::raft) fn record_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGNMENT)
}

impl Record<'_> {
    /// Writes the record to the front of `out`, padding included, and gives its bytes.
    pub(in crate::raft) fn encode(&self, stamp: Stamp, out: &mut [u8]) -> usize {
        let length = u32::try_from(self.payload.len()).expect("a payload is within its limit");
        let end = HEADER_BYTES + self.payload.len();
        let bytes = record_bytes(self.payload.len());
        out[LENGTH_AT..KIND_AT].copy_from_slice(&length.to_le_bytes());
        out[KIND_AT] = self.kind.number();
        out[VERSION_AT] = VERSION;
        out[RESERVED_AT..GROUP_AT].fill(0);
        out[GROUP_AT..CHECKSUM_AT].copy_from_slice(&stamp.group.0.to_le_bytes());
        out[TERM_AT..INDEX_AT].copy_from_slice(&self.term.0.to_le_bytes());
        out[INDEX_AT..HEADER_BYTES].copy_from_slice(&self.index.0.to_le_bytes());
        out[HEADER_BYTES..end].copy_from_slice(self.payload);
        out[end..bytes].fill(0);
        let sum = checksum(&out[..end], stamp.salt);
        out[CHECKSUM_AT..TERM_AT].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

impl<'a> Record<'a> {
    /// The record at the front of `bytes`, checked.
    pub(in crate::raft) fn decode(bytes: &'a [u8], stamp: Stamp) -> Result<Self, RecordFault> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RecordFault::Short)?;
        let length = u32::from_le_bytes(field_at(header, LENGTH_AT));
        if length as usize > ENTRY_BYTES_MAX {
            return Err(RecordFault::Length { bytes: length });
        }
        let payload = rest.get(..length as usize).ok_or(RecordFault::Short)?;
        let whole = &bytes[..HEADER_BYTES + payload.len()];
        if u32::from_le_bytes(field_at(header, CHECKSUM_AT)) != checksum(whole, stamp.salt) {
            return Err(RecordFault::Checksum);
        }
        if header[VERSION_AT] != VERSION {
            return Err(RecordFault::Version { found: header[VERSION_AT] });
        }
        let group = GroupId(u32::from_le_bytes(field_at(header, GROUP_AT)));
        if group != stamp.group {
            return Err(RecordFault::Group { found: group });
        }
        let kind = Kind::of_number(header[KIND_AT]).ok_or(RecordFault::Kind { found: header[KIND_AT] })?;
        let term = Term(u64::from_le_bytes(field_at(header, TERM_AT)));
        let index = LogIndex(u64::from_le_bytes(field_at(header, INDEX_AT)));
        Ok(Self { kind, term, index, payload })
    }
}

/// A head's payload.
pub(super) fn head_payload(salt: u32, first_batch: u64) -> [u8; HEAD_BYTES] {
    let mut out = [0; HEAD_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&salt.to_le_bytes());
    out[16..].copy_from_slice(&first_batch.to_le_bytes());
    out
}

/// The salt and the first batch that a head's payload tells; nothing if it is no head's.
pub(super) fn read_head(payload: &[u8]) -> Option<(u32, u64)> {
    let payload: &[u8; HEAD_BYTES] = payload.try_into().ok()?;
    let salt = u32::from_le_bytes(field_at(payload, 8));
    (payload[..8] == MAGIC).then(|| (salt, u64::from_le_bytes(field_at(payload, 16))))
}

/// A batch's payload.
pub(super) fn batch_payload(bytes: usize, records: usize) -> [u8; BATCH_BYTES] {
    let number = |value: usize| u32::try_from(value).expect("a batch is within its limit").to_le_bytes();
    let mut out = [0; BATCH_BYTES];
    out[..4].copy_from_slice(&number(bytes));
    out[4..].copy_from_slice(&number(records));
    out
}

/// The bytes and the records that a batch's payload tells.
pub(super) fn read_batch(payload: &[u8]) -> Option<(usize, usize)> {
    let payload: &[u8; BATCH_BYTES] = payload.try_into().ok()?;
    let number = |at| u32::from_le_bytes(field_at(payload, at)) as usize;
    Some((number(0), number(4)))
}

/// Of a record without its padding; the checksum's own place counts as zero.
fn checksum(record: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&record[..CHECKSUM_AT]);
    hasher.update(&[0; 4]);
    hasher.update(&record[TERM_AT..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::page::{hex, vector};

    const STAMP: Stamp = Stamp { group: GroupId(7), salt: 0x1234_5678 };

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let record = Record { kind: Kind::Command, term: Term(3), index: LogIndex(9), payload };
        let mut out = vec![0xee; record_bytes(payload.len()) + 16];
        let bytes = record.encode(STAMP, &mut out);
        out.truncate(bytes);
        out
    }

    #[test]
    fn its_bytes_are_those_of_format_md() {
        assert_eq!(hex(&encoded(b"abc")), vector("record"));
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_ends_aligned() {
        for length in [0, 1, 15, 16, 17, 4096] {
            let payload = vec![5; length];
            let bytes = encoded(&payload);
            assert!(bytes.len().is_multiple_of(16));
            let record = Record::decode(&bytes, STAMP).expect("whole");
            assert_eq!((record.kind, record.term, record.index), (Kind::Command, Term(3), LogIndex(9)));
            assert_eq!(record.payload, payload);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encoded(&[5; 20]);
        for at in 0..(HEADER_BYTES + 20) * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(Record::decode(&bad, STAMP).is_err(), "bit {at}");
        }
        for length in 0..HEADER_BYTES + 20 {
            assert!(Record::decode(&bytes[..length], STAMP).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_record_of_another_file_group_or_version_is_told_apart() {
        let bytes = encoded(b"x");
        let other = Stamp { salt: 1, ..STAMP };
        assert_eq!(Record::decode(&bytes, other), Err(RecordFault::Checksum));
        let other = Stamp { group: GroupId(8), ..STAMP };
        assert_eq!(Record::decode(&bytes, other), Err(RecordFault::Group { found: GroupId(7) }));
        let mut next = bytes.clone();
        next[VERSION_AT] = 2;
        let sum = checksum(&next[..HEADER_BYTES + 1], STAMP.salt);
        next[CHECKSUM_AT..TERM_AT].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Record::decode(&next, STAMP), Err(RecordFault::Version { found: 2 }));
    }

    #[test]
    fn kinds_have_distinct_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::of_number(0), None, "zeros are no record");
    }
}
