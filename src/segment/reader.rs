//! Reading a segment that is held: past the page cache when it is cold, from it when it is there.

use std::fmt;

use crate::digest::{ChunkList, VerifiedChunks, chunk_offset};
use crate::ids::{Digest, SegmentId};
use crate::limits::{CHUNK_BYTES, CLOSE_ASIDE_BYTES_MIN, PATH_BYTES_MAX};
use crate::uring::{Buffer, Dir, Errno, Extent, File, OpenOptions};

use super::chunked::{ChunkUnread, ChunkedFile, is_resident};
use super::fault::{DiskError, Doing, failed, failed_at, from_disk};
use super::identity::Identity;
use super::look::absent;
use super::names::Stem;
use super::path::RelativePath;
use super::record::{Ownership, Record};
use super::scan::identity_of;
use super::store::{Inner, Store};
use super::table::Standing;

/// An open segment. It stays readable when it is removed or replaced meanwhile.
#[derive(Debug)]
pub struct Reader {
    record: Record,
    file: ChunkedFile,
}

impl Store {
    /// Opens a segment that is held.
    ///
    /// # Errors
    /// It is not held; its file is gone or has changed, which makes it suspect from now on; or the disk refuses it.
    pub async fn open_segment(&self, id: SegmentId) -> Result<Reader, ReadError> {
        let record = self.record(id).ok_or(ReadError::NotHeld)?;
        let (file, direct) = self.open_checked(&record, true).await?;
        if record.len >= CLOSE_ASIDE_BYTES_MIN {
            file.close_aside();
        }
        let file = ChunkedFile::new(file, direct, record.len).expect("a held segment is within the limits");
        Ok(Reader { record, file })
    }

    /// The chunk list of a segment that is held: from its sidecar, or computed again from the file, which then has to
    /// have the segment's root. A lost or bad sidecar condemns nothing.
    ///
    /// # Errors
    /// As `open_segment`, and if the file has another root than the segment.
    pub async fn chunk_list(&self, id: SegmentId) -> Result<VerifiedChunks, ReadError> {
        let record = self.record(id).ok_or(ReadError::NotHeld)?;
        let stem = Stem { id, root: record.root };
        let is_small = record.len <= CHUNK_BYTES as u64;
        let kept = if is_small { None } else { self.0.read_list(stem).await };
        if let Some(chunks) = kept {
            return Ok(chunks);
        }
        let file = self.open_checked(&record, false).await?;
        let tree = self.0.tree(&file, record.path.as_str(), record.len).await?;
        let (expected, found) = (record.root, tree.root);
        let Ok(chunks) = ChunkList::from(tree).verify(expected) else {
            return Err(ReadError::Damaged { expected, found });
        };
        if !is_small {
            self.0.write_list(stem, &chunks).await?;
        }
        Ok(chunks)
    }

    /// Opens the file of a record and sees that it is the one that was verified.
    pub(super) async fn open_checked(
        &self,
        record: &Record,
        may_be_resident: bool,
    ) -> Result<(File, bool), ReadError> {
        let opened = self.0.open_record(record, may_be_resident).await?;
        let found = match &opened {
            Some((file, _)) => Some(identity_of(file, record.path.as_str()).await?),
            None => None,
        };
        match (opened, found) {
            (Some(file), Some(found)) if found == record.identity => Ok(file),
            (_, found) => {
                self.suspect(record);
                Err(ReadError::Changed { expected: record.identity, found })
            }
        }
    }

    /// Does not count a segment any more before it was hashed; a newer record under its id is left alone.
    pub(super) fn suspect(&self, record: &Record) {
        let is_current = self.0.inventory.table().held(record.id) == Some(record);
        let is_being_replaced = self.0.names.is_locked(&record.path);
        if is_current && !is_being_replaced {
            self.0.inventory.set_standing(record.id, Standing::Suspect);
        }
    }
}

impl Inner {
    /// Opens the file of a record: for an engine's file what we keep of it, else what stands under its name. `None`
    /// if there is none.
    async fn open_record(
        &self,
        record: &Record,
        may_be_resident: bool,
    ) -> Result<Option<(File, bool)>, DiskError> {
        if record.owner == Ownership::Engine {
            if let Some(file) = self.held_open.borrow().get(&record.id) {
                return Ok(Some((file.clone(), false)));
            }
            let name = record.stem().to_string();
            let pins = self.folders.pins.clone();
            if let Some(file) = self.open_best(&pins, &name, record.len, may_be_resident).await? {
                return Ok(Some(file));
            }
        }
        self.open_named(&record.path, record.len, may_be_resident).await
    }

    /// Opens what stands under a segment's name. The longest path is one byte too long for the kernel, in one piece.
    pub(super) async fn open_named(
        &self,
        path: &RelativePath,
        len: u64,
        may_be_resident: bool,
    ) -> Result<Option<(File, bool)>, DiskError> {
        if path.as_str().len() < PATH_BYTES_MAX {
            return self.open_best(&self.segments, path.as_str(), len, may_be_resident).await;
        }
        match self.folder_of(path).await {
            Ok(folder) => self.open_best(&folder, path.name(), len, may_be_resident).await,
            Err(errno) => absent(errno, Doing::Open, path.as_str()),
        }
    }

    /// Opens past the page cache, unless the file may be and mostly is in it.
    pub(super) async fn open_best(
        &self,
        folder: &Dir,
        name: &str,
        len: u64,
        may_be_resident: bool,
    ) -> Result<Option<(File, bool)>, DiskError> {
        let options = OpenOptions::default();
        let opened = match self.open_direct(folder, name, len, options).await {
            Ok(opened) => opened,
            // No regular file stands there.
            Err(Errno::INVALID) => return Ok(None),
            Err(errno) => return absent(errno, Doing::Open, name),
        };
        if opened.1 && may_be_resident && is_resident(&opened.0, len).await {
            let file = folder.open(name, options).await.map_err(failed(Doing::Open, name))?;
            return Ok(Some((file, false)));
        }
        Ok(Some(opened))
    }
}

impl Reader {
    /// The segment's record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Chunks of the segment.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.file.chunk_count()
    }

    /// Bytes of the buffer that chunk `index` is read into.
    #[must_use]
    pub fn span(&self, index: u32) -> usize {
        self.file.span(index)
    }

    /// Whether it is read past the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    /// Chunk `index` where it is in the page cache (`ChunkedFile::cached`).
    pub async fn cached_chunk(&self, index: u32) -> Option<Extent> {
        self.file.cached(index).await
    }

    /// Reads chunk `index` (`ChunkedFile::read`).
    ///
    /// # Errors
    /// There is no such chunk, the file is shorter than the segment, or the disk refuses it.
    pub async fn read_chunk(&self, index: u32, buffer: Buffer) -> (Result<usize, ReadError>, Buffer) {
        let (read, buffer) = self.file.read(index, buffer).await;
        let error = |unread| match unread {
            ChunkUnread::Range(count) => ReadError::Range { index, count },
            ChunkUnread::Short { expected, found } => ReadError::Short { index, expected, found },
            ChunkUnread::Disk(errno) => {
                failed_at(Doing::Read, &self.record.path, chunk_offset(index))(errno).into()
            }
        };
        (read.map_err(error), buffer)
    }
}

/// Why a segment was not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// It is not held here.
    NotHeld,
    /// Its file is gone, or is no longer the one that was verified.
    Changed {
        /// As it was verified.
        expected: Identity,
        /// As it is; `None` if it is gone.
        found: Option<Identity>,
    },
    /// Its content is not the segment's.
    Damaged {
        /// The segment's root.
        expected: Digest,
        /// The root of the content.
        found: Digest,
    },
    /// There is no such chunk.
    Range {
        /// The chunk asked for.
        index: u32,
        /// Chunks of the segment.
        count: u32,
    },
    /// The file ends within the chunk.
    Short {
        /// The chunk.
        index: u32,
        /// Its bytes.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The disk refused something.
    Disk(DiskError),
}

from_disk!(ReadError);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHeld => f.write_str("the segment is not held here"),
            Self::Changed { expected, found: Some(found) } => {
                write!(f, "the file changed since it was verified: it was {expected}, it is {found}")
            }
            Self::Changed { expected, found: None } => write!(f, "the file is gone: it was {expected}"),
            Self::Damaged { expected, found } => {
                write!(f, "the content has root {found}, the segment {expected}")
            }
            Self::Range { index, count } => write!(f, "no chunk {index} in a segment of {count} chunks"),
            Self::Short { index, expected, found } => {
                write!(f, "the file ends in chunk {index}: {found} of {expected} bytes")
            }
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
