//! What the embedders of a cluster have asked for, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringway::digest::{Kernel, TreeHasher};
use ringway::engine::{Ask, Change, ChangeError, Committed, Durability, Reply, Sealed};
use ringway::ids::{Digest, GroupId, LogIndex, NodeId, ShardId};

use crate::sim::disk::Disk;

use super::checks::{Checks, Found};
use super::cluster::Cluster;
use super::elsewhere::Reading;
use super::host::{ROOT, Stage, poll};

/// One change that an engine wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    Put { path: String, root: Digest, update: bool },
    Delete { path: String },
}

impl Wish {
    pub fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Delete { path } => path,
        }
    }
}

/// A batch that an engine asks for until it is told that it is done.
pub struct Task {
    pub node: NodeId,
    pub shard: ShardId,
    pub wishes: Vec<Wish>,
    pub ask: Ask,
    pub reply: Option<Reply<Committed, ChangeError>>,
    pub attempts: u32,
}

/// A path that an engine has registered, or is about to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    pub owner: NodeId,
    pub versions: u32,
    pub busy: bool,
}

#[derive(Default)]
pub struct Ledger {
    pub tasks: Vec<Task>,
    pub paths: BTreeMap<(ShardId, String), Known>,
    pub next: u64,
    /// What the latest content was made of: its number, its length.
    pub latest: Option<(u64, usize)>,
    pub acknowledged: u64,
    pub refused: BTreeMap<String, u64>,
    /// Files that have rotted where nobody looks: on which node, of which shard, under which path.
    pub rotten: BTreeSet<(NodeId, ShardId, String)>,
    /// The same files by their inodes: what is linked has several names.
    pub rotten_files: BTreeSet<(NodeId, u64)>,
    /// Which engine has sealed what under a path.
    pub sealed: BTreeMap<(ShardId, String), BTreeSet<(NodeId, Digest)>>,
    /// What an engine has made of a path that another one had sealed, kept until it is told that it is committed.
    pub kept: BTreeMap<(NodeId, ShardId, String), Rc<Vec<u8>>>,
    /// Files that slow readers have open.
    pub readings: Vec<Reading>,
    /// Slices that were looked around in.
    pub looks: u64,
    /// Updates by an engine that had not sealed the version before.
    pub handed_over: u64,
    /// Files that were read to their end, slowly.
    pub read: u64,
    /// Faults that struck, by name.
    pub struck: BTreeMap<&'static str, u64>,
}

/// The root of some bytes.
pub fn root_of(bytes: &[u8]) -> Digest {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(bytes);
    hasher.finish().root
}

/// Where a path of a shard stands on a node's disk.
pub fn file(shard: ShardId, path: &str) -> String {
    format!("{ROOT}/shard-{:04}/segments/{path}", shard.0)
}

impl Ledger {
    /// Whether what stands on a node has rotted, under this name or another one of the same file.
    pub fn is_rotten(&self, disk: &Disk, node: NodeId, shard: ShardId, path: &str) -> bool {
        let inode = disk.absolute(file(shard, path).as_bytes());
        self.rotten.contains(&(node, shard, path.to_owned()))
            || inode.is_ok_and(|inode| self.rotten_files.contains(&(node, inode)))
    }
}

/// What a path has when the log is applied up to an index.
fn content_at(checks: &Checks, group: GroupId, index: LogIndex, path: &str) -> Option<Digest> {
    let facts = checks.log.range((group, LogIndex(0))..=(group, index)).rev();
    let of_path = |fact: &&super::checks::Fact| fact.path == path;
    let last = facts.flat_map(|(_, facts)| facts.iter().rev()).find(of_path)?;
    last.content.map(|(_, root, _)| root)
}

impl Cluster {
    /// Sends what is not sent, hears what is answered.
    pub fn poll_work(&mut self) {
        if self.is_founded() && self.working {
            self.begin_work();
        }
        let mut tasks = std::mem::take(&mut self.ledger.tasks);
        tasks.retain_mut(|task| !self.advance(task));
        let begun = std::mem::replace(&mut self.ledger.tasks, tasks);
        self.ledger.tasks.extend(begun);
    }

    /// Goes on with a task; whether it is done.
    fn advance(&mut self, task: &mut Task) -> bool {
        if self.host(task.node).engine().is_none() {
            task.reply = None;
            return false;
        }
        if task.reply.is_none() && !self.put_in_place(task) {
            return false;
        }
        let Stage::Up(engine) = &self.host(task.node).stage else { return false };
        let Some(reply) = &mut task.reply else {
            let changes = task.wishes.iter().map(|wish| match wish {
                Wish::Put { path, update: true, .. } => {
                    let facts = self.facts_of_kept(task.node, task.shard, path);
                    Change::Update(Sealed { facts, ..Sealed::at(path.as_str()) })
                }
                Wish::Put { path, .. } => Change::register(path.as_str()),
                Wish::Delete { path } => Change::delete(path.as_str(), "the engine compacted"),
            });
            let shard = engine.shard(task.shard).expect("a shard of the cluster");
            task.reply = Some(shard.batch(changes.collect(), task.ask));
            task.attempts += 1;
            return false;
        };
        match poll(reply) {
            None => false,
            Some(Ok(committed)) => {
                self.acknowledged(task, &committed);
                true
            }
            Some(Err(error)) => {
                task.reply = None;
                self.refused(task, &error);
                false
            }
        }
    }

    fn refused(&mut self, task: &Task, error: &ChangeError) {
        let word: String = format!("{error:?}").chars().take_while(char::is_ascii_alphabetic).collect();
        *self.ledger.refused.entry(word).or_default() += 1;
        // What was put in place there may be set aside by a restart; then it is put there again.
        let is_moved = matches!(error, ChangeError::Changed { path } if self.keeps(task, path));
        if is_final(error) && !is_moved {
            let what = format!("{}: {:?} of shard {}: {error}", task.node, task.wishes, task.shard);
            self.checks.borrow_mut().found.get_or_insert(Found { checker: "api", what });
        }
    }

    fn acknowledged(&mut self, task: &Task, committed: &Committed) {
        self.ledger.acknowledged += 1;
        let group = task.shard.group();
        let mut checks = self.checks.borrow_mut();
        let entry = checks.commits.entry(group, committed.index);
        let verdict = match entry {
            Some(entry) => checks.commits.acknowledged(group, committed.index, entry),
            None => {
                Err(violation(format!("{group}: {} was acknowledged and nobody applied it", committed.index)))
            }
        };
        checks.hold("no_lost_commit", verdict);
        for wish in &task.wishes {
            let expected = match wish {
                Wish::Put { root, .. } => Some(*root),
                Wish::Delete { .. } => None,
            };
            let found = content_at(&checks, group, committed.index, wish.path());
            if found != expected {
                let what =
                    format!("{}: {wish:?} was acknowledged at {}: {found:?}", task.node, committed.index);
                checks.hold("no_lost_commit", Err(violation(what)));
            }
        }
        drop(checks);
        self.landed_is_true(task, committed);
        for wish in &task.wishes {
            let key = (task.shard, wish.path().to_owned());
            match wish {
                Wish::Put { .. } => {
                    // Somebody else may have deleted it by now.
                    if let Some(known) = self.ledger.paths.get_mut(&key) {
                        *known = Known { owner: task.node, versions: known.versions + 1, busy: false };
                    }
                    let kept = self.ledger.kept.remove(&(task.node, key.0, key.1));
                    self.ledger.handed_over += u64::from(kept.is_some());
                }
                Wish::Delete { .. } => self.let_go(task.node, key),
            }
        }
    }

    /// A path is deleted: the engines that sealed it let go of their files when they hear of this.
    fn let_go(&mut self, by: NodeId, key: (ShardId, String)) {
        let owner = self.ledger.paths.remove(&key).map_or(by, |known| known.owner);
        let sealed = self.ledger.sealed.remove(&key).unwrap_or_default();
        let file = file(key.0, &key.1);
        for node in self.nodes() {
            let mut host = self.sim.host(node);
            let Some(root) = host.disk.file(&file).map(|bytes| root_of(&bytes)) else { continue };
            if node == owner || sealed.contains(&(node, root)) {
                host.disk.remove(&file);
            }
        }
    }

    /// What an engine was told to stand on so many nodes does stand there.
    fn landed_is_true(&mut self, task: &Task, committed: &Committed) {
        let wanted = match task.ask.durability {
            Durability::Committed => return,
            // Of the members that there were.
            Durability::Landed(count) if self.shape.churn => count.min(committed.replicas).into(),
            Durability::LandedQuorum if self.shape.churn => committed.landed.into(),
            Durability::Landed(count) => u64::from(count).min(self.shape.nodes),
            Durability::LandedQuorum => self.shape.nodes / 2 + 1,
        };
        // What somebody took away while its node was down did stand.
        if !committed.reached || self.ledger.struck.contains_key("file lost or changed") {
            return;
        }
        let mut standing = 0;
        for host in &self.hosts {
            let Some(shard) = host.shard(task.shard) else {
                standing += 1; // nobody can say of a node that is down
                continue;
            };
            let machine = shard.group().machine();
            let machine = machine.borrow();
            let stands = |id| match machine.entry(id) {
                Some(entry) => shard.store().is_held(*id, entry.root),
                // Superseded, deleted, or not applied since a restart: it may have stood.
                None => true,
            };
            standing += u64::from(committed.segments.iter().all(stands));
        }
        if standing < wanted {
            let what = format!("{committed:?} stands on {standing} nodes, not {wanted}");
            self.checks.borrow_mut().hold("watermark_order", Err(violation(what)));
        }
    }
}

fn violation(what: String) -> crate::sim::check::Violation {
    crate::sim::check::Violation(what)
}

/// Asking again would not help, not even when the disk works again.
fn is_final(error: &ChangeError) -> bool {
    !error.is_retryable()
        && !matches!(error, ChangeError::Stopped | ChangeError::File { .. } | ChangeError::Disk { .. })
}
