//! A queue in memory: what waits, what is known of it, and who waits for it to be durable.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::ids::UnixNanos;
use crate::limits::{QUEUE_BYTES_MAX, QUEUE_CHANGE_BYTES_MAX, QUEUE_CHANGES_MAX};
use crate::uring::{Answer, Buffer, Core, Dir, Errno, Gate, Notify, OpenOptions, Priority, question};

use super::error::QueueFileError;
use super::format::{Held, Kept, Line, Refused, Sent, held_bytes, replay};
use super::writer;

/// Its name in the shard's folder.
/// The file's name in a shard's folder.
pub const NAME: &str = "queue";
const READ_BYTES: usize = 1024 * 1024;

/// Changes that are durable here until it is known what became of them. Clones are the same queue.
#[derive(Clone)]
pub struct Queue(pub(super) Rc<Inner>);

/// There is no room for another change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

/// How a queue stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueFigures {
    /// Changes in it.
    pub changes: u64,
    /// Their bytes in its file.
    pub bytes: u64,
    /// When the first of them was put there, by this node's clock.
    pub oldest: Option<UnixNanos>,
    /// Flushes, since it was opened.
    pub flushes: u64,
}

/// A record on its way to the disk, and who waits for it.
pub(super) struct Waiting {
    pub(super) line: Line,
    pub(super) answer: Option<Answer<Result<(), Errno>>>,
}

pub(super) struct State {
    pub(super) kept: Kept,
    /// Changes up to here are durable.
    pub(super) durable: u64,
    /// Bytes of those that are held.
    pub(super) bytes: usize,
    /// What the file does not have yet.
    pub(super) lines: VecDeque<Waiting>,
    /// Somebody waits for some of it.
    pub(super) awaited: bool,
    pub(super) flushes: u64,
    pub(super) closing: bool,
    pub(super) closed: bool,
}

pub(super) struct Inner {
    pub(super) dir: Dir,
    pub(super) gate: Option<Gate>,
    pub(super) state: RefCell<State>,
    /// There is something to write.
    pub(super) work: Notify,
    /// Something is durable, or what became of something is known.
    pub(super) moved: Notify,
}

impl Queue {
    /// Opens the queue in a folder, or begins one there. Writes nothing before there is something to write; its writes
    /// pass the device's gate as urgent ones.
    ///
    /// # Errors
    /// Why it is not opened. The file stays as it is.
    pub async fn open(dir: Dir, gate: Option<Gate>) -> Result<Self, QueueFileError> {
        let kept = match read(&dir).await.map_err(|errno| QueueFileError::Disk { errno })? {
            Some(bytes) => replay(&bytes)?,
            None => Kept::default(),
        };
        if kept.torn > 0 {
            let bytes = kept.torn;
            tracing::warn!(
                bytes,
                "the last write to the registrar's queue was never finished; it is cut off"
            );
        }
        let bytes = kept.held.iter().map(held_bytes).sum();
        let state = State {
            durable: kept.next() - 1,
            kept,
            bytes,
            lines: VecDeque::new(),
            awaited: false,
            flushes: 0,
            closing: false,
            closed: false,
        };
        let inner = Rc::new(Inner {
            dir,
            gate,
            state: RefCell::new(state),
            work: Notify::default(),
            moved: Notify::default(),
        });
        drop(Core::current().spawn(Priority::Urgent, writer::run(Rc::clone(&inner))));
        Ok(Self(inner))
    }

    /// Whether there is room for another change of any size.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.0.state.borrow();
        state.kept.held.len() < QUEUE_CHANGES_MAX && state.bytes + QUEUE_CHANGE_BYTES_MAX <= QUEUE_BYTES_MAX
    }

    /// Puts a change into the queue; its number there when it is durable.
    ///
    /// # Errors
    /// There is no room; or, inside, the disk's: it is not in the queue then, though a start may find it there.
    pub fn push(
        &self,
        content: &[u8],
    ) -> Result<impl Future<Output = Result<u64, Errno>> + use<>, QueueFull> {
        if !self.has_room() {
            return Err(QueueFull);
        }
        let (answer, durable) = question();
        let mut state = self.0.state.borrow_mut();
        let number = state.kept.next();
        let held = Held { number, at: Core::current().wall(), content: content.into() };
        state.bytes += held_bytes(&held);
        state.kept.held.push_back(held.clone());
        let refused = state.put(Line::Change(held), Some(answer));
        drop(state);
        self.0.work.notify();
        Ok(async move {
            match refused {
                true => Err(Errno::CANCELED),
                false => durable.await.unwrap_or(Err(Errno::CANCELED)).map(|()| number),
            }
        })
    }

    /// Durable changes behind the one with this number, in order.
    #[must_use]
    pub fn after(&self, number: u64, most: usize) -> Vec<Held> {
        let state = self.0.state.borrow();
        let skip = usize::try_from(number.saturating_sub(state.kept.done)).unwrap_or(usize::MAX);
        let durable = state.durable;
        let held = state.kept.held.iter().skip(skip).take_while(|held| held.number <= durable);
        held.take(most).cloned().collect()
    }

    /// A proposal goes out as soon as this returns.
    ///
    /// # Errors
    /// The disk's: it must not go out, and its number stays in use until another one is written.
    pub async fn send(&self, sent: Sent) -> Result<(), Errno> {
        self.0.state.borrow_mut().kept.sent = Some(sent);
        self.write(Line::Sent(sent)).await
    }

    /// Notes that no proposal is under way: nothing happened by the last one. With that, all that was told is durable.
    ///
    /// # Errors
    /// The disk's.
    pub async fn note_idle(&self) -> Result<(), Errno> {
        let done = {
            let mut state = self.0.state.borrow_mut();
            state.kept.sent = None;
            state.kept.done
        };
        self.write(Line::Done(done)).await
    }

    async fn write(&self, line: Line) -> Result<(), Errno> {
        let (answer, durable) = question();
        let refused = self.0.state.borrow_mut().put(line, Some(answer));
        self.0.work.notify();
        if refused { Err(Errno::CANCELED) } else { durable.await.unwrap_or(Err(Errno::CANCELED)) }
    }

    /// What became of all changes up to this number is known, and of every proposal. Durable with what is written next,
    /// or after a moment.
    pub fn settle(&self, to: u64) {
        let mut state = self.0.state.borrow_mut();
        let count = usize::try_from(to - state.kept.done).unwrap_or(usize::MAX);
        let bytes: usize = state.kept.held.iter().take(count).map(held_bytes).sum();
        state.bytes -= bytes;
        state.kept.settle(to);
        state.put(Line::Done(to), None);
        drop(state);
        self.0.work.notify();
        self.0.moved.notify();
    }

    /// A change that waits will not be tried again. Durable as with `settle`.
    pub fn refuse(&self, refused: Refused) {
        let mut state = self.0.state.borrow_mut();
        state.kept.refuse(refused.clone());
        state.put(Line::Refused(refused), None);
        drop(state);
        self.0.work.notify();
        self.0.moved.notify();
    }

    /// The last proposal, unless it is known what became of it: at a start, what an earlier process has left.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        self.0.state.borrow().kept.sent
    }

    /// What became of all changes up to here is known.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.state.borrow().kept.done
    }

    /// Whether a change is refused, as far as it is told.
    #[must_use]
    pub fn is_refused(&self, number: u64) -> bool {
        let state = self.0.state.borrow();
        state.kept.refused.binary_search_by_key(&number, |refused| refused.number).is_ok()
    }

    /// The latest refusals behind a number, in order.
    #[must_use]
    pub fn refused_after(&self, number: u64) -> Vec<Refused> {
        let state = self.0.state.borrow();
        state.kept.refused.iter().filter(|refused| refused.number > number).cloned().collect()
    }

    /// How it stands.
    #[must_use]
    pub fn figures(&self) -> QueueFigures {
        let state = self.0.state.borrow();
        QueueFigures {
            changes: state.kept.held.len() as u64,
            bytes: state.bytes as u64,
            oldest: state.kept.held.front().map(|held| held.at),
            flushes: state.flushes,
        }
    }

    /// What tells of every change of it.
    #[must_use]
    pub fn moved(&self) -> &Notify {
        &self.0.moved
    }

    /// Writes what waits and ends the writer. Whoever puts something in later is refused.
    pub async fn close(&self) {
        self.0.state.borrow_mut().closing = true;
        self.0.work.notify();
        self.0.moved.until(|| self.0.state.borrow().closed.then_some(())).await;
    }
}

impl State {
    /// True if nobody writes any more.
    fn put(&mut self, line: Line, answer: Option<Answer<Result<(), Errno>>>) -> bool {
        if self.closing {
            return true;
        }
        self.awaited |= answer.is_some();
        self.lines.push_back(Waiting { line, answer });
        false
    }

    /// The records of a file that is written anew.
    pub(super) fn all(&self) -> Vec<Line> {
        let Kept { done, held, sent, refused, torn: _ } = &self.kept;
        let changes = held.iter().cloned().map(Line::Change);
        let refused = refused.iter().cloned().map(Line::Refused);
        [Line::Done(*done)].into_iter().chain(changes).chain(refused).chain(sent.map(Line::Sent)).collect()
    }

    /// The changes that are not durable are not there any more: nobody was told that they are.
    pub(super) fn fall_back(&mut self) {
        while let Some(last) = self.kept.held.pop_back_if(|last| last.number > self.durable) {
            self.bytes -= held_bytes(&last);
        }
    }
}

async fn read(dir: &Dir) -> Result<Option<Vec<u8>>, Errno> {
    let file = match dir.open(NAME, OpenOptions::default()).await {
        Ok(file) => file,
        Err(Errno::NOT_FOUND) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let (mut all, mut buffer) = (Vec::new(), Buffer::heap(READ_BYTES));
    loop {
        let (count, back) = file.read_at(buffer, 0..READ_BYTES, all.len() as u64).await;
        buffer = back;
        match count? {
            0 => return Ok(Some(all)),
            count => all.extend_from_slice(&buffer.memory()[..count]),
        }
    }
}
