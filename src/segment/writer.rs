//! Verified chunks of one segment written several at a time, while the next one is received and hashed.
//!
//! A lane is a task that writes one chunk after the other, so that no chunk takes memory of its own. What was handed
//! over is written to its end, also when its owner goes away: nothing writes to a file that has landed, and nobody
//! keeps a place at the gate without going on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use crate::uring::{Core, Notify, Priority};

use super::staged::Staging;
use super::staging::{Landing, VerifiedChunk, WithBuffer};
use super::staging_error::WriteError;

/// Where verified chunks are written: a staging file, by its owner or by another core of the node.
pub trait ChunkSink: fmt::Debug + 'static {
    /// Whether the chunk is to be written; it is not if it is there already.
    ///
    /// # Errors
    /// It cannot be written, or is being written.
    fn accept(&self, chunk: &VerifiedChunk) -> Result<bool, WriteError>;

    /// Writes a chunk that was accepted.
    fn put(self: Rc<Self>, chunk: VerifiedChunk) -> impl Future<Output = WithBuffer<WriteError>>;
}

/// Writes chunks of one segment.
pub struct ChunkWriter<S: ChunkSink>(Rc<Lanes<S>>);

struct Lanes<S> {
    sink: Rc<S>,
    depth: usize,
    state: RefCell<State>,
    /// There is something to write, or nothing ever will be.
    work: Notify,
    /// A write has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    handed_over: VecDeque<VerifiedChunk>,
    lanes: usize,
    /// Chunks that were handed over and are not written yet.
    unwritten: usize,
    failed: Option<WriteError>,
    is_over: bool,
}

impl Landing {
    /// A writer of at most `depth` chunks at a time.
    #[must_use]
    pub fn writer(&self, depth: usize) -> ChunkWriter<Staging> {
        ChunkWriter::new(Rc::clone(&self.0), depth)
    }
}

impl<S: ChunkSink> ChunkWriter<S> {
    /// A writer of at most `depth` chunks at a time.
    #[must_use]
    pub fn new(sink: Rc<S>, depth: usize) -> Self {
        let state = State { handed_over: VecDeque::with_capacity(depth), ..State::default() };
        Self(Rc::new(Lanes {
            sink,
            depth,
            state: RefCell::new(state),
            work: Notify::default(),
            ended: Notify::default(),
        }))
    }

    /// Hands a chunk over to be written when fewer than `depth` are unwritten. One that is there already is not written
    /// again.
    ///
    /// # Errors
    /// As [`Landing::write`], of this chunk or of one before it.
    pub async fn write(&mut self, chunk: VerifiedChunk) -> Result<(), WriteError> {
        let Self(lanes) = self;
        lanes.ended.until(|| lanes.has_room()).await?;
        if !lanes.sink.accept(&chunk)? {
            return Ok(());
        }
        let mut state = lanes.state.borrow_mut();
        state.handed_over.push_back(chunk);
        state.unwritten += 1;
        if state.lanes < state.unwritten {
            state.lanes += 1;
            drop(Core::current().spawn(Priority::Bulk, Rc::clone(lanes).lane()));
        }
        drop(state);
        lanes.work.notify();
        Ok(())
    }

    /// Waits for the first write that fails; for ever if none does.
    pub async fn failure(&self) -> WriteError {
        self.0.ended.until(|| self.0.state.borrow().failed.clone()).await
    }

    /// Waits until nothing is being written any more, also behind a failure.
    ///
    /// # Errors
    /// As [`Landing::write`], of the first that failed.
    pub async fn finish(self) -> Result<(), WriteError> {
        self.0.ended.until(|| (self.0.state.borrow().unwritten == 0).then_some(())).await;
        self.0.state.borrow().failed.clone().map_or(Ok(()), Err)
    }
}

impl ChunkSink for Staging {
    fn accept(&self, chunk: &VerifiedChunk) -> Result<bool, WriteError> {
        self.mark(chunk)
    }

    fn put(self: Rc<Self>, chunk: VerifiedChunk) -> impl Future<Output = WithBuffer<WriteError>> {
        Self::put(self, chunk.index(), chunk.into_buffer())
    }
}

impl<S: ChunkSink> Drop for ChunkWriter<S> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_over = true;
        self.0.work.notify();
    }
}

impl<S: ChunkSink> Lanes<S> {
    /// Whether there is room for one more chunk, or a write has failed.
    fn has_room(&self) -> Option<Result<(), WriteError>> {
        let state = self.state.borrow();
        match &state.failed {
            Some(error) => Some(Err(error.clone())),
            None => (state.unwritten < self.depth).then_some(Ok(())),
        }
    }

    async fn lane(self: Rc<Self>) {
        while let Some(chunk) = self.work.until(|| self.next()).await {
            let (written, _buffer) = Rc::clone(&self.sink).put(chunk).await;
            let mut state = self.state.borrow_mut();
            state.unwritten -= 1;
            if let Err(error) = written {
                state.failed.get_or_insert(error);
            }
            drop(state);
            self.ended.notify();
        }
    }

    /// The next chunk; nothing when there will be none any more.
    fn next(&self) -> Option<Option<VerifiedChunk>> {
        let mut state = self.state.borrow_mut();
        match state.handed_over.pop_front() {
            None if state.is_over => Some(None),
            next => next.map(Some),
        }
    }
}

impl<S: ChunkSink> fmt::Debug for ChunkWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.borrow();
        write!(f, "ChunkWriter({:?}, {} unwritten)", self.0.sink, state.unwritten)
    }
}
