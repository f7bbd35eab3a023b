//! What stands under the names of segments, without a look at content.

use std::cell::RefCell;
use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::limits::STORE_OPERATIONS_MAX;
use crate::uring::{Dir, Errno, FileKind, Stat};

use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::path::RelativePath;
use super::record::{Ownership, Record};
use super::store::Inner;

/// Where a record's file is looked for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Pins,
    Folder(&'a str),
}

impl Inner {
    /// The identity of the file that a record speaks of: for an engine's file its pin, which keeps what the engine
    /// has deleted; else what stands under its name. `None` if there is none.
    pub(super) async fn look(
        &self,
        record: &Record,
        folders: &Folders,
    ) -> Result<Option<Identity>, DiskError> {
        let stem = record.stem();
        if record.owner == Ownership::Engine && self.inventory.is_pinned(&stem) {
            let name = stem.to_string();
            if let Some(found) = look_at(&self.folders.pins, &name, &name).await? {
                return Ok(Some(found));
            }
        }
        self.look_at_path(&record.path, folders).await
    }

    /// The same of many records, in their order: folder by folder (kernel-notes/many-names.md).
    pub(super) async fn look_at_all(
        &self,
        records: &[Record],
        folders: &Folders,
    ) -> Result<Vec<Option<Identity>>, DiskError> {
        let mut places = BTreeMap::<Place<'_>, Vec<usize>>::new();
        for (at, record) in records.iter().enumerate() {
            let is_pinned = record.owner == Ownership::Engine && self.inventory.is_pinned(&record.stem());
            let place = if is_pinned { Place::Pins } else { Place::Folder(record.path.folder()) };
            places.entry(place).or_default().push(at);
        }
        let mut found = vec![None; records.len()];
        let mut looks = stream::iter(places)
            .map(async |(place, members)| {
                let found = match place {
                    Place::Pins => self.look_at_pins(records, &members, folders).await,
                    Place::Folder(_) => self.look_in_folder(records, &members, folders).await,
                };
                found.map(|found| members.into_iter().zip(found))
            })
            .buffer_unordered(STORE_OPERATIONS_MAX);
        while let Some(of_place) = looks.try_next().await? {
            of_place.for_each(|(at, identity)| found[at] = identity);
        }
        drop(looks);
        Ok(found)
    }

    /// Engine's files by their pins; by their names where the pin is gone.
    async fn look_at_pins(
        &self,
        records: &[Record],
        members: &[usize],
        folders: &Folders,
    ) -> Result<Vec<Option<Identity>>, DiskError> {
        let names: Vec<String> = members.iter().map(|at| records[*at].stem().to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut found = identities(&self.folders.pins, &names, "pins").await?;
        for (at, found) in members.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = self.look_at_path(&records[*at].path, folders).await?;
        }
        Ok(found)
    }

    /// Files of one folder.
    async fn look_in_folder(
        &self,
        records: &[Record],
        members: &[usize],
        folders: &Folders,
    ) -> Result<Vec<Option<Identity>>, DiskError> {
        let path = &records[members[0]].path;
        let folder = match self.known_folder(path, folders).await {
            Ok(folder) => folder,
            Err(errno) => {
                absent::<Identity>(errno, Doing::Open, path.as_str())?;
                return Ok(vec![None; members.len()]);
            }
        };
        let names: Vec<&str> = members.iter().map(|at| records[*at].path.name()).collect();
        identities(&folder, &names, path.folder()).await
    }

    /// The identity of what stands under a name; `None` if no regular file does.
    pub(super) async fn look_at_path(
        &self,
        path: &RelativePath,
        folders: &Folders,
    ) -> Result<Option<Identity>, DiskError> {
        match self.known_folder(path, folders).await {
            Ok(folder) => look_at(&folder, path.name(), path.as_str()).await,
            Err(errno) => absent(errno, Doing::Open, path.as_str()),
        }
    }

    async fn known_folder(&self, path: &RelativePath, folders: &Folders) -> Result<Dir, Errno> {
        let known = folders.0.borrow().get(path.folder()).cloned();
        match known {
            Some(folder) => Ok(folder),
            None => self.folder_of(path).await.map(|folder| folders.note(path.folder(), folder)),
        }
    }
}

/// Open folders, for a look at many files. Not kept longer than the look: a folder may be replaced.
#[derive(Default)]
pub(super) struct Folders(RefCell<BTreeMap<String, Dir>>);

impl Folders {
    fn note(&self, name: &str, folder: Dir) -> Dir {
        let mut open = self.0.borrow_mut();
        if open.len() >= STORE_OPERATIONS_MAX {
            open.clear();
        }
        open.insert(name.to_owned(), folder.clone());
        folder
    }
}

/// The identity of the regular file of this name; `None` for anything else.
pub(super) async fn look_at(folder: &Dir, name: &str, path: &str) -> Result<Option<Identity>, DiskError> {
    match folder.stat_name(name).await {
        Ok(stat) => Ok(regular(stat)),
        Err(errno) => absent(errno, Doing::Stat, path),
    }
}

/// The same of many names of a folder.
async fn identities(folder: &Dir, names: &[&str], path: &str) -> Result<Vec<Option<Identity>>, DiskError> {
    let stats = folder.stat_names(names).await.map_err(failed(Doing::Stat, path))?;
    let found = names.iter().zip(stats).map(|(name, stat)| match stat {
        Ok(stat) => Ok(regular(stat)),
        Err(errno) => absent(errno, Doing::Stat, &format!("{path}/{name}")),
    });
    found.collect()
}

fn regular(stat: Stat) -> Option<Identity> {
    (stat.kind == FileKind::Regular).then(|| stat.into())
}

/// What is not there, cannot be there, or is reached over a link or through a file, is absent; all else is an error.
pub(super) fn absent<T>(errno: Errno, doing: Doing, path: &str) -> Result<Option<T>, DiskError> {
    match errno {
        Errno::NOT_FOUND | Errno::NOT_A_DIRECTORY | Errno::LOOP | Errno::CROSSES | Errno::NAME_TOO_LONG => {
            Ok(None)
        }
        errno => Err(failed(doing, path)(errno)),
    }
}
