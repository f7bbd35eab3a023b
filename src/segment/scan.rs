//! Reading a whole file in order, the next chunk on its way while one is looked at; and the digests of a file.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::join;

use crate::digest::{Tree, TreeAndFlat, TreeHasher, chunk_count};
use crate::ids::Digest;
use crate::limits::{CHUNK_BYTES, IO_ALIGNMENT, SEGMENT_BYTES_MAX};
use crate::uring::{Buffer, Core, Errno, File, Priority, Task, yield_now};

use super::fault::{DiskError, Doing, failed, failed_at};
use super::identity::Identity;
use super::store::Inner;

/// Calls `look` with every chunk of a file of `len` bytes, in order. A file that ends earlier ends the scan earlier.
///
/// Two buffers of its own, so that a scan never waits for the core's slab while others hold it and wait for the scan.
pub(super) async fn scan(
    (file, direct): &(File, bool),
    path: &str,
    len: u64,
    mut look: impl FnMut(&[u8]),
) -> Result<(), DiskError> {
    let read = async |buffer: Buffer, at: u64| {
        let bytes = usize::try_from((len - at).min(CHUNK_BYTES as u64)).expect("a chunk fits the memory");
        let span = if *direct { bytes.next_multiple_of(IO_ALIGNMENT) } else { bytes };
        let (result, buffer) = file.read_at(buffer, 0..span, at).await;
        (result.map(|count| count.min(bytes)).map_err(failed_at(Doing::Read, path, at)), buffer)
    };
    if len == 0 {
        return Ok(());
    }
    let buffer = || Buffer::heap(usize::try_from(len).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES));
    let mut spare = (len > CHUNK_BYTES as u64).then(buffer);
    let (mut current, mut full) = read(buffer(), 0).await;
    let mut at = 0;
    loop {
        let count = current?;
        at += count as u64;
        let has_next = count == CHUNK_BYTES && at < len;
        let Some(next) = spare.take().filter(|_| has_next) else {
            look(&full.memory()[..count]);
            return Ok(());
        };
        let (next, ()) = join(read(next, at), async {
            yield_now().await; // the read is on its way
            look(&full.memory()[..count]);
        })
        .await;
        spare = Some(std::mem::replace(&mut full, next.1));
        current = next.0;
    }
}

impl Inner {
    /// The tree of what stands in an open file.
    pub(super) async fn tree(&self, file: &(File, bool), path: &str, len: u64) -> Result<Tree, DiskError> {
        let chunks = bounded(path, len)?;
        let mut hasher = TreeHasher::with_chunks(self.options.kernel, chunks);
        scan(file, path, len, |bytes| hasher.update(bytes)).await?;
        Ok(hasher.finish())
    }

    /// The tree and the flat digest of what stands in an open file. For more than one chunk this runs at bulk priority,
    /// whatever the caller's own, so that urgent work goes first.
    pub(super) async fn tree_and_flat(
        &self,
        file: (File, bool),
        path: &str,
        len: u64,
    ) -> Result<(Tree, Digest), DiskError> {
        bounded(path, len)?;
        let mut hasher = TreeAndFlat::new(self.options.kernel);
        let name = path.to_owned();
        let digesting = async move {
            scan(&file, &name, len, |bytes| hasher.update(bytes)).await?;
            Ok(hasher.finish())
        };
        if len <= CHUNK_BYTES as u64 {
            return digesting.await;
        }
        let digested = AbortOnDrop(Core::current().spawn(Priority::Bulk, digesting)).await;
        digested.unwrap_or_else(|| Err(failed(Doing::Read, path)(Errno::CANCELED)))
    }
}

/// A task that is aborted when whoever awaits it is dropped.
struct AbortOnDrop<T>(Task<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The identity of an open file.
pub(super) async fn identity_of(file: &File, path: &str) -> Result<Identity, DiskError> {
    Ok(file.stat().await.map_err(failed(Doing::Stat, path))?.into())
}

/// Chunks of a file; one that is longer than any segment is refused as the file system refuses it.
fn bounded(path: &str, len: u64) -> Result<u32, DiskError> {
    chunk_count(len).ok_or_else(|| failed_at(Doing::Read, path, SEGMENT_BYTES_MAX)(Errno(libc::EFBIG)))
}
