//! Opening a store: our folders, the lock, the inventory, and a look at every file that it names.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::ids::{Nanos, SegmentId};
use crate::limits::{LOOK_NAMES_MAX, LOOK_PAGES, STORE_LOCK_ATTEMPTS};
use crate::uring::{Dir, Errno, File, Name, OpenOptions, sleep};

use super::fault::{DiskError, Doing, failed, from_disk};
use super::folder_sync::FolderSync;
use super::hooks::{Hooks, Sabotage};
use super::inventory::Inventory;
use super::locks::Locks;
use super::look::Folders;
use super::names::{StagingName, Stem, is_captured, is_draft, staging_name};
use super::path::PRIVATE_FOLDER;
use super::record::{InventoryCut, Ownership, Record};
use super::store::{Inner, PrivateFolders, Store, StoreOptions};
use super::table::Standing;

/// Between two attempts at the lock: a killed process's ring lets go of its files a little after it has died.
const LOCK_PAUSE: Nanos = Nanos::from_millis(50);

/// What opening found, before anybody has said what is wanted (`Store::reconcile` then says what becomes of it).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Segments whose record and file agree.
    pub held: usize,
    /// Segments whose file is gone or has changed since it was verified; they do not count.
    pub suspects: Vec<SegmentId>,
    /// Versions that are partly staged.
    pub staged: Vec<Stem>,
    /// Where the inventory was unreadable; files behind it are hashed again.
    pub inventory_cut: Option<InventoryCut>,
    /// Names in our folders that we did not choose; they are left alone.
    pub strangers: Vec<String>,
}

impl Store {
    /// Opens the store, making our folders where there are none.
    ///
    /// # Errors
    /// Another process has it, the folders are on two file systems, or the disk refuses something.
    pub async fn open(options: StoreOptions) -> Result<(Self, Recovery), OpenError> {
        Self::open_with(options, Hooks::default()).await
    }

    /// Opens the store with a fault in it.
    #[cfg(feature = "sim")]
    pub async fn open_sabotaged(
        options: StoreOptions,
        sabotage: Sabotage,
    ) -> Result<(Self, Recovery), OpenError> {
        let hooks = Hooks::default();
        hooks.sabotage(sabotage);
        Self::open_with(options, hooks).await
    }

    async fn open_with(options: StoreOptions, hooks: Hooks) -> Result<(Self, Recovery), OpenError> {
        let root = &options.segments_root;
        let segments = Dir::open_root(root).await.map_err(failed(Doing::Open, root))?;
        let folders = open_folders(&options.private).await?;
        check_devices(&options, &segments, &folders).await?;
        // Another thread lists while this core reads the inventory.
        let (loaded, pins) = join(Inventory::load(folders.private.clone()), folders.pins.list()).await;
        let (inventory, inventory_cut) = loaded?;
        let pins = pins.map_err(failed(Doing::List, "pins"))?;
        let inner = Inner {
            options,
            segments,
            folders,
            inventory,
            staged: RefCell::default(),
            held_open: RefCell::new(BTreeMap::new()),
            draft_names: RefCell::default(),
            drafts: RefCell::new(BTreeMap::new()),
            distrusted: RefCell::default(),
            unrecorded: RefCell::default(),
            claims: Locks::default(),
            landings: RefCell::new(BTreeMap::new()),
            names: Locks::default(),
            durable_folders: RefCell::new(BTreeSet::new()),
            direct_refused: Cell::new(false),
            links_refused: Cell::new(false),
            rename_flags_refused: Cell::new(false),
            hooks,
        };
        let store = Self(Rc::new(inner));
        let mut recovery = Recovery { inventory_cut, ..Recovery::default() };
        store.find_staged(&mut recovery).await?;
        store.find_pins(pins, &mut recovery);
        store.empty_checkpoints(&mut recovery).await?;
        store.0.settle_intents().await?;
        store.look_at_records(&mut recovery).await?;
        Ok((store, recovery))
    }

    /// What stands in `staging/`: data is kept, a map without its data goes, and removals and exchanges are ended.
    /// Where the disk refuses that they stay as they are, for the next start.
    async fn find_staged(&self, recovery: &mut Recovery) -> Result<(), DiskError> {
        let folder = &self.0.folders.staging;
        let (mut maps, mut gone, mut swaps) = (Vec::new(), Vec::new(), Vec::new());
        for name in folder.list().await.map_err(failed(Doing::List, "staging"))? {
            match staging_name(&name.bytes) {
                Some(StagingName::Data(stem)) => {
                    self.0.staged.borrow_mut().insert(stem);
                }
                Some(StagingName::Map(stem)) => maps.push(stem),
                Some(StagingName::Gone(name)) => gone.push(name),
                Some(StagingName::Swap(name)) => swaps.push(name),
                None => recovery.strangers.push(stranger("staging", &name.bytes)),
            }
        }
        for name in gone {
            left(self.0.end_removal(name).await);
        }
        for name in swaps {
            left(self.0.end_exchange(name).await);
        }
        recovery.staged = self.0.staged.borrow().iter().copied().collect();
        for stem in maps {
            if !self.0.staged.borrow().contains(&stem) {
                let name = stem.map();
                folder.unlink(&name).await.map_err(failed(Doing::Unlink, name))?;
            }
        }
        Ok(())
    }

    fn find_pins(&self, names: Vec<Name>, recovery: &mut Recovery) {
        let mut stems = Vec::with_capacity(names.len());
        for name in names {
            let text = std::str::from_utf8(&name.bytes).unwrap_or_default();
            match Stem::parse(text) {
                Some(stem) => stems.push(stem),
                None if is_draft(text) => drop(self.0.draft_names.borrow_mut().insert(text.to_owned())),
                None => recovery.strangers.push(stranger("pins", &name.bytes)),
            }
        }
        self.0.inventory.set_pins(stems);
    }

    /// What a checkpoint had linked or copied when its process went is of no use.
    async fn empty_checkpoints(&self, recovery: &mut Recovery) -> Result<(), DiskError> {
        let folder = &self.0.folders.checkpoints;
        for name in folder.list().await.map_err(failed(Doing::List, "checkpoints"))? {
            match std::str::from_utf8(&name.bytes) {
                Ok(name) if is_captured(name) => {
                    folder.remove(name).await.map_err(failed(Doing::Unlink, name))?;
                }
                Ok(_) | Err(_) => recovery.strangers.push(stranger("checkpoints", &name.bytes)),
            }
        }
        Ok(())
    }

    /// Believes every record whose file is still the one that was verified. Reads no content. The files of a page are
    /// looked at while the core compares those of the page before.
    async fn look_at_records(&self, recovery: &mut Recovery) -> Result<(), DiskError> {
        let folders = Folders::default();
        let mut last = None;
        let pages = std::iter::from_fn(|| {
            let table = self.0.inventory.table();
            let page: Vec<Record> =
                table.after(last).take(LOOK_NAMES_MAX).map(|(record, _)| record.clone()).collect();
            last = Some(page.last()?.id);
            Some(page)
        });
        let look = async |page: Vec<Record>| {
            let found = self.0.look_at_all(&page, &folders).await?;
            Ok::<_, DiskError>(page.into_iter().zip(found))
        };
        let mut looks = stream::iter(pages).map(look).buffered(LOOK_PAGES);
        while let Some(looked) = looks.try_next().await? {
            for (record, found) in looked {
                let trusted = found.is_some() && self.0.hooks.sabotaged(Sabotage::TrustChangedFile);
                if found == Some(record.identity) || trusted {
                    self.0.inventory.set_standing(record.id, Standing::Held);
                    recovery.held += 1;
                } else {
                    recovery.suspects.push(record.id);
                }
            }
        }
        Ok(())
    }
}

fn left(ended: Result<(), DiskError>) {
    if let Err(error) = ended {
        tracing::warn!(%error, "what a crash had cut off could not be ended yet");
    }
}

fn stranger(folder: &str, name: &[u8]) -> String {
    format!("{folder}/{}", name.escape_ascii())
}

async fn open_folders(path: &str) -> Result<PrivateFolders, OpenError> {
    let beside = Dir::open_root(path).await.map_err(failed(Doing::Open, path))?;
    let private = make(&beside, PRIVATE_FOLDER).await?;
    let pins = make(&private, "pins").await?;
    let folders = PrivateFolders {
        _lock: take_lock(&private, path).await?,
        staging: make(&private, "staging").await?,
        pins_sync: FolderSync::new(pins.clone()),
        pins,
        checkpoints: make(&private, "checkpoints").await?,
        digests: make(&private, "digests").await?,
        quarantine: make(&private, "quarantine").await?,
        private,
    };
    folders.private.sync().await.map_err(failed(Doing::SyncFolder, PRIVATE_FOLDER))?;
    beside.sync().await.map_err(failed(Doing::SyncFolder, path))?;
    Ok(folders)
}

async fn make(folder: &Dir, name: &str) -> Result<Dir, DiskError> {
    folder.make_dir(name).await.map_err(failed(Doing::Create, name))
}

async fn take_lock(private: &Dir, path: &str) -> Result<File, OpenError> {
    for attempt in 0..STORE_LOCK_ATTEMPTS {
        if attempt > 0 {
            sleep(LOCK_PAUSE).await;
        }
        if let Some(lock) = hold(private).await? {
            return Ok(lock);
        }
    }
    Err(OpenError::Locked { private: path.to_owned() })
}

/// Keeps every store out of a private folder as long as the file is open; `None` if one is open there.
///
/// # Errors
/// The disk refuses it.
pub async fn hold(private: &Dir) -> Result<Option<File>, DiskError> {
    let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
    let lock = private.open("lock", options).await.map_err(failed(Doing::Create, "lock"))?;
    match lock.lock().await {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(failed(Doing::Lock, "lock")(errno)),
    }
}

/// Rename and link work within one file system only. An engine's files may be elsewhere: they are held open then.
async fn check_devices(
    options: &StoreOptions,
    segments: &Dir,
    folders: &PrivateFolders,
) -> Result<(), OpenError> {
    let root = &options.segments_root;
    let expected = segments.stat().await.map_err(failed(Doing::Stat, root))?.device;
    for (name, folder) in
        [("staging", &folders.staging), ("pins", &folders.pins), ("quarantine", &folders.quarantine)]
    {
        let found = folder.stat().await.map_err(failed(Doing::Stat, name))?.device;
        if found != expected && options.ownership == Ownership::Ours {
            return Err(OpenError::TwoFileSystems { root: root.clone(), folder: name, expected, found });
        }
    }
    Ok(())
}

/// Why a store was not opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked {
        /// Where our folder stands.
        private: String,
    },
    /// One of our folders is on another file system than the segments.
    TwoFileSystems {
        /// The segments' root.
        root: String,
        /// The folder.
        folder: &'static str,
        /// Device of the segments' root.
        expected: u64,
        /// Device of the folder.
        found: u64,
    },
    /// The disk refused something.
    Disk(DiskError),
}

from_disk!(OpenError);

impl OpenError {
    /// The disk has no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Disk(error) => error.is_disk_full(),
            Self::Locked { .. } | Self::TwoFileSystems { .. } => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { private } => write!(f, "another process uses the segments beside {private:?}"),
            Self::TwoFileSystems { root, folder, expected, found } => write!(
                f,
                "{folder} must be on the file system of {root:?}: devices {expected:#x} and {found:#x}; put the \
                 private folder beside the segments"
            ),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}
