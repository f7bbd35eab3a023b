//! Changes of names: create, link, rename, unlink, make and remove directories; each atomic, none durable by itself.

use ringway::ids::UnixNanos;
use ringway::uring::{Errno, OpenOptions};

use super::super::rng::Rng;
use super::content::Content;
use super::names::{Change, ChangeId, Inode, Names};
use super::tree::{Body, Disk, NAME_BYTES_MAX};

impl Disk {
    /// Opens beneath a directory, creating if asked to.
    ///
    /// # Errors
    /// As openat2(2) and the flags say.
    pub fn open(
        &mut self,
        dir: Inode,
        path: &[u8],
        options: OpenOptions,
        now: UnixNanos,
        rng: &mut Rng,
    ) -> Result<Inode, Errno> {
        if options.create && path.ends_with(b"/") {
            let bare = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            return self.beneath(dir, &path[..bare]).and(Err(Errno::IS_A_DIRECTORY));
        }
        let place = self.beneath(dir, path)?;
        if options.direct && !self.options.direct {
            return Err(Errno::INVALID);
        }
        let Some(inode) = place.inode else {
            if !options.create || options.directory {
                return Err(Errno::NOT_FOUND);
            }
            let device = self.meta(place.dir).device;
            let inode = self.make(Body::File(Content::default()), device, now, rng);
            self.edit(place.dir, vec![(place.name, Some(inode))], None, rng);
            return Ok(inode);
        };
        if options.create && options.exclusive {
            return Err(Errno::EXISTS);
        }
        match &self.meta(inode).body {
            Body::Symlink(_) => Err(Errno::LOOP),
            Body::Directory(_) if options.write || options.create => Err(Errno::IS_A_DIRECTORY),
            Body::File(_) | Body::Other if options.directory => Err(Errno::NOT_A_DIRECTORY),
            Body::File(_) | Body::Directory(_) | Body::Other => Ok(inode),
        }
    }

    /// Records a change of a directory and counts the links that it makes and breaks.
    pub(super) fn edit(
        &mut self,
        dir: Inode,
        edits: Vec<(Vec<u8>, Option<Inode>)>,
        after: Option<(Inode, ChangeId)>,
        rng: &mut Rng,
    ) -> ChangeId {
        let id = self.next_change;
        self.next_change += 1;
        let mut unnamed = Vec::new();
        for (name, inode) in &edits {
            unnamed.extend(self.names_mut(dir).get(name));
            if let Some(inode) = inode {
                let meta = self.meta_mut(*inode);
                meta.links += 1;
                meta.pending_links += 1;
            }
        }
        self.names_mut(dir).change(Change { id, edits, after });
        for inode in unnamed {
            self.meta_mut(inode).links -= 1;
            self.release(inode);
        }
        if rng.happens(self.options.commit) {
            let count = rng.index(self.names_mut(dir).pending() + 1);
            let upto = self.names_mut(dir).nth(count);
            self.persist(dir, upto);
        }
        id
    }

    fn lookup(&self, dir: Inode, name: &[u8]) -> Result<Inode, Errno> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        self.names(dir)?.get(name).ok_or(Errno::NOT_FOUND)
    }

    fn is_dir(&self, inode: Inode) -> bool {
        matches!(self.meta(inode).body, Body::Directory(_))
    }

    /// Facts about a name need its inode.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn named(&self, dir: Inode, name: &[u8]) -> Result<Inode, Errno> {
        self.lookup(dir, name)
    }

    /// Makes a second name for a file.
    ///
    /// # Errors
    /// `NOT_FOUND`, `EXISTS`, `CROSSES`, `TOO_MANY_LINKS`, EPERM for a directory.
    pub fn link(&mut self, from: (Inode, &[u8]), to: (Inode, &[u8]), rng: &mut Rng) -> Result<(), Errno> {
        let inode = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(_) => return Err(Errno::EXISTS),
            Err(Errno::NOT_FOUND) => {}
            Err(errno) => return Err(errno),
        }
        if self.is_dir(inode) {
            return Err(Errno(libc::EPERM));
        }
        if self.meta(inode).device != self.meta(to.0).device {
            return Err(Errno::CROSSES);
        }
        if self.meta(inode).links >= self.options.links_max {
            return Err(Errno::TOO_MANY_LINKS);
        }
        self.edit(to.0, vec![(to.1.to_vec(), Some(inode))], None, rng);
        Ok(())
    }

    /// Renames, replacing what is there.
    ///
    /// # Errors
    /// As rename(2).
    pub fn rename(&mut self, from: (Inode, &[u8]), to: (Inode, &[u8]), rng: &mut Rng) -> Result<(), Errno> {
        let inode = self.lookup(from.0, from.1)?;
        let there = match self.lookup(to.0, to.1) {
            Ok(there) => Some(there),
            Err(Errno::NOT_FOUND) => None,
            Err(errno) => return Err(errno),
        };
        if self.meta(inode).device != self.meta(to.0).device {
            return Err(Errno::CROSSES);
        }
        if there == Some(inode) {
            return Ok(());
        }
        if self.is_dir(inode) && self.holds(inode, to.0) {
            return Err(Errno::INVALID);
        }
        if let Some(there) = there {
            match (self.is_dir(inode), self.is_dir(there)) {
                (false, true) => return Err(Errno::IS_A_DIRECTORY),
                (true, false) => return Err(Errno::NOT_A_DIRECTORY),
                (true, true) if !self.names(there)?.is_empty() => return Err(Errno(libc::ENOTEMPTY)),
                (true, true) | (false, false) => {}
            }
        }
        let gone = (from.1.to_vec(), None);
        let come = (to.1.to_vec(), Some(inode));
        if from.0 == to.0 {
            // The new name first, so that the inode never is without one.
            self.edit(from.0, vec![come, gone], None, rng);
            return Ok(());
        }
        let id = self.edit(to.0, vec![come], None, rng);
        self.edit(from.0, vec![gone], Some((to.0, id)), rng);
        Ok(())
    }

    /// Renames to a name that nothing has.
    ///
    /// # Errors
    /// As renameat2(2) with RENAME_NOREPLACE.
    pub fn rename_new(
        &mut self,
        from: (Inode, &[u8]),
        to: (Inode, &[u8]),
        rng: &mut Rng,
    ) -> Result<(), Errno> {
        self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(_) => Err(Errno::EXISTS),
            _ if !self.options.rename_flags => Err(Errno::INVALID),
            _ => self.rename(from, to, rng),
        }
    }

    /// Lets two names change what they stand for. Between directories a power cut may part the halves: what came out
    /// is then without a name, which is worse than on a file system with a log.
    ///
    /// # Errors
    /// As renameat2(2) with RENAME_EXCHANGE.
    pub fn exchange(
        &mut self,
        one: (Inode, &[u8]),
        other: (Inode, &[u8]),
        rng: &mut Rng,
    ) -> Result<(), Errno> {
        let (first, second) = (self.lookup(one.0, one.1)?, self.lookup(other.0, other.1)?);
        if !self.options.rename_flags {
            return Err(Errno::INVALID);
        }
        if self.meta(first).device != self.meta(other.0).device {
            return Err(Errno::CROSSES);
        }
        if first == second {
            return Ok(());
        }
        let into = |this: &Self, dir, below| this.is_dir(dir) && this.holds(dir, below);
        if into(self, first, other.0) || into(self, second, one.0) {
            return Err(Errno::INVALID);
        }
        let (here, there) = ((one.1.to_vec(), Some(second)), (other.1.to_vec(), Some(first)));
        if one.0 == other.0 {
            self.edit(one.0, vec![there, here], None, rng);
            return Ok(());
        }
        // One change, its links counted before any is broken, so that neither file is ever without a name.
        self.meta_mut(second).links += 1;
        let id = self.edit(other.0, vec![there], None, rng);
        self.edit(one.0, vec![here], Some((other.0, id)), rng);
        self.meta_mut(second).links -= 1;
        Ok(())
    }

    /// `below` is `dir` or lies under it.
    fn holds(&self, dir: Inode, below: Inode) -> bool {
        dir == below
            || self.names(dir).is_ok_and(|names| {
                names.iter().any(|(_, inode)| self.is_dir(inode) && self.holds(inode, below))
            })
    }

    /// Removes a name of a file.
    ///
    /// # Errors
    /// `NOT_FOUND`, `IS_A_DIRECTORY`.
    pub fn unlink(&mut self, dir: Inode, name: &[u8], rng: &mut Rng) -> Result<(), Errno> {
        let inode = self.lookup(dir, name)?;
        if self.is_dir(inode) {
            return Err(Errno::IS_A_DIRECTORY);
        }
        self.edit(dir, vec![(name.to_vec(), None)], None, rng);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_A_DIRECTORY`, ENOTEMPTY.
    pub fn remove_dir(&mut self, dir: Inode, name: &[u8], rng: &mut Rng) -> Result<(), Errno> {
        let inode = self.lookup(dir, name)?;
        if !self.names(inode)?.is_empty() {
            return Err(Errno(libc::ENOTEMPTY));
        }
        self.edit(dir, vec![(name.to_vec(), None)], None, rng);
        Ok(())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// `EXISTS`.
    pub fn make_dir(
        &mut self,
        dir: Inode,
        name: &[u8],
        now: UnixNanos,
        rng: &mut Rng,
    ) -> Result<Inode, Errno> {
        match self.lookup(dir, name) {
            Ok(_) => return Err(Errno::EXISTS),
            Err(Errno::NOT_FOUND) => {}
            Err(errno) => return Err(errno),
        }
        let device = self.meta(dir).device;
        let inode = self.make(Body::Directory(Names::default()), device, now, rng);
        self.edit(dir, vec![(name.to_vec(), Some(inode))], None, rng);
        Ok(inode)
    }
}
