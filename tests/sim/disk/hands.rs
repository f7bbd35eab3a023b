//! A test's own hands on a disk: what it plants is durable at once, what it looks at is not disturbed.

use ringway::ids::UnixNanos;

use super::super::rng::Rng;
use super::content::{Content, Loss};
use super::names::{Inode, Names};
use super::tree::{Body, Disk, ROOT};

impl Disk {
    fn split<'a>(&self, path: &'a str) -> (Option<Inode>, &'a str) {
        let (dir, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        (self.absolute(dir.as_bytes()).ok(), name)
    }

    fn plant(&mut self, path: &str, body: Body, device: Option<u64>) -> Inode {
        let mut rng = Rng::new(0);
        let (dir, name) = self.split(path);
        let dir = dir.unwrap_or_else(|| panic!("no directory for {path}"));
        let device = device.unwrap_or_else(|| self.meta(dir).device);
        let inode = self.make(body, device, UnixNanos(1), &mut rng);
        self.edit(dir, vec![(name.as_bytes().to_vec(), Some(inode))], None, &mut rng);
        let last = self.names_mut(dir).last();
        self.persist(dir, last);
        inode
    }

    /// Makes a directory and those above it.
    pub fn plant_dir(&mut self, path: &str) -> Inode {
        let mut at = ROOT;
        let mut done = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            done = format!("{done}/{part}");
            at = match self.absolute(done.as_bytes()) {
                Ok(inode) => inode,
                Err(_) => self.plant(&done, Body::Directory(Names::default()), None),
            };
        }
        at
    }

    /// Makes a directory that is a file system of its own.
    pub fn plant_mount(&mut self, path: &str, capacity: u64) -> Inode {
        let device = self.capacity.len() as u64 + 1;
        self.capacity.insert(device, capacity);
        self.plant(path, Body::Directory(Names::default()), Some(device))
    }

    /// Makes or replaces a file.
    pub fn plant_file(&mut self, path: &str, bytes: &[u8]) -> Inode {
        let mut rng = Rng::new(0);
        let inode = self.plant(path, Body::File(Content::default()), None);
        let write = |content: &mut Content| {
            content.write(0, bytes, true, &mut rng);
            let point = content.sync_point();
            content.synced(point);
        };
        self.alter(inode, UnixNanos(1), write).expect("it is a file");
        inode
    }

    /// Reads a whole file into the page cache.
    pub fn warm(&mut self, path: &str) {
        let content = self.file_mut(path);
        let mut memory = vec![0; usize::try_from(content.bytes()).expect("it fits the memory")];
        content.read(0, &mut memory, false).expect("its medium is sound");
    }

    /// Makes a symbolic link.
    pub fn plant_symlink(&mut self, path: &str, target: &str) -> Inode {
        self.plant(path, Body::Symlink(target.as_bytes().to_vec()), None)
    }

    /// Makes a FIFO.
    pub fn plant_fifo(&mut self, path: &str) -> Inode {
        self.plant(path, Body::Other, None)
    }

    /// What a reader would see in a file; `None` if there is none.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        let inode = self.absolute(path.as_bytes()).ok()?;
        let Body::File(content) = &self.meta(inode).body else { return None };
        let mut content = content.clone();
        let mut bytes = vec![0; content.bytes() as usize];
        content.read(0, &mut bytes, false).ok()?;
        Some(bytes)
    }

    /// All paths below a directory, sorted; directories end in `/`.
    #[must_use]
    pub fn paths(&self, root: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut todo = vec![root.trim_end_matches('/').to_owned()];
        while let Some(dir) = todo.pop() {
            let Ok(inode) = self.absolute(dir.as_bytes()) else { continue };
            for name in self.list(inode).unwrap_or_default() {
                let path = format!("{dir}/{}", String::from_utf8_lossy(&name.bytes));
                if name.is_dir {
                    todo.push(path.clone());
                    out.push(format!("{path}/"));
                } else {
                    out.push(path);
                }
            }
        }
        out.sort();
        out
    }

    fn file_mut(&mut self, path: &str) -> &mut Content {
        let inode = self.absolute(path.as_bytes()).unwrap_or_else(|errno| panic!("{path}: {errno}"));
        self.content(inode).unwrap_or_else(|errno| panic!("{path}: {errno}"))
    }

    /// Changes a byte of a file on the medium; false if the medium holds nothing there.
    pub fn rot(&mut self, path: &str, offset: u64, mask: u8) -> bool {
        self.file_mut(path).rot(offset, mask)
    }

    /// The medium can no longer read the block of this byte, until it is written again.
    pub fn make_unreadable(&mut self, path: &str, offset: u64) {
        self.file_mut(path).make_unreadable(offset);
    }

    /// Replaces a file's content on the medium and in the cache, its inode kept: what an editor or a bad copy does.
    pub fn overwrite(&mut self, path: &str, bytes: &[u8]) {
        let mut rng = Rng::new(0);
        let inode = self.absolute(path.as_bytes()).unwrap_or_else(|errno| panic!("{path}: {errno}"));
        let modified = UnixNanos(self.meta(inode).modified.0.0 + 1_000_000_000);
        let write = |content: &mut Content| {
            content.truncate(0);
            content.write(0, bytes, true, &mut rng);
            content.power_cut(Loss::Nothing, &mut rng);
        };
        self.alter(inode, modified, write).expect("it is a file");
    }

    /// Removes a file or a whole directory, durably.
    pub fn remove(&mut self, path: &str) {
        let mut rng = Rng::new(0);
        for below in self.absolute(path.as_bytes()).and_then(|inode| self.list(inode)).unwrap_or_default() {
            self.remove(&format!("{path}/{}", String::from_utf8_lossy(&below.bytes)));
        }
        let (dir, name) = self.split(path);
        let dir = dir.unwrap_or_else(|| panic!("no directory for {path}"));
        self.edit(dir, vec![(name.as_bytes().to_vec(), None)], None, &mut rng);
        let last = self.names_mut(dir).last();
        self.persist(dir, last);
    }

    /// Sets how many bytes the file system of a directory has.
    pub fn set_capacity(&mut self, path: &str, bytes: u64) {
        let inode = self.absolute(path.as_bytes()).unwrap_or_else(|errno| panic!("{path}: {errno}"));
        let device = self.meta(inode).device;
        self.capacity.insert(device, bytes);
    }
}
