//! The one writer of a log: what waits goes out together, in one aligned write and one flush.
//!
//! A write or a flush that fails stops the log for good; it is not tried again, because after a failed flush the
//! kernel may have dropped what it could not write. A disk without room for the next file is waited for: nothing has
//! been written into it yet.
//!
//! A log that rests writes one batch more, with nothing in it: a mark that the one before it was durable, so that
//! recovery never takes what rots later for a write that was cut short.

use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::ids::{LogIndex, Term};
use crate::limits::{LOG_BATCH_BYTES_MAX, LOG_FILE_BYTES, LOG_MARK_AFTER, LOG_ROOM_INTERVAL};
use crate::raft::types::{Point, Vote};
use crate::uring::{Buffer, Core, Errno, Priority, sleep, timeout};

use super::error::LogStopped;
use super::files::{self, Active};
use super::index::Written;
use super::record::{BATCH_BYTES, BLOCK_BYTES, Kind, Record, Stamp, batch_payload, record_bytes};
use super::shape::Shape;
use super::store::{Inner, LogFile, Pending, Waiter, What, content_bytes};

/// Bytes of the buffer that most batches fit into.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes batches until the log is closed or stops.
pub(super) async fn run(log: Rc<Inner>, active: Option<Active>, next_batch: u64, next_file: u64) {
    let (vote, purged) = {
        let state = log.state.borrow();
        (state.vote, state.index.purged())
    };
    let buffer = Some(Buffer::heap(BUFFER_BYTES));
    let mut writer =
        Writer { log, active, next_batch, next_file, vote, purged, buffer, is_marked: next_batch == 1 };
    let end = loop {
        let log = Rc::clone(&writer.log);
        let next = log.work.until(|| take_batch(&log));
        let next = match writer.may_mark() {
            true => timeout(LOG_MARK_AFTER, next).await.unwrap_or(Next::Mark),
            false => next.await,
        };
        match next {
            Next::Close => break writer.close().await,
            Next::Mark => {
                if let Err(stopped) = writer.flush(Vec::new()).await {
                    break stopped;
                }
            }
            Next::Batch(batch) => {
                if let Err(stopped) = writer.flush(batch).await {
                    break stopped;
                }
            }
        }
    };
    stop(&writer.log, &end);
}

enum Next {
    Batch(Vec<Pending>),
    /// Nothing has come for a while.
    Mark,
    Close,
}

/// What waits, up to the bound of a batch.
fn take_batch(log: &Inner) -> Option<Next> {
    let mut state = log.state.borrow_mut();
    let mut bytes = 0;
    let mut batch = Vec::new();
    while let Some(next) = state.pending.front() {
        let content = match &next.what {
            What::Entry { entry, .. } => content_bytes(entry),
            What::Vote(_) | What::Truncated(..) | What::Purged(..) | What::Turn => 0,
        };
        bytes += record_bytes(content);
        if bytes > LOG_BATCH_BYTES_MAX && !batch.is_empty() {
            break;
        }
        state.pending_bytes -= content;
        batch.extend(state.pending.pop_front());
    }
    match batch.is_empty() {
        false => Some(Next::Batch(batch)),
        true => state.closing.then_some(Next::Close),
    }
}

/// The log has ended: all who wait learn why.
fn stop(log: &Inner, why: &LogStopped) {
    if *why != LogStopped::Closed {
        tracing::error!(group = %log.group, %why, "the group has stopped on this node");
    }
    let pending = {
        let mut state = log.state.borrow_mut();
        state.stopped = Some(why.clone());
        state.pending_bytes = 0;
        std::mem::take(&mut state.pending)
    };
    tell(pending, &Err(why.clone()));
    log.flushed.notify();
}

fn tell(batch: impl IntoIterator<Item = Pending>, result: &Result<(), LogStopped>) {
    for waiter in batch.into_iter().filter_map(|pending| pending.waiter) {
        match waiter {
            Waiter::Openraft(flushed) => flushed.io_completed(result.clone().map_err(Into::into)),
            Waiter::Ours(answer) => {
                let _nobody_waits_any_more = answer.give(result.clone());
            }
        }
    }
}

/// A record on its way into a batch, and the ticket of its entry.
struct Line {
    kind: Kind,
    point: Point,
    content: Content,
    ticket: Option<u64>,
}

enum Content {
    None,
    Vote([u8; 1]),
    Entry(Shape),
}

impl Line {
    fn plain(kind: Kind, point: Point) -> Self {
        Self { kind, point, content: Content::None, ticket: None }
    }

    fn vote(vote: Vote) -> Self {
        let point = Point { term: Term(vote.leader_id.term), index: LogIndex(vote.leader_id.voted_for) };
        let content = Content::Vote([u8::from(vote.committed)]);
        Self { kind: Kind::Vote, point, content, ticket: None }
    }

    fn of(what: &What) -> Option<Self> {
        match what {
            What::Entry { ticket, entry } => {
                let (point, shape) = (Point::of_entry(entry), Shape::of(entry));
                let kind = shape.record(point).kind;
                Some(Self { kind, point, content: Content::Entry(shape), ticket: Some(*ticket) })
            }
            What::Vote(vote) => Some(Self::vote(*vote)),
            What::Truncated(point, _) => Some(Self::plain(Kind::Truncated, *point)),
            What::Purged(point, _) => Some(Self::plain(Kind::Purged, *point)),
            What::Turn => None,
        }
    }

    fn payload(&self) -> &[u8] {
        match &self.content {
            Content::None => &[],
            Content::Vote(granted) => granted,
            Content::Entry(shape) => shape.payload(),
        }
    }
}

struct Writer {
    log: Rc<Inner>,
    active: Option<Active>,
    next_batch: u64,
    next_file: u64,
    /// The vote as it was last written.
    vote: Option<Vote>,
    /// What is purged, as it was last written.
    purged: Point,
    buffer: Option<Buffer>,
    /// The last batch has nothing in it.
    is_marked: bool,
}

impl Writer {
    /// A last batch, so that the one before it is known to be whole, whatever becomes of its bytes.
    async fn close(&mut self) -> LogStopped {
        let wrote_anything = self.log.state.borrow().figures.batches > 0;
        if wrote_anything && let Err(stopped) = self.flush(Vec::new()).await {
            return stopped;
        }
        LogStopped::Closed
    }

    /// Whether a mark is due when nothing else comes. It never asks the disk for another file.
    fn may_mark(&self) -> bool {
        let has_room = |active: &Active| active.offset + BLOCK_BYTES as u64 <= LOG_FILE_BYTES;
        !self.is_marked && self.active.as_ref().is_some_and(has_room)
    }

    async fn flush(&mut self, batch: Vec<Pending>) -> Result<(), LogStopped> {
        let result = self.write(&batch).await;
        tell(batch, &result);
        self.log.flushed.notify();
        if result.is_ok() && self.log.empty_file().is_some() && !self.log.sweeping.replace(true) {
            let log = Rc::clone(&self.log);
            drop(Core::current().spawn(Priority::Bulk, async move { log.sweep().await }));
        }
        result
    }

    async fn write(&mut self, batch: &[Pending]) -> Result<(), LogStopped> {
        let mut lines: Vec<Line> = batch.iter().filter_map(|pending| Line::of(&pending.what)).collect();
        let is_new = self.make_room(&lines).await?;
        // A file begins with what must outlive the files before it: as it stands at this place of the log.
        if is_new {
            let purged = Some(self.purged).filter(|purged| *purged != Point::START);
            let mut first: Vec<Line> = self.vote.map(Line::vote).into_iter().collect();
            first.extend(purged.map(|purged| Line::plain(Kind::Purged, purged)));
            lines.splice(0..0, first);
        }
        {
            let mut state = self.log.state.borrow_mut();
            if std::mem::take(&mut state.committed_waits) || (is_new && state.committed != Point::START) {
                lines.push(Line::plain(Kind::Committed, state.committed));
            }
        }
        if lines.is_empty() && !batch.is_empty() {
            return Ok(());
        }
        self.put(&lines).await?;
        self.is_marked = batch.is_empty();
        for pending in batch {
            match &pending.what {
                What::Vote(vote) => self.vote = Some(*vote),
                What::Purged(point, _) => self.purged = *point,
                What::Entry { .. } | What::Truncated(..) | What::Turn => {}
            }
            if let What::Truncated(_, void) | What::Purged(_, void) = &pending.what {
                self.log.state.borrow_mut().void(void);
            }
        }
        Ok(())
    }

    /// Writes one batch and flushes it.
    async fn put(&mut self, lines: &[Line]) -> Result<(), LogStopped> {
        let bytes = batch_bytes(lines);
        let padded = bytes.next_multiple_of(BLOCK_BYTES);
        let active = self.active.as_mut().expect("room was made");
        let stamp = Stamp { group: self.log.group, salt: active.salt };
        let mut buffer = match self.buffer.take() {
            Some(buffer) if buffer.capacity() >= padded => buffer,
            _ => Buffer::heap(padded),
        };
        let spots = encode(lines, self.next_batch, stamp, &mut buffer.memory_mut()[..padded]);
        let core = Core::current();
        let begun = core.now();
        let permit = self.log.gate.as_ref().map(crate::uring::Gate::urgent);
        let (written, buffer) = active.file.write_at(buffer, 0..padded, active.offset).await;
        let result = match written {
            Ok(()) if is_left_in_cache(lines) => Ok(()),
            Ok(()) => active.file.sync_data().await.map_err(|errno| ("flush", errno)),
            Err(errno) => Err(("write", errno)),
        };
        drop(permit);
        if buffer.capacity() == BUFFER_BYTES {
            self.buffer = Some(buffer);
        }
        if let Err((doing, errno)) = result {
            return Err(failed(doing, active.number, errno));
        }
        let took = core.now().since(begun);
        let base = active.offset;
        active.offset += padded as u64;
        self.next_batch += 1;
        let mut state = self.log.state.borrow_mut();
        for (line, (offset, bytes)) in lines.iter().zip(spots) {
            if let Some(ticket) = line.ticket {
                let offset = u32::try_from(base).expect("a file is shorter than 4 GiB") + offset;
                state.wrote(line.point.index.0, ticket, Written { file: active.number, offset, bytes });
            }
        }
        if let Some(file) = state.file_mut(active.number) {
            file.bytes = active.offset;
        }
        state.shrink_cache();
        let figures = &mut state.figures;
        figures.batches += 1;
        figures.records += lines.len() as u64;
        figures.bytes += padded as u64;
        figures.flush_latest = took;
        figures.flush_longest = figures.flush_longest.max(took);
        Ok(())
    }

    /// Sees to a file with room for the batch; true if it is a new one.
    async fn make_room(&mut self, lines: &[Line]) -> Result<bool, LogStopped> {
        let state_bytes = 4 * record_bytes(BATCH_BYTES);
        let bytes = (batch_bytes(lines) + state_bytes).next_multiple_of(BLOCK_BYTES) as u64;
        if self.active.as_ref().is_some_and(|active| active.offset + bytes <= LOG_FILE_BYTES) {
            return Ok(false);
        }
        let number = self.next_file;
        let made = self.create(number).await?;
        let log = &self.log;
        self.next_file += 1;
        {
            let mut state = log.state.borrow_mut();
            state.figures.files += 1;
            state.files.push_back(LogFile {
                number,
                salt: made.salt,
                live: 0,
                bytes: made.offset,
                sealed: false,
                open: Some(made.file.clone()),
                mapping: None,
            });
        }
        if let Some(full) = self.active.replace(made) {
            seal(log, full).await?;
        }
        Ok(true)
    }
}

impl Writer {
    /// Makes the next file; on a full disk, as soon as there is room.
    async fn create(&self, number: u64) -> Result<Active, LogStopped> {
        let log = &self.log;
        loop {
            match files::create(&log.dir, log.group, number, self.next_batch).await {
                Err((step, errno)) if errno.is_disk_full() && step.leaves_nothing() => {
                    let mut state = log.state.borrow_mut();
                    if state.closing {
                        return Err(failed(step.doing(), number, errno));
                    }
                    if !std::mem::replace(&mut state.figures.waits_for_room, true) {
                        tracing::error!(group = %log.group, "the disk is full; the log waits for room");
                    }
                }
                made => {
                    if std::mem::take(&mut log.state.borrow_mut().figures.waits_for_room) && made.is_ok() {
                        tracing::warn!(group = %log.group, "there is room again; the log goes on");
                    }
                    return made.map_err(|(step, errno)| failed(step.doing(), number, errno));
                }
            }
            sleep(LOG_ROOM_INTERVAL).await;
        }
    }
}

/// A full file loses the blocks that it did not need, and can be mapped.
async fn seal(log: &Inner, full: Active) -> Result<(), LogStopped> {
    let Active { file, number, offset, .. } = full;
    file.truncate(offset).await.map_err(|errno| failed("cut", number, errno))?;
    file.sync_data().await.map_err(|errno| failed("flush", number, errno))?;
    if let Some(file) = log.state.borrow_mut().file_mut(number) {
        file.sealed = true;
        file.open = None;
    }
    Ok(())
}

/// What a broken log does not flush: entries, so that votes are durable still.
fn is_left_in_cache(lines: &[Line]) -> bool {
    broken::is(Broken::EntriesUnflushed) && lines.iter().all(|line| line.kind != Kind::Vote)
}

fn batch_bytes(lines: &[Line]) -> usize {
    let records: usize = lines.iter().map(|line| record_bytes(line.payload().len())).sum();
    record_bytes(BATCH_BYTES) + records
}

/// Lays a batch out, its padding included, and tells where in it each record begins and how long it is.
fn encode(lines: &[Line], number: u64, stamp: Stamp, out: &mut [u8]) -> Vec<(u32, u32)> {
    let payload = batch_payload(batch_bytes(lines), lines.len());
    let head = Record { kind: Kind::Batch, term: Term(0), index: LogIndex(number), payload: &payload };
    let mut at = head.encode(stamp, out);
    let mut spots = Vec::with_capacity(lines.len());
    let number = |value: usize| u32::try_from(value).expect("a batch is within its limit");
    for line in lines {
        let Point { term, index } = line.point;
        let record = Record { kind: line.kind, term, index, payload: line.payload() };
        let bytes = record.encode(stamp, &mut out[at..]);
        spots.push((number(at), number(bytes)));
        at += bytes;
    }
    out[at..].fill(0);
    spots
}

fn failed(doing: &'static str, file: u64, errno: Errno) -> LogStopped {
    LogStopped::Disk { doing, file: files::name(file), errno }
}
