//! The source's side: each cut of the database becomes one batch of the shard's manifest, which registers the new cut
//! and deletes an old one. So every version of the manifest names whole databases and nothing else.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{Ask, Committed, DirectoryAdapter, SealRule, Shard};
use ringway::ids::Nanos;

use crate::cut::{copy_to_open, cut_closed, remove, take_cut};
use crate::load::{Load, Model, difference, read_all};

/// Whatever went wrong, to be shown.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Cuts that stay in the manifest: who still fetches the last but one is not robbed of it.
const KEPT: usize = 2;
/// How long a batch is asked for again when no leader is there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

/// A database whose cuts are replicated.
pub struct Source {
    live: PathBuf,
    shard: Shard,
    adapter: DirectoryAdapter,
    cuts: usize,
}

/// A cut that is in the manifest.
pub struct Named {
    /// Its directory in that of the shard, here and on every replica.
    pub name: String,
    /// What the database held.
    pub model: Model,
    /// What came of the batch.
    pub committed: Committed,
}

impl Source {
    /// For the database at `live`, on the file system of the shard's directory.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn new(live: &Path, shard: Shard) -> Result<Self, Failure> {
        // What an earlier life of this process has registered: the adapter begins from there.
        let (mut registered, mut after) = (Vec::new(), None);
        loop {
            let page = shard.segments(after, usize::MAX).wait()?;
            registered.extend(page.segments.into_iter().map(|segment| segment.path));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // A cut is complete and never written to when the adapter sees it: all of it is sealed.
        let adapter = DirectoryAdapter::new(shard.directory(), SealRule::All, registered);
        Ok(Self { live: live.to_owned(), shard, adapter, cuts: 0 })
    }

    /// Takes a cut while the writer pauses, and commits it when the writer goes on.
    ///
    /// # Errors
    /// There is no cut, or it cannot be committed.
    pub fn cut(&mut self, load: &Load, ask: Ask) -> Result<Named, Failure> {
        let name = directory(self.cuts);
        let to = self.shard.directory().join(&name);
        let taken =
            |model: &mut Model| take_cut(load.db(), load.keyspaces(), &self.live, &to).map(|_| model.clone());
        let model = load.paused(taken)?;
        if let Some(old) = self.cuts.checked_sub(KEPT) {
            remove(&self.shard.directory().join(directory(old)))?;
        }
        self.cuts += 1;
        Ok(Named { name, model, committed: self.commit(ask)? })
    }

    /// Commits the database as it is now that it is closed, in place of every cut.
    ///
    /// # Errors
    /// It cannot be copied or committed.
    pub fn closed(&mut self, model: Model, ask: Ask) -> Result<Named, Failure> {
        let name = "closed".to_owned();
        for old in (0..self.cuts).rev().take(KEPT) {
            remove(&self.shard.directory().join(directory(old)))?;
        }
        cut_closed(&self.live, &self.shard.directory().join(&name))?;
        Ok(Named { name, model, committed: self.commit(ask)? })
    }

    fn commit(&mut self, ask: Ask) -> Result<Committed, Failure> {
        let cut = self.adapter.cut()?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.shard.batch(cut.changes.clone(), ask).wait() {
                Ok(committed) => {
                    self.adapter.committed(cut);
                    return Ok(committed);
                }
                // Asked again, a batch that had happened all the same is found to be there.
                Err(error) if error.is_retryable() && Instant::now() < until => thread::sleep(RETRY),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn directory(number: usize) -> String {
    format!("cut-{number:04}")
}

/// Waits for the bytes on so many nodes.
pub fn landed(nodes: u32, seconds: u64) -> Ask {
    let durability = ringway::engine::Durability::Landed(nodes);
    Ask { durability, timeout: Nanos::from_secs(seconds) }
}

/// Opens a replica's copy of a cut and compares every key and value with the source's. What is opened is a copy of
/// that: fjall writes to what it opens, and the replica's files are Ringway's. Answers with the number of keys.
///
/// # Errors
/// It does not open, or differs.
pub fn compare(replica: &Path, cut: &Named, scratch: &Path) -> Result<usize, Failure> {
    remove(scratch)?;
    copy_to_open(&replica.join(&cut.name), scratch)?;
    let found = read_all(scratch)?;
    match difference(&cut.model, &found) {
        None => Ok(found.values().map(|rows| rows.len()).sum()),
        Some(what) => Err(format!("{}: {what}", replica.join(&cut.name).display()).into()),
    }
}
