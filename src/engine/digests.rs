//! Digests of files, read plainly: for the command line and for engines that want them before they register.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use crate::config::DigestConfig;
use crate::digest::{FlatHasher, Kernel, TreeHasher, UnknownKernel};
use crate::ids::{Digest, Nanos};
use crate::limits::CHUNK_BYTES;

use super::error::OpenError;

/// The digest kernel that is the fastest on this machine: tried once, when a process first asks, in about 2 ms.
pub(super) fn kernel() -> Kernel {
    static FASTEST: OnceLock<Kernel> = OnceLock::new();
    *FASTEST.get_or_init(|| {
        let begun = Instant::now();
        Kernel::fastest(|| Nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)))
    })
}

/// The kernel of a node: the one of that name, or the fastest.
pub(super) fn kernel_of(config: DigestConfig) -> Result<Kernel, OpenError> {
    let Some(name) = config.kernel else { return Ok(kernel()) };
    let bad = |why: String| OpenError::Core { why };
    let kernel: Kernel = name.parse().map_err(|error: UnknownKernel| bad(error.to_string()))?;
    kernel.require().map_err(|error| bad(error.to_string()))
}

/// Root of the digest tree of a file, and its size in bytes: what a manifest says of a segment.
///
/// # Errors
/// The file cannot be read.
pub fn tree_digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = TreeHasher::new(kernel());
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

fn each_chunk(path: &Path, take: impl FnMut(&[u8])) -> io::Result<()> {
    // A FIFO's other end would be waited for otherwise, and a device has no end.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    each_chunk_of(&mut file, take)
}

pub(super) fn each_chunk_of(file: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
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
