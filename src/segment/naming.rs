//! How a staged file gets its final name: what somebody else has put there is set aside, never replaced.
//!
//! Between a look at a name and a rename to it somebody may come. So the kernel is asked for a rename that finds the
//! name free, or for an exchange with the version before, and what came out of that is looked at afterwards. See
//! kernel-notes/fsync-and-rename.md.

use crate::limits::RENAME_ATTEMPTS_MAX;
use crate::uring::{Dir, Errno, FileKind};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::names::Stem;
use super::open::{absent, look_at};
use super::path::RelativePath;
use super::quarantine::Why;
use super::record::Record;
use super::store::Inner;

/// What came of an attempt.
enum Tried {
    /// The file has its name.
    Named,
    /// Somebody came, or what stood there went: the next look tells.
    Again(Errno),
}

/// What stands under a final name.
enum There {
    /// Nothing.
    Nothing,
    /// The very file that a record or an intent speaks of.
    Ours(Identity),
    /// Something that nobody knows.
    Stranger(Identity),
}

impl Inner {
    /// Gives the staged file its final name in `folder`, and sets aside what nobody knows under it. The caller holds
    /// the name's lock.
    pub(super) async fn give_name(
        &self,
        stem: Stem,
        folder: &Dir,
        path: &RelativePath,
    ) -> Result<(), DiskError> {
        let mut is_likely_free = self.inventory.table().at_path(path).is_none();
        let mut last = Errno::EXISTS;
        for _ in 0..RENAME_ATTEMPTS_MAX {
            let there = match std::mem::take(&mut is_likely_free) {
                true => There::Nothing,
                false => self.there(folder, path).await?,
            };
            let tried = match there {
                There::Nothing => self.name_new(stem, folder, path).await?,
                There::Ours(old) => self.name_instead(stem, folder, path, old).await?,
                There::Stranger(found) => {
                    self.set_aside(folder, path, &found, &Why::Unknown(found)).await?;
                    continue;
                }
            };
            match tried {
                Tried::Named => return Ok(()),
                Tried::Again(errno) => last = errno,
            }
        }
        Err(failed(Doing::Rename, path)(last))
    }

    /// Looks at a final name. What is not a regular file is a stranger; a directory with files in it is told as the
    /// kernel tells it, one without gives way.
    async fn there(&self, folder: &Dir, path: &RelativePath) -> Result<There, DiskError> {
        let stat = match folder.stat_name(path.name()).await {
            Ok(stat) => stat,
            Err(errno) => return absent::<()>(errno, Doing::Stat, path.as_str()).map(|_| There::Nothing),
        };
        let found = Identity::from(stat);
        match stat.kind {
            FileKind::Directory => self.remove_hollow(folder, path).await.map(|()| There::Nothing),
            FileKind::Regular if self.is_known(path, &found) => Ok(There::Ours(found)),
            FileKind::Regular | FileKind::Symlink | FileKind::Other => Ok(There::Stranger(found)),
        }
    }

    /// Whether a file under a name was brought there by us: recorded, or announced by a landing that failed later.
    pub(super) fn is_known(&self, path: &RelativePath, found: &Identity) -> bool {
        let table = self.inventory.table();
        table.at_path(path).is_some_and(|(record, _)| record.identity == *found)
            || table.intents_at(path).iter().any(|intent| intent.identity == *found)
    }

    async fn name_new(&self, stem: Stem, folder: &Dir, path: &RelativePath) -> Result<Tried, DiskError> {
        let from = stem.to_string();
        let named = self.rename_to_free((&self.folders.staging, &from), (folder, path.name())).await;
        self.tried(stem, path, named)
    }

    /// Gives a file another name that nothing has; `EXISTS` if something has it.
    pub(super) async fn rename_to_free(
        &self,
        (from_dir, from): (&Dir, &str),
        (to_dir, to): (&Dir, &str),
    ) -> Result<(), Errno> {
        if !self.rename_flags_refused.get() {
            match from_dir.rename_new(from, to_dir, to).await {
                Err(Errno::INVALID) => self.note_flags_refused(),
                named => return named,
            }
        }
        match to_dir.stat_name(to).await {
            Ok(_) => Err(Errno::EXISTS),
            Err(Errno::NOT_FOUND) => from_dir.rename(from, to_dir, to).await,
            Err(errno) => Err(errno),
        }
    }

    /// Takes the place of the version before, and looks at what came out for it.
    async fn name_instead(
        &self,
        stem: Stem,
        folder: &Dir,
        path: &RelativePath,
        old: Identity,
    ) -> Result<Tried, DiskError> {
        let (staging, from) = (&self.folders.staging, stem.to_string());
        if self.rename_flags_refused.get() {
            let named = staging.rename(&from, folder, path.name()).await;
            return self.tried(stem, path, named);
        }
        match staging.exchange(&from, folder, path.name()).await {
            Ok(()) => {}
            Err(Errno::INVALID) => {
                self.note_flags_refused();
                return Ok(Tried::Again(Errno::INVALID));
            }
            Err(errno) => return self.tried(stem, path, Err(errno)),
        }
        let aside = match look_at(staging, &from, &from).await {
            Ok(Some(out)) if out == old => {
                if staging.unlink(&from).await.is_ok() {
                    self.staged.borrow_mut().remove(&stem);
                } else {
                    // It goes before it is used: others may still read the version before.
                    self.distrusted.borrow_mut().insert(stem);
                }
                return Ok(Tried::Named);
            }
            Ok(_) => self.set_exchanged_aside(&from, path).await,
            Err(error) => Err(error),
        };
        if let Err(error) = aside {
            // Both get their names back: nothing of somebody's may stand where we write.
            let back = staging.exchange(&from, folder, path.name()).await;
            tracing::warn!(%path, ?back, "what came under a final name could not be set aside");
            if back.is_err() {
                // What stands under our name in staging is not ours: nobody goes on from it. A start sets it aside.
                self.staged.borrow_mut().remove(&stem);
            }
            return Err(error);
        }
        self.staged.borrow_mut().remove(&stem);
        Ok(Tried::Named)
    }

    /// Sets aside what an exchange that a crash has cut off has left under a landed file's staging name, unless that is
    /// the version before. To be asked before the landing is recorded.
    pub(super) async fn clear_exchanged(&self, landed: &Record) -> Result<(), DiskError> {
        let stem = Stem { id: landed.id, root: landed.root };
        if !self.staged.borrow().contains(&stem) {
            return Ok(());
        }
        let (staging, name) = (&self.folders.staging, stem.to_string());
        let stat = staging.stat_name(&name).await.map_err(failed(Doing::Stat, &name))?;
        let out = Identity::from(stat);
        let is = |known: &Identity| (known.inode, known.bytes) == (out.inode, out.bytes);
        let is_older = {
            let table = self.inventory.table();
            let intended = table.intents_at(&landed.path);
            table.at_path(&landed.path).is_some_and(|(older, _)| is(&older.identity))
                || intended.iter().any(|older| is(&older.identity))
        };
        if is(&landed.identity) || (is_older && stat.kind == FileKind::Regular) {
            return Ok(());
        }
        self.set_aside_from((staging, &name), landed.path.as_str(), &out, &Why::Unknown(out)).await?;
        self.staged.borrow_mut().remove(&stem);
        Ok(())
    }

    /// Sets aside what came out from under a final name and is not what was thought to stand there. A directory is told
    /// as the kernel tells it.
    pub(super) async fn set_exchanged_aside(&self, from: &str, path: &RelativePath) -> Result<(), DiskError> {
        let staging = &self.folders.staging;
        let stat = staging.stat_name(from).await.map_err(failed(Doing::Stat, path))?;
        if stat.kind == FileKind::Directory {
            return Err(failed(Doing::Rename, path)(Errno::IS_A_DIRECTORY));
        }
        let found = Identity::from(stat);
        self.set_aside_from((staging, from), path.as_str(), &found, &Why::Unknown(found)).await
    }

    fn tried(&self, stem: Stem, path: &RelativePath, named: Result<(), Errno>) -> Result<Tried, DiskError> {
        match named {
            Ok(()) => {
                self.staged.borrow_mut().remove(&stem);
                Ok(Tried::Named)
            }
            Err(errno @ (Errno::EXISTS | Errno::NOT_FOUND)) => Ok(Tried::Again(errno)),
            Err(errno) => Err(failed(Doing::Rename, path)(errno)),
        }
    }

    fn note_flags_refused(&self) {
        if !self.rename_flags_refused.replace(true) {
            tracing::warn!(
                "this file system renames without flags: what comes under a name meanwhile is replaced"
            );
        }
    }
}
