//! Verified chunks of one landing written several at a time, while the next one is received and hashed.
//!
//! A lane is a task that writes one chunk after the other, so that no chunk takes memory of its own. What was handed
//! over is written to its end, also when its owner goes away: nothing writes to a file that has landed, and nobody
//! keeps a place at the gate without going on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use crate::uring::{Buffer, Core, Notify, Priority};

use super::staged::Staging;
use super::staging::{Landing, VerifiedChunk};
use super::staging_error::WriteError;

/// Writes chunks of one landing.
pub struct ChunkWriter(Rc<Lanes>);

struct Lanes {
    staging: Rc<Staging>,
    depth: usize,
    state: RefCell<State>,
    /// There is something to write, or nothing ever will be.
    work: Notify,
    /// A write has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    handed_over: VecDeque<(u32, Buffer)>,
    lanes: usize,
    /// Chunks that were handed over and are not written yet.
    unwritten: usize,
    failed: Option<WriteError>,
    is_over: bool,
}

impl Landing {
    /// A writer of at most `depth` chunks at a time.
    #[must_use]
    pub fn writer(&self, depth: usize) -> ChunkWriter {
        let state = State { handed_over: VecDeque::with_capacity(depth), ..State::default() };
        ChunkWriter(Rc::new(Lanes {
            staging: Rc::clone(&self.0),
            depth,
            state: RefCell::new(state),
            work: Notify::default(),
            ended: Notify::default(),
        }))
    }
}

impl ChunkWriter {
    /// Hands a chunk over to be written when fewer than `depth` are unwritten. One that is there already is not written
    /// again.
    ///
    /// # Errors
    /// As [`Landing::write`], of this chunk or of one before it.
    pub async fn write(&mut self, chunk: VerifiedChunk) -> Result<(), WriteError> {
        let Self(lanes) = self;
        lanes.ended.until(|| lanes.below(lanes.depth)).await?;
        if !lanes.staging.mark(&chunk)? {
            return Ok(());
        }
        let mut state = lanes.state.borrow_mut();
        state.handed_over.push_back((chunk.index(), chunk.into_buffer()));
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

    /// Waits until all that was handed over is written.
    ///
    /// # Errors
    /// As [`Landing::write`], of the first that failed.
    pub async fn finish(self) -> Result<(), WriteError> {
        self.0.ended.until(|| self.0.below(1)).await
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_over = true;
        self.0.work.notify();
    }
}

impl Lanes {
    /// Whether fewer than so many chunks are unwritten, or a write has failed.
    fn below(&self, count: usize) -> Option<Result<(), WriteError>> {
        let state = self.state.borrow();
        match &state.failed {
            Some(error) => Some(Err(error.clone())),
            None => (state.unwritten < count).then_some(Ok(())),
        }
    }

    async fn lane(self: Rc<Self>) {
        while let Some((index, buffer)) = self.work.until(|| self.next()).await {
            let (written, _buffer) = Rc::clone(&self.staging).put(index, buffer).await;
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
    fn next(&self) -> Option<Option<(u32, Buffer)>> {
        let mut state = self.state.borrow_mut();
        match state.handed_over.pop_front() {
            None if state.is_over => Some(None),
            next => next.map(Some),
        }
    }
}

impl fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.borrow();
        write!(f, "ChunkWriter({:?}, {} unwritten)", self.0.staging, state.unwritten)
    }
}
