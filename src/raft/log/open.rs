//! Opening a log, or looking at one that nobody runs.

use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::ids::GroupId;
use crate::raft::types::Point;
use crate::uring::{Core, Dir, Gate, Priority};

use super::error::LogOpenError;
use super::files;
use super::recovery;
use super::store::Log;
use super::writer;

/// What a log on disk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogSummary {
    /// The last entry that went into a snapshot.
    pub purged: Point,
    /// The last entry that is known as committed.
    pub committed: Point,
    /// The last entry.
    pub last: Point,
    /// Files; none if the group was never here.
    pub files: usize,
}

/// Reads a log that nobody runs, and changes nothing.
///
/// # Errors
/// Why it could not be opened either.
pub async fn summary(dir: &Dir, group: GroupId) -> Result<LogSummary, LogOpenError> {
    let replay = recovery::read(dir, group).await?;
    Ok(LogSummary {
        purged: replay.index.purged(),
        committed: replay.committed,
        last: replay.index.last(),
        files: replay.files.len(),
    })
}

/// Removes a log that nobody runs, the newest file first: what is left is always a log, and an older one.
pub(in crate::raft) async fn discard(dir: &Dir) -> Result<(), LogOpenError> {
    let disk = |file: &str, errno| LogOpenError::Disk { doing: "discard", file: file.to_owned(), errno };
    let names = dir.list().await.map_err(|errno| disk("its directory", errno))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| files::number(&name.bytes)).collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        let name = files::name(number);
        dir.unlink(&name).await.map_err(|errno| disk(&name, errno))?;
        dir.sync().await.map_err(|errno| disk(&name, errno))?;
    }
    Ok(())
}

impl Log {
    /// Opens the log in `dir`, or begins one there. Its writes pass the device's gate, if there is one.
    ///
    /// # Errors
    /// Why it is not opened. Damage leaves the disk as it is.
    pub async fn open(dir: Dir, group: GroupId, gate: Option<Gate>) -> Result<Self, LogOpenError> {
        let mut replay = recovery::read(&dir, group).await?;
        if broken::is(Broken::VoteForgotten) {
            replay.vote = None;
        }
        let active = recovery::repair(&dir, &replay).await?;
        let next_batch = replay.next_batch;
        let next_file = replay.files.last().map_or(1, |last| last.number + 1);
        let log = Self::new(group, dir, gate, replay, active.as_ref());
        let run = writer::run(Rc::clone(&log.0), active, next_batch, next_file);
        drop(Core::current().spawn(Priority::Urgent, run));
        Ok(log)
    }
}
