//! The operator's act for a copied root: it becomes another node's.
//!
//! Of what the original promised nothing may be kept: its logs with their votes, its membership, and the numbers of its
//! proposals go, and the cluster's group with them. What was committed stays, as a snapshot that names no members, so
//! that only later entries come from the peers. No segment counts before it was read and digested again: the inventory
//! goes. What the original pinned and its engine had deleted stands under its name again. The new identity is the last
//! step: until it is durable the root is refused as before, and adopting it again goes on.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::NodeConfig;
use crate::ids::{GroupId, Incarnation, LogIndex, NodeId, ShardId};
use crate::journal::{QUEUE, SESSION, is_events};
use crate::manifest::{SafePath, State};
use crate::raft::{self, condense};
use crate::segment::{INVENTORY, Stem};
use crate::uring::{Dir, Errno};

use super::identity::Identity;
use super::layout::group_place;
use super::stopped::{
    RootError, disk, group_aside, lock_all, open, open_if_there, private_folder, set_aside,
};

/// A root that has become this node's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// Whose it was.
    pub from: NodeId,
    /// Its life from now on.
    pub incarnation: Incarnation,
    /// Up to which entry each shard's manifest stands here. None of a shard that was never written to, or whose log or
    /// snapshot was damaged: that one comes from its peers as a whole.
    pub shards: Vec<(ShardId, Option<LogIndex>)>,
    /// Files of the original that nobody reads any more: its cluster's group, damaged groups, and changes that its
    /// engine had queued and that were not registered.
    pub aside: Vec<PathBuf>,
}

/// Why a root was not adopted. Nothing has changed but where the disk refuses something or a group cannot be read: then
/// the root is nobody's until it is adopted to the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdoptError {
    /// The root cannot be worked on, or is another cluster's, or of another number of shards.
    Root(RootError),
    /// The root is this node's own.
    Own {
        /// The node.
        node: NodeId,
    },
}

/// Makes a copied root that of the node that `config` names. None may run on it.
///
/// # Errors
/// `AdoptError`.
pub(super) async fn adopt_root(config: &NodeConfig) -> Result<Adopted, AdoptError> {
    let root = open(&config.root).await?;
    let found = Identity::found(&root).await.map_err(RootError::Identity)?;
    let (original, is_copied) = found.ok_or_else(|| RootError::NoNode { root: config.root.clone() })?;
    let identity = Identity { node: config.node, ..original };
    identity.expect(config.cluster, config.node, config.shards).map_err(RootError::Identity)?;
    if original.node == config.node && !is_copied {
        return Err(AdoptError::Own { node: config.node });
    }
    let _locks = lock_all(config).await?;
    let (mut shards, mut aside) = (Vec::new(), Vec::new());
    for shard in (0..config.shards).map(ShardId) {
        shards.push((shard, adopt_shard(config, shard, &mut aside).await?));
    }
    aside.extend(group_aside(config, GroupId::CLUSTER).await?);
    let renewed = identity.renew(&root).await.map_err(RootError::Identity)?;
    Ok(Adopted { from: original.node, incarnation: renewed.incarnation, shards, aside })
}

async fn adopt_shard(
    config: &NodeConfig,
    shard: ShardId,
    aside: &mut Vec<PathBuf>,
) -> Result<Option<LogIndex>, RootError> {
    let (above, name) = group_place(config, shard.group());
    let folder = above.join(name);
    let manifest = match open_if_there(&folder).await? {
        None => None,
        Some(dir) => match condense::<State>(&dir, shard.group()).await {
            Ok(manifest) => Some(manifest),
            Err(error) if raft::OpenError::is_damage(&error) => {
                aside.extend(group_aside(config, shard.group()).await?);
                None
            }
            Err(error) => return Err(RootError::Group { path: folder, why: error.to_string() }),
        },
    };
    if let Some(private) = open_if_there(&private_folder(config, shard)).await? {
        let segments = config.segments_dir(shard);
        if let Some(manifest) = &manifest {
            unpin(&private, &segments, manifest).await?;
        }
        empty(&private, "staging", &segments).await?;
        let failed = disk("remove the inventory beside", &segments);
        private.remove(INVENTORY).await.map_err(&failed)?;
        private.sync().await.map_err(&failed)?;
    }
    if let Some(dir) = open_if_there(&above).await? {
        let failed = disk("remove the session and the events in", &above);
        dir.remove(SESSION).await.map_err(&failed)?;
        for name in dir.list().await.map_err(&failed)?.into_iter().filter(|name| is_events(&name.bytes)) {
            dir.remove(&String::from_utf8_lossy(&name.bytes)).await.map_err(&failed)?;
        }
        dir.sync().await.map_err(&failed)?;
    }
    aside.extend(set_aside(&above, QUEUE).await?);
    let applied = manifest.map(|manifest| manifest.applied());
    Ok(applied.filter(|applied| *applied > LogIndex(0)))
}

/// Gives what is pinned, and stands under its name no more, that name again; then lets go of all pins.
async fn unpin(private: &Dir, segments: &Path, manifest: &State) -> Result<(), RootError> {
    let failed = disk("let go of the pins beside", segments);
    let pins = match private.open_dir("pins").await {
        Err(Errno::NOT_FOUND) => return Ok(()),
        pins => pins.map_err(&failed)?,
    };
    let Some(root) = open_if_there(segments).await? else { return Ok(()) };
    for name in pins.list().await.map_err(&failed)? {
        let stem = std::str::from_utf8(&name.bytes).ok().and_then(Stem::parse);
        let entry = stem.and_then(|stem| manifest.entry(&stem.id).filter(|entry| entry.root == stem.root));
        if let (Some(stem), Some(entry)) = (stem, entry) {
            let (folder, last) = folder_of(&root, entry.path()).await.map_err(&failed)?;
            match pins.link(&stem.to_string(), &folder, last).await {
                Ok(()) => folder.sync().await.map_err(&failed)?,
                Err(Errno::EXISTS) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
    empty(private, "pins", segments).await
}

/// The folder of a manifest's path, made with those above it if it is not there, and the path's last name.
async fn folder_of<'a>(root: &Dir, path: SafePath<'a>) -> Result<(Dir, &'a str), Errno> {
    let mut names = path.as_str().split('/');
    let last = names.next_back().unwrap_or_default();
    let mut folder = root.clone();
    for name in names {
        let below = folder.make_dir(name).await?;
        folder.sync().await?;
        folder = below;
    }
    Ok((folder, last))
}

/// Removes the files in one of the private folders.
async fn empty(private: &Dir, name: &str, segments: &Path) -> Result<(), RootError> {
    let failed = disk("empty a private folder beside", segments);
    let folder = match private.open_dir(name).await {
        Err(Errno::NOT_FOUND) => return Ok(()),
        folder => folder.map_err(&failed)?,
    };
    for name in folder.list().await.map_err(&failed)? {
        if let Ok(name) = std::str::from_utf8(&name.bytes) {
            folder.remove(name).await.map_err(&failed)?;
        }
    }
    folder.sync().await.map_err(&failed)?;
    Ok(())
}

impl From<RootError> for AdoptError {
    fn from(error: RootError) -> Self {
        Self::Root(error)
    }
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => error.fmt(f),
            Self::Own { node } => write!(f, "the root is node {node}'s own; there is nothing to adopt"),
        }
    }
}

impl std::error::Error for AdoptError {}
