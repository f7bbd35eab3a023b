//! A segment on its way in: a staging file, verified chunks written to their places, and checkpoints to resume from.
//!
//! Promises: only bytes whose digest is the committed one are written; a checkpoint's bitmap becomes durable after
//! the data that it names; after a failed fsync the staging file is thrown away. Dropping a `Landing` keeps what is
//! staged: the next `begin` of the same version goes on from it.

use std::ops::Range;
use std::rc::Rc;

use futures_util::future::join_all;

use crate::broken::{self, Broken};
use crate::digest::{ChunkError, Kernel, VerifiedChunks};
use crate::ids::Digest;
use crate::uring::{Buffer, Core, Errno, Priority};

use super::fault::{Doing, failed};
use super::staged::{Staging, Write};
use super::staging_error::{CheckpointError, WriteError};
use super::store::{Store, Want};

/// A segment that is being staged. One for each segment; its owner alone may land it.
#[derive(Debug)]
pub struct Landing(pub(super) Rc<Staging>);

/// The proof that a buffer's content is chunk `index` of a segment with this root.
#[derive(Debug)]
pub struct VerifiedChunk {
    index: u32,
    root: Digest,
    buffer: Buffer,
}

impl VerifiedChunk {
    /// Which chunk it is.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Hashes a buffer's content as chunk `index` of the segment that the list is of.
    pub(super) fn of(
        kernel: Kernel,
        chunks: &VerifiedChunks,
        index: u32,
        buffer: Buffer,
    ) -> Result<Self, (WriteError, Buffer)> {
        match chunks.check(kernel, index, buffer.filled()) {
            Err(ChunkError::Digest { .. }) if broken::is(Broken::ChunksUnverified) => {
                Ok(Self { index, root: chunks.root(), buffer })
            }
            Ok(()) => Ok(Self { index, root: chunks.root(), buffer }),
            Err(error) => Err((WriteError::Content(error), buffer)),
        }
    }

    /// The root of its segment.
    pub(super) fn root(&self) -> Digest {
        self.root
    }

    /// Gives the proof up.
    pub(super) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

/// What comes back with a buffer.
pub type WithBuffer<E> = (Result<(), E>, Buffer);

impl Landing {
    /// The chunks that are neither there nor being written.
    pub fn missing(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let state = self.0.state.borrow();
        state.written.missing(|index| state.writing.contains(&index)).into_iter()
    }

    /// Whether this chunk of the segment is neither there nor being written.
    #[must_use]
    pub fn lacks(&self, index: u32) -> bool {
        let state = self.0.state.borrow();
        index < self.0.chunks.chunk_count()
            && !state.written.contains(index)
            && !state.writing.contains(&index)
    }

    /// Chunks that are there.
    #[must_use]
    pub fn written_count(&self) -> u32 {
        self.0.state.borrow().written.len()
    }

    /// What is being staged.
    #[must_use]
    pub fn want(&self) -> &Want {
        &self.0.want
    }

    /// The chunk list that chunks are verified against.
    #[must_use]
    pub fn chunks(&self) -> &VerifiedChunks {
        &self.0.chunks
    }

    /// Hashes a buffer's content as chunk `index`.
    ///
    /// # Errors
    /// The content is not that chunk; the buffer comes back.
    pub fn verify(&self, index: u32, buffer: Buffer) -> Result<VerifiedChunk, (WriteError, Buffer)> {
        VerifiedChunk::of(self.0.store.options.kernel, &self.0.chunks, index, buffer)
    }

    /// Takes a buffer whose content the caller has hashed as it came in, and compares the digest.
    ///
    /// # Errors
    /// The digest or the length is not that chunk's; the buffer comes back.
    pub fn prove(
        &self,
        index: u32,
        found: Digest,
        buffer: Buffer,
    ) -> Result<VerifiedChunk, (WriteError, Buffer)> {
        let chunks = &self.0.chunks;
        let (Some(bytes), Some(expected)) = (chunks.chunk_bytes(index), chunks.digest(index)) else {
            let error = ChunkError::Range { index, count: chunks.chunk_count() };
            return Err((WriteError::Content(error), buffer));
        };
        let length = buffer.filled().len();
        if length != bytes {
            let error = ChunkError::Length { index, expected: bytes, found: length };
            return Err((WriteError::Content(error), buffer));
        }
        if found != expected && !broken::is(Broken::ChunksUnverified) {
            return Err((WriteError::Content(ChunkError::Digest { index, expected, found }), buffer));
        }
        Ok(VerifiedChunk { index, root: self.0.want.root, buffer })
    }

    /// Verifies and writes one chunk. Several may be under way.
    ///
    /// # Errors
    /// As `verify` and `write`.
    pub async fn write_chunk(&self, index: u32, buffer: Buffer) -> WithBuffer<WriteError> {
        match self.verify(index, buffer) {
            Ok(chunk) => self.write(chunk).await,
            Err((error, buffer)) => (Err(error), buffer),
        }
    }

    /// Writes one verified chunk to its place; one that is there already is not written again. Giving up on it leaves
    /// the write to its end.
    ///
    /// # Errors
    /// The disk refuses it or is full (the chunk is then missing still), or the chunk is being written.
    pub async fn write(&self, chunk: VerifiedChunk) -> WithBuffer<WriteError> {
        let marked = self.0.mark(&chunk);
        let VerifiedChunk { index, buffer, .. } = chunk;
        match marked {
            Ok(true) => Write::of(Rc::clone(&self.0), index, buffer).await,
            done => (done.map(drop), buffer),
        }
    }

    /// Makes what is there durable, so that a restart does not fetch it again: the data first, then the bitmap.
    ///
    /// # Errors
    /// The disk refuses something. After a failed fsync the staging file is thrown away and the landing with it.
    pub async fn checkpoint(&self) -> Result<(), CheckpointError> {
        let _one = self.0.one_checkpoint.lock(()).await;
        if self.0.is_ruined.get() {
            return Err(CheckpointError::Ruined);
        }
        let (bits, kept) = {
            let state = self.0.state.borrow();
            (state.written.clone(), state.kept)
        };
        if kept == Some(bits.len()) {
            return Ok(());
        }
        match self.0.keep(&bits).await {
            Ok(()) => {
                self.0.state.borrow_mut().kept = Some(bits.len());
                Ok(())
            }
            Err(error) if matches!(error.doing, Doing::SyncData | Doing::SyncFolder) => {
                self.0.throw_away().await;
                Err(CheckpointError::SyncFailed(error))
            }
            Err(error) => Err(CheckpointError::Disk(error)),
        }
    }
}

impl Store {
    /// Writes one verified chunk of each of several segments at once, as one write at the gate. Once called it goes on
    /// to its end, even if the caller gives up. The answers are in their order, each as of [`Landing::write`].
    pub async fn write_together(
        &self,
        chunks: Vec<(&Landing, VerifiedChunk)>,
    ) -> Vec<Result<(), WriteError>> {
        let gate = self.0.options.gate.clone();
        let count = chunks.len();
        let mark = |(landing, chunk): (&Landing, VerifiedChunk)| {
            let marked = landing.0.mark(&chunk);
            (Rc::clone(&landing.0), chunk, marked)
        };
        let marked: Vec<_> = chunks.into_iter().map(mark).collect();
        let writing = async move {
            let is_new = |marked: &Result<bool, WriteError>| matches!(marked, Ok(true));
            let new = marked.iter().filter(|(_, _, marked)| is_new(marked));
            let bytes = new.map(|(staging, chunk, _)| staging.span(chunk.index)).sum();
            let _permit = gate.bulk(bytes).await;
            let write =
                async |(staging, chunk, marked): (Rc<Staging>, VerifiedChunk, Result<bool, WriteError>)| {
                    match marked {
                        Ok(true) => staging.put_admitted(chunk.index, chunk.buffer).await.0,
                        done => done.map(drop),
                    }
                };
            join_all(marked.into_iter().map(write)).await
        };
        let written = Core::current().spawn(Priority::Bulk, writing).await;
        let canceled = || WriteError::Disk(failed(Doing::Write, "staging")(Errno::CANCELED));
        written.unwrap_or_else(|| vec![Err(canceled()); count])
    }
}

impl Staging {
    /// Marks a chunk as being written; false if it is there already.
    pub(super) fn mark(&self, chunk: &VerifiedChunk) -> Result<bool, WriteError> {
        let index = chunk.index;
        assert_eq!(chunk.root, self.want.root, "a chunk is written to the segment that it was verified for");
        if self.is_ruined.get() {
            return Err(WriteError::Ruined);
        }
        let mut state = self.state.borrow_mut();
        if state.written.contains(index) {
            return Ok(false);
        }
        if state.writing.contains(&index) {
            return Err(WriteError::Busy { index });
        }
        state.writing.push(index);
        Ok(true)
    }
}
