//! A checkpoint of an engine's active files on its way into the manifest: one at a time, all of it one batch.

use std::sync::Arc;

use crate::ids::Nanos;
use crate::journal::Asked;
use crate::stats::CheckpointStats;
use crate::uring::Core;

use super::propose::{Done, Level, ProposalError};
use super::shard::Shard;
use super::sync::NotSynced;

/// Where a checkpoint puts its links and copies. While it lives the shard begins no other one.
#[derive(Debug)]
pub struct CheckpointPlace {
    /// The folder, an absolute path.
    pub folder: String,
    /// Where it is counted.
    pub stats: Arc<CheckpointStats>,
    _hold: Arc<()>,
}

/// A file that was linked or copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The segment's path.
    pub path: String,
    /// Its name in the folder.
    pub name: String,
    /// Its inode, bytes and time: it does not change any more.
    pub facts: (u64, u64, i128),
}

impl Shard {
    /// The place for a checkpoint; none while another one is under way.
    #[must_use]
    pub fn begin_checkpoint(&self) -> Option<CheckpointPlace> {
        let mut under_way = self.0.checkpoint.borrow_mut();
        if under_way.strong_count() > 0 {
            return None;
        }
        let hold = Arc::new(());
        *under_way = Arc::downgrade(&hold);
        let (folder, stats) = (self.0.store.checkpoints_folder(), Arc::clone(&self.0.checkpoints));
        Some(CheckpointPlace { folder, stats, _hold: hold })
    }

    /// Registers what was captured, or updates where its path is registered, and deletes paths: together or not at all.
    ///
    /// # Errors
    /// As `perform`; and a leader has to say what is committed before.
    pub async fn checkpoint(
        &self,
        files: Vec<Captured>,
        deleted: Vec<String>,
        level: Level,
        timeout: Nanos,
    ) -> Result<Done, ProposalError> {
        // What is registered is known as of now: what this node has not applied yet may be the path's.
        self.due(Core::current().now().plus(timeout)).await.map_err(|why| match why {
            NotSynced::Stopped => ProposalError::Stopped,
            NotSynced::NoLeader { .. } | NotSynced::Late(_) | NotSynced::NotAMember { .. } => {
                ProposalError::NoLeader { last: self.group().live_leader() }
            }
        })?;
        let mut names = Vec::with_capacity(files.len());
        let mut asked = Vec::with_capacity(files.len() + deleted.len());
        {
            let machine = self.group().machine();
            let state = machine.borrow();
            for Captured { path, name, facts } in files {
                let update = state.by_path(&path).is_some();
                let (flat, tier, labels) = (None, 0, Vec::new());
                asked.push(Asked::Sealed { update, path, flat, tier, labels, facts: Some(facts) });
                names.push(name);
            }
        }
        let reason = || "checkpoint".to_owned();
        asked.extend(deleted.into_iter().map(|path| Asked::Delete { path, reason: reason() }));
        self.perform_from(asked, &names, level, timeout).await
    }

    /// What became of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> &CheckpointStats {
        &self.0.checkpoints
    }
}
