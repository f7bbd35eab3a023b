//! Digests of files, read plainly: for the command line and for engines that want them before they register.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::digest::{FlatHasher, Kernel, TreeHasher};
use crate::ids::Digest;
use crate::limits::CHUNK_BYTES;

/// Root of the digest tree of a file, and its size in bytes: what a manifest says of a segment.
///
/// # Errors
/// The file cannot be read.
pub fn tree_digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = TreeHasher::new(Kernel::choose(None));
    each_chunk(path, |bytes| hasher.update(bytes))?;
    let tree = hasher.finish();
    Ok((tree.root, tree.len))
}

/// SHA-256 of a file as `sha256sum` prints it, and its size in bytes.
///
/// # Errors
/// The file cannot be read.
pub fn flat_digest(path: &Path) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut count) = (FlatHasher::new(), 0);
    each_chunk(path, |bytes| {
        count += bytes.len() as u64;
        hasher.update(bytes);
    })?;
    Ok((hasher.finish(), count))
}

pub(super) fn each_chunk(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
