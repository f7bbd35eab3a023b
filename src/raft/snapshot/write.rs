//! Writing a snapshot: the recipe, and the slices.

use std::cell::RefCell;
use std::rc::Rc;

use crate::ids::GroupId;
use crate::limits::{SNAPSHOT_FILES_KEPT, SNAPSHOT_SYNC_BYTES};
use crate::raft::machine::Machine;
use crate::uring::{Buffer, Dir, Errno, File, Gate, OpenOptions};

use super::error::SnapshotFault;
use super::format::{SnapshotHead, end_record, head_record, part_record};
use super::load::number;

/// What a file is named while it is written.
pub(super) const NEW: &str = "snapshot.new";

/// A file's name: the index of the last entry in it.
pub(super) fn name(head: &SnapshotHead) -> String {
    format!("snapshot-{:016x}.ring", head.point.index.0)
}

/// A whole snapshot. The open file outlives its name.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub(in crate::raft) head: SnapshotHead,
    pub(in crate::raft) file: File,
    pub(in crate::raft) bytes: u64,
    /// The name of a file that came from a peer; it gets its own when it is installed.
    pub(in crate::raft) unsettled: Option<Rc<str>>,
}

/// The steps by which a snapshot comes to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotStep {
    /// Takes away what an earlier attempt left.
    Discard,
    /// Makes the file under a name that opening discards.
    Make,
    /// Writes head, parts and end.
    Write,
    /// Makes the content durable.
    Sync,
    /// Gives it its name.
    Rename,
    /// Makes the name durable.
    SyncDirectory,
    /// Takes older snapshots away.
    Prune,
}

/// The recipe.
pub const WRITE: [SnapshotStep; 7] = [
    SnapshotStep::Discard,
    SnapshotStep::Make,
    SnapshotStep::Write,
    SnapshotStep::Sync,
    SnapshotStep::Rename,
    SnapshotStep::SyncDirectory,
    SnapshotStep::Prune,
];

/// What follows when a whole, durable file stands under another name.
const SETTLE: [SnapshotStep; 4] =
    [SnapshotStep::Sync, SnapshotStep::Rename, SnapshotStep::SyncDirectory, SnapshotStep::Prune];

impl SnapshotStep {
    fn doing(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Make => "make",
            Self::Write => "write",
            Self::Sync => "flush",
            Self::Rename => "name",
            Self::SyncDirectory => "flush the name of",
            Self::Prune => "remove what is older than",
        }
    }
}

fn disk(step: SnapshotStep, file: &str) -> impl FnOnce(Errno) -> SnapshotFault {
    let file = file.to_owned();
    move |errno| SnapshotFault::Disk { doing: step.doing(), file, errno }
}

/// Writes the snapshot of a frozen view. The state may change meanwhile. Of one that fails nothing stays: on a full
/// disk it would keep its room from everybody else until the next attempt.
pub(in crate::raft) async fn write<M: Machine>(
    dir: &Dir,
    group: GroupId,
    gate: Option<&Gate>,
    head: SnapshotHead,
    machine: &Rc<RefCell<M>>,
    frozen: M::Frozen,
) -> Result<SnapshotFile, SnapshotFault> {
    let written = write_steps(dir, group, gate, head, machine, frozen).await;
    if written.is_err()
        && let Err(errno) = dir.remove(NEW).await
    {
        tracing::warn!(%group, %errno, "what there is of a snapshot stays until the next one");
    }
    written
}

async fn write_steps<M: Machine>(
    dir: &Dir,
    group: GroupId,
    gate: Option<&Gate>,
    head: SnapshotHead,
    machine: &Rc<RefCell<M>>,
    mut frozen: M::Frozen,
) -> Result<SnapshotFile, SnapshotFault> {
    let name = name(&head);
    let mut out: Option<Slices<'_>> = None;
    for step in WRITE {
        match (step, &mut out) {
            (SnapshotStep::Discard, _) => dir.remove(NEW).await.map_err(disk(step, &name))?,
            (SnapshotStep::Make, _) => {
                let options =
                    OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
                let file = dir.open(NEW, options).await.map_err(disk(step, &name))?;
                // The next one takes its name away while it is open.
                file.close_aside();
                out = Some(Slices { file, bytes: 0, synced: 0, gate });
            }
            (SnapshotStep::Write, Some(out)) => {
                let failed = |errno| disk(step, &name)(errno);
                out.put(&head_record(group, &head)).await.map_err(failed)?;
                let mut parts = 0;
                loop {
                    let part =
                        machine.borrow().next_part(&mut frozen).map_err(|_| SnapshotFault::Replaced)?;
                    let Some(part) = part else { break };
                    out.put(&part_record(group, parts, &part)).await.map_err(failed)?;
                    parts += 1;
                }
                out.put(&end_record(group, parts)).await.map_err(failed)?;
            }
            (SnapshotStep::Write, None) => unreachable!("the recipe makes the file first"),
            (other, out) => {
                let Some(out) = out else { unreachable!("the recipe makes the file first") };
                settle_step(dir, &out.file, NEW, &name, other).await?;
            }
        }
    }
    let Some(out) = out else { unreachable!("the recipe has made it") };
    Ok(SnapshotFile { head, file: out.file, bytes: out.bytes, unsettled: None })
}

/// Gives a whole file that came from a peer its own name.
pub(in crate::raft) async fn settle(dir: &Dir, file: &SnapshotFile) -> Result<(), SnapshotFault> {
    let Some(from) = file.unsettled.as_deref() else { return Ok(()) };
    let name = name(&file.head);
    for step in SETTLE {
        settle_step(dir, &file.file, from, &name, step).await?;
    }
    Ok(())
}

async fn settle_step(
    dir: &Dir,
    file: &File,
    from: &str,
    name: &str,
    step: SnapshotStep,
) -> Result<(), SnapshotFault> {
    let done = match step {
        SnapshotStep::Sync => file.sync_data().await,
        SnapshotStep::Rename => dir.rename(from, dir, name).await,
        SnapshotStep::SyncDirectory => dir.sync().await,
        SnapshotStep::Prune => prune(dir, name).await,
        SnapshotStep::Discard | SnapshotStep::Make | SnapshotStep::Write => {
            unreachable!("{step:?} comes before the name")
        }
    };
    done.map_err(disk(step, name))
}

/// Removes the snapshots before `latest`, but for those that are kept.
async fn prune(dir: &Dir, latest: &str) -> Result<(), Errno> {
    let mut older: Vec<String> = Vec::new();
    for found in dir.list().await? {
        if number(&found.bytes).is_some() && found.bytes.as_slice() < latest.as_bytes() {
            older.extend(String::from_utf8(found.bytes).ok());
        }
    }
    let gone = older.len().saturating_sub(SNAPSHOT_FILES_KEPT - 1);
    for name in &older[..gone] {
        dir.remove(name).await?;
    }
    Ok(())
}

/// A file that grows by slices.
struct Slices<'a> {
    file: File,
    bytes: u64,
    /// Of them, on the disk.
    synced: u64,
    gate: Option<&'a Gate>,
}

impl Slices<'_> {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let permit = match self.gate {
            Some(gate) => Some(gate.bulk(bytes.len()).await),
            None => None,
        };
        let buffer = Buffer::from_bytes(bytes);
        let done = self.file.write_at(buffer, 0..bytes.len(), self.bytes).await.0;
        drop(permit);
        done?;
        self.bytes += bytes.len() as u64;
        // All of it at once would keep the log's flushes waiting for as long as the disk takes for it.
        if self.bytes - self.synced >= SNAPSHOT_SYNC_BYTES {
            self.file.sync_data().await?;
            self.synced = self.bytes;
        }
        Ok(())
    }
}
