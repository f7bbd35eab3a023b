//! Looking at the files of a group that nobody runs.

use std::rc::Rc;

use crate::ids::GroupId;
use crate::raft::keeper::Keeper;
use crate::raft::log::summary;
use crate::raft::machine::Machine;
use crate::uring::{Dir, Notify};

use super::error::OpenError;

/// Reads a group's snapshot and log as opening does, and begins nothing.
///
/// # Errors
/// Why the group would not be opened.
pub async fn inspect<M: Machine>(dir: &Dir, group: GroupId) -> Result<(), OpenError> {
    let keeper = Keeper::<M>::open(group, dir.clone(), None, None, Rc::new(Notify::default())).await?;
    let (purged, snapshot) = (summary(dir, group).await?.purged, keeper.applied());
    if purged > snapshot {
        return Err(OpenError::Gap { snapshot: snapshot.index, purged: purged.index });
    }
    Ok(())
}
