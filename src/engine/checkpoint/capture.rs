//! Linking and copying active files into a folder of Ringway's own, on a thread that may block, while the engine holds
//! still. What was captured goes again unless it is registered.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::tree::Facts;
use crate::limits::CHECKPOINT_PIECE_BYTES;
use crate::segment::captured_name;
use crate::shard::Captured;

use super::active::{ActiveFile, Frozen, How};
use super::error::CheckpointError;

/// Numbers the captured files of this process: a name that comes again might be one that a hung copy still writes.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Names in the folder of checkpoints; they go when this is dropped.
pub(super) struct Capture {
    folder: PathBuf,
    names: Vec<String>,
    pub(super) bytes_copied: u64,
    pub(super) linked: usize,
}

impl Drop for Capture {
    fn drop(&mut self) {
        for name in &self.names {
            match fs::remove_file(self.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, name, "what a checkpoint has captured is left for the next start");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl Capture {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, names: Vec::new(), bytes_copied: 0, linked: 0 }
    }

    /// Captures all files; none of it counts once `is_over`. Paths are taken below `root`.
    pub(super) fn take(
        &mut self,
        frozen: &Frozen,
        root: &Path,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Vec<Captured>, CheckpointError> {
        let mut captured = Vec::with_capacity(frozen.files.len());
        for file in &frozen.files {
            if is_over() {
                break;
            }
            captured.push(self.take_one(file, &root.join(&file.file), is_over)?);
        }
        Ok(captured)
    }

    fn take_one(
        &mut self,
        active: &ActiveFile,
        from: &Path,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Captured, CheckpointError> {
        let name = captured_name(process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let to = self.folder.join(&name);
        self.names.push(name.clone());
        let facts = match active.how {
            How::Link => {
                self.linked += 1;
                link(from, &to)?
            }
            How::Copy { bytes } => {
                self.bytes_copied += bytes;
                copy(from, &to, bytes, is_over)?
            }
        };
        let facts = (facts.inode, facts.bytes, facts.modified);
        Ok(Captured { path: active.path.clone(), name, facts })
    }
}

/// What was linked is looked at behind the link: by then it is the same file for good.
fn link(from: &Path, to: &Path) -> Result<Facts, CheckpointError> {
    fs::hard_link(from, to).map_err(|error| {
        if error.kind() == io::ErrorKind::CrossesDevices {
            file(from, &"a link needs the file system of the shard's directory; ask for a copy")
        } else if is_of_disk(&error) {
            disk(to, &error)
        } else {
            file(from, &error)
        }
    })?;
    let facts = fs::symlink_metadata(to).map_err(|error| disk(to, &error))?;
    if !facts.is_file() {
        return Err(file(from, &not_regular(facts.is_symlink())));
    }
    Ok(Facts::of(&facts))
}

/// By copy_file_range(2), which shares blocks where the file system can, else by reading and writing: both are
/// `io::copy`'s.
fn copy(from: &Path, to: &Path, bytes: u64, is_over: &dyn Fn() -> bool) -> Result<Facts, CheckpointError> {
    // A link is not followed, and a FIFO holds nobody up.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let source = OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(|error| {
        let is_link = error.raw_os_error() == Some(libc::ELOOP);
        if is_link { file(from, &not_regular(true)) } else { file(from, &error) }
    })?;
    let found = source.metadata().map_err(|error| file(from, &error))?;
    let shorter = |found: u64| file(from, &format!("it has {found} bytes, fewer than the {bytes} told"));
    if !found.is_file() {
        return Err(file(from, &not_regular(false)));
    }
    if found.size() < bytes {
        return Err(shorter(found.size()));
    }
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let target = target.map_err(|error| disk(to, &error))?;
    let mut left = bytes;
    while left > 0 && !is_over() {
        let piece = left.min(CHECKPOINT_PIECE_BYTES);
        match io::copy(&mut (&source).take(piece), &mut (&target as &File)) {
            Ok(0) => return Err(shorter(bytes - left)),
            Ok(copied) => left -= copied,
            Err(error) if is_of_disk(&error) => return Err(disk(to, &error)),
            Err(error) => return Err(file(from, &error)),
        }
    }
    target.metadata().map(|facts| Facts::of(&facts)).map_err(|error| disk(to, &error))
}

/// The folder of checkpoints, not the engine's file, is what is wrong.
fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn not_regular(is_link: bool) -> &'static str {
    if is_link { "it is a symbolic link" } else { "it is not a regular file" }
}

fn file(path: &Path, why: &dyn std::fmt::Display) -> CheckpointError {
    CheckpointError::File { path: path.display().to_string(), why: why.to_string() }
}

fn disk(path: &Path, error: &io::Error) -> CheckpointError {
    CheckpointError::Disk { why: format!("{}: {error}", path.display()) }
}
