//! How far a shard on a disk is, without starting anything: three answers, and an error for damage.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::config::NodeConfig;
use crate::ids::{LogIndex, ShardId};
use crate::manifest::State;
use crate::raft::{OpenError, inspect};
use crate::uring::{Dir, Errno};

use super::drive::{core, drive};
use super::error::NoSuchShard;
use super::layout::group_place;

/// How far a shard's group on a disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisk {
    /// There is no such folder: no node was ever here, or the disk is another one.
    Missing,
    /// The group has never written anything.
    Fresh,
    /// The last entry that the group knew to be committed, and applies again when it starts. What other members have
    /// committed since is not among it.
    Applied(LogIndex),
}

/// It is not known how far a shard on a disk is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OnDiskError {
    /// The configuration has no such shard.
    NoShard(NoSuchShard),
    /// The log or the snapshot is damaged: `ringway rejoin` sets it aside.
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What, and where.
        why: String,
    },
    /// The disk refuses to be read.
    Disk {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No ring can be made.
    Ring {
        /// Why, and what to change.
        why: String,
    },
}

/// Reads from the disk how far a shard is; starts and changes nothing. The node must not run, or the answer may be of
/// any moment.
///
/// # Errors
/// `OnDiskError`.
pub fn last_applied_on_disk(config: &NodeConfig, shard: ShardId) -> Result<OnDisk, OnDiskError> {
    if shard.0 >= config.shards {
        return Err(OnDiskError::NoShard(NoSuchShard { shard, count: config.shards }));
    }
    let (above, name) = group_place(config, shard.group());
    let path = above.join(name);
    let core = core().map_err(|error| OnDiskError::Ring { why: error.to_string() })?;
    let never = AtomicBool::new(false);
    drive(&core, read(path, shard), &never).expect("nobody says stop, so it was driven to its end")
}

async fn read(path: PathBuf, shard: ShardId) -> Result<OnDisk, OnDiskError> {
    let disk = |why: &dyn fmt::Display| OnDiskError::Disk { path: path.clone(), why: why.to_string() };
    let Some(text) = path.to_str() else { return Err(disk(&Errno::INVALID)) };
    let dir = match Dir::open_root(text).await {
        Err(Errno::NOT_FOUND) => return Ok(OnDisk::Missing),
        dir => dir.map_err(|errno| disk(&errno))?,
    };
    match inspect::<State>(&dir, shard.group()).await {
        Ok(found) if found.is_fresh => Ok(OnDisk::Fresh),
        Ok(found) => Ok(OnDisk::Applied(found.committed)),
        Err(error) if OpenError::is_damage(&error) => {
            Err(OnDiskError::Damaged { path: path.clone(), why: error.to_string() })
        }
        Err(error) => Err(disk(&error)),
    }
}

impl fmt::Display for OnDiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShard(error) => error.fmt(f),
            Self::Damaged { path, why } | Self::Disk { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Ring { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for OnDiskError {}
