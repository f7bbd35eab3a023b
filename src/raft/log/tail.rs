//! What stands behind the last whole batch of a log: nothing, a write that power or process did not finish, or one that
//! was finished and has rotted since. Pure.
//!
//! Blocks are given to a file as zeros and written once, and a disk writes a sector whole or not at all. So a batch
//! that was cut short lacks at least one sector: it is still zeros. Where none is, all of the batch was written, was
//! acknowledged or about to be, and what does not read now is damage. Rot that looks like a write that never came,
//! zeros where something stood, cannot be told from one in the very last batch; behind a mark it is found like all
//! else.

use super::record::{BLOCK_BYTES, Kind, Record, RecordFault, Stamp, read_batch};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));

/// What stands there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Zeros.
    Nothing,
    /// A part of a batch, up to here.
    Torn(usize),
    /// A batch that was written to its end, and is not what was written.
    Rotten,
}

/// Looks at what stands in a file from `at` on, where the record at `fault` is the first that does not read.
pub(super) fn look(bytes: &[u8], at: usize, fault: usize, stamp: Stamp) -> Tail {
    let tail = bytes.get(at..).unwrap_or_default();
    let Some(last) = last_written(tail) else { return Tail::Nothing };
    let torn = Tail::Torn(at + last + 1);
    let first = match Record::decode(tail, stamp) {
        // Its first record stands in one sector: that came whole or not at all.
        Err(RecordFault::Short) if tail.len() < SECTOR_BYTES => return torn,
        Err(_) => return if is_zero(tail, 0) { torn } else { Tail::Rotten },
        Ok(first) => first,
    };
    let Some((length, _)) = read_batch(first.payload).filter(|_| first.kind == Kind::Batch) else {
        return Tail::Rotten;
    };
    // One write is under way at a time, and nothing is written behind it.
    if last >= length.next_multiple_of(BLOCK_BYTES) {
        return Tail::Rotten;
    }
    let from = fault.saturating_sub(at) / SECTOR_BYTES;
    let mut sectors = from..length.div_ceil(SECTOR_BYTES);
    if sectors.any(|sector| is_zero(tail, sector)) { torn } else { Tail::Rotten }
}

/// The last byte that is not zero. All of a file's room is looked at whenever a log is opened: whole blocks compare
/// many times faster than bytes.
fn last_written(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        let block = &bytes[start..end];
        if *block != ZEROS[..block.len()] {
            return block.iter().rposition(|byte| *byte != 0).map(|place| start + place);
        }
        end = start;
    }
    None
}

/// Whether a sector was never written, as far as one can see; one behind the end of the file was not.
fn is_zero(tail: &[u8], sector: usize) -> bool {
    let start = sector * SECTOR_BYTES;
    let bytes = tail.get(start..tail.len().min(start + SECTOR_BYTES)).unwrap_or_default();
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, LogIndex, Term};
    use crate::raft::log::record::{batch_payload, record_bytes};

    const STAMP: Stamp = Stamp { group: GroupId(7), salt: 5 };

    /// A batch of these commands, as it lies in a file with room behind it.
    fn batch(commands: &[&[u8]]) -> (Vec<u8>, usize) {
        let records: usize = commands.iter().map(|command| record_bytes(command.len())).sum();
        let length = record_bytes(8) + records;
        let mut out = vec![0; length.next_multiple_of(BLOCK_BYTES) + 2 * BLOCK_BYTES];
        let payload = batch_payload(length, commands.len());
        let head = Record { kind: Kind::Batch, term: Term(0), index: LogIndex(4), payload: &payload };
        let mut at = head.encode(STAMP, &mut out);
        for (index, command) in (9..).map(LogIndex).zip(commands) {
            let entry = Record { kind: Kind::Command, term: Term(1), index, payload: command };
            at += entry.encode(STAMP, &mut out[at..]);
        }
        (out, length)
    }

    #[test]
    fn the_last_byte_that_was_written_is_found_wherever_it_stands() {
        assert_eq!(last_written(&[]), None);
        for length in [1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
            let zeros = vec![0; length];
            assert_eq!(last_written(&zeros), None, "{length}");
            for place in [0, 1, length / 2, length - 1].into_iter().filter(|place| *place < length) {
                let mut bytes = zeros.clone();
                bytes[..=place].fill(3);
                assert_eq!(last_written(&bytes), Some(place), "{place} of {length}");
            }
        }
    }

    #[test]
    fn a_batch_that_lacks_any_sector_is_torn_and_one_that_lacks_none_is_rotten() {
        let (whole, length) = batch(&[&[7; 9000]]);
        assert_eq!(look(&vec![0; 9000], 0, 0, STAMP), Tail::Nothing);
        for sector in 0..length.div_ceil(SECTOR_BYTES) {
            let mut torn = whole.clone();
            torn[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].fill(0);
            let fault = if sector == 0 { 0 } else { record_bytes(8) };
            assert!(matches!(look(&torn, 0, fault, STAMP), Tail::Torn(_)), "sector {sector}");
            let short = &whole[..(sector * SECTOR_BYTES).max(100)];
            assert!(matches!(look(short, 0, fault, STAMP), Tail::Torn(_)), "cut before sector {sector}");
            let mut rotten = whole.clone();
            rotten[sector * SECTOR_BYTES + 20] ^= 1;
            assert_eq!(look(&rotten, 0, fault, STAMP), Tail::Rotten, "sector {sector}");
        }
    }

    /// A record that reads came whole, whatever is in it.
    #[test]
    fn zeros_in_a_record_that_reads_are_no_sector_that_is_missing() {
        let (whole, _) = batch(&[&[0; 3000], &[7; 3000]]);
        let second = record_bytes(8) + record_bytes(3000);
        let mut rotten = whole.clone();
        rotten[second + 100] ^= 1;
        assert_eq!(look(&rotten, 0, second, STAMP), Tail::Rotten);
        let mut torn = whole;
        torn[second + 1024..second + 2048].fill(0);
        assert!(matches!(look(&torn, 0, second, STAMP), Tail::Torn(_)));
    }

    #[test]
    fn a_file_that_ends_in_the_first_record_of_a_batch_is_torn_there() {
        let (whole, _) = batch(&[&[7; 9000]]);
        for length in 1..record_bytes(8) {
            let last =
                whole[..length].iter().rposition(|byte| *byte != 0).expect("it begins with its length");
            assert_eq!(look(&whole[..length], 0, 0, STAMP), Tail::Torn(last + 1), "{length} bytes");
        }
    }

    #[test]
    fn what_stands_behind_a_batch_was_written_after_it() {
        let (mut bytes, length) = batch(&[&[7; 900]]);
        bytes[600] = 0;
        bytes[512..1024].fill(0);
        bytes.truncate(length.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES);
        assert!(matches!(look(&bytes, 0, record_bytes(8), STAMP), Tail::Torn(_)));
        *bytes.last_mut().expect("not empty") = 1;
        assert_eq!(look(&bytes, 0, record_bytes(8), STAMP), Tail::Rotten);
    }
}
