//! The root of a node that does not run: held, so that none starts, and its files set aside.

use std::path::{Path, PathBuf};

use crate::config::NodeConfig;
use crate::ids::{GroupId, ShardId};
use crate::segment::{PRIVATE_FOLDER, hold};
use crate::uring::{Dir, Errno, File};

use super::layout::{beside, group_place};

/// What stands against working on a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StoppedError {
    /// A node runs on it.
    InUse {
        /// What it holds.
        path: PathBuf,
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
}

/// For `map_err`: this could not be done to `path`.
pub(super) fn disk(doing: &'static str, path: &Path) -> impl Fn(Errno) -> StoppedError + use<> {
    let path = path.to_owned();
    move |errno| StoppedError::Disk { doing, path: path.clone(), errno }
}

pub(super) async fn open(path: &Path) -> Result<Dir, StoppedError> {
    let failed = disk("open", path);
    Dir::open_root(path.to_str().ok_or(failed(Errno::INVALID))?).await.map_err(failed)
}

/// A folder, if there is one.
pub(super) async fn open_if_there(path: &Path) -> Result<Option<Dir>, StoppedError> {
    match open(path).await {
        Ok(dir) => Ok(Some(dir)),
        Err(StoppedError::Disk { errno: Errno::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A shard's private folder.
pub(super) fn private_folder(config: &NodeConfig, shard: ShardId) -> PathBuf {
    beside(&config.segments_dir(shard)).join(PRIVATE_FOLDER)
}

/// What a running node holds, held here meanwhile.
pub(super) async fn lock_all(config: &NodeConfig) -> Result<Vec<File>, StoppedError> {
    let mut locks = Vec::new();
    for shard in (0..config.shards).map(ShardId) {
        let path = private_folder(config, shard);
        let Some(private) = open_if_there(&path).await? else { continue };
        match hold(&private).await {
            Ok(Some(lock)) => locks.push(lock),
            Ok(None) => return Err(StoppedError::InUse { path }),
            Err(error) => return Err(StoppedError::Disk { doing: "lock", path, errno: error.errno }),
        }
    }
    Ok(locks)
}

/// Gives a group's folder a name that nobody reads; nothing if there is none.
pub(super) async fn group_aside(
    config: &NodeConfig,
    group: GroupId,
) -> Result<Option<PathBuf>, StoppedError> {
    let (above, name) = group_place(config, group);
    set_aside(&above, name).await
}

/// Gives what stands under `name` one that nobody reads, durably; nothing if there is none.
pub(super) async fn set_aside(above: &Path, name: &str) -> Result<Option<PathBuf>, StoppedError> {
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
