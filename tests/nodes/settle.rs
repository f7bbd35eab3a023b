//! When the faults have ended: every node comes to the same manifest and holds all of it, and everything that was
//! acknowledged is there.

use ringway::ids::{LogIndex, NodeId, ShardId};

use crate::sim::check::Violation;
use crate::sim::trace::hash;

use super::checks::{Found, digest_of, observe};
use super::cluster::Cluster;
use super::ledger::{file, root_of};
use super::{millis, secs};

impl Cluster {
    /// Whether a node has everything that it knows of, and where it is then.
    fn standing(&self, node: NodeId, shard: ShardId) -> Option<(LogIndex, u64)> {
        let shard = self.shard(node, shard)?;
        let marks = shard.watermarks();
        let machine = shard.group().machine();
        let machine = machine.borrow();
        let all_here = machine.entries(None).all(|entry| shard.store().is_held(entry.id, entry.root));
        let held = shard.store().held().count();
        let is_done = all_here
            && held == machine.len()
            && marks.installed == marks.applied
            && marks.applied == marks.committed
            && marks.applied >= self.last_committed(shard.id())
            && shard.group().watermarks().leader.is_some();
        is_done.then(|| (marks.applied, digest_of(&machine)))
    }

    /// The last command of a shard that any node has applied.
    fn last_committed(&self, shard: ShardId) -> LogIndex {
        let (group, checks) = (shard.group(), self.checks.borrow());
        let of_group = checks.log.range((group, LogIndex(0))..=(group, LogIndex(u64::MAX)));
        of_group.map(|((_, index), _)| *index).next_back().unwrap_or_default()
    }

    fn is_settled(&self) -> bool {
        let nodes = self.nodes();
        let same = |shard| {
            let first = self.standing(nodes[0], shard);
            first.is_some() && nodes.iter().all(|node| self.standing(*node, shard) == first)
        };
        self.hosts.iter().all(|host| host.engine().is_some() && !host.is_changing())
            && self.ledger.tasks.is_empty()
            && self.shards().into_iter().all(same)
    }

    /// Runs until all nodes are the same, then looks at every byte.
    ///
    /// # Errors
    /// What a checker found.
    pub fn settle(&mut self) -> Result<(), Found> {
        self.working = false;
        if !self.until(secs(90), |cluster| cluster.is_settled())? {
            return Err(Found { checker: "converges", what: self.unsettled() });
        }
        let content = |cluster: &Self, node| {
            let shards = cluster.shards().into_iter();
            let all: Vec<u8> = shards
                .flat_map(|shard| cluster.standing(node, shard).map_or(0, |(_, digest)| digest).to_le_bytes())
                .collect();
            hash(&all)
        };
        let expected = content(self, NodeId(1));
        let now = self.sim.now();
        self.checks.borrow_mut().converges.disturbed(now, expected);
        self.feed_converges(content);
        self.go_on(secs(1))?;
        self.feed_converges(content);
        // A role may be another one just now.
        let _checked_below = self.until(secs(5), Self::have_heard_all)?;
        self.check_everything();
        match self.checks.borrow_mut().found.take() {
            Some(found) => Err(found),
            None => Ok(()),
        }
    }

    /// Everything goes off at once and comes back: nothing is lost, and nothing is fetched that stood.
    ///
    /// # Errors
    /// What a checker found.
    pub fn all_over_again(&mut self) -> Result<(), Found> {
        for node in self.nodes() {
            self.power_cut(node, millis(10));
        }
        self.settle()?;
        for host in &self.hosts {
            for id in self.shards() {
                let fetched = host.shard(id).map_or(0, |shard| shard.stats().bytes_fetched.get());
                // What has rotted is noticed by the way, and fetched.
                let rots = self.ledger.rotten_files.iter().any(|(node, _)| *node == host.node);
                if fetched > 0 && !rots {
                    let what = format!("{}: shard {id} fetched {fetched} bytes that stood before", host.node);
                    return Err(Found { checker: "converges", what });
                }
            }
        }
        Ok(())
    }

    fn feed_converges(&mut self, content: impl Fn(&Self, NodeId) -> u64) {
        let now = self.sim.now();
        for node in self.nodes() {
            let content = content(self, node);
            let mut checks = self.checks.borrow_mut();
            let verdict = checks.converges.observe(now, node, content);
            checks.hold("converges", verdict);
        }
    }

    pub fn unsettled(&self) -> String {
        let mut what = format!("not settled at {}, founding {}:", self.sim.now(), self.founding());
        for host in &self.hosts {
            what += &format!("\n  {}: up {}, refused {:?}", host.node, host.engine().is_some(), host.refused);
            for group in host.seats.borrow().iter().filter_map(ringway::engine::Seat::cluster) {
                what += &format!("\n    cluster: {:?} {:?}", group.watermarks(), group.members());
            }
            for id in self.shards() {
                let Some(shard) = host.shard(id) else { continue };
                let machine = shard.group().machine();
                let machine = machine.borrow();
                let lacks = machine.entries(None).filter(|e| !shard.store().is_held(e.id, e.root));
                let surplus: Vec<String> = shard
                    .store()
                    .held()
                    .filter(|held| machine.entry(&held.id).is_none())
                    .map(|held| held.id.to_string())
                    .collect();
                let lacks: Vec<String> =
                    lacks.map(|e| format!("{} {} of {}", e.id, e.path().as_str(), e.origin)).collect();
                what += &format!(
                    "\n    {id}: {:?} {:?} held {} of {}, {:?}, lacks {lacks:?}, surplus {surplus:?}",
                    shard.watermarks(),
                    shard.group().watermarks(),
                    shard.store().held().count(),
                    machine.len(),
                    shard.transfers(9),
                );
            }
        }
        for task in &self.ledger.tasks {
            what += &format!("\n  {} {} {:?} attempts {}", task.node, task.shard, task.wishes, task.attempts);
        }
        for (node, shard, path) in self.ledger.kept.keys() {
            let stands = self.sim.host(*node).disk.file(&file(*shard, path)).map(|bytes| root_of(&bytes));
            let listed = self.shard(*node, *shard).and_then(|shard| {
                let machine = shard.group().machine();
                machine.borrow().by_path(path).map(|entry| (entry.id, entry.origin, entry.root))
            });
            what += &format!("\n  {node} keeps {path} of {shard}: there {stands:?}, listed {listed:?}");
        }
        what += &format!("\n  refused {:?}, struck {:?}", self.ledger.refused, self.ledger.struck);
        what
    }

    /// Every node holds what was acknowledged, and every file under a final name is what the manifest says.
    fn have_heard_all(&mut self) -> bool {
        let checks = self.checks.borrow();
        let places = checks
            .followers
            .iter()
            .filter_map(|((node, group), follower)| Some((self.shard(*node, group.shard()?)?, follower)));
        places.into_iter().all(|(shard, follower)| follower.has_heard_all(&shard).is_ok())
    }

    fn check_everything(&mut self) {
        for node in self.nodes() {
            for id in self.shards() {
                let Some(shard) = self.shard(node, id) else { continue };
                let mut checks = self.checks.borrow_mut();
                let (base, entries) = checks.applied.get(&(node, id.group())).cloned().unwrap_or_default();
                // What its own snapshot gave back at the start comes before the first entry.
                let own = shard.group().figures().snapshot.map_or(LogIndex(0), |(point, _)| point.index);
                let from = entries.keys().next().map_or(own, |first| LogIndex(first.0 - 1)).max(base);
                let verdict = checks.commits.holds(node, id.group(), from, &entries);
                checks.hold("no_lost_commit", verdict);
                let life = u32::MAX; // a last look, by itself
                observe(node, life, &shard, &mut checks);
                let heard = checks.followers.entry((node, id.group())).or_default().has_heard_all(&shard);
                checks.hold("event_line", heard);
                drop(checks);
                self.check_files(node, id);
            }
        }
    }

    /// The files of one shard on one node, byte for byte.
    pub fn check_files(&mut self, node: NodeId, id: ShardId) {
        let Some(shard) = self.shard(node, id) else { return };
        let machine = shard.group().machine();
        let machine = machine.borrow();
        let root = file(id, "");
        let host = self.sim.host(node);
        let paths: Vec<String> = host.disk.paths(&root[..root.len() - 1]);
        let mut checks = self.checks.borrow_mut();
        for name in paths.iter().filter(|path| !path.ends_with('/')) {
            let path = &name[root.len()..];
            let Some(bytes) = host.disk.file(name) else { continue };
            if self.ledger.is_rotten(&host.disk, node, id, path) {
                continue;
            }
            let (digest, len) = (root_of(&bytes), bytes.len() as u64);
            let verdict = checks.bytes.visible(node, id, path, digest, len);
            checks.hold("no_unverified_byte", verdict);
            if machine.by_path(path).is_none() {
                let what = format!("{node}: {path} of shard {id} stands and is not in the manifest");
                checks.hold("converges", Err(Violation(what)));
            }
        }
        for entry in machine.entries(None) {
            let path = entry.path().as_str();
            if self.ledger.is_rotten(&host.disk, node, id, path) {
                continue;
            }
            let found = host.disk.file(&file(id, path)).map(|bytes| root_of(&bytes));
            if found != Some(entry.root) {
                let what = format!("{node}: {path} of shard {id} is {found:?}, not {}", entry.root);
                checks.hold("no_unverified_byte", Err(Violation(what)));
            }
        }
    }
}
