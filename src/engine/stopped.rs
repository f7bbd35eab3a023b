//! The root of a node that does not run: held, so that none starts, and its files set aside.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::NodeConfig;
use crate::ids::{GroupId, ShardId};
use crate::segment::{PRIVATE_FOLDER, hold};
use crate::uring::{Dir, Errno, File};

use super::identity::IdentityError;
use super::layout::{beside, group_place};

/// What stands against working on the root of a stopped node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootError {
    /// A node runs on it.
    InUse {
        /// What it holds.
        path: PathBuf,
    },
    /// No node was ever here.
    NoNode {
        /// The root.
        root: PathBuf,
    },
    /// Its identity cannot be used.
    Identity(IdentityError),
    /// There is no ring to work on the disk by.
    Ring {
        /// Why.
        why: String,
    },
    /// The disk refuses something.
    Disk {
        /// What was asked of it.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A group can be read neither as whole nor as damaged.
    Group {
        /// Its folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl RootError {
    /// For `map_err`: no ring could be made.
    pub(super) fn ring(error: impl fmt::Display) -> Self {
        Self::Ring { why: error.to_string() }
    }

    /// The disk has no room for what has to be written.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Identity(error) => error.is_disk_full(),
            Self::Disk { errno, .. } => errno.is_disk_full(),
            Self::InUse { .. } | Self::NoNode { .. } | Self::Ring { .. } | Self::Group { .. } => false,
        }
    }
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(f, "{}: a node runs on it; stop it first", path.display()),
            Self::NoNode { root } => write!(f, "{}: no node was ever here", root.display()),
            Self::Identity(error) => error.fmt(f),
            Self::Ring { why } => f.write_str(why),
            Self::Disk { doing, path, errno } => write!(f, "cannot {doing} {}: {errno}", path.display()),
            Self::Group { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for RootError {}

/// For `map_err`: this could not be done to `path`.
pub(super) fn disk(doing: &'static str, path: &Path) -> impl Fn(Errno) -> RootError + use<> {
    let path = path.to_owned();
    move |errno| RootError::Disk { doing, path: path.clone(), errno }
}

pub(super) async fn open(path: &Path) -> Result<Dir, RootError> {
    let failed = disk("open", path);
    Dir::open_root(path.to_str().ok_or(failed(Errno::INVALID))?).await.map_err(failed)
}

/// A folder, if there is one.
pub(super) async fn open_if_there(path: &Path) -> Result<Option<Dir>, RootError> {
    match open(path).await {
        Ok(dir) => Ok(Some(dir)),
        Err(RootError::Disk { errno: Errno::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A shard's private folder.
pub(super) fn private_folder(config: &NodeConfig, shard: ShardId) -> PathBuf {
    beside(&config.segments_dir(shard)).join(PRIVATE_FOLDER)
}

/// What a running node holds, held here meanwhile.
pub(super) async fn lock_all(config: &NodeConfig) -> Result<Vec<File>, RootError> {
    let mut locks = Vec::new();
    for shard in (0..config.shards).map(ShardId) {
        let path = private_folder(config, shard);
        let Some(private) = open_if_there(&path).await? else { continue };
        match hold(&private).await {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(RootError::InUse { path }),
            Err(error) => return Err(RootError::Disk { doing: "lock", path, errno: error.errno }),
        }
    }
    Ok(locks)
}

/// Gives a group's folder a name that nobody reads; nothing if there is none.
pub(super) async fn group_aside(config: &NodeConfig, group: GroupId) -> Result<Option<PathBuf>, RootError> {
    let (above, name) = group_place(config, group);
    set_aside(&above, name).await
}

/// Gives what stands under `name` one that nobody reads, durably; nothing if there is none.
pub(super) async fn set_aside(above: &Path, name: &str) -> Result<Option<PathBuf>, RootError> {
    let failed = disk("set aside", &above.join(name));
    let Some(dir) = open_if_there(above).await? else { return Ok(None) };
    let names = dir.list().await.map_err(&failed)?;
    let has = |name: &str| names.iter().any(|found| found.bytes == name.as_bytes());
    if !has(name) {
        return Ok(None);
    }
    let free = (1_u64..).map(|number| format!("{name}.aside-{number}")).find(|name| !has(name));
    let Some(aside) = free else { return Err(failed(Errno::NO_SPACE)) };
    dir.rename(name, &dir, &aside).await.map_err(&failed)?;
    dir.sync().await.map_err(&failed)?;
    Ok(Some(above.join(aside)))
}
