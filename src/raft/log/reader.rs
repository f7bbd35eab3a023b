//! Reading entries back: from memory, from the mapping of a sealed file, or by a read of the file that is written.
//! What comes from disk is checked each time.

use std::ops::{Bound, Range, RangeBounds};

use crate::limits::LOG_MAPPINGS_MAX;
use crate::raft::payload::CommandBytes;
use crate::raft::types::{Entry, Point};
use crate::uring::{Buffer, Errno, File, Mapping, OpenOptions};

use super::error::{Fault, LogStopped};
use super::files;
use super::index::{Spot, Written};
use super::record::{BLOCK_BYTES, HEADER_BYTES, Record, Stamp};
use super::shape::entry_of;
use super::store::{Log, content_bytes};

/// Bytes read at once from the file that is written: those who lag behind the cache read on.
const WINDOW_BYTES: usize = 256 * 1024;

/// A part of the file that is written.
struct Window {
    file: u64,
    start: usize,
    end: usize,
    buffer: Buffer,
}

/// Where an entry can be had.
enum Source {
    Memory(Entry),
    Mapped(Point, Written, Stamp, Mapping),
    /// To be mapped first.
    Sealed(u64),
    Open(Point, Written, Stamp, File, u64),
}

impl Log {
    /// The entries of a range that are there, from its first on, until they have `bytes_max` bytes; one at least.
    pub(in crate::raft) async fn read(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStopped> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut window = None;
        let begin = range.start.max(self.0.state.borrow().index.range().start);
        for index in begin..range.end {
            let Some(entry) = self.read_one(index, &mut window).await? else { break };
            bytes += content_bytes(&entry) + HEADER_BYTES;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn read_one(&self, index: u64, window: &mut Option<Window>) -> Result<Option<Entry>, LogStopped> {
        loop {
            let entry = match self.source(index) {
                None => return Ok(None),
                Some(Source::Memory(entry)) => return Ok(Some(entry)),
                Some(Source::Sealed(file)) => {
                    match self.map(file).await {
                        // Its entries were purged meanwhile.
                        Err(_) if self.source(index).is_none() => return Ok(None),
                        other => other?,
                    }
                    continue;
                }
                Some(Source::Mapped(point, at, stamp, mapping)) => {
                    let range = at.offset as usize..at.offset as usize + at.bytes as usize;
                    let record = mapping.get(range.clone()).unwrap_or_default();
                    let command = |length: usize| {
                        let start = range.start + HEADER_BYTES;
                        CommandBytes::mapped(&mapping, start..start + length)
                    };
                    decode(record, stamp, point, command).map_err(|fault| corrupt(at, fault))?
                }
                Some(Source::Open(point, at, stamp, file, end)) => {
                    if !window.as_ref().is_some_and(|window| window.holds(at)) {
                        *window = Some(Window::read(&file, at, end).await?);
                    }
                    let Some(window) = window.as_ref() else { unreachable!("it was just read") };
                    let record = window.bytes(at);
                    let command =
                        |length: usize| CommandBytes::copy_of(&record[HEADER_BYTES..HEADER_BYTES + length]);
                    decode(record, stamp, point, command).map_err(|fault| corrupt(at, fault))?
                }
            };
            self.0.state.borrow_mut().figures.entries_read += 1;
            return Ok(Some(entry));
        }
    }

    fn source(&self, index: u64) -> Option<Source> {
        let state = self.0.state.borrow();
        let (point, spot) = state.index.get(index)?;
        if let Some(entry) = state.cache.get(index) {
            return Some(Source::Memory(entry.clone()));
        }
        let Spot::Written(at) = spot else {
            unreachable!("entry {index} waits to be written and is in memory")
        };
        let file = state.file(at.file)?;
        let stamp = Stamp { group: self.0.group, salt: file.salt };
        match (&file.mapping, &file.open) {
            (Some(mapping), _) => Some(Source::Mapped(point, at, stamp, mapping.clone())),
            (None, Some(open)) => Some(Source::Open(point, at, stamp, open.clone(), file.bytes)),
            (None, None) => Some(Source::Sealed(at.file)),
        }
    }

    /// Maps a sealed file, and lets go of the mapping that is least likely to be read next: the oldest.
    async fn map(&self, number: u64) -> Result<(), LogStopped> {
        let name = files::name(number);
        let failed = |doing, errno| LogStopped::Disk { doing, file: name.clone(), errno };
        let file = self.0.dir.open(&name, OpenOptions::default()).await;
        let file = file.map_err(|errno| failed("open", errno))?;
        let mapping = file.map().await.map_err(|errno| failed("map", errno))?;
        let mut state = self.0.state.borrow_mut();
        let mapped = state.files.iter().filter(|file| file.mapping.is_some()).count();
        if mapped >= LOG_MAPPINGS_MAX
            && let Some(oldest) = state.files.iter_mut().find(|file| file.mapping.is_some())
        {
            oldest.mapping = None;
        }
        if let Some(file) = state.file_mut(number) {
            file.mapping = Some(mapping);
        }
        Ok(())
    }
}

impl Window {
    async fn read(file: &File, at: Written, file_end: u64) -> Result<Self, LogStopped> {
        let failed = |errno| LogStopped::Disk { doing: "read", file: files::name(at.file), errno };
        let start = at.offset as usize / BLOCK_BYTES * BLOCK_BYTES;
        let record_end = at.offset as usize + at.bytes as usize;
        let file_end = usize::try_from(file_end).map_err(|_| failed(Errno::INVALID))?;
        let end = record_end.max((start + WINDOW_BYTES).min(file_end)).next_multiple_of(BLOCK_BYTES);
        let (count, buffer) = file.read_at(Buffer::heap(end - start), 0..end - start, start as u64).await;
        let end = start + count.map_err(failed)?;
        Ok(Self { file: at.file, start, end, buffer })
    }

    fn holds(&self, at: Written) -> bool {
        let offset = at.offset as usize;
        at.file == self.file && offset >= self.start && offset + at.bytes as usize <= self.end
    }

    fn bytes(&self, at: Written) -> &[u8] {
        let offset = (at.offset as usize).saturating_sub(self.start);
        let end = offset + at.bytes as usize;
        if self.holds(at) { &self.buffer.memory()[offset..end] } else { &[] }
    }
}

/// The entry of a record, if it is the one that stands there.
fn decode(
    bytes: &[u8],
    stamp: Stamp,
    point: Point,
    command: impl FnOnce(usize) -> CommandBytes,
) -> Result<Entry, Fault> {
    let record = Record::decode(bytes, stamp).map_err(Fault::Record)?;
    if record.index != point.index || record.term != point.term {
        return Err(Fault::Entry { due: point.index, found: record.index });
    }
    entry_of(&record, command)
}

fn corrupt(at: Written, fault: Fault) -> LogStopped {
    LogStopped::Corrupt { file: files::name(at.file), offset: u64::from(at.offset), fault }
}

/// Our indexes of a range of openraft's.
pub(super) fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => start.saturating_add(1),
        Bound::Excluded(start) => start.saturating_add(2),
        Bound::Unbounded => 1,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(2),
        Bound::Excluded(end) => end.saturating_add(1),
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
