//! Files that stand under a segment's name and were not landed by this store: hashed, then adopted or put away.

use crate::digest::{ChunkList, Tree};
use crate::uring::{Errno, File};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::{Folders, look_at};
use super::names::Stem;
use super::path::RelativePath;
use super::quarantine::Why;
use super::record::{Change, Ownership, Record};
use super::scan::identity_of;
use super::store::{Inner, Want};

/// What a file was found to be.
pub(super) enum Hashed {
    /// The segment that is wanted.
    Wanted(Tree, Identity),
    /// What its record says: the version before the wanted one, or one that is not wanted.
    Recorded(Identity),
    /// Neither, or it cannot be read.
    Neither(Identity, Why),
    /// It went away meanwhile.
    Gone,
}

impl Inner {
    /// The identity of what may be a wanted segment that no record knows: its pin, or what stands under its name.
    pub(super) async fn look_at_want(
        &self,
        want: &Want,
        folders: &Folders,
    ) -> Result<Option<Identity>, DiskError> {
        let stem = want.stem();
        if self.inventory.is_pinned(&stem) {
            let name = stem.to_string();
            if let Some(found) = look_at(&self.folders.pins, &name, &name).await? {
                return Ok(Some(found));
            }
        }
        self.look_at_path(&want.path, folders).await
    }

    pub(super) async fn hash_file(
        &self,
        want: Option<&Want>,
        record: Option<&Record>,
        path: &RelativePath,
    ) -> Result<Hashed, DiskError> {
        let stem = match (record, want) {
            (Some(record), _) => record.stem(),
            (None, Some(want)) => want.stem(),
            (None, None) => unreachable!("a file is hashed for a want or a record"),
        };
        let Some(file) = self.open_either(stem, path).await? else { return Ok(Hashed::Gone) };
        let before = identity_of(&file.0, path.as_str()).await?;
        let tree = match self.tree(&file, path.as_str(), before.bytes).await {
            Ok(tree) => tree,
            Err(error) => return Ok(Hashed::Neither(before, Why::Unreadable(error))),
        };
        let after = identity_of(&file.0, path.as_str()).await?;
        if before != after {
            return Ok(Hashed::Neither(after, Why::Unknown(after)));
        }
        let is = |root, len| (tree.root, tree.len) == (root, len);
        let is_wanted = want.is_some_and(|want| is(want.root, want.len));
        let is_recorded = record.is_some_and(|record| is(record.root, record.len));
        if is_wanted || is_recorded {
            // Whoever put it there may not have made it durable.
            file.0.sync_data().await.map_err(failed(Doing::SyncData, path))?;
            return Ok(if is_wanted { Hashed::Wanted(tree, after) } else { Hashed::Recorded(after) });
        }
        let expected = want.map_or(stem.root, |want| want.root);
        Ok(Hashed::Neither(after, Why::Content { expected, found: tree.root }))
    }

    /// A version's pin, or what stands under its name.
    async fn open_either(&self, stem: Stem, path: &RelativePath) -> Result<Option<(File, bool)>, DiskError> {
        let is_pinned = self.inventory.is_pinned(&stem);
        let pins = self.folders.pins.clone();
        let pin = match is_pinned {
            true => self.open_best(&pins, &stem.to_string(), u64::MAX, false).await?,
            false => None,
        };
        if pin.is_some() {
            return Ok(pin);
        }
        self.open_named(path, u64::MAX, false).await
    }

    /// Makes a file that was hashed a held segment: its name, its list, its pin if it is an engine's, its record.
    pub(super) async fn keep_adopted(&self, record: &Record, tree: Tree) -> Result<(), DiskError> {
        let stem = record.stem();
        self.sync_folder(record.path.folder()).await?;
        if record.owner == Ownership::Engine && !self.inventory.is_pinned(&stem) {
            self.link_pin(stem, &record.path).await?;
        }
        let chunks = ChunkList::from(tree).verify(record.root).expect("the tree has this root");
        if chunks.chunk_count() > 1 {
            self.write_list(stem, &chunks).await?;
        }
        self.inventory.append(vec![Change::Put(record.clone())]).await
    }

    /// Pins an engine's file where a link can be made.
    async fn link_pin(&self, stem: Stem, path: &RelativePath) -> Result<(), DiskError> {
        let folder = self.folder_of(path).await.map_err(failed(Doing::Open, path))?;
        let pins = &self.folders.pins;
        match folder.link(path.name(), pins, &stem.to_string()).await {
            Ok(()) | Err(Errno::EXISTS) => {
                self.inventory.set_pin(stem, true);
                self.folders.pins_sync.sync().await.map_err(failed(Doing::SyncFolder, "pins"))
            }
            Err(_) => {
                self.links_refused.set(true);
                Ok(())
            }
        }
    }

    /// A file is not the segment under whose name it stands: ours is set aside, an engine's is only let go.
    pub(super) async fn put_away(
        &self,
        record: Option<&Record>,
        path: &RelativePath,
        found: &Identity,
        owner: Ownership,
        why: &Why,
        is_wanted: bool,
    ) -> Result<(), DiskError> {
        if owner == Ownership::Ours {
            let folder = self.folder_of(path).await.map_err(failed(Doing::Open, path))?;
            self.set_aside(&folder, path, found, why).await?;
            self.sync_folder(path.folder()).await?;
        } else if let Why::Unreadable(error) = why
            && is_wanted
        {
            // What we keep of it may be all that there is, and be read the next time: it only does not count.
            tracing::warn!(%path, %error, "an engine's file cannot be read");
            return Ok(());
        } else {
            tracing::warn!(%path, %why, "an engine's file is not the segment of its name");
        }
        match record {
            Some(record) => self.forget(record).await,
            None => Ok(()),
        }
    }

    /// Drops a record and what is kept beside it.
    pub(super) async fn forget(&self, record: &Record) -> Result<(), DiskError> {
        self.inventory.forget(record.id);
        self.inventory.append(vec![Change::Drop(record.id)]).await?;
        self.drop_private(record.stem()).await
    }

    /// Gives what is kept beside a version to another id of the same content.
    pub(super) async fn rename_private(&self, old: Stem, new: Stem) -> Result<(), DiskError> {
        let (from, to) = (old.to_string(), new.to_string());
        let file = self.held_open.borrow_mut().remove(&old.id);
        if let Some(file) = file {
            self.held_open.borrow_mut().insert(new.id, file);
        }
        if self.inventory.is_pinned(&old) {
            let pins = &self.folders.pins;
            pins.rename(&from, pins, &to).await.map_err(failed(Doing::Rename, &from))?;
            self.inventory.set_pin(old, false);
            self.inventory.set_pin(new, true);
            self.folders.pins_sync.sync().await.map_err(failed(Doing::SyncFolder, "pins"))?;
        }
        match self.folders.digests.rename(&from, &self.folders.digests, &to).await {
            Ok(()) | Err(Errno::NOT_FOUND) => Ok(()),
            Err(errno) => Err(failed(Doing::Rename, from)(errno)),
        }
    }
}
