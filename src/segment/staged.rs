//! The staging file of one segment: where its chunks are written, what of it is durable, and when it is quiet.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::digest::{VerifiedChunks, chunk_offset};
use crate::ids::{Nanos, SegmentId};
use crate::limits::{CHUNK_BYTES, IO_ALIGNMENT};
use crate::uring::{Buffer, Core, Errno, File, Notify, Priority};

use super::bitmap::{Bits, MapHead, map_encode, moment};
use super::bytes::{write_all, write_file};
use super::fault::{DiskError, Doing, failed, failed_at};
use super::hooks::{Edge, Sabotage};
use super::identity::Identity;
use super::landing::Step;
use super::locks::{Locked, Locks};
use super::path::RelativePath;
use super::staging::WithBuffer;
use super::staging_error::WriteError;
use super::store::{Inner, Want};

/// What a landing and those who read from it share.
pub struct Staging {
    pub(super) store: Rc<Inner>,
    pub(super) want: Want,
    pub(super) chunks: VerifiedChunks,
    pub(super) file: File,
    pub(super) direct: bool,
    pub(super) state: RefCell<Progress>,
    pub(super) is_ruined: Cell<bool>,
    /// When all is written the file has the segment's length, with nothing to cut off.
    pub(super) is_exact: Cell<bool>,
    list_durable: Cell<bool>,
    names_durable: Cell<bool>,
    map: RefCell<Option<File>>,
    /// A map of an earlier attempt may stand there, believed or not.
    pub(super) is_resumed: Cell<bool>,
    pub(super) one_checkpoint: Locks<()>,
    /// Other cores that may be writing.
    pub(super) lent: Cell<u32>,
    /// A write has ended, here or there.
    pub(super) quiet: Notify,
    /// When a chunk last became one that is there; at first, when it was begun.
    pub(super) progress: Cell<Nanos>,
    /// That it did, or that none will any more. Outlives the landing, for who waits.
    pub(super) more: Rc<Notify>,
    /// One landing for each segment, for as long as anything of it is under way.
    _claim: Locked<SegmentId>,
}

/// Which chunks are there.
#[derive(Debug)]
pub(super) struct Progress {
    /// Written.
    pub(super) written: Bits,
    /// Being written.
    pub(super) writing: Vec<u32>,
    /// How many are in the durable map; `None` if it has others.
    pub(super) kept: Option<u32>,
}

impl Staging {
    pub(super) fn new(
        store: Rc<Inner>,
        want: Want,
        chunks: VerifiedChunks,
        (file, direct): (File, bool),
        claim: Locked<SegmentId>,
    ) -> Self {
        let written = Bits::none(chunks.chunk_count());
        Self {
            store,
            want,
            chunks,
            file,
            direct,
            state: RefCell::new(Progress { written, writing: Vec::new(), kept: Some(0) }),
            is_ruined: Cell::new(false),
            is_exact: Cell::new(false),
            list_durable: Cell::new(false),
            names_durable: Cell::new(false),
            map: RefCell::new(None),
            is_resumed: Cell::new(false),
            one_checkpoint: Locks::default(),
            lent: Cell::new(0),
            quiet: Notify::default(),
            progress: Cell::new(Core::current().now()),
            more: Rc::default(),
            _claim: claim,
        }
    }

    /// The head of a map of the file as it stands.
    pub(super) async fn map_head(&self) -> Result<MapHead, DiskError> {
        let stat = self.file.stat().await.map_err(failed(Doing::Stat, &self.want.path))?;
        let moment = moment(self.store.options.boot, &Identity::from(stat));
        Ok(MapHead { stem: self.want.stem(), len: self.want.len, moment })
    }

    /// Bytes of a chunk, and of the span that is read or written for it.
    fn spans(&self, index: u32) -> (usize, usize) {
        spans(&self.chunks, self.direct, index)
    }

    /// Writes a verified chunk that is marked as being written, when the gate admits it.
    pub(super) async fn put(self: Rc<Self>, index: u32, buffer: Buffer) -> WithBuffer<WriteError> {
        let _permit = self.store.options.gate.bulk(self.span(index)).await;
        self.put_admitted(index, buffer).await
    }

    /// Bytes that are written for a chunk.
    pub(super) fn span(&self, index: u32) -> usize {
        self.spans(index).1
    }

    /// Writes a verified chunk that is marked as being written, and that the gate has admitted.
    pub(super) async fn put_admitted(&self, index: u32, buffer: Buffer) -> WithBuffer<WriteError> {
        self.store.hooks.reach(Step::Written, Edge::Before).await;
        let (result, buffer) = write_chunk(&self.file, self.spans(index), (index, buffer)).await;
        if result.is_ok() {
            self.state.borrow_mut().written.insert(index);
            self.progressed();
        }
        self.store.hooks.reach(Step::Written, Edge::After).await;
        self.state.borrow_mut().writing.retain(|other| *other != index);
        self.quiet.notify();
        let at = chunk_offset(index);
        (result.map_err(|errno| failed_at(Doing::Write, &self.want.path, at)(errno).into()), buffer)
    }

    /// Where a chunk stands.
    pub(super) fn stretch(&self, index: u32) -> Stretch {
        let (bytes, span) = self.spans(index);
        Stretch { file: self.file.clone(), path: self.want.path.clone(), index, bytes, span }
    }

    /// Reads the bytes that stand in a chunk's place.
    pub(super) async fn read(&self, index: u32, buffer: Buffer) -> WithBuffer<WriteError> {
        self.stretch(index).read(buffer).await
    }

    /// More is there: tells those who wait for it.
    pub(super) fn progressed(&self) {
        self.progress.set(Core::current().now());
        self.more.notify();
    }

    /// All chunks are there: the file shares its content with one that was verified.
    pub(super) fn fill(&self) {
        let mut state = self.state.borrow_mut();
        (0..self.chunks.chunk_count()).for_each(|index| state.written.insert(index));
        drop(state);
        self.progressed();
    }

    /// Whether a checkpoint has made a map, of this attempt or an earlier one.
    pub(super) fn has_map(&self) -> bool {
        self.is_resumed.get() || self.map.borrow().is_some()
    }

    /// Waits until no write is under way, those included that their callers gave up, nor may be on another core.
    pub(super) async fn quiet(&self) {
        let is_quiet = || self.state.borrow().writing.is_empty() && self.lent.get() == 0;
        self.quiet.until(|| is_quiet().then_some(())).await;
    }

    /// A checkpoint: data, list, bitmap, names.
    pub(super) async fn keep(&self, bits: &Bits) -> Result<(), DiskError> {
        let sync = |file: File| async move {
            file.sync_data().await.map_err(failed(Doing::SyncData, &self.want.path))
        };
        if !self.store.hooks.sabotaged(Sabotage::BitBeforeData) {
            sync(self.file.clone()).await?;
        }
        self.write_list().await?;
        let bytes = map_encode(&self.map_head().await?, bits);
        let name = self.want.stem().map();
        let map = self.map.borrow().clone();
        if let Some(map) = map {
            write_all(&map, &name, &bytes, 0).await?;
            sync(map).await?;
        } else {
            let map = write_file(&self.store.folders.staging, &name, &bytes).await?;
            *self.map.borrow_mut() = Some(map);
        }
        if !self.names_durable.replace(true) {
            self.store.folders.staging.sync().await.map_err(failed(Doing::SyncFolder, "staging"))?;
        }
        Ok(())
    }

    /// Whether a fresh staging file will have the exact length: no chunk is padded, no more room was taken.
    pub(super) fn will_be_exact(&self) -> bool {
        let len = self.want.len;
        len.is_multiple_of(IO_ALIGNMENT as u64) || (!self.direct && len <= CHUNK_BYTES as u64)
    }

    /// Goes on with the map of an earlier attempt.
    pub(super) fn set_map(&self, map: File) {
        *self.map.borrow_mut() = Some(map);
    }

    /// Makes the chunk list durable, once. A segment of one chunk needs none: its list follows from its content.
    pub(super) async fn write_list(&self) -> Result<(), DiskError> {
        if self.list_durable.get() || self.chunks.chunk_count() <= 1 {
            return Ok(());
        }
        self.store.write_list(self.want.stem(), &self.chunks).await?;
        self.list_durable.set(true);
        Ok(())
    }

    /// Never trusts this staging file again.
    pub(super) async fn throw_away(&self) {
        self.is_ruined.set(true);
        self.more.notify();
        self.quiet().await;
        let stem = self.want.stem();
        // The page cache may show what the disk does not have: not even a hash would tell. It goes before it is used.
        self.store.distrusted.borrow_mut().insert(stem);
        if let Err(error) = self.store.unlink_staged(stem).await {
            tracing::warn!(%error, "a staging file that is not trusted could not be removed yet");
        }
    }
}

/// Bytes of a chunk, and of the span that is read or written for it.
pub(super) fn spans(chunks: &VerifiedChunks, direct: bool, index: u32) -> (usize, usize) {
    let bytes = chunks.chunk_bytes(index).expect("the index was checked against the list");
    (bytes, if direct { bytes.next_multiple_of(IO_ALIGNMENT) } else { bytes })
}

/// Writes a verified chunk to its place. The caller has a place at the gate.
pub(super) async fn write_chunk(
    file: &File,
    (bytes, span): (usize, usize),
    (index, mut buffer): (u32, Buffer),
) -> (Result<(), Errno>, Buffer) {
    buffer.memory_mut()[bytes..span].fill(0); // nothing of an earlier use of the buffer reaches the disk
    file.write_at(buffer, 0..span, chunk_offset(index)).await
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.store.landings.borrow_mut().remove(&self.want.id);
        self.more.notify();
    }
}

/// Where a chunk stands in the staging file, for reading it, whatever becomes of the landing meanwhile.
pub(super) struct Stretch {
    file: File,
    path: RelativePath,
    index: u32,
    bytes: usize,
    /// Bytes that are read for it.
    span: usize,
}

impl Stretch {
    /// Reads the bytes that stand there.
    pub(super) async fn read(self, buffer: Buffer) -> WithBuffer<WriteError> {
        let Self { file, path, index, bytes, span } = self;
        let at = chunk_offset(index);
        let (result, mut buffer) = file.read_at(buffer, 0..span, at).await;
        match result {
            Ok(count) if count >= bytes => {
                buffer.set_filled(bytes);
                (Ok(()), buffer)
            }
            Ok(_) => (Err(WriteError::Missing { index }), buffer),
            Err(errno) => (Err(failed_at(Doing::Read, &path, at)(errno).into()), buffer),
        }
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        let count = self.chunks.chunk_count();
        write!(
            f,
            "Staging({} as {:?}, {} of {count} chunks)",
            self.want.id,
            self.want.path,
            state.written.len()
        )
    }
}

type Running = Pin<Box<dyn Future<Output = WithBuffer<WriteError>>>>;

/// A write that goes on to its end when its caller gives up, so that nothing writes to a file that has landed.
pub(super) struct Write {
    running: Option<Running>,
}

impl Write {
    /// Writes a verified chunk that is marked as being written.
    pub(super) fn of(staging: Rc<Staging>, index: u32, buffer: Buffer) -> Self {
        Self { running: Some(Box::pin(staging.put(index, buffer))) }
    }
}

impl Future for Write {
    type Output = WithBuffer<WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let running = self.running.as_mut().expect("a finished write is not polled");
        let polled = running.as_mut().poll(context);
        if polled.is_ready() {
            self.running = None;
        }
        polled
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let (Some(running), Some(core)) = (self.running.take(), Core::try_current()) {
            drop(core.spawn(Priority::Bulk, running));
        }
    }
}
