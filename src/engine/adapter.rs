//! An adapter for engines that say nothing: it scans their directory again and again and turns what changed into one
//! batch per cut: added, updated, deleted.
//!
//! A cut is consistent if the engine holds still while it is taken: it has flushed, and what it will still write to is
//! left out by the seal rule. The adapter takes a cut only if two scans around it agree.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::{BATCH_OPERATIONS_MAX, CUT_SCANS_MAX, PAGE_ENTRIES_MAX};

use super::change::{Ask, Change, ChangeError, Committed, Sealed};
use super::handle::Shard;
use super::reply::NoAnswer;
use super::tree::{Facts, Skipped, Walk, walk};

/// When a file counts as sealed.
pub enum SealRule {
    /// Every file is: the engine was told to flush and nobody writes.
    All,
    /// A file that nobody has written to for this long.
    Quiet(Duration),
    /// As the engine says, by relative path.
    Named(Box<dyn Fn(&str) -> bool + Send>),
}

/// Turns an engine's directory into batches of changes.
pub struct DirectoryAdapter {
    root: PathBuf,
    rule: SealRule,
    known: BTreeMap<String, Option<Facts>>,
}

/// One consistent state of the directory, as the difference to the last one that was committed.
#[derive(Debug)]
pub struct Cut {
    /// What to commit, as one batch. Empty if nothing changed.
    pub changes: Vec<Change>,
    /// Files left out because they are not sealed yet.
    pub unsealed: Vec<String>,
    /// What is never carried.
    pub skipped: Vec<Skipped>,
    after: BTreeMap<String, Option<Facts>>,
}

/// No cut could be taken.
#[derive(Debug)]
pub enum CutError {
    /// The directory cannot be read.
    Read(io::Error),
    /// It changed during every scan.
    Restless,
    /// More changes than one batch may have.
    TooLarge {
        /// How many.
        changes: usize,
    },
}

impl DirectoryAdapter {
    /// For the directory of a shard, as far as its manifest has it already on this node.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn of(shard: &Shard, rule: SealRule) -> Result<Self, NoAnswer> {
        let (mut registered, mut after) = (Vec::new(), None);
        loop {
            let page = shard.segments(after, PAGE_ENTRIES_MAX).await?;
            registered.extend(page.segments.into_iter().map(|segment| segment.path));
            after = page.next;
            if after.is_none() {
                return Ok(Self::new(shard.directory(), rule, registered));
            }
        }
    }

    /// For the directory `root`, of which the manifest has the paths `registered` already.
    #[must_use]
    pub fn new(
        root: impl Into<PathBuf>,
        rule: SealRule,
        registered: impl IntoIterator<Item = String>,
    ) -> Self {
        let known = registered.into_iter().map(|path| (path, None)).collect();
        Self { root: root.into(), rule, known }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes a cut. Commit its changes as one batch, then say `committed`; a cut that is not committed is taken again.
    ///
    /// # Errors
    /// The directory cannot be read, does not hold still, or changed by more than a batch can hold.
    pub fn cut(&self) -> Result<Cut, CutError> {
        let mut last = walk(&self.root).map_err(CutError::Read)?;
        for _ in 0..CUT_SCANS_MAX {
            let next = walk(&self.root).map_err(CutError::Read)?;
            if self.sealed(&next).0 == self.sealed(&last).0 {
                return self.difference(next);
            }
            last = next;
        }
        Err(CutError::Restless)
    }

    /// Takes a cut and commits it as one batch, all or none of it. `None` if nothing has changed.
    ///
    /// # Errors
    /// No cut could be taken, or its batch did not happen; the next call tries again from what was committed last.
    pub async fn commit(&mut self, shard: &Shard, ask: Ask) -> Result<Option<Committed>, CommitError> {
        let mut cut = self.cut().map_err(CommitError::Cut)?;
        if cut.changes.is_empty() {
            self.committed(cut);
            return Ok(None);
        }
        let changes = std::mem::take(&mut cut.changes);
        let committed = shard.batch(changes, ask).await.map_err(CommitError::Change)?;
        self.committed(cut);
        Ok(Some(committed))
    }

    /// The cut's changes are in the manifest: the next cut begins from them.
    pub fn committed(&mut self, cut: Cut) {
        self.known = cut.after;
    }

    fn sealed(&self, walk: &Walk) -> (BTreeMap<String, Option<Facts>>, Vec<String>) {
        let (mut sealed, mut unsealed) = (BTreeMap::new(), Vec::new());
        for found in &walk.files {
            if self.is_sealed(&found.path, found.facts) {
                sealed.insert(found.path.clone(), Some(found.facts));
            } else {
                unsealed.push(found.path.clone());
            }
        }
        (sealed, unsealed)
    }

    fn is_sealed(&self, path: &str, facts: Facts) -> bool {
        match &self.rule {
            SealRule::All => true,
            SealRule::Named(says) => says(path),
            SealRule::Quiet(length) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let quiet_since = u128::try_from(facts.modified).unwrap_or_default() + length.as_nanos();
                now.as_nanos() >= quiet_since
            }
        }
    }

    fn difference(&self, walk: Walk) -> Result<Cut, CutError> {
        let (sealed, unsealed) = self.sealed(&walk);
        let mut changes = Vec::new();
        let mut after = sealed.clone();
        for (path, facts) in &sealed {
            match self.known.get(path) {
                None => changes.push(Change::Register(Sealed { facts: *facts, ..Sealed::at(path) })),
                Some(known) if known != facts => {
                    changes.push(Change::Update(Sealed { facts: *facts, ..Sealed::at(path) }));
                }
                Some(_) => {}
            }
        }
        for (path, facts) in &self.known {
            if sealed.contains_key(path) {
                continue;
            }
            if unsealed.contains(path) {
                // It is being written again: the manifest keeps the last sealed content.
                after.insert(path.clone(), *facts);
            } else {
                changes.push(Change::delete(path, "gone from the directory"));
            }
        }
        if changes.len() > BATCH_OPERATIONS_MAX {
            return Err(CutError::TooLarge { changes: changes.len() });
        }
        Ok(Cut { changes, unsealed, skipped: walk.skipped, after })
    }
}

impl fmt::Debug for DirectoryAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryAdapter({}, {} paths)", self.root.display(), self.known.len())
    }
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Restless => {
                f.write_str("the directory changed during every scan; hold the engine still for a cut")
            }
            Self::TooLarge { changes } => {
                write!(f, "{changes} changes since the last cut; one batch takes {BATCH_OPERATIONS_MAX}")
            }
        }
    }
}

impl std::error::Error for CutError {}

/// A cut was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// None could be taken.
    Cut(CutError),
    /// Its batch did not happen, or is not known to have.
    Change(ChangeError),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(error) => error.fmt(f),
            Self::Change(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What a cut would change, in a word each.
    fn words(cut: &Cut) -> Vec<String> {
        let word = |change: &Change| match change {
            Change::Register(sealed) => format!("register {}", sealed.path),
            Change::Update(sealed) => format!("update {}", sealed.path),
            Change::Delete { path, .. } => format!("delete {path}"),
        };
        cut.changes.iter().map(word).collect()
    }

    #[test]
    fn cuts_carry_what_was_added_updated_and_deleted_and_nothing_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let mut adapter = DirectoryAdapter::new(dir.path(), SealRule::All, []);
        write("a", "1");
        write("b", "1");
        let first = adapter.cut().expect("still");
        assert_eq!(words(&first), ["register a", "register b"]);
        adapter.committed(first);
        assert!(adapter.cut().expect("still").changes.is_empty());
        write("a", "22");
        fs::remove_file(dir.path().join("b")).expect("removed");
        write("c", "1");
        let expected = ["update a", "register c", "delete b"];
        assert_eq!(words(&adapter.cut().expect("still")), expected, "what was not committed comes again");
        let second = adapter.cut().expect("still");
        assert_eq!(words(&second), expected);
        adapter.committed(second);
        assert!(adapter.cut().expect("still").changes.is_empty());
    }

    #[test]
    fn a_file_that_is_written_to_is_left_out_and_its_last_content_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("log"), "growing").expect("written");
        let quiet = SealRule::Quiet(Duration::from_secs(3600));
        let adapter = DirectoryAdapter::new(dir.path(), quiet, ["log".to_owned()]);
        let cut = adapter.cut().expect("still");
        assert!(cut.changes.is_empty(), "{:?}", cut.changes);
        assert_eq!(cut.unsealed, ["log"]);
    }

    #[test]
    fn paths_that_the_manifest_has_already_are_updated_not_registered() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a"), "1").expect("written");
        let adapter = DirectoryAdapter::new(dir.path(), SealRule::All, ["a".to_owned(), "gone".to_owned()]);
        assert_eq!(words(&adapter.cut().expect("still")), ["update a", "delete gone"]);
    }
}
