//! What the bytes of a log's files say: pure.
//!
//! A batch that is not whole is the torn tail if nothing valid was written after it and a part of it never was
//! (`tail`): it was never acknowledged. If a later batch is there, its predecessor was durable before it, and what is
//! not whole now is damage.

use crate::ids::{GroupId, LogIndex, NodeId};

use super::error::{Fault, LogOpenError};
use super::index::{Index, Spot, Written};
use super::record::{
    BLOCK_BYTES, HEAD_BYTES, Kind, Record, RecordFault, Stamp, read_batch, read_head, record_bytes,
};
use super::tail::{self, Tail};
use crate::raft::types::{Point, Vote};

/// What all files together say.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) index: Index,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Point,
    /// The number that the next batch will have.
    pub(super) next_batch: u64,
    /// The files, in order.
    pub(super) files: Vec<Found>,
    began: bool,
}

/// One file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) salt: u32,
    /// Where the last of its whole batches begins; its end if there is none.
    pub(super) last_batch: u64,
    /// Where its whole batches end.
    pub(super) end: u64,
    /// Where the file ends.
    pub(super) bytes: u64,
    /// Bytes of a batch behind them that was never written to its end.
    pub(super) torn: u64,
}

/// A file that is read.
struct Reading<'a> {
    name: &'a str,
    bytes: &'a [u8],
    stamp: Stamp,
    number: u64,
}

/// One whole batch: what follows its first record, and where that begins in the file.
struct Whole<'a> {
    records: Vec<(usize, Record<'a>)>,
    end: usize,
}

impl Replay {
    pub(super) fn new() -> Self {
        Self { index: Index::new(Point::START), next_batch: 1, ..Self::default() }
    }

    /// Takes in the next file.
    pub(super) fn file(
        &mut self,
        group: GroupId,
        number: u64,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), LogOpenError> {
        let (salt, first_batch) = head(group, number, name, bytes)?;
        if let Some(before) = self.files.last() {
            if number != before.number + 1 {
                return Err(corrupt(name, 0, Fault::FileMissing { number: before.number + 1 }));
            }
            if first_batch != self.next_batch {
                let fault = Fault::Batch { due: first_batch, found: self.next_batch };
                return Err(corrupt(&super::files::name(before.number), before.end, fault));
            }
        }
        self.next_batch = first_batch;
        let reading = Reading { name, bytes, stamp: Stamp { group, salt }, number };
        let mut at = BLOCK_BYTES;
        let (mut last_batch, mut torn) = (at, 0);
        while at < bytes.len() {
            match reading.batch(at, self.next_batch) {
                Ok(batch) => {
                    for (offset, record) in &batch.records {
                        self.record(&reading, *offset, record)?;
                    }
                    self.next_batch += 1;
                    last_batch = at;
                    at = batch.end.next_multiple_of(BLOCK_BYTES);
                }
                Err((offset, fault)) => {
                    reading.refuse_foreign(offset, fault)?;
                    let tail = tail::look(bytes, at, offset, reading.stamp);
                    if tail == Tail::Rotten || reading.has_later_batch(at, self.next_batch) {
                        return Err(corrupt(name, offset as u64, fault));
                    }
                    if let Tail::Torn(to) = tail {
                        torn = to.saturating_sub(at) as u64;
                    }
                    break;
                }
            }
        }
        let end = at.min(bytes.len().next_multiple_of(BLOCK_BYTES));
        let last_batch = last_batch.min(end) as u64;
        let bytes = bytes.len() as u64;
        self.files.push(Found { number, salt, last_batch, end: end as u64, bytes, torn });
        Ok(())
    }

    /// All files are in: checks that nothing is missing before the first entry.
    pub(super) fn finish(mut self) -> Result<Self, LogOpenError> {
        // What is committed may have been noted before the entries came.
        self.committed = self.committed.min(self.index.last());
        let due = self.index.purged().index.0 + 1;
        let first = self.index.range().start;
        if first > due {
            let name = self.files.first().map_or(String::new(), |file| super::files::name(file.number));
            let fault = Fault::Entry { due: LogIndex(due), found: LogIndex(first) };
            return Err(corrupt(&name, 0, fault));
        }
        Ok(self)
    }

    fn record(&mut self, file: &Reading<'_>, offset: usize, record: &Record<'_>) -> Result<(), LogOpenError> {
        let point = Point { term: record.term, index: record.index };
        let content = || corrupt(file.name, offset as u64, Fault::Content);
        match record.kind {
            Kind::Head | Kind::Batch | Kind::SnapshotHead | Kind::SnapshotPart | Kind::SnapshotEnd => {
                return Err(content());
            }
            Kind::Blank | Kind::Command | Kind::Members => self.entry(file, offset, record, point)?,
            Kind::Vote => {
                let granted = match record.payload {
                    [0] => false,
                    [1] => true,
                    _ => return Err(content()),
                };
                let node = NodeId(record.index.0);
                self.vote = Some(if granted {
                    Vote::new_committed(record.term.0, node.0)
                } else {
                    Vote::new(record.term.0, node.0)
                });
            }
            Kind::Committed => self.committed = self.committed.max(point),
            Kind::Truncated => {
                if point.index < self.index.purged().index {
                    return Err(content());
                }
                self.index.truncate_after(point.index.0);
            }
            Kind::Purged => {
                self.index.purge(point);
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        file: &Reading<'_>,
        offset: usize,
        record: &Record<'_>,
        point: Point,
    ) -> Result<(), LogOpenError> {
        if !self.began && point.index.0 > self.index.range().end {
            self.index.begin_at(point.index.0);
        }
        self.began = true;
        let due = LogIndex(self.index.range().end);
        if point.index != due {
            let fault = Fault::Entry { due, found: point.index };
            return Err(corrupt(file.name, offset as u64, fault));
        }
        let number = |value: usize| u32::try_from(value).expect("a file is shorter than 4 GiB");
        let bytes = number(record_bytes(record.payload.len()));
        let at = Written { file: file.number, offset: number(offset), bytes };
        self.index.push(point, Spot::Written(at));
        Ok(())
    }
}

impl<'a> Reading<'a> {
    /// The batch at `at`, if it is whole and the one that is due.
    fn batch(&self, at: usize, due: u64) -> Result<Whole<'a>, (usize, Fault)> {
        let first = self.record(at)?;
        if first.kind != Kind::Batch {
            return Err((at, Fault::BatchShape));
        }
        let (bytes, count) = read_batch(first.payload).ok_or((at, Fault::Content))?;
        if first.index.0 != due {
            return Err((at, Fault::Batch { due, found: first.index.0 }));
        }
        let end = at + bytes;
        let mut records = Vec::with_capacity(count.min(bytes / 32));
        let mut next = at + record_bytes(first.payload.len());
        for _ in 0..count {
            let record = self.record(next)?;
            records.push((next, record));
            next += record_bytes(record.payload.len());
        }
        if next != end {
            return Err((at, Fault::BatchShape));
        }
        Ok(Whole { records, end })
    }

    fn record(&self, at: usize) -> Result<Record<'a>, (usize, Fault)> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        Record::decode(bytes, self.stamp).map_err(|fault| (at, Fault::Record(fault)))
    }

    /// A whole record of another version, group or kind is no torn write.
    fn refuse_foreign(&self, offset: usize, fault: Fault) -> Result<(), LogOpenError> {
        let file = self.name.to_owned();
        let Fault::Record(record) = fault else { return Ok(()) };
        match record {
            RecordFault::Version { found } => Err(LogOpenError::Version { file, found }),
            RecordFault::Group { found } => Err(LogOpenError::Foreign { file, found }),
            RecordFault::Kind { .. } => Err(corrupt(&file, offset as u64, fault)),
            RecordFault::Short | RecordFault::Length { .. } | RecordFault::Checksum => Ok(()),
        }
    }

    /// Whether a batch after the one that was due begins behind `at`.
    fn has_later_batch(&self, at: usize, due: u64) -> bool {
        let blocks = (at + BLOCK_BYTES..self.bytes.len()).step_by(BLOCK_BYTES);
        blocks.into_iter().any(|block| {
            self.record(block).is_ok_and(|record| record.kind == Kind::Batch && record.index.0 > due)
        })
    }
}

fn head(group: GroupId, number: u64, name: &str, bytes: &[u8]) -> Result<(u32, u64), LogOpenError> {
    let refused = |fault| match fault {
        RecordFault::Version { found } => LogOpenError::Version { file: name.to_owned(), found },
        RecordFault::Group { found } => LogOpenError::Foreign { file: name.to_owned(), found },
        RecordFault::Short
        | RecordFault::Length { .. }
        | RecordFault::Checksum
        | RecordFault::Kind { .. } => corrupt(name, 0, Fault::Record(fault)),
    };
    let head = Record::decode(bytes, Stamp { group, salt: 0 }).map_err(refused)?;
    if head.kind != Kind::Head || head.index.0 != number || head.payload.len() != HEAD_BYTES {
        return Err(corrupt(name, 0, Fault::Head));
    }
    read_head(head.payload).ok_or_else(|| corrupt(name, 0, Fault::Head))
}

fn corrupt(file: &str, offset: u64, fault: Fault) -> LogOpenError {
    LogOpenError::Corrupt { file: file.to_owned(), offset, fault }
}
