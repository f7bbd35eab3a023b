//! New versions of paths that another node's engine has sealed: put in place where the name is Ringway's until the
//! update is committed; and those who read meanwhile, who see an old version or a new one, whole.

use std::rc::Rc;

use ringway::engine::Facts;
use ringway::ids::{Digest, Nanos, NodeId, ShardId};
use ringway::segment::Identity;

use crate::sim::check::Violation;

use super::cluster::Cluster;
use super::ledger::{Task, Wish, file, root_of};
use super::millis;
use super::workload::content;

/// Slices between two looks.
const LOOK_EVERY: u64 = 4;
/// From the first half of a file to the second.
const READING_TIME: Nanos = millis(12);

/// A file that somebody has opened as the product told and reads slowly.
pub struct Reading {
    node: NodeId,
    power_cuts: u32,
    shard: ShardId,
    path: String,
    root: Digest,
    inode: u64,
    half: Vec<u8>,
    until: Nanos,
}

impl Reading {
    pub fn is_of(&self, node: NodeId, inode: u64) -> bool {
        (self.node, self.inode) == (node, inode)
    }
}

impl Cluster {
    /// Whether the version that a node's manifest has stands there under its name: what an engine there can make a new
    /// one of.
    pub fn stands(&self, node: NodeId, shard: ShardId, path: &str) -> bool {
        let Some(running) = self.shard(node, shard) else { return false };
        let machine = running.group().machine();
        let machine = machine.borrow();
        let Some(entry) = machine.by_path(path) else { return false };
        let found = self.sim.host(node).disk.file(&file(shard, path)).map(|bytes| root_of(&bytes));
        running.store().is_held(entry.id, entry.root) && found == Some(entry.root)
    }

    /// The engine makes a new version of another one's path, and keeps it until it is committed.
    pub fn seal_over(&mut self, node: NodeId, shard: ShardId, path: String) -> Wish {
        let (number, len) = self.drawn_content();
        let bytes = content(number, len);
        self.ledger.kept.insert((node, shard, path.clone()), Rc::clone(&bytes));
        Wish::Put { path, root: root_of(&bytes), update: true }
    }

    /// Whether the engine of a task keeps what it has made of a path.
    pub fn keeps(&self, task: &Task, path: &str) -> bool {
        self.ledger.kept.contains_key(&(task.node, task.shard, path.to_owned()))
    }

    /// Before an engine asks: what it keeps goes into the place of the version that stands there, unless it has. False
    /// while that one does not stand: an engine changes what it can read.
    pub fn put_in_place(&mut self, task: &Task) -> bool {
        for wish in &task.wishes {
            let Wish::Put { path, root, .. } = wish else { continue };
            let key = (task.node, task.shard, path.clone());
            let Some(bytes) = self.ledger.kept.get(&key).cloned() else { continue };
            let found = self.sim.host(task.node).disk.file(&file(task.shard, path));
            if found.is_some_and(|found| root_of(&found) == *root) {
                continue;
            }
            if !self.stands(task.node, task.shard, path) {
                return false;
            }
            let replaced = {
                let shard = self.shard(task.node, task.shard).expect("something stands there");
                let machine = shard.group().machine();
                let machine = machine.borrow();
                machine.by_path(path).expect("it stands there").id
            };
            self.checks.borrow_mut().overlaid.insert((task.node, task.shard.group(), replaced));
            self.seal_bytes(task.node, task.shard, path.clone(), &bytes, true);
        }
        true
    }

    /// What the file is like that an engine has put over another one's: it says so when it asks.
    pub fn facts_of_kept(&self, node: NodeId, shard: ShardId, path: &str) -> Option<Facts> {
        self.ledger.kept.get(&(node, shard, path.to_owned()))?;
        let host = self.sim.host(node);
        let stat = host.disk.stat(host.disk.absolute(file(shard, path).as_bytes()).ok()?);
        Some(Facts { bytes: stat.bytes, inode: stat.inode, modified: i128::from(stat.modified.0) })
    }

    /// Now and then: looks at what stands on one of the nodes, lets somebody read there, and hears what readers saw.
    pub fn look_around(&mut self) {
        self.ledger.looks += 1;
        let (turn, rest) = (self.ledger.looks / LOOK_EVERY, self.ledger.looks % LOOK_EVERY);
        self.read_on();
        let nodes = self.nodes();
        let node = nodes[turn as usize % nodes.len()];
        if rest > 0 || self.host(node).engine().is_none() {
            return;
        }
        for shard in self.shards() {
            self.look_at_versions(node, shard);
            self.begin_reading(node, shard, turn as usize / nodes.len());
        }
    }

    /// What stands under the names of paths that had several versions.
    fn look_at_versions(&mut self, node: NodeId, shard: ShardId) {
        let Some(running) = self.shard(node, shard) else { return };
        let (life, store) = (self.host(node).life, running.store());
        let machine = running.group().machine();
        let machine = machine.borrow();
        let mut checks = self.checks.borrow_mut();
        let updated = machine.entries(None).filter(|entry| entry.version > 1);
        for entry in updated.filter(|entry| store.is_held(entry.id, entry.root)) {
            let path = entry.path().as_str();
            let bytes = self.sim.host(node).disk.file(&file(shard, path));
            let Some(bytes) = bytes.filter(|_| !self.is_rotten(node, shard, path)) else { continue };
            let root = root_of(&bytes);
            let verdict = checks.bytes.visible(node, shard, path, root, bytes.len() as u64);
            checks.hold("no_unverified_byte", verdict);
            // The engine's own until the log says here that it is committed: what lands before may set it aside.
            let kept = self.ledger.kept.get(&(node, shard, path.to_owned()));
            if root != entry.root && kept.is_some_and(|bytes| root_of(bytes) == root) {
                continue;
            }
            let verdict = checks.older.visible((node, life), shard, path, entry.id.index, root);
            checks.hold("never_older", verdict);
        }
    }

    fn is_rotten(&self, node: NodeId, shard: ShardId, path: &str) -> bool {
        self.ledger.is_rotten(&self.sim.host(node).disk, node, shard, path)
    }

    /// Somebody opens a segment as the product tells: the first place whose file is the one that was verified.
    fn begin_reading(&mut self, node: NodeId, shard: ShardId, which: usize) -> Option<()> {
        let running = self.shard(node, shard)?;
        let machine = running.group().machine();
        let machine = machine.borrow();
        let entry = machine.entries(None).nth(which.checked_rem(machine.len())?)?;
        let (path, root) = (entry.path().as_str().to_owned(), entry.root);
        let (places, identity) = running.store().places_of(entry.id, root)?;
        let mut host = self.sim.host(node);
        let power_cuts = host.power_cuts;
        let at = |place: &String| host.disk.absolute(place.as_bytes()).ok();
        let inode =
            places.iter().filter_map(at).find(|inode| Identity::from(host.disk.stat(*inode)) == identity)?;
        host.disk.opened(inode);
        let mut half = vec![0; identity.bytes as usize / 2];
        let content = host.disk.content(inode).expect("a file");
        content.clone().read(0, &mut half, false).ok()?;
        drop(host);
        let until = self.sim.now().plus(READING_TIME);
        self.ledger.readings.push(Reading { node, power_cuts, shard, path, root, inode, half, until });
        Some(())
    }

    /// Readers come to the second half: with the first it is the version that they have opened.
    fn read_on(&mut self) {
        let now = self.sim.now();
        let (ended, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ledger.readings).into_iter().partition(|reading| reading.until <= now);
        self.ledger.readings = going;
        for reading in ended {
            let Reading { node, power_cuts, shard, path, root, inode, half, .. } = reading;
            if self.sim.host(node).power_cuts != power_cuts {
                continue; // the reader went with the power
            }
            let mut bytes = half;
            {
                let mut host = self.sim.host(node);
                let (from, mut content) =
                    (bytes.len(), host.disk.content(inode).expect("it is open").clone());
                bytes.resize(content.bytes() as usize, 0);
                let read = content.read(from as u64, &mut bytes[from..], false);
                host.disk.closed(inode, (u32::MAX, -1));
                if read.is_err() {
                    continue;
                }
            }
            self.ledger.read += 1;
            if root_of(&bytes) != root && !self.ledger.rotten_files.contains(&(node, inode)) {
                let what = format!("{node}: a reader of {path} in shard {shard} has not read what it opened");
                self.checks.borrow_mut().hold("no_unverified_byte", Err(Violation(what)));
            }
        }
    }
}
