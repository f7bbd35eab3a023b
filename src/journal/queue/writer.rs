//! The one writer of a queue: what waits goes out together, in one write and one flush.
//!
//! A file has room for so much; then it is written anew, with what still waits and no more, and takes the place of the
//! one before. So it is after a start, and after an error: what a flush has refused is not trusted again, and all that
//! was acknowledged is in memory. What nobody waits for goes with the next flush, or when the queue has rested; so does
//! an empty batch behind one that has no other behind it, so that what rots later is never taken for a torn write.

use std::rc::Rc;

use crate::journal::replace;
use crate::limits::{LOG_MARK_AFTER, QUEUE_BATCH_BYTES_MAX, QUEUE_ROOM_BYTES};
use crate::uring::{Buffer, Core, Errno, File, Gate, OpenOptions, timeout};

use super::format::{Line, line_bytes, put_batch, put_head};
use super::store::{Inner, NAME, Waiting};

/// The file that is written on.
struct Active {
    file: File,
    salt: u64,
    next_batch: u64,
    /// Where the next batch begins.
    offset: u64,
    /// Where its room ends.
    bytes: u64,
}

struct Writer {
    queue: Rc<Inner>,
    active: Option<Active>,
    /// Nothing that somebody relies on stands in the last batch.
    is_marked: bool,
}

enum Next {
    Batch(Vec<Waiting>),
    Rest,
    Close,
}

pub(super) async fn run(queue: Rc<Inner>) {
    let mut writer = Writer { queue, active: None, is_marked: true };
    loop {
        let queue = Rc::clone(&writer.queue);
        let rests = !writer.is_marked || !queue.state.borrow().lines.is_empty();
        let next = queue.work.until(|| take(&queue, rests));
        let next = match rests {
            true => timeout(LOG_MARK_AFTER, next).await.unwrap_or_else(|_| Next::Batch(take_lines(&queue))),
            false => next.await,
        };
        match next {
            Next::Batch(batch) => writer.flush(batch).await,
            Next::Rest => {}
            Next::Close => break,
        }
    }
    let mut state = writer.queue.state.borrow_mut();
    state.closed = true;
    drop(state);
    writer.queue.moved.notify();
}

/// What somebody waits for, and all that goes with it.
fn take(queue: &Inner, rests: bool) -> Option<Next> {
    let (is_empty, awaited, closing) = {
        let state = queue.state.borrow();
        (state.lines.is_empty(), state.awaited, state.closing)
    };
    match (is_empty, closing) {
        (true, true) => Some(Next::Close),
        (true, false) => None,
        (false, true) => Some(Next::Batch(take_lines(queue))),
        (false, false) if awaited => Some(Next::Batch(take_lines(queue))),
        (false, false) => (!rests).then_some(Next::Rest),
    }
}

fn take_lines(queue: &Inner) -> Vec<Waiting> {
    let mut state = queue.state.borrow_mut();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(next) = state.lines.front() {
        bytes += line_bytes(&next.line);
        if bytes > QUEUE_BATCH_BYTES_MAX && !batch.is_empty() {
            break;
        }
        batch.extend(state.lines.pop_front());
    }
    state.awaited &= !state.lines.is_empty();
    batch
}

impl Writer {
    async fn flush(&mut self, batch: Vec<Waiting>) {
        let written = self.write(&batch).await;
        let mut state = self.queue.state.borrow_mut();
        state.flushes += 1;
        let mut told = batch;
        match written {
            Ok(Reach::Batch) => {
                let last = told.iter().filter_map(|waiting| change_of(&waiting.line)).max();
                state.durable = last.unwrap_or(state.durable);
                self.is_marked = told.is_empty();
            }
            Ok(Reach::All { last, lines }) => {
                state.durable = last;
                told.extend(state.lines.drain(..lines));
                state.awaited &= !state.lines.is_empty();
                self.is_marked = true;
            }
            Err(errno) => {
                tracing::warn!(%errno, "the registrar's queue cannot be written; it is written anew next time");
                self.active = None;
                self.is_marked = true;
                told.extend(state.lines.drain(..));
                state.awaited = false;
                state.fall_back();
            }
        }
        drop(state);
        for answer in told.into_iter().filter_map(|waiting| waiting.answer) {
            let _nobody_waits_any_more = answer.give(written.as_ref().map(|_| ()).map_err(|errno| *errno));
        }
        self.queue.moved.notify();
    }

    async fn write(&mut self, batch: &[Waiting]) -> Result<Reach, Errno> {
        let _permit = self.queue.gate.as_ref().map(Gate::urgent);
        let Some(active) = &mut self.active else {
            return self.write_anew(batch.is_empty()).await;
        };
        let mut bytes = Vec::new();
        put_batch(&mut bytes, active.salt, active.next_batch, batch.iter().map(|waiting| &waiting.line));
        if active.offset + bytes.len() as u64 > active.bytes {
            return self.write_anew(batch.is_empty()).await;
        }
        let (length, buffer) = (bytes.len(), Buffer::from_bytes(&bytes));
        active.file.write_at(buffer, 0..length, active.offset).await.0?;
        active.file.sync_data().await?;
        active.offset += length as u64;
        active.next_batch += 1;
        Ok(Reach::Batch)
    }

    /// A new file with all that is held, what was just put in included. It needs no mark of its own.
    async fn write_anew(&mut self, is_mark: bool) -> Result<Reach, Errno> {
        if is_mark {
            return Ok(Reach::Batch);
        }
        self.active = None;
        let salt = u64::from_le_bytes(Core::current().random());
        let mut bytes = put_head(salt);
        let reach = {
            let state = self.queue.state.borrow();
            put_batch(&mut bytes, salt, 1, &state.all());
            Reach::All { last: state.kept.next() - 1, lines: state.lines.len() }
        };
        let offset = bytes.len() as u64;
        let room = offset + QUEUE_ROOM_BYTES;
        let with_room = async move |file: &File| match file.take_room(room, 0).await {
            Ok(()) | Err(Errno::NOT_SUPPORTED) => Ok(bytes),
            Err(errno) => Err(errno),
        };
        let dir = &self.queue.dir;
        replace(dir, NAME, with_room).await?;
        let file = dir.open(NAME, OpenOptions { write: true, ..OpenOptions::default() }).await?;
        self.active = Some(Active { file, salt, next_batch: 2, offset, bytes: room });
        Ok(reach)
    }
}

/// What a write has brought to the disk.
#[derive(Clone, Copy)]
enum Reach {
    /// The batch.
    Batch,
    /// All changes up to this one, and so many of the lines that waited.
    All { last: u64, lines: usize },
}

fn change_of(line: &Line) -> Option<u64> {
    match line {
        Line::Change(held) => Some(held.number),
        Line::Sent(_) | Line::Done(_) | Line::Refused(_) => None,
    }
}
