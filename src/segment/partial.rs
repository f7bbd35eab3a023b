//! A segment that is being staged, as those see it to whom it is served on before it has landed.
//!
//! A `Partial` keeps nothing: the segment may land, be given up or be removed under it. It holds what it reads from for
//! as long as one read takes.

use std::fmt;
use std::rc::{Rc, Weak};

use crate::digest::VerifiedChunks;
use crate::ids::{Digest, Nanos, SegmentId};
use crate::limits::PARTIAL_WAIT;
use crate::uring::{Buffer, Core, deadline};

use super::staged::Staging;
use super::staging_error::WriteError;
use super::store::{Inner, Store};

/// The chunks of a segment that is being staged.
#[derive(Clone)]
pub struct Partial {
    store: Rc<Inner>,
    staging: Weak<Staging>,
    count: u32,
}

/// Why a chunk of a segment that is being staged cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// It is not being staged any more: it has landed, or was given up.
    Ended,
    /// The chunk is not there, and no other has come for `PARTIAL_WAIT`.
    Stalled,
}

impl Store {
    /// A version that is being staged now.
    #[must_use]
    pub fn partial(&self, id: SegmentId, root: Digest) -> Option<Partial> {
        let staging = self.0.landings.borrow().get(&id)?.upgrade()?;
        let count = staging.chunks.chunk_count();
        let is_meant = staging.want.root == root && !staging.is_ruined.get();
        is_meant.then(|| Partial { store: Rc::clone(&self.0), staging: Rc::downgrade(&staging), count })
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

    /// Waits until a chunk is there, for as long as others of the segment come.
    ///
    /// # Errors
    /// It will not come here.
    pub async fn ready(&self, index: u32) -> Result<(), NotReady> {
        let mut waits: Option<(u32, Nanos)> = None;
        loop {
            let more = self.store.more.notified();
            let written = self.written(index)?;
            let Some(count) = written else { return Ok(()) };
            let now = Core::current().now();
            let (seen, until) =
                waits.filter(|(seen, _)| *seen == count).unwrap_or((count, now.plus(PARTIAL_WAIT)));
            waits = Some((seen, until));
            if deadline(until, more).await.is_err() && self.written(index)? == Some(seen) {
                return Err(NotReady::Stalled);
            }
        }
    }

    /// `None` if the chunk is there, else how many are.
    fn written(&self, index: u32) -> Result<Option<u32>, NotReady> {
        let staging = self.staging.upgrade().filter(|staging| !staging.is_ruined.get());
        let staging = staging.ok_or(NotReady::Ended)?;
        let state = staging.state.borrow();
        Ok((!state.written.contains(index)).then(|| state.written.len()))
    }

    /// Reads a chunk that is there; its bytes are the buffer's content, and their number is given. They are not hashed:
    /// whoever receives them does.
    ///
    /// # Errors
    /// It is not there, or the disk refuses it.
    pub async fn read_chunk(&self, index: u32, buffer: Buffer) -> (Result<usize, WriteError>, Buffer) {
        let Some(staging) = self.staging.upgrade() else {
            return (Err(WriteError::Missing { index }), buffer);
        };
        if !staging.state.borrow().written.contains(index) {
            return (Err(WriteError::Missing { index }), buffer);
        }
        let (read, buffer) = staging.read(index, buffer).await;
        (read.map(|()| buffer.filled().len()), buffer)
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({:?})", self.staging.upgrade())
    }
}
