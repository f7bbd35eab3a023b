//! An open file read chunk by chunk: past the page cache when it is cold, from it when it is there.

use crate::digest::{chunk_bytes, chunk_count, chunk_offset};
use crate::limits::{CACHED_BYTES_MIN, CHUNK_BYTES, IO_ALIGNMENT};
use crate::uring::{Buffer, Errno, Extent, File};

/// Of how many parts one must be in the page cache for a file to be read from there.
const RESIDENT_PART: u64 = 2;

/// A file of at most `SEGMENT_BYTES_MAX`, open for reading.
#[derive(Debug)]
pub struct ChunkedFile {
    file: File,
    direct: bool,
    bytes: u64,
    count: u32,
}

/// Why a chunk was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkUnread {
    /// There is no such chunk in a file of so many.
    Range(u32),
    /// The file ends within the chunk.
    Short {
        /// Bytes of the chunk.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The kernel's answer.
    Disk(Errno),
}

/// Whether so much of a file of `len` bytes is in the page cache that it is read from there.
pub async fn is_resident(file: &File, len: u64) -> bool {
    file.resident(0, len).await.unwrap_or(0) >= len / RESIDENT_PART
}

impl ChunkedFile {
    /// A file of `bytes` bytes, opened with O_DIRECT or not; `None` past `SEGMENT_BYTES_MAX`.
    #[must_use]
    pub fn new(file: File, direct: bool, bytes: u64) -> Option<Self> {
        let count = chunk_count(bytes)?;
        Some(Self { file, direct, bytes, count })
    }

    /// Chunks of the file.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.count
    }

    /// Whether it is read past the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Chunk `index` where it is in the page cache; `None` if it is not, or there is no such chunk, or the file is read
    /// past the cache.
    pub async fn cached(&self, index: u32) -> Option<Extent> {
        let bytes = chunk_bytes(self.bytes, index)?;
        if self.direct || bytes < CACHED_BYTES_MIN {
            return None;
        }
        self.file.cached(chunk_offset(index), bytes).await
    }

    /// Bytes of the buffer that chunk `index` is read into.
    #[must_use]
    pub fn span(&self, index: u32) -> usize {
        let bytes = chunk_bytes(self.bytes, index).unwrap_or(CHUNK_BYTES);
        if self.direct { bytes.next_multiple_of(IO_ALIGNMENT) } else { bytes }
    }

    /// Reads chunk `index`; its bytes are the buffer's content. They are not hashed: whoever receives them does.
    ///
    /// # Errors
    /// There is no such chunk, the file is shorter than it was, or the disk refuses it.
    ///
    /// # Panics
    /// If the buffer has less room than the chunk.
    pub async fn read(&self, index: u32, buffer: Buffer) -> (Result<usize, ChunkUnread>, Buffer) {
        let Some(bytes) = chunk_bytes(self.bytes, index) else {
            return (Err(ChunkUnread::Range(self.count)), buffer);
        };
        let span = self.span(index);
        assert!(buffer.capacity() >= span, "a buffer of {} bytes for {span}", buffer.capacity());
        let (read, mut buffer) = self.file.read_at(buffer, 0..span, chunk_offset(index)).await;
        let found = match read {
            Ok(count) => count.min(bytes),
            Err(errno) => return (Err(ChunkUnread::Disk(errno)), buffer),
        };
        buffer.set_filled(found);
        let read =
            if found == bytes { Ok(bytes) } else { Err(ChunkUnread::Short { expected: bytes, found }) };
        (read, buffer)
    }
}
