//! A staging file that other cores of the process write to: what such a core has to know, its own handle of the file,
//! and the owner's guard.
//!
//! The owner alone knows which chunks are there: it notes one when the core that has written it says so. As long as a
//! core may write, the file is not quiet, and so does not land; and the segment is not begun again.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::digest::{Kernel, VerifiedChunks, chunk_offset};
use crate::uring::{Buffer, Dir, Errno, File, Gate, OpenOptions};

use super::fault::{DiskError, Doing, failed, failed_at};
use super::names::Stem;
use super::path::{PRIVATE_FOLDER, RelativePath};
use super::staged::{Staging, spans, write_chunk};
use super::staging::{Landing, VerifiedChunk, WithBuffer};
use super::staging_error::WriteError;
use super::store::Want;

/// A staging file, for another core of the node: how it is found, and how it is written to.
#[derive(Clone, Debug)]
pub struct Outline {
    private: String,
    stem: Stem,
    path: String,
    direct: bool,
    /// Of the owner's file: its device and inode.
    file: (u64, u64),
    kernel: Kernel,
    gate: Gate,
    chunks: Arc<VerifiedChunks>,
}

impl Landing {
    /// What another core has to know of the staging file.
    ///
    /// # Errors
    /// The disk tells no facts about the file.
    pub async fn outline(&self) -> Result<Outline, DiskError> {
        let Staging { store, want, chunks, file, direct, .. } = &*self.0;
        let stat = file.stat().await.map_err(failed(Doing::Stat, &want.path))?;
        Ok(Outline {
            private: store.options.private.clone(),
            stem: want.stem(),
            path: want.path.as_str().to_owned(),
            direct: *direct,
            file: (stat.device, stat.inode),
            kernel: store.options.kernel,
            gate: store.options.gate.clone(),
            chunks: Arc::new(chunks.clone()),
        })
    }

    /// From now on, until what comes back is dropped, another core may write.
    #[must_use]
    pub fn lend(&self) -> Lent {
        self.0.lent.set(self.0.lent.get() + 1);
        Lent(Rc::clone(&self.0))
    }

    /// Waits until no other core may write any more; nobody waits for one that has gone without a word.
    pub async fn returned(&self) {
        let is_over = || self.0.lent.get() == 0 || self.0.is_ruined.get();
        self.0.quiet.until(|| is_over().then_some(())).await;
    }
}

/// While it lives, another core may write. It keeps the landing's claim: nobody begins the segment again meanwhile.
#[derive(Debug)]
pub struct Lent(Rc<Staging>);

impl Lent {
    /// The other core has written a verified chunk, all of it.
    ///
    /// # Panics
    /// If the segment has no such chunk.
    pub fn wrote(&self, index: u32) {
        assert!(index < self.0.chunks.chunk_count(), "chunk {index} of {:?}", self.0);
        self.0.state.borrow_mut().written.insert(index);
        self.0.progressed();
    }

    /// The other core has gone and has not said that it writes no more: nothing of the file is landed, and nobody
    /// begins the segment again before the process does.
    pub fn never_returned(self) {
        self.0.is_ruined.set(true);
        self.0.more.notify();
        self.0.quiet.notify();
        std::mem::forget(self);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.lent.set(self.0.lent.get() - 1);
        self.0.quiet.notify();
    }
}

impl Outline {
    /// What is staged there.
    #[must_use]
    pub fn want(&self) -> Want {
        let path = RelativePath::parse(&self.path).expect("it was parsed before");
        Want { id: self.stem.id, path, len: self.chunks.len(), root: self.stem.root }
    }
}

/// Another core's handle of a staging file.
#[derive(Debug)]
pub struct LentFile {
    outline: Outline,
    file: File,
}

impl LentFile {
    /// Opens the file as its owner has.
    ///
    /// # Errors
    /// The disk refuses it, or another file has the name.
    pub async fn open(outline: Outline) -> Result<Self, DiskError> {
        let file = open(&outline).await.map_err(failed(Doing::Open, &outline.path))?;
        Ok(Self { outline, file })
    }

    /// Hashes a buffer's content as chunk `index`.
    ///
    /// # Errors
    /// The content is not that chunk; the buffer comes back.
    pub fn verify(&self, index: u32, buffer: Buffer) -> Result<VerifiedChunk, (WriteError, Buffer)> {
        VerifiedChunk::of(self.outline.kernel, &self.outline.chunks, index, buffer)
    }

    /// Writes a verified chunk to its place.
    ///
    /// # Errors
    /// The disk refuses it or is full.
    ///
    /// # Panics
    /// If it was verified for another segment.
    pub async fn write(&self, chunk: VerifiedChunk) -> WithBuffer<WriteError> {
        let Outline { chunks, direct, gate, path, .. } = &self.outline;
        assert_eq!(chunk.root(), chunks.root(), "a chunk is written to the segment that it was verified for");
        let (index, buffer) = (chunk.index(), chunk.into_buffer());
        let spans = spans(chunks, *direct, index);
        let _permit = gate.bulk(spans.1).await;
        let (result, buffer) = write_chunk(&self.file, spans, (index, buffer)).await;
        let failed = |errno| failed_at(Doing::Write, path, chunk_offset(index))(errno).into();
        (result.map_err(failed), buffer)
    }
}

async fn open(outline: &Outline) -> Result<File, Errno> {
    let private = Dir::open_root(&outline.private).await?.open_dir(PRIVATE_FOLDER).await?;
    let options = OpenOptions { write: true, direct: outline.direct, ..OpenOptions::default() };
    let file = private.open_dir("staging").await?.open(&outline.stem.to_string(), options).await?;
    let stat = file.stat().await?;
    if (stat.device, stat.inode) == outline.file { Ok(file) } else { Err(Errno::NOT_FOUND) }
}

/// An outline passes between threads.
const _: fn() = || {
    fn passes_threads<T: Send>() {}
    passes_threads::<Outline>();
};

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?}", self.stem.id, self.path)
    }
}
