//! Making of a stopped group's files those of a node that was never its member, and that has what is committed.

use std::rc::Rc;

use crate::ids::GroupId;
use crate::limits::LOG_BATCH_BYTES_MAX;
use crate::raft::keeper::Keeper;
use crate::raft::log::{Log, discard};
use crate::raft::machine::Machine;
use crate::raft::types::Point;
use crate::uring::{Dir, Notify};

use super::error::OpenError;

/// Writes a snapshot of all that the group knew to be committed, one that names no members, and then removes its log
/// and with it the vote. Gives the state. May be asked again.
///
/// # Errors
/// Why the group would not be opened, or what the disk refuses.
pub async fn condense<M: Machine>(dir: &Dir, group: GroupId) -> Result<M, OpenError> {
    let keeper = Keeper::<M>::open(group, dir.clone(), None, None, Rc::new(Notify::default())).await?;
    let log = Log::open(dir.clone(), group, None).await?;
    let read = read_committed(&log, &keeper).await;
    let closed = log.close().await;
    read?;
    closed.map_err(OpenError::Stopped)?;
    let applied = keeper.applied();
    if applied > Point::START {
        keeper.forget_members();
        keeper.write_snapshot().await?;
    }
    discard(dir).await?;
    Ok(keeper.machine().replace(M::empty()))
}

async fn read_committed<M: Machine>(log: &Log, keeper: &Keeper<M>) -> Result<(), OpenError> {
    let ((purged, _), snapshot) = (log.ends(), keeper.applied());
    if purged > snapshot {
        return Err(OpenError::Gap { snapshot: snapshot.index, purged: purged.index });
    }
    let committed = log.committed().index;
    while keeper.applied().index < committed {
        let range = keeper.applied().index.0 + 1..committed.0 + 1;
        let entries = log.read(range, LOG_BATCH_BYTES_MAX).await.map_err(OpenError::Stopped)?;
        if entries.is_empty() {
            let at = keeper.applied().index;
            return Err(OpenError::Gap { snapshot: at, purged: at });
        }
        entries.into_iter().for_each(|entry| drop(keeper.take(entry)));
    }
    Ok(())
}
