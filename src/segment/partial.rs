//! A segment that is being staged, as those see it to whom it is served on before it has landed.
//!
//! A `Partial` keeps nothing: the segment may land, be given up, be begun again or be removed under it. While it reads
//! it holds the file, and no landing.

use std::fmt;
use std::rc::{Rc, Weak};

use crate::digest::VerifiedChunks;
use crate::ids::{Digest, Nanos, SegmentId};
use crate::limits::{PARTIAL_WAIT, PARTIAL_WAIT_MAX};
use crate::uring::{Buffer, Core, Notify, deadline};

use super::staged::Staging;
use super::staging_error::WriteError;
use super::store::Store;

/// The chunks of a segment that is being staged.
#[derive(Clone)]
pub struct Partial {
    staging: Weak<Staging>,
    more: Rc<Notify>,
    count: u32,
}

/// Why a chunk of a segment that is being staged cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It is not being staged any more: it has landed, or was given up.
    Ended,
    /// The chunk is not there, and no other has come for `PARTIAL_WAIT`, or it has not in `PARTIAL_WAIT_MAX`.
    Stalled,
}

impl Store {
    /// A version that is being staged now.
    #[must_use]
    pub fn partial(&self, id: SegmentId, root: Digest) -> Option<Partial> {
        let staging = self.0.landings.borrow().get(&id)?.upgrade()?;
        let count = staging.chunks.chunk_count();
        let is_meant = staging.want.root == root && !staging.is_ruined.get();
        let more = Rc::clone(&staging.more);
        is_meant.then(|| Partial { staging: Rc::downgrade(&staging), more, count })
    }
}

impl Partial {
    /// Chunks of the segment.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.count
    }

    /// The chunk list; `None` when it is not being staged any more.
    #[must_use]
    pub fn chunks(&self) -> Option<VerifiedChunks> {
        self.staging.upgrade().map(|staging| staging.chunks.clone())
    }

    /// Whether a chunk is there.
    #[must_use]
    pub fn is_there(&self, index: u32) -> bool {
        self.waits_since(index) == Ok(None)
    }

    /// Waits until a chunk is there, for as long as others of the segment come, and no longer than `PARTIAL_WAIT_MAX`.
    ///
    /// # Errors
    /// It will not come here, or not soon.
    pub async fn ready(&self, index: u32) -> Result<(), NotReady> {
        let core = Core::current();
        let last = core.now().plus(PARTIAL_WAIT_MAX);
        loop {
            let more = self.more.notified();
            let Some(progress) = self.waits_since(index)? else { return Ok(()) };
            let until = progress.plus(PARTIAL_WAIT).min(last);
            if until <= core.now() {
                return Err(NotReady::Stalled);
            }
            let _either = deadline(until, more).await;
        }
    }

    /// `None` if the chunk is there, else when another last came.
    fn waits_since(&self, index: u32) -> Result<Option<Nanos>, NotReady> {
        let staging = self.staging.upgrade().filter(|staging| !staging.is_ruined.get());
        let staging = staging.ok_or(NotReady::Ended)?;
        let is_there = staging.state.borrow().written.contains(index);
        Ok((!is_there).then(|| staging.progress.get()))
    }

    /// Reads a chunk that is there; its bytes are the buffer's content, and their number is given. They are not hashed:
    /// whoever receives them does.
    ///
    /// # Errors
    /// It is not there, or the disk refuses it.
    pub async fn read_chunk(&self, index: u32, buffer: Buffer) -> (Result<usize, WriteError>, Buffer) {
        let staging = self.staging.upgrade();
        let staging = staging.filter(|staging| staging.state.borrow().written.contains(index));
        // No longer than this: while it lives nobody begins the segment again.
        let Some(stretch) = staging.map(|staging| staging.stretch(index)) else {
            return (Err(WriteError::Missing { index }), buffer);
        };
        let (read, buffer) = stretch.read(buffer).await;
        (read.map(|()| buffer.filled().len()), buffer)
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({:?})", self.staging.upgrade())
    }
}
