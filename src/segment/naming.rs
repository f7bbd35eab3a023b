//! How a staged file gets its final name: what somebody else has put there is set aside, never replaced.
//!
//! Between a look at a name and a rename to it somebody may come. So the kernel is asked for a rename that finds the
//! name free, or for an exchange with the version before (`exchange.rs`). See kernel-notes/fsync-and-rename.md.

use crate::limits::RENAME_ATTEMPTS_MAX;
use crate::uring::{Dir, Errno, FileKind};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::absent;
use super::names::{Stem, SwapName};
use super::path::RelativePath;
use super::quarantine::Why;
use super::store::Inner;

/// What came of an attempt.
pub(super) enum Tried {
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
    /// Gives the staged file, `ours`, its final name in `folder`, and sets aside what nobody knows under it. The caller
    /// holds the name's lock, and the file open.
    pub(super) async fn give_name(
        &self,
        (stem, ours): (Stem, &Identity),
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
                There::Ours(older) => {
                    self.name_instead(SwapName::new(stem, ours, &older), folder, path).await?
                }
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
        let recorded = self.inventory.table().at_path(path).map(|(record, _)| record.identity);
        recorded == Some(*found) || self.is_landing(path, found)
    }

    /// Whether a file under a name was announced by a landing that has no record yet.
    pub(super) fn is_landing(&self, path: &RelativePath, found: &Identity) -> bool {
        self.inventory.table().intents_at(path).iter().any(|intent| intent.identity == *found)
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

    /// What an attempt to give the staged file its final name came to.
    pub(super) fn tried(
        &self,
        stem: Stem,
        path: &RelativePath,
        named: Result<(), Errno>,
    ) -> Result<Tried, DiskError> {
        match named {
            Ok(()) => {
                self.staged.borrow_mut().remove(&stem);
                Ok(Tried::Named)
            }
            Err(errno @ (Errno::EXISTS | Errno::NOT_FOUND)) => Ok(Tried::Again(errno)),
            Err(errno) => Err(failed(Doing::Rename, path)(errno)),
        }
    }

    /// The file system does not know the flags of renameat2(2).
    pub(super) fn note_flags_refused(&self) {
        if !self.rename_flags_refused.replace(true) {
            tracing::warn!(
                "this file system renames without flags: what comes under a name meanwhile is replaced"
            );
        }
    }
}
