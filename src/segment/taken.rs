//! What a checkpoint has linked or copied from an engine's active files: taken out of `checkpoints/` among the drafts,
//! and given its segment's name when that has an id.
//!
//! So it is ours, under its final name as on a replica, and that name changes only when the change is committed: a
//! crash before leaves a draft that the next start lets go, one behind it a draft that gets its name then.

use crate::limits::DRAFTS_OF_FILE_MAX;
use crate::uring::{Errno, FileKind, OpenOptions};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::{Folders, look_at};
use super::names::taken_name;
use super::path::{PRIVATE_FOLDER, RelativePath};
use super::pins::{DigestError, Digested, Kept};
use super::record::Ownership;
use super::store::{Inner, Store, Want};

impl Store {
    /// Where checkpoints put their links and copies, by names of `captured_name`: an absolute path. A start empties it.
    #[must_use]
    pub fn checkpoints_folder(&self) -> String {
        format!("{}/{PRIVATE_FOLDER}/checkpoints", self.0.options.private)
    }

    /// Digests what stands in `checkpoints/` under `from` as what is to stand under `path`, and keeps it like
    /// `digest_file`. The name in `checkpoints/` stays the caller's.
    ///
    /// # Errors
    /// As `digest_file`; under `path` stands what is not ours; or no link can be made.
    pub async fn digest_taken(&self, path: &RelativePath, from: &str) -> Result<Digested, DigestError> {
        {
            let _name = self.0.names.lock(path.clone()).await;
            self.0.check_ours(path).await?;
        }
        self.digest_kept(path, self.keep_taken(from).await?).await
    }

    async fn keep_taken(&self, from: &str) -> Result<Kept, DigestError> {
        let (folder, pins) = (&self.0.folders.checkpoints, &self.0.folders.pins);
        let Some(identity) = look_at(folder, from, from).await? else {
            return Err(failed(Doing::Stat, from)(Errno::NOT_FOUND).into());
        };
        for number in 0..DRAFTS_OF_FILE_MAX {
            let name = taken_name(&identity, number);
            if !self.0.draft_names.borrow_mut().insert(name.clone()) {
                continue;
            }
            match folder.link(from, pins, &name).await {
                Ok(()) => return self.open_taken(name, identity).await,
                Err(Errno::EXISTS) => {}
                Err(errno) => {
                    self.0.draft_names.borrow_mut().remove(&name);
                    return Err(failed(Doing::Link, from)(errno).into());
                }
            }
        }
        Err(failed(Doing::Link, from)(Errno::EXISTS).into())
    }

    async fn open_taken(&self, name: String, identity: Identity) -> Result<Kept, DigestError> {
        let options = OpenOptions::default();
        match self.0.open_direct(&self.0.folders.pins, &name, identity.bytes, options).await {
            Ok((file, direct)) => Ok((file, direct, identity, Some(name))),
            Err(errno) => {
                self.unlink_draft(Some(&name)).await;
                Err(failed(Doing::Open, name)(errno).into())
            }
        }
    }
}

impl Inner {
    /// Nothing stands under a name, or what has landed there.
    async fn check_ours(&self, path: &RelativePath) -> Result<(), DigestError> {
        let stat = match self.folder_of(path).await {
            Ok(folder) => folder.stat_name(path.name()).await,
            Err(errno) => Err(errno),
        };
        match stat {
            Ok(stat) if stat.kind == FileKind::Regular && self.is_ours(path, &stat.into()) => Ok(()),
            Ok(_) => Err(DigestError::Occupied),
            Err(Errno::NOT_FOUND) => Ok(()),
            Err(errno) => Err(failed(Doing::Open, path)(errno).into()),
        }
    }

    fn is_ours(&self, path: &RelativePath, found: &Identity) -> bool {
        let is_recorded = {
            let table = self.inventory.table();
            let record = table.at_path(path).map(|(record, _)| record);
            record.is_some_and(|record| record.owner == Ownership::Ours && record.identity == *found)
        };
        is_recorded || self.is_landing(path, found)
    }

    /// Whether nothing stands under a segment's name. What the engine has put there since is left to it.
    pub(super) async fn is_name_free(&self, want: &Want) -> Result<bool, DiskError> {
        Ok(self.look_at_path(&want.path, &Folders::default()).await?.is_none())
    }
}
