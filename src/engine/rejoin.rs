//! The operator's act for a group whose log or snapshot is damaged here: its files are set aside, and the node comes
//! back to the cluster in another life, in which it promises nothing that it cannot keep (D15). Its peers give it the
//! group again; the segments that stand here stay and are not fetched again.
//!
//! The new life is durable before the first file is moved: an empty log under the old life would vote against what it
//! had acknowledged.

use std::fmt;
use std::path::PathBuf;

use crate::cluster::ClusterState;
use crate::config::NodeConfig;
use crate::ids::{GroupId, Incarnation, ShardId};
use crate::manifest::State;
use crate::raft::{self, inspect};
use crate::uring::Errno;

use super::identity::Identity;
use super::layout::group_place;
use super::stopped::{RootError, group_aside, lock_all, open};

/// A node that will come back in another life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejoining {
    /// The life that the cluster knows.
    pub before: Incarnation,
    /// The one that it will come back in.
    pub now: Incarnation,
    /// The groups that were set aside, and where their files are now.
    pub aside: Vec<(GroupId, PathBuf)>,
}

/// Why nothing was set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RejoinError {
    /// The root cannot be worked on.
    Root(RootError),
    /// The root is another node's, or another cluster's.
    Other {
        /// The root.
        root: PathBuf,
    },
    /// Every group reads as it should.
    NothingDamaged,
    /// There is no such shard.
    NoShard {
        /// Its number.
        shard: ShardId,
    },
}

/// Sets the named groups aside, or if none is named those that are damaged, and gives the root another life. The node
/// must not run.
///
/// # Errors
/// `RejoinError`. The life is another one if a file could not be moved after that was durable; asking again goes on.
pub(super) async fn set_aside(config: &NodeConfig, named: &[GroupId]) -> Result<Rejoining, RejoinError> {
    let known = |group: &GroupId| group.shard().is_none_or(|shard| shard.0 < config.shards);
    if let Some(shard) = named.iter().find(|group| !known(group)).and_then(|group| group.shard()) {
        return Err(RejoinError::NoShard { shard });
    }
    let root = open(&config.root).await?;
    let identity = Identity::load(&root).await.map_err(RootError::Identity)?;
    let identity = identity.ok_or_else(|| RootError::NoNode { root: config.root.clone() })?;
    if (identity.cluster, identity.node) != (config.cluster, config.node) {
        return Err(RejoinError::Other { root: config.root.clone() });
    }
    let _locks = lock_all(config).await?;
    let mut groups = named.to_vec();
    if groups.is_empty() {
        let shards = (0..config.shards).map(|shard| ShardId(shard).group());
        for group in std::iter::once(GroupId::CLUSTER).chain(shards) {
            if is_damaged(config, group).await? {
                groups.push(group);
            }
        }
    }
    if groups.is_empty() {
        return Err(RejoinError::NothingDamaged);
    }
    let renewed = identity.renew(&root).await.map_err(RootError::Identity)?;
    let mut aside = Vec::new();
    for group in groups {
        aside.extend(group_aside(config, group).await?.map(|path| (group, path)));
    }
    Ok(Rejoining { before: identity.incarnation, now: renewed.incarnation, aside })
}

async fn is_damaged(config: &NodeConfig, group: GroupId) -> Result<bool, RootError> {
    let (above, name) = group_place(config, group);
    let path = above.join(name);
    let dir = match open(&path).await {
        Err(RootError::Disk { errno: Errno::NOT_FOUND, .. }) => return Ok(false),
        dir => dir?,
    };
    let found = match group.shard() {
        Some(_) => inspect::<State>(&dir, group).await,
        None => inspect::<ClusterState>(&dir, group).await,
    };
    match found {
        Ok(_) => Ok(false),
        Err(error) if raft::OpenError::is_damage(&error) => Ok(true),
        Err(error) => Err(RootError::Group { path, why: error.to_string() }),
    }
}

impl From<RootError> for RejoinError {
    fn from(error: RootError) -> Self {
        Self::Root(error)
    }
}

impl fmt::Display for RejoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => error.fmt(f),
            Self::Other { root } => {
                write!(f, "{}: the root is another node's than the configuration's", root.display())
            }
            Self::NothingDamaged => f.write_str(
                "every group's log and snapshot read as they should; name a group to set it aside all the same",
            ),
            Self::NoShard { shard } => write!(f, "there is no shard {shard}"),
        }
    }
}

impl std::error::Error for RejoinError {}
