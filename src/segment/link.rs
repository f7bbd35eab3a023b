//! Content that this node holds already, under another name or in another shard: shared instead of fetched (D16:
//! reflink first, then a hard link, else a copy on this disk).
//!
//! The source is digested again first: its identity tells that nobody has written to it, and not that the disk still
//! gives what was written. So whatever lands was verified by whoever lands it, and one rotten file does not become two.
//! A large one is read past the page cache, which may have what the disk lost.

use std::fmt;
use std::rc::Rc;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::Digest;
use crate::limits::CHUNK_BYTES;
use crate::uring::{Buffer, Core, Dir, Errno, File, OpenOptions, Priority};

use super::chunked::{ChunkUnread, ChunkedFile};
use super::fault::{DiskError, Doing, failed, failed_at, from_disk};
use super::identity::Identity;
use super::landing::Landed;
use super::look::Folders;
use super::names::Stem;
use super::path::RelativePath;
use super::reader::ReadError;
use super::record::{Change, Ownership, Record};
use super::scan::identity_of;
use super::staged::Staging;
use super::staging::Landing;
use super::staging_error::{BeginError, WriteError};
use super::store::{Inner, Store, Want};

/// How content came under a second name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shared {
    /// Blocks are shared, copy on write.
    Reflinked,
    /// One file has two names.
    Linked,
    /// The bytes were copied.
    Copied,
}

/// What became of a segment whose content is held.
#[derive(Debug)]
pub enum Sharing {
    /// Its content stood under its name already; only the record is new.
    Renamed(Landed),
    /// It is staged, complete.
    Staged(Landing, Shared),
}

/// A file with some content, as one shard tells another of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spare {
    segments_root: String,
    path: String,
    identity: Identity,
}

/// A file to share, open.
struct Source {
    root: Dir,
    path: RelativePath,
    identity: Identity,
    file: File,
    direct: bool,
}

impl Store {
    /// A file of ours that should have this content.
    #[must_use]
    pub fn spare(&self, root: Digest, len: u64) -> Option<Spare> {
        let table = self.0.inventory.table();
        let record = table.with_root(root).find(|record| is_shared(record, len))?;
        Some(Spare {
            segments_root: self.0.options.segments_root.clone(),
            path: record.path.as_str().to_owned(),
            identity: record.identity,
        })
    }

    /// Stages a segment whose content is held under another name of ours; `None` if none is.
    ///
    /// # Errors
    /// The source is gone, changed or damaged (it is then suspect, and the segment may be fetched), or the staging
    /// fails.
    pub async fn link_existing(&self, want: &Want) -> Result<Option<Sharing>, LinkError> {
        let Some(record) = self.source_of(want) else { return Ok(None) };
        let (file, direct) = self.open_checked(&record, false).await?;
        let Record { path, identity, .. } = record.clone();
        let source = Source { root: self.0.segments.clone(), path, identity, file, direct };
        let chunks = self.0.digested(want, &source).await;
        if matches!(chunks, Err(ReadError::Damaged { .. })) {
            self.suspect(&record);
        }
        let chunks = chunks?;
        if record.path == want.path {
            return Ok(self.take_over(want, record).await?.map(Sharing::Renamed));
        }
        self.share(want, chunks, source).await.map(Some)
    }

    /// Stages a segment whose content another shard of this node holds.
    ///
    /// # Errors
    /// Its file is gone, changed or damaged, or the staging fails.
    pub async fn link_spare(&self, want: &Want, spare: &Spare) -> Result<Sharing, LinkError> {
        let Spare { segments_root, path, identity } = spare.clone();
        let refused = failed(Doing::Open, segments_root.clone());
        let root = Dir::open_root(&segments_root).await.map_err(refused)?;
        let path = RelativePath::parse(&path).expect("a record's path was parsed before");
        let Some((file, direct)) = self.0.open_best(&root, path.as_str(), want.len, false).await? else {
            return Err(ReadError::Changed { expected: identity, found: None }.into());
        };
        let found = identity_of(&file, path.as_str()).await?;
        if found != identity {
            return Err(ReadError::Changed { expected: identity, found: Some(found) }.into());
        }
        let source = Source { root, path, identity, file, direct };
        let chunks = self.0.digested(want, &source).await?;
        self.share(want, chunks, source).await
    }

    /// What stands under the segment's own name comes first: a link to it could not take its place.
    fn source_of(&self, want: &Want) -> Option<Record> {
        if self.0.options.ownership != Ownership::Ours {
            return None;
        }
        let table = self.0.inventory.table();
        let sources =
            table.with_root(want.root).filter(|record| record.id != want.id && is_shared(record, want.len));
        sources.max_by_key(|record| record.path == want.path).cloned()
    }

    /// The path was registered again with the content that it has.
    async fn take_over(&self, want: &Want, source: Record) -> Result<Option<Landed>, LinkError> {
        let _name = self.0.names.lock(want.path.clone()).await;
        if self.0.look(&source, &Folders::default()).await? != Some(source.identity)
            || self.record(source.id).as_ref() != Some(&source)
        {
            return Ok(None);
        }
        let (id, root, len, replaced) = (want.id, want.root, want.len, Some(source.id));
        self.0.rename_private(Stem { id: source.id, root }, want.stem()).await?;
        self.0.inventory.append(vec![Change::Put(Record { id, ..source })]).await?;
        Ok(Some(Landed { id, root, len, replaced }))
    }

    /// Shares a file in a task of its own, which goes on to its end if the caller gives up: whoever removes what is
    /// staged waits for it and finds it.
    async fn share(&self, want: &Want, chunks: VerifiedChunks, source: Source) -> Result<Sharing, LinkError> {
        let (inner, theirs, list) = (Rc::clone(&self.0), want.clone(), chunks.clone());
        let staging = Core::current().spawn(Priority::Bulk, async move {
            let staged = inner.stage_shared(&theirs, &list, &source).await;
            (staged, source)
        });
        let canceled = || failed(Doing::Link, &want.path)(Errno::CANCELED);
        let (staged, source) = staging.await.ok_or_else(canceled)?;
        if let Some((landing, shared)) = staged? {
            return Ok(Sharing::Staged(landing, shared));
        }
        let landing = self.begin(want.clone(), chunks).await?;
        copy(&landing, source).await?;
        Ok(Sharing::Staged(landing, Shared::Copied))
    }
}

impl Inner {
    /// The chunk list of a file that has the content that is wanted.
    async fn digested(&self, want: &Want, source: &Source) -> Result<VerifiedChunks, ReadError> {
        let file = (source.file.clone(), source.direct);
        let tree = self.tree(&file, source.path.as_str(), want.len).await?;
        let found = tree.root;
        ChunkList::from(tree).verify(want.root).map_err(|_| ReadError::Damaged { expected: want.root, found })
    }

    /// A staging file that shares the source's blocks or is the source under a second name. `None` if the file system
    /// can neither.
    async fn stage_shared(
        self: Rc<Self>,
        want: &Want,
        chunks: &VerifiedChunks,
        source: &Source,
    ) -> Result<Option<(Landing, Shared)>, LinkError> {
        let stem = want.stem();
        let claim = self.claims.try_lock(&want.id).ok_or(BeginError::Busy)?;
        if self.staged.borrow().contains(&stem) {
            self.unlink_staged(stem).await?;
        }
        let Some((file, shared)) = self.reflinked_or_linked(want, source).await? else { return Ok(None) };
        // What was linked is what has the name now, maybe a newer version; what was shared may have been written to.
        let taken = if shared == Shared::Linked { &file } else { &source.file };
        let found = identity_of(taken, source.path.as_str()).await?;
        if found != source.identity {
            drop(file);
            self.unlink_staged(stem).await?;
            return Err(ReadError::Changed { expected: source.identity, found: Some(found) }.into());
        }
        let staging =
            Rc::new(Staging::new(Rc::clone(&self), want.clone(), chunks.clone(), (file, false), claim));
        staging.fill();
        self.landings.borrow_mut().insert(stem.id, Rc::downgrade(&staging));
        Ok(Some((Landing(staging), shared)))
    }

    async fn reflinked_or_linked(
        &self,
        want: &Want,
        source: &Source,
    ) -> Result<Option<(File, Shared)>, DiskError> {
        let (stem, staging) = (want.stem(), &self.folders.staging);
        let name = stem.to_string();
        let file = staging.create(&name, false, 0).await.map_err(failed(Doing::Create, &want.path))?;
        self.staged.borrow_mut().insert(stem);
        if source.file.reflink_to(&file).await.is_ok() {
            return Ok(Some((file, Shared::Reflinked)));
        }
        drop(file);
        self.unlink_staged(stem).await?;
        let folder = match source.path.folder() {
            "" => Ok(source.root.clone()),
            folder => source.root.open_dir(folder).await,
        };
        let folder = folder.map_err(failed(Doing::Open, &source.path))?;
        if folder.link(source.path.name(), staging, &name).await.is_err() {
            return Ok(None); // too many links, another file system, links are refused, or the name is gone
        }
        self.staged.borrow_mut().insert(stem);
        let file = staging.open(&name, OpenOptions::default()).await;
        Ok(Some((file.map_err(failed(Doing::Open, &want.path))?, Shared::Linked)))
    }
}

/// Copies what a landing lacks.
async fn copy(landing: &Landing, source: Source) -> Result<(), LinkError> {
    let Source { path, file, direct, .. } = source;
    let file =
        ChunkedFile::new(file, direct, landing.want().len).expect("a held segment is within the limits");
    let mut buffer = Buffer::heap(CHUNK_BYTES);
    for index in landing.missing().flatten() {
        let (read, back) = file.read(index, buffer).await;
        read.map_err(|unread| match unread {
            ChunkUnread::Range(count) => ReadError::Range { index, count },
            ChunkUnread::Short { expected, found } => ReadError::Short { index, expected, found },
            ChunkUnread::Disk(errno) => failed_at(Doing::Read, &path, 0)(errno).into(),
        })?;
        let (written, back) = landing.write_chunk(index, back).await;
        written?;
        buffer = back;
    }
    Ok(())
}

/// An engine's file is never linked to: the engine may write to it (D16).
fn is_shared(record: &Record, len: u64) -> bool {
    record.len == len && record.owner == Ownership::Ours
}

/// Why content was not shared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// The source cannot be read.
    Read(ReadError),
    /// The landing was not begun.
    Begin(BeginError),
    /// A chunk was not copied.
    Write(WriteError),
    /// The disk refused something.
    Disk(DiskError),
}

from_disk!(LinkError);

macro_rules! from_errors {
    ($($variant:ident($error:ty)),+) => {
        $(impl From<$error> for LinkError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}
from_errors!(Read(ReadError), Begin(BeginError), Write(WriteError));

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Begin(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}
