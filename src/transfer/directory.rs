//! A plain directory as a source: files digested beforehand, refused when they have changed since.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::digest::VerifiedChunks;
use crate::ids::{Digest, UnixNanos};
use crate::segment::{ChunkedFile, is_resident};
use crate::uring::{Dir, Errno, OpenOptions};
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
    /// Past the page cache what is cold; false once the file system has refused it.
    direct: Cell<bool>,
    /// Never empty: files of the same content serve for each other.
    files: BTreeMap<Digest, Vec<Served>>,
}

impl Directory {
    /// Files below `root`. They are asked for by the root of their content; of several with the same, one that has
    /// not changed is enough.
    #[must_use]
    pub fn new(root: Dir, direct: bool, files: impl IntoIterator<Item = Served>) -> Self {
        let mut by_root = BTreeMap::<_, Vec<_>>::new();
        for served in files {
            by_root.entry(served.chunks.root()).or_default().push(served);
        }
        Self { root, direct: Cell::new(direct), files: by_root }
    }

    pub(super) fn chunk_list(&self, root: Digest) -> Result<VerifiedChunks, Refusal> {
        let first = self.files.get(&root).and_then(|same| same.first());
        first.map(|served| served.chunks.clone()).ok_or(Refusal::NotHere)
    }

    pub(super) async fn open(&self, root: Digest) -> Result<ChunkedFile, Refusal> {
        let mut refusal = Refusal::NotHere;
        for served in self.files.get(&root).into_iter().flatten() {
            match self.open_one(served).await {
                Ok(reader) => return Ok(reader),
                Err(refused) => refusal = refused,
            }
        }
        Err(refusal)
    }

    async fn open_one(&self, served: &Served) -> Result<ChunkedFile, Refusal> {
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
        let mut direct = self.direct.get() && bytes > 0 && !is_resident(&file, bytes).await;
        if direct {
            match open(true).await {
                Ok(cold) => file = cold,
                Err(Errno::INVALID) => {
                    direct = false;
                    if self.direct.replace(false) {
                        let path = &served.path;
                        tracing::warn!(
                            path,
                            "the file system refuses O_DIRECT: files are read through the page cache"
                        );
                    }
                }
                Err(errno) => return Err(refuse(errno)),
            }
        }
        Ok(ChunkedFile::new(file, direct, bytes).expect("it was digested within the limits"))
    }
}
