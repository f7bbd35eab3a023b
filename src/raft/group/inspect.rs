//! Looking at the files of a group that nobody runs.

use std::rc::Rc;

use crate::ids::{GroupId, LogIndex};
use crate::raft::keeper::Keeper;
use crate::raft::log::summary;
use crate::raft::machine::Machine;
use crate::raft::types::Point;
use crate::uring::{Dir, Notify};

use super::error::OpenError;

/// How far the files of a group are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// The last entry that the group knew to be committed, in its snapshot or in its log.
    pub committed: LogIndex,
    /// Nothing of the group was ever written here.
    pub is_fresh: bool,
}

/// Reads a group's snapshot and log as opening does, and begins nothing.
///
/// # Errors
/// Why the group would not be opened.
pub async fn inspect<M: Machine>(dir: &Dir, group: GroupId) -> Result<Inspected, OpenError> {
    let keeper = Keeper::<M>::open(group, dir.clone(), None, None, Rc::new(Notify::default())).await?;
    let (log, snapshot) = (summary(dir, group).await?, keeper.applied());
    let purged = log.purged;
    if purged > snapshot {
        return Err(OpenError::Gap { snapshot: snapshot.index, purged: purged.index });
    }
    let committed = log.committed.index.max(snapshot.index);
    Ok(Inspected { committed, is_fresh: log.files == 0 && snapshot == Point::START })
}
