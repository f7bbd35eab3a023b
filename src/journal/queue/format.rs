//! The bytes of a queue's file (FORMAT.md, section 13), and what they say: pure.
//!
//! A file is a head and batches, each from a block on, each written at once, numbered from 1. Blocks are given as zeros
//! and written once, and a disk writes a sector whole or not at all. So a batch that was never finished lacks a sector,
//! which is still zeros, and nothing stands behind it: it was not acknowledged, and is cut. One that lacks none was
//! written to its end: what does not read now is damage, and refused. A batch's content has no sector of zeros of its
//! own, as texts have none and it ends with a byte that is not zero.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::ids::{SessionId, UnixNanos};
use crate::limits::{
    IO_ALIGNMENT, PATH_BYTES_MAX, QUEUE_CHANGE_BYTES_MAX, REFUSAL_BYTES_MAX, REFUSALS_KEPT_MAX,
};
use crate::wire::{CodecError, Reader, Writer, field_at};

use super::error::{QueueFault, QueueFileError};

const MAGIC: [u8; 8] = *b"RWYQUEUE";
const VERSION: u32 = 1;
const AT_VERSION: usize = 8;
const AT_SALT: usize = 16;
const AT_HEAD_CHECKSUM: usize = 24;
const HEAD_BYTES: usize = 28;

/// Batches begin on a multiple of this, and so does the first.
pub(super) const BLOCK_BYTES: usize = IO_ALIGNMENT;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
const AT_BYTES: usize = 8;
const AT_RECORDS: usize = 12;
const AT_BODY_CHECKSUM: usize = 16;
const AT_CHECKSUM: usize = 20;
/// Bytes of a batch's header.
const HEADER_BYTES: usize = 24;
/// The last byte of a batch.
const END: u8 = 0xe7;
/// Bytes of a record before its payload: its length, kind, padding, number.
const RECORD_BYTES: usize = 16;

const CHANGE: u8 = 1;
const SENT: u8 = 2;
const DONE: u8 = 3;
const REFUSED: u8 = 4;

const _: () = assert!(AT_HEAD_CHECKSUM + 4 == HEAD_BYTES && HEAD_BYTES <= SECTOR_BYTES);
const _: () = assert!(AT_CHECKSUM + 4 == HEADER_BYTES && HEADER_BYTES <= SECTOR_BYTES);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));

/// A change that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its place in the queue: counted from 1, without a gap.
    pub number: u64,
    /// When it was put there, by this node's clock.
    pub at: UnixNanos,
    /// What is asked for.
    pub content: Rc<[u8]>,
}

/// A proposal that may be under way: durable before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The last change that is settled when it happens, all before it included.
    pub last: u64,
    /// The session that it is numbered in.
    pub session: SessionId,
    /// Its number there.
    pub number: u64,
}

/// A change that will not be tried any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its place in the queue.
    pub number: u64,
    /// Its path.
    pub path: String,
    /// Why.
    pub why: String,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A change is in the queue.
    Change(Held),
    /// A proposal goes out.
    Sent(Sent),
    /// What became of all changes up to here is known; no proposal is under way.
    Done(u64),
    /// A change is refused.
    Refused(Refused),
}

/// What a file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// What became of all changes up to here is known.
    pub done: u64,
    /// Those behind it, in order.
    pub held: VecDeque<Held>,
    /// The last proposal, unless it is known what became of it.
    pub sent: Option<Sent>,
    /// The latest refusals, in the order of their numbers.
    pub refused: VecDeque<Refused>,
    /// Bytes of a batch that was never written to its end.
    pub torn: u64,
}

/// The first block of a file.
#[must_use]
pub fn put_head(salt: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_BYTES);
    let mut writer = Writer::new(&mut out);
    writer.put(&MAGIC);
    writer.u32(VERSION);
    writer.zeros(4);
    writer.u64(salt);
    let checksum = crc32fast::hash(&out);
    let mut writer = Writer::new(&mut out);
    writer.u32(checksum);
    writer.zeros(BLOCK_BYTES - HEAD_BYTES);
    out
}

/// Bytes of a change's record in a file.
pub(super) fn held_bytes(held: &Held) -> usize {
    RECORD_BYTES + 8 + held.content.len()
}

/// Bytes of a record in a file.
pub(super) fn line_bytes(line: &Line) -> usize {
    RECORD_BYTES
        + match line {
            Line::Change(held) => return held_bytes(held),
            Line::Sent(_) => 8 + SessionId::BYTES + 8,
            Line::Done(_) => 0,
            Line::Refused(refused) => 8 + refused.path.len() + refused.why.len(),
        }
}

/// Writes a batch to the end of `out`, padded to whole blocks.
///
/// # Panics
/// If a line is past its bounds.
pub fn put_batch<'a>(out: &mut Vec<u8>, salt: u64, number: u64, lines: impl IntoIterator<Item = &'a Line>) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    let mut records = 0_u32;
    for line in lines {
        put_line(&mut Writer::new(out), line).expect("a line is within its bounds");
        records += 1;
    }
    out.push(END);
    let bytes = u32::try_from(out.len() - start).expect("a batch is within its bound");
    let body = crc32fast::hash(&out[start + HEADER_BYTES..]);
    let header = &mut out[start..start + HEADER_BYTES];
    header[..AT_BYTES].copy_from_slice(&number.to_le_bytes());
    header[AT_BYTES..AT_RECORDS].copy_from_slice(&bytes.to_le_bytes());
    header[AT_RECORDS..AT_BODY_CHECKSUM].copy_from_slice(&records.to_le_bytes());
    header[AT_BODY_CHECKSUM..AT_CHECKSUM].copy_from_slice(&body.to_le_bytes());
    let sum = salted(&header[..AT_CHECKSUM], salt);
    header[AT_CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(BLOCK_BYTES), 0);
}

fn put_line(writer: &mut Writer<'_>, line: &Line) -> Result<(), CodecError> {
    let (kind, number) = match line {
        Line::Change(held) => (CHANGE, held.number),
        Line::Sent(sent) => (SENT, sent.last),
        Line::Done(to) => (DONE, *to),
        Line::Refused(refused) => (REFUSED, refused.number),
    };
    writer.count(line_bytes(line) - RECORD_BYTES, usize::MAX)?;
    writer.u8(kind);
    writer.zeros(3);
    writer.u64(number);
    match line {
        Line::Change(held) => {
            writer.u64(held.at.0);
            writer.put(&held.content);
        }
        Line::Sent(sent) => {
            writer.put(&sent.session.0);
            writer.u64(sent.number);
            writer.zeros(8);
        }
        Line::Done(_) => {}
        Line::Refused(refused) => {
            writer.bytes(refused.path.as_bytes(), PATH_BYTES_MAX)?;
            writer.bytes(refused.why.as_bytes(), REFUSAL_BYTES_MAX)?;
        }
    }
    Ok(())
}

fn salted(header: &[u8], salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(header);
    hasher.finalize()
}

/// What the bytes of a file say.
///
/// # Errors
/// They are damaged, or of another version.
pub fn replay(bytes: &[u8]) -> Result<Kept, QueueFileError> {
    let salt = read_head(bytes)?;
    let mut kept = Kept::default();
    let (mut at, mut due) = (BLOCK_BYTES, 1);
    while at < bytes.len() {
        let whole = match look(&bytes[at..], salt, due) {
            Look::Whole(whole) => whole,
            Look::Nothing => break,
            Look::Torn(torn) if !has_later(bytes, at, salt, due) => {
                kept.torn = torn as u64;
                break;
            }
            Look::Torn(_) => return Err(corrupt(at, QueueFault::Checksum)),
            Look::Rotten(fault) => return Err(corrupt(at, fault)),
        };
        kept.take(&bytes[at..at + whole]).map_err(|fault| corrupt(at, fault))?;
        at += whole.next_multiple_of(BLOCK_BYTES);
        due += 1;
    }
    Ok(kept)
}

fn corrupt(offset: usize, fault: QueueFault) -> QueueFileError {
    QueueFileError::Corrupt { offset: offset as u64, fault }
}

/// The salt of a file.
fn read_head(bytes: &[u8]) -> Result<u64, QueueFileError> {
    let head = bytes.get(..HEAD_BYTES).filter(|head| head[..AT_VERSION] == MAGIC);
    let head = head.ok_or_else(|| corrupt(0, QueueFault::Head))?;
    let checksum = u32::from_le_bytes(field_at(head, AT_HEAD_CHECKSUM));
    if crc32fast::hash(&head[..AT_HEAD_CHECKSUM]) != checksum {
        return Err(corrupt(0, QueueFault::Head));
    }
    match u32::from_le_bytes(field_at(head, AT_VERSION)) {
        VERSION => Ok(u64::from_le_bytes(field_at(head, AT_SALT))),
        found => Err(QueueFileError::Version { found }),
    }
}

/// What stands where a batch is due.
enum Look {
    /// It, with so many bytes.
    Whole(usize),
    /// Zeros to the end.
    Nothing,
    /// A part of it, up to so many bytes.
    Torn(usize),
    /// Something that was written and is not that any more.
    Rotten(QueueFault),
}

fn look(rest: &[u8], salt: u64, due: u64) -> Look {
    let header = read_header(rest, salt);
    let whole = header.filter(|(number, bytes)| *number == due && is_whole(rest, *bytes));
    if let Some((_, bytes)) = whole {
        return Look::Whole(bytes);
    }
    let Some(written) = rest.iter().rposition(|byte| *byte != 0).map(|last| last + 1) else {
        return Look::Nothing;
    };
    let is_zero = |sector: usize| {
        let start = sector * SECTOR_BYTES;
        let bytes = rest.get(start..rest.len().min(start + SECTOR_BYTES)).unwrap_or_default();
        bytes.iter().all(|byte| *byte == 0)
    };
    match header {
        None if rest.len() < HEADER_BYTES || is_zero(0) => Look::Torn(written),
        None => Look::Rotten(QueueFault::Header),
        Some((found, _)) if found != due => Look::Rotten(QueueFault::Batch { due, found }),
        // One batch is written at a time, and nothing behind it.
        Some((_, bytes)) if written > bytes => Look::Rotten(QueueFault::Trailing),
        Some((_, bytes)) if rest.len() < bytes || (0..bytes.div_ceil(SECTOR_BYTES)).any(is_zero) => {
            Look::Torn(written)
        }
        Some(_) => Look::Rotten(QueueFault::Checksum),
    }
}

fn is_whole(rest: &[u8], bytes: usize) -> bool {
    let body = rest.get(HEADER_BYTES..bytes).filter(|body| body.last() == Some(&END));
    let expected = u32::from_le_bytes(field_at(rest, AT_BODY_CHECKSUM));
    body.is_some_and(|body| crc32fast::hash(body) == expected)
}

/// The number and the bytes of a batch, if a sound header stands there.
fn read_header(rest: &[u8], salt: u64) -> Option<(u64, usize)> {
    let header = rest.get(..HEADER_BYTES)?;
    let sum = u32::from_le_bytes(field_at(header, AT_CHECKSUM));
    let bytes = u32::from_le_bytes(field_at(header, AT_BYTES)) as usize;
    let is_sound = sum == salted(&header[..AT_CHECKSUM], salt) && bytes > HEADER_BYTES;
    is_sound.then(|| (u64::from_le_bytes(field_at(header, 0)), bytes))
}

/// Whether a batch behind the one that was due begins somewhere: then that one was durable once.
fn has_later(bytes: &[u8], at: usize, salt: u64, due: u64) -> bool {
    let mut blocks = (at + BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
    blocks.any(|block| read_header(&bytes[block..], salt).is_some_and(|(number, _)| number > due))
}

impl Kept {
    fn take(&mut self, batch: &[u8]) -> Result<(), QueueFault> {
        let records = u32::from_le_bytes(field_at(batch, AT_RECORDS));
        let mut reader = Reader::new(&batch[HEADER_BYTES..batch.len() - 1]);
        for _ in 0..records {
            let line = read_line(&mut reader).map_err(QueueFault::Record)?;
            self.line(line)?;
        }
        reader.finish().map_err(QueueFault::Record)
    }

    /// The number of the change that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.done + 1 + self.held.len() as u64
    }

    fn line(&mut self, line: Line) -> Result<(), QueueFault> {
        let is_fresh = *self == Self::default();
        let next = self.next();
        match line {
            Line::Change(held) if held.number == next => self.held.push_back(held),
            Line::Change(Held { number, .. }) => return Err(QueueFault::Number { found: number }),
            Line::Sent(sent) if sent.last > self.done && sent.last < next => self.sent = Some(sent),
            Line::Sent(sent) => return Err(QueueFault::Number { found: sent.last }),
            // A file that was written anew begins with what was done before.
            Line::Done(to) if is_fresh => self.done = to,
            Line::Done(to) if to >= self.done && to < next => self.settle(to),
            Line::Done(to) => return Err(QueueFault::Number { found: to }),
            Line::Refused(refused) if refused.number < next => self.refuse(refused),
            Line::Refused(refused) => return Err(QueueFault::Number { found: refused.number }),
        }
        Ok(())
    }

    /// What became of all changes up to here is known, and of every proposal.
    pub(super) fn settle(&mut self, to: u64) {
        let count = usize::try_from(to - self.done).expect("the queue is in memory");
        self.held.drain(..count);
        self.done = to;
        self.sent = None;
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        let place = self.refused.partition_point(|other| other.number < refused.number);
        if self.refused.get(place).is_none_or(|other| other.number != refused.number) {
            self.refused.insert(place, refused);
        }
        // Those that still wait are needed: they are not to be tried again.
        while self.refused.len() > REFUSALS_KEPT_MAX
            && self.refused.front().is_some_and(|oldest| oldest.number <= self.done)
        {
            self.refused.pop_front();
        }
    }
}

fn read_line(reader: &mut Reader<'_>) -> Result<Line, CodecError> {
    let bytes = reader.count(1, usize::MAX)?.saturating_add(RECORD_BYTES - 4);
    let mut record = Reader::new(reader.take(bytes)?);
    let kind = record.u8()?;
    record.zeros(3)?;
    let number = record.u64()?;
    let line = match kind {
        CHANGE => {
            let at = UnixNanos(record.u64()?);
            let found = record.left();
            if found > QUEUE_CHANGE_BYTES_MAX {
                return Err(CodecError::TooLong { max: QUEUE_CHANGE_BYTES_MAX, found });
            }
            Line::Change(Held { number, at, content: record.take(found)?.into() })
        }
        SENT => {
            let (session, at) = (SessionId(record.array()?), record.u64()?);
            record.zeros(8)?;
            Line::Sent(Sent { last: number, session, number: at })
        }
        DONE => Line::Done(number),
        REFUSED => {
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| CodecError::NotUtf8);
            let path = text(record.bytes(PATH_BYTES_MAX)?)?.to_owned();
            Line::Refused(Refused { number, path, why: text(record.bytes(REFUSAL_BYTES_MAX)?)?.to_owned() })
        }
        found => return Err(CodecError::Unknown { of: "record of a queue", found: found.into() }),
    };
    record.finish()?;
    Ok(line)
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
