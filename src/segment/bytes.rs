//! Whole small files as bytes: maps, chunk lists, the inventory.

use crate::limits::CHUNK_BYTES;
use crate::uring::{Buffer, Dir, File, OpenOptions};

use super::fault::{DiskError, Doing, failed, failed_at};

/// Reads all of a file.
pub(super) async fn read_all(file: &File, name: &str) -> Result<Vec<u8>, DiskError> {
    let bytes = file.stat().await.map_err(failed(Doing::Stat, name))?.bytes;
    let bytes = usize::try_from(bytes).expect("a file that we wrote fits the memory");
    let mut out = Vec::with_capacity(bytes);
    let mut buffer = Buffer::heap(bytes.min(CHUNK_BYTES));
    loop {
        let (span, at) = (0..buffer.capacity(), out.len() as u64);
        let (result, back) = file.read_at(buffer, span, at).await;
        buffer = back;
        let count = result.map_err(failed_at(Doing::Read, name, at))?;
        out.extend_from_slice(&buffer.memory()[..count]);
        if count < buffer.capacity() {
            return Ok(out);
        }
    }
}

/// Writes `bytes` at `offset`.
pub(super) async fn write_all(file: &File, name: &str, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
    let mut at = offset;
    for piece in bytes.chunks(CHUNK_BYTES) {
        let (result, _) = file.write_at(Buffer::from_bytes(piece), 0..piece.len(), at).await;
        result.map_err(failed_at(Doing::Write, name, at))?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Makes a file of exactly these bytes, its content durable; the name is not, before the folder is synced.
pub(super) async fn write_file(folder: &Dir, name: &str, bytes: &[u8]) -> Result<File, DiskError> {
    let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
    let file = folder.open(name, options).await.map_err(failed(Doing::Create, name))?;
    file.truncate(0).await.map_err(failed(Doing::Truncate, name))?;
    write_all(&file, name, bytes, 0).await?;
    file.sync_data().await.map_err(failed(Doing::SyncData, name))?;
    Ok(file)
}
