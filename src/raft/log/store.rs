//! A group's log as its users share it: what is in memory, what waits to be written, what has become of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use openraft::EntryPayload;
use openraft::storage::IOFlushed;

use crate::ids::{GroupId, LogIndex, Nanos};
use crate::limits::{LOG_CACHE_BYTES, LOG_PENDING_BYTES_MAX};
use crate::raft::types::{Entry, Point, Types, Vote};
use crate::uring::{Answer, Dir, File, Gate, Mapping, Notify, question};

use super::error::LogStopped;
use super::files::Active;
use super::index::{Index, Spot, Written};
use super::record::HEADER_BYTES;
use super::replay::Replay;

/// A group's log. Clones are the same log.
#[derive(Clone)]
pub struct Log(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) group: GroupId,
    pub(super) dir: Dir,
    pub(super) gate: Option<Gate>,
    pub(super) state: RefCell<State>,
    /// Told when something waits to be written.
    pub(super) work: Notify,
    /// Told when a batch has been written, or the log has stopped.
    pub(super) flushed: Notify,
    /// Old files are being removed, or are about to be.
    pub(super) sweeping: Cell<bool>,
}

pub(super) struct State {
    pub(super) index: Index,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Point,
    /// `committed` has grown since it was last written; it goes out with the next batch.
    pub(super) committed_waits: bool,
    pub(super) pending: VecDeque<Pending>,
    pub(super) pending_bytes: usize,
    pub(super) files: VecDeque<LogFile>,
    pub(super) cache: Cache,
    pub(super) stopped: Option<LogStopped>,
    pub(super) closing: bool,
    pub(super) figures: LogFigures,
    tickets: u64,
}

/// One file of the log.
pub(super) struct LogFile {
    pub(super) number: u64,
    pub(super) salt: u32,
    /// Entries in it that are not void.
    pub(super) live: u64,
    /// Bytes of its batches.
    pub(super) bytes: u64,
    /// It is written no more.
    pub(super) sealed: bool,
    /// As long as it is written.
    pub(super) open: Option<File>,
    pub(super) mapping: Option<Mapping>,
}

/// Something that waits to be written, and who waits for it.
pub(super) struct Pending {
    pub(super) what: What,
    pub(super) waiter: Option<Waiter>,
}

pub(super) enum What {
    Entry {
        ticket: u64,
        entry: Entry,
    },
    Vote(Vote),
    /// Entries behind this one are void, and so are the records of them in these files.
    Truncated(Point, Vec<u64>),
    /// Entries up to this one are gone, and so are the records of them in these files.
    Purged(Point, Vec<u64>),
    /// Nothing but the turn in the order of writes.
    Turn,
}

/// Who waits for a write.
pub(super) enum Waiter {
    Openraft(IOFlushed<Types>),
    Ours(Answer<Result<(), LogStopped>>),
}

/// The latest entries, in memory.
#[derive(Default)]
pub(super) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFigures {
    /// Batches written, each with one flush.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them, padding included.
    pub bytes: u64,
    /// Time of the latest write and flush.
    pub flush_latest: Nanos,
    /// Longest time of a write and flush.
    pub flush_longest: Nanos,
    /// Files made.
    pub files: u64,
    /// Entries that had to be read from disk.
    pub entries_read: u64,
    /// What is to be written waits for room on the disk.
    pub waits_for_room: bool,
}

/// Bytes that an entry's content takes, roughly for a change of members.
pub(super) fn content_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(bytes) => bytes.len(),
        EntryPayload::Membership(members) => {
            members.nodes().map(|(_, member)| member.address.len() + 32).sum()
        }
    }
}

impl Cache {
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += content_bytes(&entry) + HEADER_BYTES;
        self.entries.push_back(entry);
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        let first = Point::of_entry(self.entries.front()?).index.0;
        self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    pub(super) fn truncate_after(&mut self, index: u64) {
        while self.entries.back().is_some_and(|last| Point::of_entry(last).index.0 > index) {
            self.entries.pop_back().inspect(|gone| self.bytes -= content_bytes(gone) + HEADER_BYTES);
        }
    }

    pub(super) fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| Point::of_entry(first).index.0 <= index) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.entries.pop_front().inspect(|gone| self.bytes -= content_bytes(gone) + HEADER_BYTES);
    }

    /// Lets go of the oldest entries that are in a file, above the bound.
    fn shrink(&mut self, index: &Index) {
        while self.bytes > LOG_CACHE_BYTES {
            let Some(first) = self.entries.front() else { return };
            let spot = index.get(Point::of_entry(first).index.0).map(|(_, spot)| spot);
            if matches!(spot, Some(Spot::Waiting(_))) {
                return;
            }
            self.pop_front();
        }
    }
}

impl State {
    fn new(replay: Replay, active: Option<&Active>) -> Self {
        let mut files: VecDeque<LogFile> = replay
            .files
            .iter()
            .map(|found| {
                let open = active.filter(|active| active.number == found.number);
                LogFile {
                    number: found.number,
                    salt: found.salt,
                    live: 0,
                    bytes: found.end,
                    sealed: open.is_none(),
                    open: open.map(|active| active.file.clone()),
                    mapping: None,
                }
            })
            .collect();
        for number in replay.index.files() {
            if let Some(file) = file_mut(&mut files, number) {
                file.live += 1;
            }
        }
        Self {
            index: replay.index,
            vote: replay.vote,
            committed: replay.committed,
            committed_waits: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
            files,
            cache: Cache::default(),
            stopped: None,
            closing: false,
            figures: LogFigures::default(),
            tickets: 0,
        }
    }

    pub(super) fn file(&self, number: u64) -> Option<&LogFile> {
        let first = self.files.front()?.number;
        self.files.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub(super) fn file_mut(&mut self, number: u64) -> Option<&mut LogFile> {
        file_mut(&mut self.files, number)
    }

    /// Records in these files are void, durably.
    pub(super) fn void(&mut self, files: &[u64]) {
        for number in files {
            if let Some(file) = self.file_mut(*number) {
                file.live -= 1;
            }
        }
    }

    /// An entry was written.
    pub(super) fn wrote(&mut self, index: u64, ticket: u64, at: Written) {
        if self.index.wrote(index, ticket, at)
            && let Some(file) = self.file_mut(at.file)
        {
            file.live += 1;
        }
    }

    pub(super) fn shrink_cache(&mut self) {
        self.cache.shrink(&self.index);
    }

    fn check(&self) -> Result<(), LogStopped> {
        match &self.stopped {
            Some(stopped) => Err(stopped.clone()),
            None if self.closing => Err(LogStopped::Closed),
            None => Ok(()),
        }
    }

    fn push(&mut self, what: What, waiter: Option<Waiter>) {
        if let What::Entry { entry, .. } = &what {
            self.pending_bytes += content_bytes(entry);
        }
        self.pending.push_back(Pending { what, waiter });
    }
}

fn file_mut(files: &mut VecDeque<LogFile>, number: u64) -> Option<&mut LogFile> {
    let first = files.front()?.number;
    files.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
}

impl Log {
    pub(super) fn new(
        group: GroupId,
        dir: Dir,
        gate: Option<Gate>,
        replay: Replay,
        active: Option<&Active>,
    ) -> Self {
        Self(Rc::new(Inner {
            group,
            dir,
            gate,
            state: RefCell::new(State::new(replay, active)),
            work: Notify::default(),
            flushed: Notify::default(),
            sweeping: Cell::new(false),
        }))
    }

    /// Adds entries behind the last; `waiter` is told when they are durable.
    pub(super) async fn append_entries(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        flushed: IOFlushed<Types>,
    ) -> Result<(), LogStopped> {
        self.room().await?;
        let state = &mut *self.0.state.borrow_mut();
        for entry in entries {
            state.tickets += 1;
            let ticket = state.tickets;
            state.index.push(Point::of_entry(&entry), Spot::Waiting(ticket));
            state.cache.push(entry.clone());
            state.push(What::Entry { ticket, entry }, None);
        }
        state.push(What::Turn, Some(Waiter::Openraft(flushed)));
        self.0.work.notify();
        Ok(())
    }

    /// Waits until what is not written is below its bound.
    async fn room(&self) -> Result<(), LogStopped> {
        let ready = || {
            let state = self.0.state.borrow();
            match state.check() {
                Err(stopped) => Some(Err(stopped)),
                Ok(()) => (state.pending_bytes <= LOG_PENDING_BYTES_MAX).then_some(Ok(())),
            }
        };
        self.0.flushed.until(ready).await
    }

    /// Keeps the vote; it is durable on return.
    pub(super) async fn keep_vote(&self, vote: Vote) -> Result<(), LogStopped> {
        self.0.state.borrow_mut().check()?;
        self.0.state.borrow_mut().vote = Some(vote);
        self.durable(What::Vote(vote)).await
    }

    /// Waits until `what`, and all before it, is durable.
    async fn durable(&self, what: What) -> Result<(), LogStopped> {
        let (answer, question) = question();
        {
            let mut state = self.0.state.borrow_mut();
            state.check()?;
            state.push(what, Some(Waiter::Ours(answer)));
        }
        self.0.work.notify();
        question.await.unwrap_or(Err(LogStopped::Closed))
    }

    /// Waits until the entry at `index`, which is on its way, is durable.
    pub(in crate::raft) async fn durable_to(&self, index: LogIndex) -> Result<(), LogStopped> {
        let written = || {
            let state = self.0.state.borrow();
            if let Some(stopped) = &state.stopped {
                return Some(Err(stopped.clone()));
            }
            let is_written = matches!(state.index.get(index.0), Some((_, Spot::Written(_))));
            (is_written || index <= state.index.purged().index).then_some(Ok(()))
        };
        self.0.flushed.until(written).await
    }

    /// Notes what is committed; it becomes durable with the next batch.
    pub(super) fn keep_committed(&self, point: Point) -> Result<(), LogStopped> {
        let mut state = self.0.state.borrow_mut();
        state.check()?;
        if point > state.committed {
            state.committed = point;
            state.committed_waits = true;
        }
        Ok(())
    }

    /// Makes the entries behind `point` void. The order of the log makes it durable before anything that follows.
    pub(super) fn truncate(&self, point: Point) -> Result<(), LogStopped> {
        let mut state = self.0.state.borrow_mut();
        state.check()?;
        if state.index.last().index <= point.index {
            return Ok(());
        }
        let void = state.index.truncate_after(point.index.0);
        state.cache.truncate_after(point.index.0);
        state.push(What::Truncated(point, void), None);
        drop(state);
        self.0.work.notify();
        Ok(())
    }

    /// Forgets the entries up to `point`, which a snapshot holds. Their files go when that is durable.
    pub(super) fn purge_up_to(&self, point: Point) -> Result<(), LogStopped> {
        let mut state = self.0.state.borrow_mut();
        state.check()?;
        if point <= state.index.purged() {
            return Ok(());
        }
        let void = state.index.purge(point);
        state.cache.purge(point.index.0);
        state.push(What::Purged(point, void), None);
        drop(state);
        self.0.work.notify();
        Ok(())
    }

    /// The last entry in a snapshot, and the last of all.
    #[must_use]
    pub fn ends(&self) -> (Point, Point) {
        let state = self.0.state.borrow();
        (state.index.purged(), state.index.last())
    }

    /// What is known as committed, at least.
    #[must_use]
    pub fn committed(&self) -> Point {
        self.0.state.borrow().committed
    }

    /// Bytes of the log's files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.state.borrow().files.iter().map(|file| file.bytes).sum()
    }

    /// What the log has done since it was opened.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        self.0.state.borrow().figures
    }

    /// Why the log has stopped, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<LogStopped> {
        self.0.state.borrow().stopped.clone()
    }

    /// Writes what waits and ends the writer; on return all is durable, and nothing is removed any more.
    ///
    /// # Errors
    /// What stopped the log before.
    pub async fn close(&self) -> Result<(), LogStopped> {
        self.0.state.borrow_mut().closing = true;
        self.0.work.notify();
        let stopped = || self.0.state.borrow().stopped.clone().filter(|_| !self.0.sweeping.get());
        match self.0.flushed.until(stopped).await {
            LogStopped::Closed => Ok(()),
            failed @ (LogStopped::Disk { .. } | LogStopped::Corrupt { .. }) => Err(failed),
        }
    }
}

impl Inner {
    /// Removes files from the front that hold nothing any more, in a task of its own: one at a time, each made durable
    /// before the next goes, so that a gap between files is always damage.
    pub(super) async fn sweep(&self) {
        while let Some(name) = self.empty_file() {
            // First, and here: whoever lets go of a file last frees what the page cache has of it, 8 ms for 64 MiB.
            if let Some(first) = self.state.borrow_mut().files.front_mut() {
                first.mapping = None;
            }
            let gone = match self.dir.unlink(&name).await {
                Ok(()) => self.dir.sync().await,
                Err(errno) => Err(errno),
            };
            if let Err(errno) = gone {
                tracing::warn!(group = self.group.0, file = name, %errno, "an old log file stays");
                break;
            }
            self.state.borrow_mut().files.pop_front();
        }
        self.sweeping.set(false);
        self.flushed.notify();
    }

    pub(super) fn empty_file(&self) -> Option<String> {
        let state = self.state.borrow();
        // The last file holds the vote and what is purged, at its start.
        let first =
            state.files.front().filter(|first| state.files.len() > 1 && first.sealed && first.live == 0)?;
        Some(super::files::name(first.number))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (purged, last) = self.ends();
        write!(f, "Log(group {}, behind {purged} to {last})", self.0.group)
    }
}
