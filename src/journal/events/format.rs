//! The bytes of a file of events (FORMAT.md, section 14), and what they say: pure.
//!
//! A file is a head and batches, one behind the other, each written at once and numbered by its first event. What does
//! not read, torn or rotten, ends the file: nobody relies on what stands behind it.

use std::fmt;

use crate::ids::LogIndex;
use crate::limits::EVENT_BYTES_MAX;
use crate::wire::{CodecError, Reader, Writer, field_at};

const MAGIC: [u8; 8] = *b"RWYEVENT";
const VERSION: u32 = 1;
const AT_VERSION: usize = 8;
const AT_SALT: usize = 16;
const AT_LIFE: usize = 24;
const AT_AFTER: usize = 32;
const AT_INSTALLED: usize = 40;
const AT_CHECKSUM: usize = 48;
/// Bytes of a file's head.
pub(super) const HEAD_BYTES: usize = 52;

const AT_SUM: usize = 4;
const AT_CLOSED: usize = 8;
const AT_COUNT: usize = 12;
const AT_APPLIED: usize = 16;
const AT_REACHED: usize = 24;
/// Bytes of a batch's header.
const HEADER_BYTES: usize = 32;

/// What a file begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsHead {
    /// Tells this file's batches from every other's.
    pub salt: u64,
    /// The start of the node that all of its events belong to.
    pub life: u64,
    /// The number of the event before its first.
    pub after: u64,
    /// What was installed when it was begun: of segments up to here nothing is told again.
    pub installed: LogIndex,
}

/// Events that were written together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventBatch {
    /// All that happened by entries up to here is in it or before it.
    pub applied: LogIndex,
    /// What was installed when it was written.
    pub installed: LogIndex,
    /// The node was stopped behind it: nothing happened that is not written.
    pub closed: bool,
    /// The events, in their order.
    pub events: Vec<Vec<u8>>,
}

/// Why a file is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventsFault {
    /// It does not begin with a head of ours.
    Head,
    /// A newer build wrote it.
    Version {
        /// The file's.
        found: u32,
    },
}

/// The first bytes of a file.
#[must_use]
pub fn put_events_head(head: &EventsHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    let mut writer = Writer::new(&mut out);
    writer.put(&MAGIC);
    writer.u32(VERSION);
    writer.zeros(4);
    [head.salt, head.life, head.after, head.installed.0].into_iter().for_each(|field| writer.u64(field));
    let checksum = crc32fast::hash(&out);
    Writer::new(&mut out).u32(checksum);
    out
}

/// Writes a batch to the end of `out`.
///
/// # Errors
/// An event is longer than `EVENT_BYTES_MAX`; `out` is as it was.
pub fn put_events_batch(out: &mut Vec<u8>, salt: u64, batch: &EventBatch) -> Result<(), CodecError> {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    for event in &batch.events {
        if let Err(error) = Writer::new(out).bytes(event, EVENT_BYTES_MAX) {
            out.truncate(start);
            return Err(error);
        }
    }
    let bytes = u32::try_from(out.len() - start).expect("a batch is within its bound");
    let count = u32::try_from(batch.events.len()).expect("each has bytes of its own");
    let whole = &mut out[start..];
    whole[..AT_SUM].copy_from_slice(&bytes.to_le_bytes());
    whole[AT_CLOSED..AT_COUNT].copy_from_slice(&u32::from(batch.closed).to_le_bytes());
    whole[AT_COUNT..AT_APPLIED].copy_from_slice(&count.to_le_bytes());
    whole[AT_APPLIED..AT_REACHED].copy_from_slice(&batch.applied.0.to_le_bytes());
    whole[AT_REACHED..HEADER_BYTES].copy_from_slice(&batch.installed.0.to_le_bytes());
    let sum = checksum(whole, salt);
    whole[AT_SUM..AT_CLOSED].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Of a batch, but for its checksum.
fn checksum(whole: &[u8], salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&whole[..AT_SUM]);
    hasher.update(&whole[AT_CLOSED..]);
    hasher.finalize()
}

/// What a file says, as far as it reads.
///
/// # Errors
/// It has no head that this build reads.
pub fn read_events(bytes: &[u8]) -> Result<(EventsHead, Vec<EventBatch>), EventsFault> {
    let head = read_head(bytes)?;
    let (mut batches, mut rest) = (Vec::new(), &bytes[HEAD_BYTES..]);
    while let Some((batch, behind)) = read_batch(rest, head.salt) {
        batches.push(batch);
        rest = behind;
    }
    Ok((head, batches))
}

pub(super) fn read_head(bytes: &[u8]) -> Result<EventsHead, EventsFault> {
    let head = bytes.get(..HEAD_BYTES).filter(|head| head[..AT_VERSION] == MAGIC).ok_or(EventsFault::Head)?;
    if crc32fast::hash(&head[..AT_CHECKSUM]) != u32::from_le_bytes(field_at(head, AT_CHECKSUM)) {
        return Err(EventsFault::Head);
    }
    match u32::from_le_bytes(field_at(head, AT_VERSION)) {
        VERSION => {}
        found => return Err(EventsFault::Version { found }),
    }
    let field = |at| u64::from_le_bytes(field_at(head, at));
    let (salt, life, after) = (field(AT_SALT), field(AT_LIFE), field(AT_AFTER));
    Ok(EventsHead { salt, life, after, installed: LogIndex(field(AT_INSTALLED)) })
}

/// The batch that begins here, and what is behind it; nothing if none does.
fn read_batch(rest: &[u8], salt: u64) -> Option<(EventBatch, &[u8])> {
    let header = rest.get(..HEADER_BYTES)?;
    let field = |at| u32::from_le_bytes(field_at(header, at));
    let whole = rest.get(..usize::try_from(field(0)).ok()?).filter(|whole| whole.len() >= HEADER_BYTES)?;
    if checksum(whole, salt) != field(AT_SUM) {
        return None;
    }
    let mut reader = Reader::new(&whole[HEADER_BYTES..]);
    let events = (0..field(AT_COUNT)).map(|_| reader.bytes(EVENT_BYTES_MAX).ok().map(<[u8]>::to_vec));
    let events = events.collect::<Option<Vec<_>>>()?;
    reader.finish().ok()?;
    let index = |at| LogIndex(u64::from_le_bytes(field_at(header, at)));
    let (applied, installed) = (index(AT_APPLIED), index(AT_REACHED));
    let closed = match field(AT_CLOSED) {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some((EventBatch { applied, installed, closed, events }, &rest[whole.len()..]))
}

impl fmt::Display for EventsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("it does not begin with its head"),
            Self::Version { found } => write!(f, "it has version {found}, which this build does not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: EventsHead = EventsHead { salt: 0x5a17, life: 9, after: 41, installed: LogIndex(7) };

    fn batch(applied: u64, events: &[&[u8]], closed: bool) -> EventBatch {
        let events = events.iter().map(|one| one.to_vec()).collect();
        EventBatch { applied: LogIndex(applied), installed: LogIndex(applied / 2), closed, events }
    }

    fn file(batches: &[EventBatch]) -> (Vec<u8>, Vec<usize>) {
        let mut out = put_events_head(&HEAD);
        let mut ends = vec![out.len()];
        for batch in batches {
            put_events_batch(&mut out, HEAD.salt, batch).expect("short");
            ends.push(out.len());
        }
        (out, ends)
    }

    fn batches() -> [EventBatch; 3] {
        [batch(3, &[b"one", b"", b"three"], false), batch(5, &[], false), batch(9, &[b"four"], true)]
    }

    #[test]
    fn m6_a_file_of_events_reads_as_it_was_written() {
        assert_eq!(read_events(&file(&batches()).0), Ok((HEAD, batches().to_vec())));
    }

    #[test]
    fn m6_a_cut_or_a_flipped_bit_ends_the_file_before_it_and_never_changes_what_stands() {
        let (whole, ends) = file(&batches());
        let sound_before = |at: usize| ends.iter().filter(|end| **end <= at).count();
        for at in 0..whole.len() {
            let cut = read_events(&whole[..at]);
            match sound_before(at) {
                0 => assert_eq!(cut, Err(EventsFault::Head), "cut to {at}"),
                some => assert_eq!(cut, Ok((HEAD, batches()[..some - 1].to_vec())), "cut to {at}"),
            }
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                match sound_before(at) {
                    0 => assert_eq!(read_events(&bad), Err(EventsFault::Head), "{at}.{bit}"),
                    some => {
                        assert_eq!(
                            read_events(&bad),
                            Ok((HEAD, batches()[..some - 1].to_vec())),
                            "{at}.{bit}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn m6_a_batch_of_another_file_a_later_version_and_an_event_that_is_too_long() {
        let mut foreign = put_events_head(&HEAD);
        put_events_batch(&mut foreign, HEAD.salt + 1, &batches()[0]).expect("short");
        assert_eq!(read_events(&foreign), Ok((HEAD, Vec::new())));
        let mut later = put_events_head(&HEAD);
        later[AT_VERSION] = 2;
        let sum = crc32fast::hash(&later[..AT_CHECKSUM]);
        later[AT_CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_events(&later), Err(EventsFault::Version { found: 2 }));
        let long = vec![0; EVENT_BYTES_MAX + 1];
        let mut out = vec![1];
        let error = put_events_batch(&mut out, 0, &batch(1, &[b"a", &long], false));
        assert_eq!(error, Err(CodecError::TooLong { max: EVENT_BYTES_MAX, found: long.len() }));
        assert_eq!(out, [1]);
    }
}
