//! Content that is already held under another name of ours: shared instead of fetched (D16: reflink first, then a
//! hard link, else a copy on this disk).

use std::fmt;
use std::rc::Rc;

use crate::digest::VerifiedChunks;
use crate::limits::CHUNK_BYTES;
use crate::uring::{Buffer, OpenOptions};

use super::fault::{DiskError, Doing, failed, from_disk};
use super::landing::Landed;
use super::landing_error::LandError;
use super::names::Stem;
use super::open::Folders;
use super::reader::{ReadError, Reader};
use super::record::{Change, Ownership, Record};
use super::scan::identity_of;
use super::staged::Staging;
use super::staging::Landing;
use super::staging_error::{BeginError, WriteError};
use super::store::{Store, Want};

/// How content came under a second name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shared {
    /// It stood under the name already; only the record is new.
    Renamed,
    /// Blocks are shared, copy on write.
    Reflinked,
    /// One file has two names.
    Linked,
    /// The bytes were copied.
    Copied,
}

impl Store {
    /// Lands a segment whose content is held under another name of ours; `None` if none is.
    ///
    /// # Errors
    /// The source is gone or changed (it is then suspect, and the segment may be fetched), or the landing fails.
    pub async fn link_existing(&self, want: &Want) -> Result<Option<(Landed, Shared)>, LinkError> {
        let Some(source) = self.source_of(want) else { return Ok(None) };
        if source.path == want.path {
            return self.take_over(want, source).await;
        }
        let chunks = self.chunk_list(source.id).await?;
        let reader = self.open_segment(source.id).await?;
        if let Some(landing) = self.stage_shared(want, &chunks, &source, &reader).await? {
            let (landing, shared) = landing;
            return Ok(Some((landing.land().await?, shared)));
        }
        let landing = self.begin(want.clone(), chunks).await?;
        let mut buffer = Buffer::heap(CHUNK_BYTES);
        for index in landing.missing().flatten() {
            let (read, back) = reader.read_chunk(index, buffer).await;
            read?;
            let (written, back) = landing.write_chunk(index, back).await;
            written?;
            buffer = back;
        }
        Ok(Some((landing.land().await?, Shared::Copied)))
    }

    fn source_of(&self, want: &Want) -> Option<Record> {
        if self.0.options.ownership != Ownership::Ours {
            return None;
        }
        let table = self.0.inventory.table();
        let is_source = |record: &&Record| record.len == want.len && record.owner == Ownership::Ours;
        table.with_root(want.root).filter(|record| record.id != want.id).find(is_source).cloned()
    }

    /// The path was registered again with the content that it has.
    async fn take_over(&self, want: &Want, source: Record) -> Result<Option<(Landed, Shared)>, LinkError> {
        let _name = self.0.names.lock(want.path.clone()).await;
        if self.0.look(&source, &Folders::default()).await? != Some(source.identity)
            || self.record(source.id).as_ref() != Some(&source)
        {
            return Ok(None);
        }
        let (id, root, len, replaced) = (want.id, want.root, want.len, Some(source.id));
        self.0.rename_private(Stem { id: source.id, root }, want.stem()).await?;
        self.0.inventory.append(vec![Change::Put(Record { id, ..source })]).await?;
        Ok(Some((Landed { id, root, len, replaced }, Shared::Renamed)))
    }

    /// A staging file that shares the source's blocks or is the source under a second name.
    async fn stage_shared(
        &self,
        want: &Want,
        chunks: &VerifiedChunks,
        source: &Record,
        reader: &Reader,
    ) -> Result<Option<(Landing, Shared)>, LinkError> {
        let stem = want.stem();
        let claim = self.0.claims.try_lock(&want.id).ok_or(BeginError::Busy)?;
        if self.0.staged.borrow().contains(&stem) {
            self.0.unlink_staged(stem).await?;
        }
        let (staging, name) = (&self.0.folders.staging, stem.to_string());
        let file = staging.create(&name, false, 0).await.map_err(failed(Doing::Create, &want.path))?;
        self.0.staged.borrow_mut().insert(stem);
        let (file, shared) = match reader.share(&file).await {
            Ok(()) => (file, Shared::Reflinked),
            Err(_) => {
                drop(file);
                self.0.unlink_staged(stem).await?;
                let folder =
                    self.0.folder_of(&source.path).await.map_err(failed(Doing::Open, &source.path))?;
                if folder.link(source.path.name(), staging, &name).await.is_err() {
                    return Ok(None); // too many links, or links are refused: a copy
                }
                self.0.staged.borrow_mut().insert(stem);
                let file = staging.open(&name, OpenOptions::default()).await;
                (file.map_err(failed(Doing::Open, &want.path))?, Shared::Linked)
            }
        };
        // What was linked is what has the name now, maybe a newer version; what was shared may have been written to.
        let taken = if shared == Shared::Linked { &file } else { reader.file() };
        let found = identity_of(taken, source.path.as_str()).await?;
        if found != source.identity {
            drop(file);
            self.0.unlink_staged(stem).await?;
            return Err(ReadError::Changed { expected: source.identity, found: Some(found) }.into());
        }
        let staging = Staging::new(Rc::clone(&self.0), want.clone(), chunks.clone(), (file, false), claim);
        staging.fill();
        Ok(Some((Landing(Rc::new(staging)), shared)))
    }
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
    /// The segment did not land.
    Land(LandError),
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
from_errors!(Read(ReadError), Begin(BeginError), Write(WriteError), Land(LandError));

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Begin(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
            Self::Land(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}
