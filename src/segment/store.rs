//! The store: one shard's segments on this disk, and the one owner of what belongs to them.
//!
//! Promises: nothing stands under a segment's final name that was not verified; what is held has a durable record;
//! one process per store. The rooms above hold clones of one `Store`; all of it lives on one core.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::{Rc, Weak};

use crate::digest::Kernel;
use crate::ids::{Digest, SegmentId};
use crate::limits::{PAGE_ENTRIES_MAX, SEGMENT_BYTES_DIRECT_MIN};
use crate::uring::{Dir, Errno, File, Gate, OpenOptions};

use super::drafts::Drafts;
use super::fault::{DiskError, Doing, failed};
use super::folder_sync::FolderSync;
use super::hooks::Hooks;
#[cfg(feature = "sim")]
use super::hooks::{Edge, Sabotage, Verdict};
use super::identity::Identity;
use super::inventory::Inventory;
#[cfg(feature = "sim")]
use super::landing::Step;
use super::locks::Locks;
use super::look::absent;
use super::names::Stem;
use super::path::{PRIVATE_FOLDER, RelativePath};
use super::record::{Ownership, Record};
use super::staged::Staging;
use super::table::Standing;

/// What a store needs to know.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Absolute path of the folder that the segments stand in.
    pub segments_root: String,
    /// Absolute path of the folder in which our own, `.ringway`, stands or is made: on the same file system.
    pub private: String,
    /// Whose the names below `segments_root` are.
    pub ownership: Ownership,
    /// Read and write past the page cache where the file system can.
    pub direct: bool,
    /// The digest kernel.
    pub kernel: Kernel,
    /// The gate of the device, which admits the writes of chunks as bulk.
    pub gate: Gate,
    /// This boot of the machine (/proc/sys/kernel/random/boot_id): what an earlier one staged is hashed again.
    pub boot: [u8; 16],
}

/// A version of a segment that is wanted here: what the manifest says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// The segment.
    pub id: SegmentId,
    /// Where it stands.
    pub path: RelativePath,
    /// Its length in bytes.
    pub len: u64,
    /// The root of its content.
    pub root: Digest,
}

/// A segment that is held, verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The segment.
    pub id: SegmentId,
    /// The root of its content.
    pub root: Digest,
    /// Its length in bytes.
    pub len: u64,
}

/// How file content moves here, for status: no fallback is silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paths {
    /// Direct I/O was asked for.
    pub direct_asked: bool,
    /// Direct I/O is in use; false once the file system has refused it.
    pub direct: bool,
    /// Hard links to the engine's files can be made; false once the file system has refused one.
    pub links: bool,
}

/// One shard's segments on this disk. Clones are the same store.
#[derive(Clone)]
pub struct Store(pub(super) Rc<Inner>);

/// What all parts of the room share.
pub(super) struct Inner {
    pub(super) options: StoreOptions,
    pub(super) segments: Dir,
    pub(super) folders: PrivateFolders,
    pub(super) inventory: Inventory,
    /// What stands in `staging/`.
    pub(super) staged: RefCell<BTreeSet<Stem>>,
    /// Engine files held open, where no link can be made.
    pub(super) held_open: RefCell<BTreeMap<SegmentId, File>>,
    /// What stands in `pins/` under a draft's name, or is about to.
    pub(super) draft_names: RefCell<BTreeSet<String>>,
    /// Engine files that were digested and have no segment yet.
    pub(super) drafts: RefCell<BTreeMap<(RelativePath, Digest), Drafts>>,
    /// Staging files that a failed fsync has made worthless and that could not be removed.
    pub(super) distrusted: RefCell<BTreeSet<Stem>>,
    /// What stands durably under its final name and could not be recorded: only that is left to be done.
    pub(super) unrecorded: RefCell<BTreeMap<SegmentId, Record>>,
    /// One landing for each segment.
    pub(super) claims: Locks<SegmentId>,
    /// Landings under way.
    pub(super) landings: RefCell<BTreeMap<SegmentId, Weak<Staging>>>,
    /// One operation at a time on a final name.
    pub(super) names: Locks<RelativePath>,
    /// Folders below the segments' root whose own names are durable.
    pub(super) durable_folders: RefCell<BTreeSet<String>>,
    pub(super) direct_refused: Cell<bool>,
    pub(super) links_refused: Cell<bool>,
    pub(super) rename_flags_refused: Cell<bool>,
    pub(super) hooks: Hooks,
}

/// Our own folders.
pub(super) struct PrivateFolders {
    pub(super) private: Dir,
    pub(super) staging: Dir,
    pub(super) pins: Dir,
    pub(super) pins_sync: FolderSync,
    pub(super) checkpoints: Dir,
    pub(super) digests: Dir,
    pub(super) quarantine: Dir,
    /// Held for as long as the store is.
    pub(super) _lock: File,
}

impl Store {
    /// Whether this version of the segment is held, verified.
    #[must_use]
    pub fn is_held(&self, id: SegmentId, root: Digest) -> bool {
        self.0.inventory.table().held(id).is_some_and(|record| record.root == root)
    }

    /// Whether this version of the segment is held under this name, and nothing of it is staged.
    #[must_use]
    pub fn is_settled(&self, id: SegmentId, root: Digest, path: &str) -> bool {
        let table = self.0.inventory.table();
        let is_so = |record: &Record| record.root == root && record.path.as_str() == path;
        table.held(id).is_some_and(is_so) && self.0.staged.borrow().range(Stem::all_of(id)).next().is_none()
    }

    /// The record of a segment that is held.
    #[must_use]
    pub fn record(&self, id: SegmentId) -> Option<Record> {
        self.0.inventory.table().held(id).cloned()
    }

    /// The version that is known under a path, believed or not.
    #[must_use]
    pub fn id_at(&self, path: &RelativePath) -> Option<SegmentId> {
        self.0.inventory.table().at_path(path).map(|(record, _)| record.id)
    }

    /// All segments that are held, in the order of their ids. May be walked across waits: what changes meanwhile is
    /// seen or not.
    pub fn held(&self) -> impl Iterator<Item = Held> + use<> {
        self.held_after(None)
    }

    /// Those behind an id.
    pub fn held_after(&self, mut after: Option<SegmentId>) -> impl Iterator<Item = Held> + use<> {
        let store = self.clone();
        let mut page: Vec<Held> = Vec::new();
        let mut ended = false;
        std::iter::from_fn(move || {
            if page.is_empty() && !ended {
                (page, after) = store.held_page(after);
                page.reverse();
                ended = page.is_empty();
            }
            page.pop()
        })
    }

    /// The next held segments behind `after`, and from where to go on. Passes over what is suspect.
    fn held_page(&self, mut after: Option<SegmentId>) -> (Vec<Held>, Option<SegmentId>) {
        let table = self.0.inventory.table();
        let mut page = Vec::new();
        for (record, standing) in table.after(after) {
            after = Some(record.id);
            if standing == Standing::Held {
                page.push(Held { id: record.id, root: record.root, len: record.len });
            }
            if page.len() == PAGE_ENTRIES_MAX {
                break;
            }
        }
        (page, after)
    }

    /// Whether the same content is held under some name of ours (P10).
    #[must_use]
    pub fn has_content(&self, root: Digest, len: u64) -> bool {
        let table = self.0.inventory.table();
        table.with_root(root).any(|record| record.len == len && record.owner == Ownership::Ours)
    }

    /// Whether anything of this version is staged.
    #[must_use]
    pub fn is_staged(&self, id: SegmentId, root: Digest) -> bool {
        self.0.staged.borrow().contains(&Stem { id, root })
    }

    /// Where the file of a version that is held may stand, as absolute paths, and what it was like when it was
    /// verified: a file that is not like that is another one. Of an engine's file our own pin comes first.
    #[must_use]
    pub fn places_of(&self, id: SegmentId, root: Digest) -> Option<(Vec<String>, Identity)> {
        let record = self.record(id).filter(|record| record.root == root)?;
        let named = format!("{}/{}", self.0.options.segments_root, record.path);
        let pin = || format!("{}/{PRIVATE_FOLDER}/pins/{}", self.0.options.private, Stem { id, root });
        let places = match record.owner {
            Ownership::Engine => vec![pin(), named],
            Ownership::Ours => vec![named],
        };
        Some((places, record.identity))
    }

    /// Versions that are partly staged, and not being landed now.
    #[must_use]
    pub fn staged(&self) -> Vec<Stem> {
        let landings = self.0.landings.borrow();
        self.0.staged.borrow().iter().filter(|stem| !landings.contains_key(&stem.id)).copied().collect()
    }

    /// Bytes that are free on the file system.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn available_bytes(&self) -> Result<u64, DiskError> {
        let space = self.0.folders.staging.space().await.map_err(failed(Doing::Stat, "staging"))?;
        Ok(space.available)
    }

    /// Whose names new files get.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.0.options.ownership
    }

    /// The digest kernel in use.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.0.options.kernel
    }

    /// How file content moves here.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let direct_asked = self.0.options.direct;
        let direct = direct_asked && !self.0.direct_refused.get();
        Paths { direct_asked, direct, links: !self.0.links_refused.get() }
    }

    /// Calls `watch` before and after every step of landing; what it stops stays stopped.
    #[cfg(feature = "sim")]
    pub fn watch(&self, watch: impl Fn(Step, Edge) -> Verdict + 'static) {
        self.0.hooks.watch(watch);
    }

    /// Puts a fault in.
    #[cfg(feature = "sim")]
    pub fn sabotage(&self, sabotage: Sabotage) {
        self.0.hooks.sabotage(sabotage);
    }
}

impl Inner {
    /// Whether a file of `len` bytes is written and read past the page cache.
    pub(super) fn goes_direct(&self, len: u64) -> bool {
        self.options.direct && !self.direct_refused.get() && len >= SEGMENT_BYTES_DIRECT_MIN
    }

    /// From now on everything goes through the page cache.
    pub(super) fn note_direct_refused(&self) {
        if !self.direct_refused.replace(true) {
            let root = &self.options.segments_root;
            tracing::warn!(
                root,
                "the file system refuses O_DIRECT: content goes through the page cache; \
                ext4 and XFS take it, and `direct = false` under [transfer] says not to ask"
            );
        }
    }

    /// Opens a file of `len` bytes past the page cache if that is asked for and worth it; says whether it is.
    pub(super) async fn open_direct(
        &self,
        folder: &Dir,
        path: &str,
        len: u64,
        options: OpenOptions,
    ) -> Result<(File, bool), Errno> {
        if self.goes_direct(len) {
            match folder.open(path, OpenOptions { direct: true, ..options }).await {
                Ok(file) => return Ok((file, true)),
                // EINVAL is also the answer for what is no regular file: the second attempt tells.
                Err(Errno::INVALID) => {}
                Err(errno) => return Err(errno),
            }
            let file = folder.open(path, options).await?;
            self.note_direct_refused();
            return Ok((file, false));
        }
        Ok((folder.open(path, options).await?, false))
    }

    /// The folder of a path, if it is there.
    pub(super) async fn folder_of(&self, path: &RelativePath) -> Result<Dir, Errno> {
        match path.folder() {
            "" => Ok(self.segments.clone()),
            folder => self.segments.open_dir(folder).await,
        }
    }

    /// The folder of a path, made if it is not there, its own name durable: a file that is renamed into a folder which
    /// a power cut takes back would be lost with it, staged and all.
    pub(super) async fn make_folder(&self, folder: &str) -> Result<Dir, DiskError> {
        let mut at = match folder {
            "" => return Ok(self.segments.clone()),
            _ => self.segments.open_dir(folder).await,
        };
        if matches!(at, Err(Errno::NOT_FOUND)) {
            // One that was durable may have been removed since.
            self.forget_durable(folder);
            at = self.make_all(folder).await;
        }
        let at = at.map_err(failed(Doing::Create, folder))?;
        self.sync_above(folder).await?;
        Ok(at)
    }

    async fn make_all(&self, folder: &str) -> Result<Dir, Errno> {
        let mut at = self.segments.clone();
        for component in folder.split('/') {
            at = at.make_dir(component).await?;
        }
        Ok(at)
    }

    /// Of a folder, those above it and those below it none is known to be durable any more.
    pub(super) fn forget_durable(&self, folder: &str) {
        let is_in =
            |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
        let is_near = |known: &str| known == folder || is_in(known, folder) || is_in(folder, known);
        self.durable_folders.borrow_mut().retain(|known| !is_near(known));
    }

    /// Makes the names in a folder durable, and the folder's own name.
    pub(super) async fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        self.sync_one(folder).await?;
        self.sync_above(folder).await
    }

    /// Makes durable what stands under a name, or that nothing does, before the word of it goes: a kill may have come
    /// between a rename or a removal and its fsync, and a power cut would bring back what nobody knows.
    pub(super) async fn keep_name(&self, path: &RelativePath) -> Result<(), DiskError> {
        let mut folder = path.folder();
        loop {
            match self.sync_folder(folder).await {
                Err(error) if !folder.is_empty() => absent::<()>(error.errno, error.doing, folder)?,
                synced => return synced,
            };
            folder = above(folder);
        }
    }

    /// Makes a folder's own name durable and those above it, bottom-up, unless they are known to be. A folder that an
    /// earlier attempt made and did not sync is not known to be.
    async fn sync_above(&self, folder: &str) -> Result<(), DiskError> {
        let mut at = folder;
        while !at.is_empty() && !self.durable_folders.borrow().contains(at) {
            at = above(at);
            self.sync_one(at).await?;
        }
        self.note_durable(folder);
        Ok(())
    }

    async fn sync_one(&self, folder: &str) -> Result<(), DiskError> {
        let dir = match folder {
            "" => self.segments.clone(),
            _ => self.segments.open_dir(folder).await.map_err(failed(Doing::Open, folder))?,
        };
        dir.sync().await.map_err(failed(Doing::SyncFolder, folder))
    }

    fn note_durable(&self, folder: &str) {
        let mut durable = self.durable_folders.borrow_mut();
        if durable.len() >= PAGE_ENTRIES_MAX {
            durable.clear(); // what is forgotten is only synced once more
        }
        let mut at = folder;
        while !at.is_empty() && durable.insert(at.to_owned()) {
            at = above(at);
        }
    }
}

/// The folder that a folder stands in; empty for the root.
fn above(folder: &str) -> &str {
    folder.rsplit_once('/').map_or("", |(above, _)| above)
}

impl Want {
    /// Its name in our folders.
    #[must_use]
    pub(super) fn stem(&self) -> Stem {
        Stem { id: self.id, root: self.root }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, {} records)", self.0.options.segments_root, self.0.inventory.table().len())
    }
}
