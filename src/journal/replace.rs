//! A small file that is replaced as a whole: written beside, flushed, renamed, its folder flushed.

use crate::uring::{Buffer, Dir, Errno, File, OpenOptions};

/// Puts a file in the place of the one of this name; durable when this returns. `make` gives its bytes, and may look at
/// the file that they will stand in. After an error either of the two may stand there.
///
/// # Errors
/// The disk's.
pub async fn replace<B: AsRef<[u8]>>(
    dir: &Dir,
    name: &str,
    make: impl AsyncFnOnce(&File) -> Result<B, Errno>,
) -> Result<(), Errno> {
    let new = format!("{name}.new");
    dir.remove(&new).await?;
    let options = OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
    let file = dir.open(&new, options).await?;
    let bytes = make(&file).await?;
    let bytes = bytes.as_ref();
    file.write_at(Buffer::from_bytes(bytes), 0..bytes.len(), 0).await.0?;
    file.sync_data().await?;
    dir.rename(&new, dir, name).await?;
    dir.sync().await
}
