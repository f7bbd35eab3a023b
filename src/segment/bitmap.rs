//! Which chunks of a staged segment are there, in memory and as the durable map beside the staged data.
//!
//! The map on disk carries segment, root, length, the moment that it is of and a checksum. A torn or foreign map is no
//! map: the chunks are then hashed where they lie.

use std::ops::Range;

use crate::digest::FlatHasher;
use crate::ids::{Digest, LogIndex, SegmentId};
use crate::wire::field_at;

use super::identity::Identity;
use super::names::Stem;

/// A set of chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u32,
    set: u32,
}

const WORD: u32 = u64::BITS;

impl Bits {
    /// None of `count` chunks.
    pub(super) fn none(count: u32) -> Self {
        Self { words: vec![0; place(count.div_ceil(WORD)).0], count, set: 0 }
    }

    /// Adds a chunk.
    pub(super) fn insert(&mut self, index: u32) {
        assert!(index < self.count, "chunk {index} of {}", self.count);
        let word = &mut self.words[place(index / WORD).0];
        let bit = 1 << (index % WORD);
        self.set += u32::from(*word & bit == 0);
        *word |= bit;
    }

    /// Whether a chunk is in the set.
    pub(super) fn contains(&self, index: u32) -> bool {
        index < self.count && self.words[place(index / WORD).0] & (1 << (index % WORD)) != 0
    }

    /// Chunks in the set.
    pub(super) fn len(&self) -> u32 {
        self.set
    }

    /// Whether all chunks are in the set.
    pub(super) fn is_full(&self) -> bool {
        self.set == self.count
    }

    /// The chunks that are not in the set and that `skip` does not name, as ranges.
    pub(super) fn missing(&self, skip: impl Fn(u32) -> bool) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for index in (0..self.count).filter(|index| !self.contains(*index) && !skip(*index)) {
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => ranges.push(index..index + 1),
            }
        }
        ranges
    }
}

struct Place(usize);

fn place(word: u32) -> Place {
    Place(usize::try_from(word).expect("u32 fits usize on 64-bit Linux"))
}

const MAGIC: [u8; 8] = *b"RWSTAGED";
const VERSION: u32 = 1;

const VERSION_AT: usize = 8;
const CHECKSUM_AT: usize = VERSION_AT + 4;
const INDEX_AT: usize = CHECKSUM_AT + 4;
const LEN_AT: usize = INDEX_AT + 8;
const ORDINAL_AT: usize = LEN_AT + 8;
const COUNT_AT: usize = ORDINAL_AT + 4;
const ROOT_AT: usize = COUNT_AT + 4;
const MOMENT_AT: usize = ROOT_AT + Digest::BYTES;
const HEADER_BYTES: usize = MOMENT_AT + 16;
const _: () = assert!(HEADER_BYTES == 88 && INDEX_AT.is_multiple_of(8) && MOMENT_AT.is_multiple_of(8));

/// Whose map it is, and of which moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MapHead {
    /// The segment and its root.
    pub(super) stem: Stem,
    /// Its length in bytes.
    pub(super) len: u64,
    /// See [`moment`].
    pub(super) moment: [u8; 16],
}

/// The boot that a map was written in and the staged file's identity then, hashed: what has changed since is not
/// believed.
pub(super) fn moment(boot: [u8; 16], file: &Identity) -> [u8; 16] {
    let mut hasher = FlatHasher::new();
    hasher.update(&boot);
    for word in [file.device, file.inode, file.bytes, file.modified.0] {
        hasher.update(&word.to_le_bytes());
    }
    let Digest(digest) = hasher.finish();
    *digest.first_chunk().expect("a digest has 32 bytes")
}

/// The map as bytes.
pub(super) fn map_encode(head: &MapHead, bits: &Bits) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + bits.words.len() * 8);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]); // the checksum's place
    out.extend_from_slice(&head.stem.id.index.0.to_le_bytes());
    out.extend_from_slice(&head.len.to_le_bytes());
    out.extend_from_slice(&head.stem.id.ordinal.to_le_bytes());
    out.extend_from_slice(&bits.count.to_le_bytes());
    out.extend_from_slice(&head.stem.root.0);
    out.extend_from_slice(&head.moment);
    assert_eq!(out.len(), HEADER_BYTES, "the header has its exact size");
    bits.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let checksum = checksum(&out);
    out[CHECKSUM_AT..INDEX_AT].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The chunks that a map names, if it is whole, of this version, segment and moment. `None` costs local hashing and
/// nothing else.
pub(super) fn map_decode(bytes: &[u8], head: &MapHead, count: u32) -> Option<Bits> {
    let (header, words) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let found = MapHead {
        stem: Stem {
            id: SegmentId {
                index: LogIndex(u64::from_le_bytes(field_at(header, INDEX_AT))),
                ordinal: u32::from_le_bytes(field_at(header, ORDINAL_AT)),
            },
            root: Digest(field_at(header, ROOT_AT)),
        },
        len: u64::from_le_bytes(field_at(header, LEN_AT)),
        moment: field_at(header, MOMENT_AT),
    };
    let is_ours = field_at(header, 0) == MAGIC
        && u32::from_le_bytes(field_at(header, VERSION_AT)) == VERSION
        && u32::from_le_bytes(field_at(header, CHECKSUM_AT)) == checksum(bytes)
        && u32::from_le_bytes(field_at(header, COUNT_AT)) == count
        && found == *head;
    let (words, rest) = words.as_chunks::<8>();
    if !is_ours || !rest.is_empty() || words.len() != place(count.div_ceil(WORD)).0 {
        return None;
    }
    let mut bits = Bits::none(count);
    bits.words = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    bits.set = bits.words.iter().map(|word| word.count_ones()).sum();
    let last = bits.words.last().copied().unwrap_or(0);
    let beyond = !count.is_multiple_of(WORD) && last >> (count % WORD) != 0;
    (!beyond).then_some(bits)
}

/// crc32 of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CHECKSUM_AT]);
    hasher.update(&bytes[INDEX_AT..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::page::{hex, vector};

    fn head() -> MapHead {
        let id = SegmentId { index: LogIndex(9), ordinal: 2 };
        MapHead { stem: Stem { id, root: Digest([5; 32]) }, len: 100 << 20, moment: [3; 16] }
    }

    fn some_bits() -> Bits {
        let mut bits = Bits::none(100);
        [0, 1, 63, 64, 99].into_iter().for_each(|index| bits.insert(index));
        bits
    }

    #[test]
    fn missing_chunks_are_the_ranges_between_those_that_are_there() {
        let bits = some_bits();
        assert_eq!(bits.len(), 5);
        assert_eq!(bits.missing(|_| false), [2..63, 65..99]);
        assert_eq!(bits.missing(|index| index == 70), [2..63, 65..70, 71..99]);
        assert!(Bits::none(0).is_full(), "an empty segment misses nothing");
        assert!(!bits.contains(100), "no chunk past the last");
    }

    #[test]
    fn its_bytes_are_those_of_format_md() {
        assert_eq!(hex(&map_encode(&head(), &some_bits())), vector("staged"));
    }

    #[test]
    fn a_map_reads_what_it_wrote_and_knows_its_moment() {
        let bytes = map_encode(&head(), &some_bits());
        assert_eq!(map_decode(&bytes, &head(), 100), Some(some_bits()));
        let later = MapHead { moment: [4; 16], ..head() };
        assert_eq!(map_decode(&bytes, &later, 100), None);
    }

    #[test]
    fn a_map_with_any_bit_flipped_or_any_byte_missing_is_no_map() {
        let bytes = map_encode(&head(), &some_bits());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(map_decode(&bad, &head(), 100), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(map_decode(&bytes[..len], &head(), 100), None, "{len} bytes");
        }
    }

    #[test]
    fn a_map_of_another_segment_root_or_length_is_no_map() {
        let bytes = map_encode(&head(), &some_bits());
        let mut other = head();
        other.stem.root = Digest([6; 32]);
        assert_eq!(map_decode(&bytes, &other, 100), None);
        assert_eq!(map_decode(&bytes, &MapHead { len: 1, ..head() }, 100), None);
        assert_eq!(map_decode(&bytes, &head(), 101), None);
    }
}
