//! What is durable: syncs, the file system's own commits, and power cuts.

use std::collections::{BTreeMap, BTreeSet};

use ringway::uring::Errno;

use super::super::job::Promise;
use super::super::rng::Rng;
use super::content::Loss;
use super::names::{ChangeId, Effect, Inode};
use super::tree::{Body, Disk, Meta, ROOT};

impl Disk {
    /// What a sync asked for now will have made durable when it succeeds.
    #[must_use]
    pub fn promise(&mut self, inode: Inode) -> Option<Promise> {
        match &mut self.meta_mut(inode).body {
            Body::File(content) => Some(Promise::Content(content.sync_point())),
            Body::Directory(names) => Some(Promise::Names(names.last())),
            Body::Symlink(_) | Body::Other => None,
        }
    }

    /// Keeps a promise.
    ///
    /// # Errors
    /// `INVALID` for what cannot be synced.
    pub fn keep(&mut self, inode: Inode, promise: Option<Promise>) -> Result<(), Errno> {
        match promise {
            Some(Promise::Content(point)) => {
                self.content(inode)?.synced(point);
                let meta = self.meta_mut(inode);
                meta.modified.1 = meta.modified.0;
            }
            Some(Promise::Names(upto)) => self.persist(inode, upto),
            None => return Err(Errno::INVALID),
        }
        Ok(())
    }

    /// Breaks a promise, as a failing sync does.
    pub fn break_promise(&mut self, inode: Inode, promise: Option<Promise>, rng: &mut Rng) {
        match promise {
            Some(Promise::Content(point)) => {
                if let Ok(content) = self.content(inode) {
                    content.sync_failed(point, rng);
                }
            }
            Some(Promise::Names(_)) | None => {}
        }
    }

    /// Makes the changes of a directory durable, up to and with this one.
    pub(super) fn persist(&mut self, dir: Inode, upto: Option<ChangeId>) {
        let Some(upto) = upto else { return };
        while let Some(change) = self.take_change(dir, upto) {
            if let Some((other, id)) = change.after {
                self.persist(other, Some(id));
            }
            for (_, inode) in &change.edits {
                if let Some(inode) = inode {
                    self.meta_mut(*inode).pending_links -= 1;
                }
            }
            for effect in self.names_mut(dir).persist(&change) {
                match effect {
                    Effect::Gained(inode) => self.meta_mut(inode).durable_links += 1,
                    Effect::Lost(inode) => {
                        self.meta_mut(inode).durable_links -= 1;
                        self.release(inode);
                    }
                }
            }
        }
    }

    fn take_change(&mut self, dir: Inode, upto: ChangeId) -> Option<super::names::Change> {
        match self.inodes.get_mut(&dir).map(|meta| &mut meta.body) {
            Some(Body::Directory(names)) => names.next_to(upto),
            _ => None,
        }
    }

    /// The power goes. Descriptors and locks are gone too: the caller drops its own.
    pub fn power_cut(&mut self, loss: Loss, rng: &mut Rng) {
        let dirs: Vec<Inode> = self.inodes.iter().filter(|(_, meta)| is_dir(&meta.body)).map(first).collect();
        for dir in dirs {
            let pending = self.names_mut(dir).pending();
            let count = match loss {
                Loss::Drawn => rng.index(pending + 1),
                Loss::All => 0,
                Loss::Nothing => pending,
            };
            let upto = self.names_mut(dir).nth(count);
            self.persist(dir, upto);
        }
        if !self.options.torn_renames {
            self.persist_other_halves();
        }
        for meta in self.inodes.values_mut() {
            (meta.links, meta.pending_links, meta.opens) = (0, 0, 0);
            (meta.lock, meta.takes_room) = (None, true);
            match &mut meta.body {
                Body::File(content) => {
                    if content.is_dirty() {
                        meta.modified.0 = if rng.coin() { meta.modified.0 } else { meta.modified.1 };
                    }
                    content.power_cut(loss, rng);
                    meta.modified.1 = meta.modified.0;
                }
                Body::Directory(names) => names.power_cut(),
                Body::Symlink(_) | Body::Other => {}
            }
        }
        self.count_again();
    }

    /// A rename whose new name is durable takes the old name with it.
    fn persist_other_halves(&mut self) {
        loop {
            let names = |(dir, meta): (&Inode, &Meta)| match &meta.body {
                Body::Directory(names) => Some((*dir, names.first()?)),
                Body::File(_) | Body::Symlink(_) | Body::Other => None,
            };
            let pending: BTreeMap<Inode, ChangeId> = self.inodes.iter().filter_map(names).collect();
            let is_durable = |dir, id| pending.get(&dir).is_none_or(|first| id < *first);
            let half = |dir: &Inode| Some((*dir, self.names(*dir).ok()?.last_half(is_durable)?));
            let Some((dir, id)) = pending.keys().find_map(half) else { return };
            self.persist(dir, Some(id));
        }
    }

    /// Drops what no path leads to and counts links and room again.
    fn count_again(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        let mut links = vec![ROOT];
        while let Some(dir) = todo.pop() {
            let Ok(names) = self.names(dir) else { continue };
            for (_, inode) in names.iter() {
                links.push(inode);
                if reached.insert(inode) {
                    todo.push(inode);
                }
            }
        }
        let lost: Vec<Inode> = self.inodes.keys().filter(|inode| !reached.contains(inode)).copied().collect();
        for inode in lost {
            self.inodes.remove(&inode);
            self.free.insert(inode);
        }
        for inode in links {
            self.meta_mut(inode).links += 1;
        }
        self.used.clear();
        for meta in self.inodes.values_mut() {
            meta.durable_links = meta.links;
            if let Body::File(content) = &meta.body {
                *self.used.entry(meta.device).or_default() += content.room();
            }
        }
    }

    /// Drops clean pages of all files from the cache.
    pub fn evict(&mut self) {
        for meta in self.inodes.values_mut() {
            if let Body::File(content) = &mut meta.body {
                content.evict();
            }
        }
    }
}

fn is_dir(body: &Body) -> bool {
    matches!(body, Body::Directory(_))
}

fn first<T>((inode, _): (&Inode, T)) -> Inode {
    *inode
}
