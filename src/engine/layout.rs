//! Where a node keeps what: the fixed names below its root. The layout is in ARCHITECTURE.md.

use std::path::{Path, PathBuf};

use crate::config::NodeConfig;
use crate::ids::GroupId;
use crate::uring::{Dir, Errno};

use super::error::OpenError;

/// The folder above the one that holds a group's log and snapshots, and the name of that.
pub(super) fn group_place(config: &NodeConfig, group: GroupId) -> (PathBuf, &'static str) {
    match group.shard() {
        Some(shard) => (config.shard_dir(shard), "raft"),
        None => (config.root.clone(), "cluster"),
    }
}

/// The folder that holds a store's private folder: the one in which its segments' folder stands.
pub(super) fn beside(segments: &Path) -> &Path {
    segments.parent().unwrap_or(segments)
}

/// A path as the ring takes it.
pub(super) fn text(path: &Path) -> Result<String, OpenError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| OpenError::Files { path: path.to_owned(), why: "the path is not UTF-8".to_owned() })
}

/// A folder of one name below another, made if it is not there and durable then.
pub(super) async fn folder(above: &Dir, name: &str) -> Result<Dir, Errno> {
    let dir = above.make_dir(name).await?;
    above.sync().await?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use crate::manifest::RESERVED_COMPONENT;
    use crate::segment::PRIVATE_FOLDER;

    #[test]
    fn m3_no_manifest_takes_the_name_of_the_private_folder() {
        assert_eq!(RESERVED_COMPONENT, PRIVATE_FOLDER);
    }
}
