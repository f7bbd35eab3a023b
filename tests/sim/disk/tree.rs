//! Inodes and the ways to them: paths resolved as openat2(2) does with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS.

use std::collections::{BTreeMap, BTreeSet};

use ringway::ids::UnixNanos;
use ringway::uring::{Errno, FileKind, Name, Space, Stat};

use super::super::options::DiskOptions;
use super::super::rng::Rng;
use super::content::Content;
use super::names::{ChangeId, Inode, Names};

/// The root directory.
pub const ROOT: Inode = 2;
/// Bytes of a name (Linux `NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a path, its NUL counted (Linux `PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;
/// The clock tick by which files are stamped: two changes within it look the same.
const STAMP: u64 = 4_000_000;

/// What an inode is.
#[derive(Clone, Debug)]
pub enum Body {
    /// A regular file.
    File(Content),
    /// A directory.
    Directory(Names),
    /// A symbolic link and where it points.
    Symlink(Vec<u8>),
    /// A FIFO, socket or device.
    Other,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Meta {
    /// What it is.
    pub body: Body,
    /// The file system that it is on; one disk may have several.
    pub device: u64,
    /// Names seen.
    pub links: u32,
    /// Names durable.
    pub durable_links: u32,
    /// Names in changes that are not durable.
    pub pending_links: u32,
    /// Open descriptors.
    pub opens: u32,
    /// Last change of the content, and the one that is durable.
    pub modified: (UnixNanos, UnixNanos),
    /// Permission bits.
    pub mode: u32,
    /// Its blocks count as used.
    pub takes_room: bool,
    /// Who holds the lock: the descriptor of a process.
    pub lock: Option<(u32, i32)>,
}

/// A node's file system.
#[derive(Debug)]
pub struct Disk {
    pub(super) inodes: BTreeMap<Inode, Meta>,
    pub(super) free: BTreeSet<Inode>,
    pub(super) next_inode: Inode,
    pub(super) next_change: ChangeId,
    pub(super) used: BTreeMap<u64, u64>,
    pub(super) capacity: BTreeMap<u64, u64>,
    pub(super) options: DiskOptions,
}

/// What a path leads to: the directory of its last name, that name, and what stands there.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub dir: Inode,
    /// The name; empty if the path ends where it began.
    pub name: Vec<u8>,
    /// What the name stands for.
    pub inode: Option<Inode>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(options: &DiskOptions) -> Self {
        let mut disk = Self {
            inodes: BTreeMap::new(),
            free: BTreeSet::new(),
            next_inode: ROOT + 1,
            next_change: 1,
            used: BTreeMap::new(),
            capacity: BTreeMap::from([(1, options.capacity)]),
            options: options.clone(),
        };
        let mut root = Meta::new(Body::Directory(Names::default()), 1, UnixNanos(0));
        (root.links, root.durable_links) = (1, 1);
        disk.inodes.insert(ROOT, root);
        disk
    }

    /// The ways of this disk.
    pub fn options(&mut self) -> &mut DiskOptions {
        &mut self.options
    }

    pub(super) fn make(&mut self, body: Body, device: u64, now: UnixNanos, rng: &mut Rng) -> Inode {
        // File systems give numbers of deleted files away again.
        let used = if rng.coin() { self.free.pop_first() } else { None };
        let inode = used.unwrap_or_else(|| {
            self.next_inode += 1;
            self.next_inode
        });
        self.inodes.insert(inode, Meta::new(body, device, now));
        inode
    }

    /// An inode.
    ///
    /// # Panics
    /// If there is no such inode: descriptors and names keep theirs.
    #[must_use]
    pub fn meta(&self, inode: Inode) -> &Meta {
        self.inodes.get(&inode).expect("what is named or open exists")
    }

    /// An inode, for changing.
    ///
    /// # Panics
    /// As `meta`.
    pub fn meta_mut(&mut self, inode: Inode) -> &mut Meta {
        self.inodes.get_mut(&inode).expect("what is named or open exists")
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// `IS_A_DIRECTORY` or `INVALID` for anything else.
    pub fn content(&mut self, inode: Inode) -> Result<&mut Content, Errno> {
        match &mut self.meta_mut(inode).body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Errno::IS_A_DIRECTORY),
            Body::Symlink(_) | Body::Other => Err(Errno::INVALID),
        }
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// `NOT_A_DIRECTORY`.
    pub fn names(&self, inode: Inode) -> Result<&Names, Errno> {
        match &self.meta(inode).body {
            Body::Directory(names) => Ok(names),
            Body::File(_) | Body::Symlink(_) | Body::Other => Err(Errno::NOT_A_DIRECTORY),
        }
    }

    pub(super) fn names_mut(&mut self, inode: Inode) -> &mut Names {
        match &mut self.meta_mut(inode).body {
            Body::Directory(names) => names,
            Body::File(_) | Body::Symlink(_) | Body::Other => unreachable!("{inode} is a directory"),
        }
    }

    /// Changes a file's content: looks after its time stamp and the room that it takes.
    ///
    /// # Errors
    /// As `content`.
    pub fn alter<T>(
        &mut self,
        inode: Inode,
        now: UnixNanos,
        change: impl FnOnce(&mut Content) -> T,
    ) -> Result<T, Errno> {
        let content = self.content(inode)?;
        let before = content.room();
        let out = change(content);
        let after = content.room();
        let meta = self.meta_mut(inode);
        meta.modified.0 = UnixNanos(now.0 - now.0 % STAMP);
        let device = meta.device;
        let used = self.used.entry(device).or_default();
        *used = *used + after - before;
        Ok(out)
    }

    /// Bytes that are free on a file system.
    #[must_use]
    pub fn available(&self, device: u64) -> u64 {
        let capacity = self.capacity.get(&device).copied().unwrap_or_default();
        capacity.saturating_sub(self.used.get(&device).copied().unwrap_or_default())
    }

    /// Room on the file system of an inode.
    #[must_use]
    pub fn space(&self, inode: Inode) -> Space {
        let device = self.meta(inode).device;
        let total = self.capacity.get(&device).copied().unwrap_or_default();
        Space { total, available: self.available(device) }
    }

    /// Resolves a path beneath a directory.
    ///
    /// # Errors
    /// `CROSSES` if it leaves, `LOOP` at a symbolic link, `NOT_FOUND`, `NOT_A_DIRECTORY`, or a name too long.
    pub fn beneath(&self, dir: Inode, path: &[u8]) -> Result<Place, Errno> {
        if path.is_empty() {
            return Err(Errno::NOT_FOUND);
        }
        if path.len() >= PATH_BYTES_MAX {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        if path[0] == b'/' {
            return Err(Errno::CROSSES);
        }
        let mut trail = vec![(dir, Vec::new())];
        let mut found = Some(dir);
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        for part in parts {
            let here = found.ok_or(Errno::NOT_FOUND)?;
            match &self.meta(here).body {
                Body::Directory(_) => {}
                Body::Symlink(_) => return Err(Errno::LOOP),
                Body::File(_) | Body::Other => return Err(Errno::NOT_A_DIRECTORY),
            }
            if part.len() > NAME_BYTES_MAX {
                return Err(Errno(libc::ENAMETOOLONG));
            }
            if part == b".." {
                trail.pop();
                found = Some(trail.last().ok_or(Errno::CROSSES)?.0);
                continue;
            }
            found = self.names(here)?.get(part);
            trail.push((found.unwrap_or(0), part.to_vec()));
        }
        let (_, name) = trail.pop().expect("the start was never popped");
        let dir = trail.last().map_or(dir, |(inode, _)| *inode);
        if path.ends_with(b"/") && found.is_some_and(|inode| self.names(inode).is_err()) {
            return Err(Errno::NOT_A_DIRECTORY);
        }
        Ok(Place { dir, name, inode: found })
    }

    /// Resolves an absolute path, links followed.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_A_DIRECTORY`, `LOOP` after too many links.
    pub fn absolute(&self, path: &[u8]) -> Result<Inode, Errno> {
        let mut rest: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut trail = vec![ROOT];
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    trail.truncate(trail.len().saturating_sub(1).max(1));
                    continue;
                }
                _ => {}
            }
            let here = *trail.last().expect("the root is never popped");
            let inode = self.names(here)?.get(&part).ok_or(Errno::NOT_FOUND)?;
            let Body::Symlink(target) = &self.meta(inode).body else {
                trail.push(inode);
                continue;
            };
            links += 1;
            if links > 40 {
                return Err(Errno::LOOP);
            }
            if target.starts_with(b"/") {
                trail.truncate(1);
            }
            rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(*trail.last().expect("the root is never popped"))
    }

    /// Facts about an inode.
    #[must_use]
    pub fn stat(&self, inode: Inode) -> Stat {
        let meta = self.meta(inode);
        let (kind, bytes) = match &meta.body {
            Body::File(content) => (FileKind::Regular, content.bytes()),
            Body::Directory(_) => (FileKind::Directory, 4096),
            Body::Symlink(target) => (FileKind::Symlink, target.len() as u64),
            Body::Other => (FileKind::Other, 0),
        };
        Stat {
            kind,
            bytes,
            device: meta.device,
            inode,
            modified: meta.modified.0,
            links: meta.links,
            mode: meta.mode,
            owner: 0,
        }
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NOT_A_DIRECTORY`.
    pub fn list(&self, dir: Inode) -> Result<Vec<Name>, Errno> {
        let entry = |(name, inode): (&Vec<u8>, Inode)| {
            let body = &self.meta(inode).body;
            let is_dir = matches!(body, Body::Directory(_));
            Name { bytes: name.clone(), is_dir, is_special: !is_dir && !matches!(body, Body::File(_)) }
        };
        Ok(self.names(dir)?.iter().map(entry).collect())
    }

    /// One more descriptor is open.
    pub fn opened(&mut self, inode: Inode) {
        self.meta_mut(inode).opens += 1;
    }

    /// A descriptor is closed: its lock ends, and a file without names goes.
    pub fn closed(&mut self, inode: Inode, holder: (u32, i32)) {
        let meta = self.meta_mut(inode);
        meta.opens -= 1;
        if meta.lock == Some(holder) {
            meta.lock = None;
        }
        self.release(inode);
    }

    /// Frees the room of a file that nobody can reach, and the inode if no power cut can bring it back.
    pub(super) fn release(&mut self, inode: Inode) {
        let Some(meta) = self.inodes.get_mut(&inode) else { return };
        let Body::File(content) = &meta.body else { return };
        if meta.links > 0 || meta.opens > 0 {
            return;
        }
        if std::mem::replace(&mut meta.takes_room, false) {
            *self.used.entry(meta.device).or_default() -= content.room();
        }
        if meta.durable_links == 0 && meta.pending_links == 0 {
            self.inodes.remove(&inode);
            self.free.insert(inode);
        }
    }
}

impl Meta {
    pub(super) fn new(body: Body, device: u64, now: UnixNanos) -> Self {
        let mode = if matches!(body, Body::Directory(_)) { 0o700 } else { 0o600 };
        let modified = (now, now);
        let (links, durable_links, pending_links, opens) = (0, 0, 0, 0);
        let (takes_room, lock) = (true, None);
        Self { body, device, links, durable_links, pending_links, opens, modified, mode, takes_room, lock }
    }
}
