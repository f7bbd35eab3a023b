//! The inventory's records as bytes: what is held under which name, appended one after another.
//!
//! File: a header of 16 bytes, then frames of {length u32, crc32 u32, body}. All integers are little-endian. The
//! order of records is the meaning: a put replaces what was known of its id and of its path.

use std::fmt;

use crate::ids::{Digest, LogIndex, SegmentId, UnixNanos};
use crate::limits::PATH_BYTES_MAX;

use super::identity::Identity;
use super::names::Stem;
use super::path::RelativePath;

/// Who may write, rename and unlink the file (ARCHITECTURE.md, D16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// The names are Ringway's: a replica.
    Ours,
    /// The names are the engine's: an origin. We only read, and pin.
    Engine,
}

/// A verified segment: what was hashed, and by what the file is known again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The segment.
    pub id: SegmentId,
    /// The root of its content.
    pub root: Digest,
    /// Its length in bytes; the file's size is the same.
    pub len: u64,
    /// Its name.
    pub path: RelativePath,
    /// The file as it was when it was verified.
    pub identity: Identity,
    /// Whose name it is.
    pub owner: Ownership,
}

impl Record {
    /// Its name in our folders.
    pub(super) fn stem(&self) -> Stem {
        Stem { id: self.id, root: self.root }
    }
}

/// One entry of the inventory's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// The segment is held; nothing else is, under its id or its path.
    Put(Record),
    /// The segment is no longer held, and no landing of it is under way.
    Drop(SegmentId),
    /// The segment is about to be held: its file gets its name when this is durable. A put of its path ends it.
    Intend(Record),
}

const MAGIC: [u8; 8] = *b"RWINVENT";
/// Version 1 had no intents.
const VERSIONS: [u32; 2] = [1, 2];
/// Bytes before the first record.
const HEADER_BYTES: usize = 16;
const FRAME_BYTES: usize = 8;

const PUT: u8 = 1;
const DROP: u8 = 2;
const INTEND: u8 = 3;
const DROP_BYTES: usize = 16;
const PUT_BYTES: usize = DROP_BYTES + 4 * 8 + Digest::BYTES;
const _: () = assert!(PUT_BYTES == 80);

/// The file's header.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    header_of(VERSIONS[1])
}

fn header_of(version: u32) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&version.to_le_bytes());
    out
}

impl Change {
    /// Appends the framed record.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_BYTES]);
        match self {
            Self::Drop(id) => {
                out.extend_from_slice(&[DROP, 0, 0, 0]);
                encode_id(*id, out);
            }
            Self::Put(record) => encode_record(PUT, record, out),
            Self::Intend(record) => encode_record(INTEND, record, out),
        }
        let body = start + FRAME_BYTES;
        let length = u32::try_from(out.len() - body).expect("a path is bounded");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(length, &out[body..]);
        out[start + 4..body].copy_from_slice(&checksum.to_le_bytes());
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<DROP_BYTES>()?;
        let id = SegmentId {
            ordinal: u32::from_le_bytes(head[4..8].try_into().ok()?),
            index: LogIndex(u64::from_le_bytes(head[8..16].try_into().ok()?)),
        };
        match (head[0], rest.is_empty()) {
            (DROP, true) => Some(Self::Drop(id)),
            (PUT, false) => decode_record(id, head, rest).map(Self::Put),
            (INTEND, false) => decode_record(id, head, rest).map(Self::Intend),
            _ => None,
        }
    }
}

fn encode_id(id: SegmentId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.ordinal.to_le_bytes());
    out.extend_from_slice(&id.index.0.to_le_bytes());
}

fn encode_record(kind: u8, record: &Record, out: &mut Vec<u8>) {
    let path = record.path.as_str();
    let path_bytes = u16::try_from(path.len()).expect("a path has at most 4096 bytes");
    let owner = match record.owner {
        Ownership::Ours => 0,
        Ownership::Engine => 1,
    };
    out.extend_from_slice(&[kind, owner]);
    out.extend_from_slice(&path_bytes.to_le_bytes());
    encode_id(record.id, out);
    assert_eq!(record.len, record.identity.bytes, "a verified file has its segment's length");
    for number in [record.len, record.identity.device, record.identity.inode, record.identity.modified.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&record.root.0);
    out.extend_from_slice(path.as_bytes());
}

fn decode_record(id: SegmentId, head: &[u8; DROP_BYTES], rest: &[u8]) -> Option<Record> {
    let owner = match head[1] {
        0 => Ownership::Ours,
        1 => Ownership::Engine,
        _ => return None,
    };
    let path_bytes = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let (numbers, rest) = rest.split_first_chunk::<32>()?;
    let (root, path) = rest.split_first_chunk::<{ Digest::BYTES }>()?;
    if path.len() != path_bytes {
        return None;
    }
    let (numbers, _) = numbers.as_chunks::<8>();
    let [len, device, inode, modified] = [0, 1, 2, 3].map(|at: usize| u64::from_le_bytes(numbers[at]));
    let path = RelativePath::parse(std::str::from_utf8(path).ok()?).ok()?;
    let identity = Identity { device, inode, bytes: len, modified: UnixNanos(modified) };
    Some(Record { id, root: Digest(*root), len, path, identity, owner })
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Where the inventory's file stops making sense. What stood behind it is found again by hashing files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InventoryCut {
    /// The first byte that was not read.
    pub offset: u64,
    /// Bytes from there to the end.
    pub bytes: u64,
}

impl fmt::Display for InventoryCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the inventory is unreadable at byte {} for {} bytes", self.offset, self.bytes)
    }
}

/// Gives the records of a whole file to `take`, up to the first that is torn or rotten.
pub(super) fn decode_all(file: &[u8], mut take: impl FnMut(Change)) -> Option<InventoryCut> {
    let cut = |offset: usize| InventoryCut { offset: offset as u64, bytes: (file.len() - offset) as u64 };
    if file.is_empty() {
        return None;
    }
    if !VERSIONS.iter().any(|version| file.starts_with(&header_of(*version))) {
        return Some(cut(0));
    }
    let mut at = HEADER_BYTES;
    while at < file.len() {
        let Some((change, bytes)) = decode_frame(&file[at..]) else { return Some(cut(at)) };
        take(change);
        at += bytes;
    }
    None
}

fn decode_frame(file: &[u8]) -> Option<(Change, usize)> {
    let (frame, rest) = file.split_first_chunk::<FRAME_BYTES>()?;
    let length = u32::from_le_bytes(frame[..4].try_into().ok()?);
    let expected = u32::from_le_bytes(frame[4..].try_into().ok()?);
    let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= PUT_BYTES + PATH_BYTES_MAX)?;
    let body = rest.get(..bytes)?;
    if checksum(length, body) != expected {
        return None;
    }
    Some((Change::decode(body)?, FRAME_BYTES + bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::page::{hex, vector};

    fn decoded(file: &[u8]) -> (Vec<Change>, Option<InventoryCut>) {
        let mut changes = Vec::new();
        let cut = decode_all(file, |change| changes.push(change));
        (changes, cut)
    }

    fn changes() -> Vec<Change> {
        let record = |index, path, owner| Record {
            id: SegmentId { index: LogIndex(index), ordinal: 1 },
            root: Digest([9; 32]),
            len: 77,
            path: RelativePath::parse(path).unwrap(),
            identity: Identity { device: 4, inode: 5, bytes: 77, modified: UnixNanos(u64::MAX) },
            owner,
        };
        vec![
            Change::Put(record(1, "a/b.seg", Ownership::Ours)),
            Change::Drop(SegmentId { index: LogIndex(1), ordinal: 1 }),
            Change::Put(record(2, "ü", Ownership::Engine)),
            Change::Intend(record(3, "a/c", Ownership::Ours)),
        ]
    }

    fn file() -> Vec<u8> {
        let mut file = header().to_vec();
        changes().iter().for_each(|change| change.encode(&mut file));
        file
    }

    #[test]
    fn the_inventory_reads_what_it_wrote() {
        assert_eq!(decoded(&file()), (changes(), None));
        assert_eq!(decoded(&[]), (vec![], None), "a new file");
    }

    #[test]
    fn the_inventory_is_written_as_its_vector() {
        assert_eq!(hex(&file()), vector("inventory"));
    }

    #[test]
    fn a_file_of_the_version_before_is_read() {
        let mut file = header_of(1).to_vec();
        changes()[..3].iter().for_each(|change| change.encode(&mut file));
        assert_eq!(decoded(&file), (changes()[..3].to_vec(), None));
        for version in [0, 3, 4, u32::MAX] {
            file[8..12].copy_from_slice(&version.to_le_bytes());
            assert!(decoded(&file).0.is_empty(), "version {version}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_gives_the_whole_records_before_the_cut() {
        let file = file();
        for len in 1..file.len() {
            let (found, cut) = decoded(&file[..len]);
            assert!(changes().starts_with(&found), "{len} bytes");
            assert_eq!(found.len() == changes().len(), len == file.len());
            match cut {
                Some(cut) => assert_eq!(cut.offset + cut.bytes, len as u64),
                None => assert!(len >= HEADER_BYTES, "{len} bytes end between two records"),
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let file = file();
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (found, cut) = decoded(&bad);
            assert!(changes().starts_with(&found) && found.len() < changes().len(), "bit {bit} passed");
            assert!(cut.is_some(), "bit {bit} was not noticed");
        }
    }
}
