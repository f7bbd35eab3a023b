//! What an engine tells of its active files, and the two hooks that it gives for that.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::limits::BATCH_OPERATIONS_MAX;
use crate::manifest::SafePath;

use super::error::CheckpointError;

/// An engine whose files change, as a checkpoint sees it. Both are called on threads of the checkpoint's own.
///
/// ```
/// use ringway::engine::{ActiveFile, ActiveFiles, Frozen, How};
/// use std::path::PathBuf;
/// use std::sync::{Condvar, Mutex};
///
/// /// A log that is appended to, and what the writers look at before each record.
/// struct Log {
///     file: PathBuf,
///     bytes: Mutex<u64>,
///     frozen: Mutex<bool>,
///     thawed: Condvar,
/// }
///
/// impl ActiveFiles for Log {
///     fn freeze(&self) -> Result<Frozen, String> {
///         *self.frozen.lock().map_err(|_| "a writer has panicked")? = true;
///         let bytes = *self.bytes.lock().map_err(|_| "a writer has panicked")?;
///         Ok(vec![ActiveFile::new(&self.file, "log", How::Copy { bytes })].into())
///     }
///
///     fn thaw(&self) {
///         if let Ok(mut frozen) = self.frozen.lock() {
///             *frozen = false;
///         }
///         self.thawed.notify_all();
///     }
/// }
///
/// /// At most 200 ms still, then on every replica or an error.
/// fn checkpoint(shard: &ringway::engine::Shard, log: std::sync::Arc<Log>) {
///     use ringway::engine::{Ask, Durability};
///     let lease = std::time::Duration::from_millis(200);
///     match shard.checkpoint(log, lease, Ask::durable(Durability::Landed(3))).wait() {
///         Ok(done) => println!("{} files at {}", done.files, done.committed.index),
///         Err(error) => println!("no checkpoint: {error}"),
///     }
/// }
/// ```
pub trait ActiveFiles: Send + Sync {
    /// Blocks whoever writes, and names what a checkpoint consists of. It may take its time; what it takes is the
    /// lease's.
    ///
    /// # Errors
    /// Why there can be no checkpoint now: nobody is blocked then, and `thaw` is not called.
    fn freeze(&self) -> Result<Frozen, String>;

    /// Lets the writers go on. Called once for each `freeze` that returned `Ok` or panicked, on any thread: also while
    /// files are still being copied, when the lease has ended.
    fn thaw(&self);
}

/// What a checkpoint consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frozen {
    /// The files to link or copy.
    pub files: Vec<ActiveFile>,
    /// Paths that an earlier checkpoint has registered and this one has no more.
    pub deleted: Vec<String>,
}

/// A file that an engine writes to, or wrote to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveFile {
    /// Where it stands: absolute, or below the shard's directory.
    pub file: PathBuf,
    /// The segment's path that its checkpoint is registered under, and stands under in the shard's directory: a name of
    /// Ringway's, under which the engine itself has nothing.
    pub path: String,
    /// How it is captured.
    pub how: How,
}

/// How an active file is captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By a hard link: for a file to which nobody writes any more after the freeze, such as a log that was rotated. It
    /// has to stand on the file system of the shard's directory.
    Link,
    /// By a copy of its first `bytes`: for one that is written to again after the thaw.
    Copy {
        /// Its length, as far as it belongs to the checkpoint.
        bytes: u64,
    },
}

impl ActiveFile {
    /// The file, to be registered under `path`.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, path: impl Into<String>, how: How) -> Self {
        Self { file: file.into(), path: path.into(), how }
    }
}

impl From<Vec<ActiveFile>> for Frozen {
    fn from(files: Vec<ActiveFile>) -> Self {
        Self { files, deleted: Vec::new() }
    }
}

impl Frozen {
    /// Looks at the paths, before any file is touched.
    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        let paths = self.files.iter().map(|file| &file.path).chain(&self.deleted);
        let refuse = |path: &str, why: String| {
            Err(CheckpointError::Path { path: path.escape_debug().to_string(), why })
        };
        let count = self.files.len() + self.deleted.len();
        if count == 0 || count > BATCH_OPERATIONS_MAX {
            return Err(CheckpointError::Count { count, most: BATCH_OPERATIONS_MAX });
        }
        let mut seen = BTreeSet::new();
        for path in paths {
            if let Err(error) = SafePath::parse(path) {
                return refuse(path, error.to_string());
            }
            if !seen.insert(path) {
                return refuse(path, "it is named twice".to_owned());
            }
        }
        Ok(())
    }
}
