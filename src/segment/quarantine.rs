//! The ways out: a segment that is no longer wanted is removed, one that is damaged is set aside, and what nobody
//! knows is never deleted.

use std::fmt;

use crate::digest::ChunkList;
use crate::ids::{Digest, SegmentId};
use crate::limits::QUARANTINE_NAMES_MAX;
use crate::uring::{Dir, Errno, FileKind};

use super::bytes::write_file;
use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::{absent, look_at};
use super::names::{GoneName, Stem};
use super::path::RelativePath;
use super::reader::ReadError;
use super::record::{Ownership, Record};
use super::store::{Inner, Store};
use super::table::Standing;

/// Why a file is set aside; written beside it, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its content has another root than its segment.
    Content {
        /// The segment's.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// It cannot be read.
    Unreadable(DiskError),
    /// It stands under a segment's name and nobody knows it.
    Unknown(Identity),
}

/// What became of a segment that was to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Its file was removed, or set aside.
    File,
    /// Only our record and pin of it: the file is the engine's, or is not the one that we knew.
    Record,
    /// It was not known.
    Unknown,
}

/// What a segment was found to be when all of it was read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Every byte is as it was.
    Sound,
    /// The content has another root.
    Damaged {
        /// The segment's root.
        expected: Digest,
        /// The root of the content.
        found: Digest,
        /// Which chunks differ, if the list is known.
        chunks: Vec<u32>,
    },
}

impl Store {
    /// Removes a segment that the manifest has dropped: the file where the name is ours, else only our part, and what
    /// is staged of it. Open readers go on; a landing that has begun is waited for. Asking again is no error.
    ///
    /// # Errors
    /// The disk refuses something; the segment is then not held any more, and a later call goes on.
    pub async fn remove(&self, id: SegmentId) -> Result<Gone, DiskError> {
        let _claim = self.give_up(id).await?;
        self.take_out(id, None).await
    }

    /// Sets a damaged segment's file aside, so that it can be fetched again. An engine's own file stays where it is,
    /// and is no longer held.
    ///
    /// # Errors
    /// The disk refuses something; the segment is then not held any more.
    pub async fn quarantine(&self, id: SegmentId, why: Why) -> Result<Gone, DiskError> {
        self.take_out(id, Some(why)).await
    }

    /// Reads all of a segment that is held and compares it with its root. Whoever asked quarantines what is damaged.
    ///
    /// # Errors
    /// It is not held, its file is gone or changed, or the disk refuses something.
    pub async fn verify(&self, id: SegmentId) -> Result<Health, ReadError> {
        let record = self.record(id).ok_or(ReadError::NotHeld)?;
        let file = self.open_checked(&record, false).await?;
        let tree = self.0.tree(&file, record.path.as_str(), record.len).await?;
        let (expected, found) = (record.root, tree.root);
        if expected == found {
            return Ok(Health::Sound);
        }
        let known = self.0.read_list(Stem { id, root: expected }).await;
        let chunks = known.map_or_else(Vec::new, |known| {
            let ours = ChunkList::from(tree).chunks;
            let differs = |index: &u32| {
                known.digest(*index) != usize::try_from(*index).ok().and_then(|i| ours.get(i).copied())
            };
            (0..known.chunk_count()).filter(differs).collect()
        });
        Ok(Health::Damaged { expected, found, chunks })
    }

    async fn take_out(&self, id: SegmentId, why: Option<Why>) -> Result<Gone, DiskError> {
        self.0.unrecorded.borrow_mut().remove(&id);
        let Some((record, was)) =
            self.0.inventory.table().known(id).map(|(record, was)| (record.clone(), was))
        else {
            self.0.drop_pins(id).await?;
            return self.0.take_unfinished(id, why.as_ref()).await;
        };
        let _name = self.0.names.lock(record.path.clone()).await;
        if self.0.inventory.table().known(id).is_none_or(|(now, _)| *now != record) {
            return Ok(Gone::Unknown); // it was replaced while we waited for its name
        }
        self.0.inventory.set_standing(id, Standing::Suspect);
        let gone = match record.owner {
            Ownership::Engine => Gone::Record,
            Ownership::Ours => match self.0.take_file(&record, why.as_ref()).await {
                Ok(gone) => gone,
                Err(error) => {
                    if why.is_none() {
                        // It stands as it did: whoever wants it gone finds it, and asks again.
                        self.0.inventory.set_standing(id, was);
                    }
                    return Err(error);
                }
            },
        };
        self.0.forget(&record).await?;
        Ok(gone)
    }
}

impl Inner {
    /// Unlinks a record's file, or sets it aside. To be removed without a look it has to be the very file that was
    /// verified; one that is not is set aside.
    pub(super) async fn take_file(&self, record: &Record, why: Option<&Why>) -> Result<Gone, DiskError> {
        let path = record.path.as_str();
        let folder = match self.folder_of(&record.path).await {
            Ok(folder) => folder,
            Err(errno) => {
                absent::<()>(errno, Doing::Open, path)?;
                return self.keep_name(&record.path).await.map(|()| Gone::Record);
            }
        };
        let name = record.path.name();
        let left = match look_at(&folder, name, path).await? {
            Some(found) if !self.is_of_another(record, &found).await? => Some(found),
            Some(_) | None => None,
        };
        let Some(found) = left else {
            self.keep_name(&record.path).await?;
            return Ok(Gone::Record);
        };
        let is_known = found == record.identity || self.is_known(&record.path, &found);
        let unknown = Why::Unknown(found);
        match why.or((!is_known).then_some(&unknown)) {
            Some(why) => self.set_aside(&folder, &record.path, &found, why).await?,
            None => {
                let gone = GoneName::new(record.stem(), &found);
                self.take_known(&folder, &record.path, &found, gone).await?;
            }
        }
        self.sync_folder(record.path.folder()).await?;
        Ok(Gone::File)
    }

    /// Whether what stands under a record's name is a newer segment's: it has landed and is not recorded yet, or the
    /// engine has put it there to be registered.
    async fn is_of_another(&self, record: &Record, found: &Identity) -> Result<bool, DiskError> {
        if *found == record.identity {
            return Ok(false);
        }
        let is_landed = self
            .inventory
            .table()
            .intents_at(&record.path)
            .iter()
            .any(|intent| intent.identity == *found && intent.id != record.id);
        Ok(is_landed || self.is_proposed(found).await?)
    }

    /// Unlinks the very file that was looked at. Somebody may have put another one in its place since: so what stands
    /// under the name is taken from there, and looked at again where nobody else puts anything.
    async fn take_known(
        &self,
        folder: &Dir,
        path: &RelativePath,
        found: &Identity,
        gone: GoneName,
    ) -> Result<(), DiskError> {
        let (staging, gone) = (&self.folders.staging, gone.to_string());
        match folder.rename(path.name(), staging, &gone).await {
            Ok(()) => {}
            Err(Errno::NOT_FOUND) => return Ok(()),
            // A name more may need a block more, and what is removed may be what makes room.
            Err(errno) if errno.is_disk_full() => {
                return match look_at(folder, path.name(), path.as_str()).await? {
                    Some(still) if still == *found => {
                        folder.unlink(path.name()).await.map_err(failed(Doing::Unlink, path))
                    }
                    Some(_) | None => Err(failed(Doing::Rename, path)(errno)),
                };
            }
            Err(errno) => return Err(failed(Doing::Rename, path)(errno)),
        }
        let came = look_at(staging, &gone, path.as_str()).await?;
        if came == Some(*found) {
            return staging.unlink(&gone).await.map_err(failed(Doing::Unlink, path));
        }
        if let Some(came) = came
            && self.is_proposed(&came).await?
            && self.rename_to_free((staging, &gone), (folder, path.name())).await.is_ok()
        {
            return Ok(());
        }
        let aside = self.set_exchanged_aside(&gone, path).await;
        if aside.is_err() {
            let back = self.rename_to_free((staging, &gone), (folder, path.name())).await;
            tracing::warn!(%path, ?back, "what came under a final name could not be set aside");
        }
        aside
    }

    /// Ends a removal that a crash has cut off.
    pub(super) async fn end_removal(&self, gone: GoneName) -> Result<(), DiskError> {
        let (staging, name) = (&self.folders.staging, gone.to_string());
        let stat = staging.stat_name(&name).await.map_err(failed(Doing::Stat, &name))?;
        let found = Identity::from(stat);
        if stat.kind == FileKind::Regular && gone.means(&found) {
            return staging.unlink(&name).await.map_err(failed(Doing::Unlink, &name));
        }
        let whence = self.path_of(gone.stem().id);
        self.set_aside_from((staging, &name), &whence, &found, &Why::Unknown(found)).await
    }

    /// Where a segment stands or was about to, for people.
    pub(super) fn path_of(&self, id: SegmentId) -> String {
        let table = self.inventory.table();
        let recorded = table.known(id).map(|(record, _)| record);
        let known = recorded.or_else(|| table.intents().find(|intent| intent.id == id));
        known.map_or("a segment that is gone".to_owned(), |record| record.path.to_string())
    }

    /// Moves a file into `quarantine/`, under a name made of what it is, and says beside it why. The caller holds the
    /// name's lock and syncs the folder that it left.
    pub(super) async fn set_aside(
        &self,
        folder: &Dir,
        path: &RelativePath,
        found: &Identity,
        why: &Why,
    ) -> Result<(), DiskError> {
        self.set_aside_from((folder, path.name()), path.as_str(), found, why).await
    }

    /// The same for what stands under another name by now.
    pub(super) async fn set_aside_from(
        &self,
        (folder, at): (&Dir, &str),
        whence: &str,
        found: &Identity,
        why: &Why,
    ) -> Result<(), DiskError> {
        let label = format!("{:x}-{:x}-{:x}", found.inode, found.modified.0, found.bytes);
        let quarantine = &self.folders.quarantine;
        tracing::warn!(whence, %why, label, "a file is set aside in quarantine");
        let name = self.name_aside((folder, at), &label).await.map_err(failed(Doing::Rename, whence))?;
        let text = format!("{whence}\n{why}\n");
        if let Err(error) = write_file(quarantine, &format!("{name}.why"), text.as_bytes()).await {
            // The log says it; the file is safe.
            tracing::warn!(%error, name, "why a file is in quarantine could not be written beside it");
        }
        quarantine.sync().await.map_err(failed(Doing::SyncFolder, "quarantine"))
    }

    /// Gives a file a name in `quarantine/` that nothing has. A plain rename would replace what was set aside before;
    /// and where that is another name of the same file, it would do nothing, and say that it has.
    async fn name_aside(&self, from: (&Dir, &str), label: &str) -> Result<String, Errno> {
        for number in 0..QUARANTINE_NAMES_MAX {
            let name = if number == 0 { label.to_owned() } else { format!("{label}-{number}") };
            match self.rename_to_free(from, (&self.folders.quarantine, &name)).await {
                Ok(()) => return Ok(name),
                Err(Errno::EXISTS) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXISTS)
    }

    /// Removes what we keep beside a version that is no longer held.
    pub(super) async fn drop_private(&self, stem: Stem) -> Result<(), DiskError> {
        self.drop_pins(stem.id).await?;
        self.unlink_list(stem).await
    }

    /// Removes all pins of a segment.
    pub(super) async fn drop_pins(&self, id: SegmentId) -> Result<(), DiskError> {
        self.held_open.borrow_mut().remove(&id);
        let pinned: Vec<Stem> = self.inventory.table().pins_of(id).collect();
        for stem in pinned {
            self.folders.pins.remove(&stem.to_string()).await.map_err(failed(Doing::Unlink, stem))?;
            self.inventory.set_pin(stem, false);
        }
        Ok(())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content { expected, found } => {
                write!(f, "the content has root {found}, the segment {expected}")
            }
            Self::Unreadable(error) => error.fmt(f),
            Self::Unknown(found) => write!(f, "no record knows this file: {found}"),
        }
    }
}
