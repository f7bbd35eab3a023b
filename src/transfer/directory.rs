//! A plain directory as a source: files digested beforehand, refused when they have changed since.

use std::collections::BTreeMap;

use crate::digest::{VerifiedChunks, chunk_count};
use crate::ids::{Digest, UnixNanos};
use crate::limits::{CACHED_BYTES_MIN, CHUNK_BYTES, IO_ALIGNMENT};
use crate::uring::{Buffer, Dir, Errno, Extent, File, OpenOptions};
use crate::wire::Refusal;

/// One file of the directory, as it was when it was digested.
#[derive(Clone, Debug)]
pub struct Served {
    /// Relative to the directory.
    pub path: String,
    /// Its digests.
    pub chunks: VerifiedChunks,
    /// Inode number.
    pub inode: u64,
    /// Last change of the content.
    pub modified: UnixNanos,
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    root: Dir,
    direct: bool,
    /// Never empty: files of the same content serve for each other.
    files: BTreeMap<Digest, Vec<Served>>,
}

/// An open file of the directory.
#[derive(Debug)]
pub struct DirectoryReader {
    file: File,
    direct: bool,
    bytes: u64,
    count: u32,
}

/// Of how many parts one must be in the page cache for a file to be read from there.
const RESIDENT_PART: u64 = 2;

impl Directory {
    /// Files below `root`. They are asked for by the root of their content; of several with the same, one that has
    /// not changed is enough.
    #[must_use]
    pub fn new(root: Dir, direct: bool, files: impl IntoIterator<Item = Served>) -> Self {
        let mut by_root = BTreeMap::<_, Vec<_>>::new();
        for served in files {
            by_root.entry(served.chunks.root()).or_default().push(served);
        }
        Self { root, direct, files: by_root }
    }

    pub(super) fn chunk_list(&self, root: Digest) -> Result<VerifiedChunks, Refusal> {
        let first = self.files.get(&root).and_then(|same| same.first());
        first.map(|served| served.chunks.clone()).ok_or(Refusal::NotHere)
    }

    pub(super) async fn open(&self, root: Digest) -> Result<DirectoryReader, Refusal> {
        let mut refusal = Refusal::NotHere;
        for served in self.files.get(&root).into_iter().flatten() {
            match self.open_one(served).await {
                Ok(reader) => return Ok(reader),
                Err(refused) => refusal = refused,
            }
        }
        Err(refusal)
    }

    async fn open_one(&self, served: &Served) -> Result<DirectoryReader, Refusal> {
        let bytes = served.chunks.len();
        let open = async |direct| {
            self.root.open(&served.path, OpenOptions { direct, ..OpenOptions::default() }).await
        };
        let refuse = |errno: Errno| {
            tracing::warn!(path = %served.path, %errno, "a file cannot be served");
            Refusal::NotHere
        };
        let mut file = open(false).await.map_err(refuse)?;
        let stat = file.stat().await.map_err(refuse)?;
        if (stat.bytes, stat.inode, stat.modified) != (bytes, served.inode, served.modified) {
            tracing::warn!(path = %served.path, "the file has changed since it was digested");
            return Err(Refusal::Superseded);
        }
        let resident = file.resident(0, bytes).await.unwrap_or(0);
        let mut direct = self.direct && bytes > 0 && resident < bytes / RESIDENT_PART;
        if direct {
            match open(true).await {
                Ok(cold) => file = cold,
                Err(Errno::INVALID) => direct = false,
                Err(errno) => return Err(refuse(errno)),
            }
        }
        let count = chunk_count(bytes).expect("it was digested within the limits");
        Ok(DirectoryReader { file, direct, bytes, count })
    }
}

impl DirectoryReader {
    pub(super) fn chunk_count(&self) -> u32 {
        self.count
    }

    /// Chunk `index` where it is in the page cache; `None` if it is not, or the file is read past the cache.
    pub(super) async fn cached_chunk(&self, index: u32) -> Option<Extent> {
        let at = u64::from(index) * CHUNK_BYTES as u64;
        let bytes = usize::try_from(self.bytes.saturating_sub(at).min(CHUNK_BYTES as u64)).ok()?;
        if self.direct || bytes < CACHED_BYTES_MIN {
            return None;
        }
        self.file.cached(at, bytes).await
    }

    pub(super) async fn read_chunk(&self, index: u32, buffer: Buffer) -> (Result<usize, Refusal>, Buffer) {
        let at = u64::from(index) * CHUNK_BYTES as u64;
        let left = self.bytes.saturating_sub(at).min(CHUNK_BYTES as u64);
        let bytes = usize::try_from(left).expect("a chunk fits the memory");
        let span = if self.direct { bytes.next_multiple_of(IO_ALIGNMENT) } else { bytes };
        let (read, mut buffer) = self.file.read_at(buffer, 0..span, at).await;
        match read {
            Ok(count) if count >= bytes => {
                buffer.set_filled(bytes);
                (Ok(bytes), buffer)
            }
            Ok(_) => (Err(Refusal::Superseded), buffer),
            Err(errno) => {
                tracing::warn!(%errno, "a chunk cannot be read");
                (Err(Refusal::Damaged), buffer)
            }
        }
    }
}
