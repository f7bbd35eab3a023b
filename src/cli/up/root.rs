//! The root's own files: the lock, and small files written durably.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failure};

/// A root that this process alone uses for as long as this lives.
pub(super) struct Root {
    /// Absolute.
    pub(super) path: PathBuf,
    _lock: File,
}

impl Root {
    /// Makes the root if it is absent, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let at = |error| Failure::from(error).at(path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        let path = fs::canonicalize(path).map_err(at)?;
        if path.join("identity").exists() {
            let why =
                format!("{}: that is one node's root; give the directory that it stands in", path.display());
            return Err(Failure::new(Exit::Config, why));
        }
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::failed(format!("{}: another `ringway up` runs there", path.display())))
            }
            Err(TryLockError::Error(error)) => Err(at(error)),
        }
    }
}

/// Writes a whole file so that it is there after a power cut, or not at all.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let at = |error| Failure::from(error).at(path.display());
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_dir(path.parent().unwrap_or(path))
    };
    write().map_err(at)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
