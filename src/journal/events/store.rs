//! The files of events in a shard's folder: one for each start of the node, more when one has its bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::ids::LogIndex;
use crate::limits::{EVENT_FILE_BYTES, EVENT_FILES_MAX};
use crate::uring::{Buffer, Core, Dir, Errno, File, OpenOptions};

use super::format::{
    EventBatch, EventsHead, HEAD_BYTES, put_events_batch, put_events_head, read_events, read_head,
};

/// Beginning of the names of files of events; the number of the event before the first follows.
const PREFIX: &str = "events-";

/// The files, and the one that is written on. Clones are the same.
#[derive(Clone)]
pub struct EventFiles(Rc<Inner>);

struct Inner {
    dir: Dir,
    /// In the order of their events.
    heads: RefCell<VecDeque<EventsHead>>,
    active: RefCell<Option<Active>>,
    /// Something was written since it was last made durable.
    is_dirty: Cell<bool>,
}

#[derive(Clone)]
struct Active {
    file: File,
    salt: u64,
    bytes: u64,
}

/// What a start finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventsFound {
    /// The number of the last event.
    pub last: u64,
    /// The start that has told it, if any event is kept.
    pub life: Option<u64>,
    /// All that happened by entries up to here is told.
    pub applied: LogIndex,
    /// The node was stopped: nothing has happened behind the last event.
    pub closed: bool,
    /// What was installed when the first file that is kept was begun.
    pub installed_first: LogIndex,
    /// What was installed when the last batch was written.
    pub installed: LogIndex,
    /// The start of the node that told nothing and was stopped: the next one goes on in its place.
    pub silent: Option<u64>,
}

impl EventFiles {
    /// Takes over the files of earlier starts, and what they say; nothing if there are none that go on without a gap
    /// to the last one. What cannot be read is removed.
    ///
    /// # Errors
    /// The disk's.
    pub async fn open(dir: Dir) -> Result<(Self, Option<EventsFound>), Errno> {
        let inner =
            Inner { dir, heads: RefCell::default(), active: RefCell::default(), is_dirty: Cell::new(false) };
        let files = Self(Rc::new(inner));
        let mut names: Vec<u64> =
            files.0.dir.list().await?.iter().filter_map(|name| after_of(&name.bytes)).collect();
        names.sort_unstable();
        for after in names {
            let bytes = files.read_file(after, HEAD_BYTES).await?;
            match read_head(&bytes) {
                Ok(head) if head.after == after => files.0.heads.borrow_mut().push_back(head),
                Ok(_) | Err(_) => {
                    tracing::warn!(file = name_of(after), "events of an earlier start cannot be read");
                    files.0.dir.remove(&name_of(after)).await?;
                }
            }
        }
        let found = files.found().await?;
        Ok((files, found))
    }

    /// A last file without a batch has told nothing, or nobody knows what: it goes.
    async fn found(&self) -> Result<Option<EventsFound>, Errno> {
        loop {
            let (first, last) = {
                let heads = self.0.heads.borrow();
                (heads.front().copied(), heads.back().copied())
            };
            let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
            let batches = self.batches(last).await?;
            let Some(end) = batches.last() else {
                self.0.dir.remove(&name_of(last.after)).await?;
                self.0.heads.borrow_mut().pop_back();
                continue;
            };
            let count: usize = batches.iter().map(|batch| batch.events.len()).sum();
            let number = last.after + count as u64;
            return Ok(Some(EventsFound {
                last: number,
                life: self.0.heads.borrow().iter().rfind(|head| head.after < number).map(|head| head.life),
                applied: end.applied,
                closed: end.closed,
                installed_first: first.installed,
                installed: end.installed,
                silent: (end.closed && count == 0).then_some(last.life),
            }));
        }
    }

    /// The event before the first that is kept.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.0.heads.borrow().front().map(|head| head.after)
    }

    /// Where a start's events end: before the first file of the next one, or, of the last start that is here, nowhere.
    /// Nothing if none of its files is kept.
    #[must_use]
    pub fn end_of(&self, life: u64) -> Option<Option<u64>> {
        let heads = self.0.heads.borrow();
        let last = heads.iter().rposition(|head| head.life == life)?;
        Some(heads.get(last + 1).map(|next| next.after))
    }

    /// Events of one file, with the number of each and the start that has told it: of the file that has the one behind
    /// this number.
    ///
    /// # Errors
    /// The disk's: `NOT_FOUND` if some of them are gone.
    pub async fn after(&self, number: u64) -> Result<Vec<(u64, u64, Vec<u8>)>, Errno> {
        let (head, next) = {
            let heads = self.0.heads.borrow();
            let at = heads.iter().rposition(|head| head.after <= number).ok_or(Errno::NOT_FOUND)?;
            (heads[at], heads.get(at + 1).map(|next| next.after))
        };
        let events = self.batches(head).await?.into_iter().flat_map(|batch| batch.events);
        let numbered: Vec<_> =
            (head.after + 1..).zip(events).map(|(at, event)| (at, head.life, event)).collect();
        let end = head.after + numbered.len() as u64;
        if next.is_some_and(|next| next != end) {
            return Err(Errno::NOT_FOUND);
        }
        Ok(numbered.into_iter().filter(|(at, ..)| *at > number).collect())
    }

    /// All events that are kept, file by file.
    ///
    /// # Errors
    /// The disk's.
    pub async fn all(&self, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
        let heads = self.0.heads.borrow().clone();
        for head in heads {
            self.batches(head).await?.iter().flat_map(|batch| &batch.events).for_each(|event| each(event));
        }
        Ok(())
    }

    async fn batches(&self, head: EventsHead) -> Result<Vec<EventBatch>, Errno> {
        let bytes = self.read_file(head.after, usize::MAX).await?;
        Ok(read_events(&bytes).map(|(_, batches)| batches).unwrap_or_default())
    }

    async fn read_file(&self, after: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let file = self.0.dir.open(&name_of(after), OpenOptions::default()).await?;
        let bytes = usize::try_from(file.stat().await?.bytes).unwrap_or(usize::MAX).min(most);
        let (count, buffer) = file.read_at(Buffer::heap(bytes), 0..bytes, 0).await;
        Ok(buffer.memory().get(..count?).unwrap_or_default().to_vec())
    }

    /// Writes a batch behind the event of number `head.after`; a file that has its bytes is followed by another one,
    /// with this head. Durable by `sync`.
    ///
    /// # Errors
    /// The disk's: the next batch begins a file.
    pub async fn append(&self, head: EventsHead, batch: &EventBatch) -> Result<(), Errno> {
        let active = self.0.active.borrow_mut().take_if(|active| active.bytes < EVENT_FILE_BYTES);
        let mut active = match active {
            Some(active) => active,
            None => self.begin(head).await?,
        };
        let mut bytes = Vec::new();
        put_events_batch(&mut bytes, active.salt, batch).expect("an event is within its bounds");
        let buffer = Buffer::from_bytes(&bytes);
        active.file.write_at(buffer, 0..bytes.len(), active.bytes).await.0?;
        active.bytes += bytes.len() as u64;
        self.0.is_dirty.set(true);
        self.0.active.replace(Some(active));
        Ok(())
    }

    async fn begin(&self, head: EventsHead) -> Result<Active, Errno> {
        let Inner { dir, heads, .. } = &*self.0;
        self.sync().await?;
        let name = name_of(head.after);
        // One that a failed write has left, with nothing in it that was told.
        dir.remove(&name).await?;
        heads.borrow_mut().retain(|kept| kept.after != head.after);
        let options = OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
        let file = dir.open(&name, options).await?;
        let head = EventsHead { salt: u64::from_le_bytes(Core::current().random()), ..head };
        let bytes = put_events_head(&head);
        file.write_at(Buffer::from_bytes(&bytes), 0..bytes.len(), 0).await.0?;
        heads.borrow_mut().push_back(head);
        while heads.borrow().len() > EVENT_FILES_MAX {
            let oldest = heads.borrow_mut().pop_front().expect("there are many");
            dir.remove(&name_of(oldest.after)).await?;
        }
        Ok(Active { file, salt: head.salt, bytes: bytes.len() as u64 })
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync(&self) -> Result<(), Errno> {
        if !self.0.is_dirty.replace(false) {
            return Ok(());
        }
        let file = self.0.active.borrow().as_ref().map(|active| active.file.clone());
        if let Some(file) = file {
            file.sync_data().await?;
        }
        self.0.dir.sync().await
    }

    /// Removes all of them, the newest last: what is told next is not what would have come next.
    ///
    /// # Errors
    /// The disk's.
    pub async fn clear(&self) -> Result<(), Errno> {
        self.0.active.take();
        self.0.is_dirty.set(false);
        while let Some(oldest) = self.first() {
            self.0.dir.remove(&name_of(oldest)).await?;
            self.0.heads.borrow_mut().pop_front();
        }
        self.0.dir.sync().await
    }
}

/// Whether this is the name of a file of events.
#[must_use]
pub fn is_events(name: &[u8]) -> bool {
    after_of(name).is_some()
}

fn name_of(after: u64) -> String {
    format!("{PREFIX}{after:020}")
}

fn after_of(name: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    let after = number.parse().ok()?;
    (name_of(after).len() == name.len()).then_some(after)
}
