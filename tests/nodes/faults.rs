//! What breaks a cluster, drawn from its seed: one fault after the other, several at a time, each ended by itself or
//! at the end.

use ringway::ids::{Nanos, NodeId, ShardId};
use ringway::uring::Errno;

use crate::sim::{Chance, Crash, Fault, How, OpKind, Rule};

use super::checks::Found;
use super::cluster::Cluster;
use super::ledger::file;
use super::millis;

/// Files of a node by what they are for.
const PLACES: [&str; 8] = ["staging", "inventory", "segments", "raft", "digests", "pins", "cluster", ""];

/// What ends a fault, or begins it again.
enum Undo {
    Heal,
    Part(NodeId, NodeId),
    Calm(NodeId, NodeId),
    Room(NodeId),
    Thaw(NodeId),
    Quicken(NodeId),
}

/// A storm over a cluster.
pub struct Storm {
    ends: Vec<(Nanos, Undo)>,
    /// Bytes of each disk.
    capacity: u64,
}

impl Storm {
    pub fn new(cluster: &Cluster) -> Self {
        Self { ends: Vec::new(), capacity: cluster.sim.host(NodeId(1)).disk.available(1) }
    }

    /// So many faults, then none any more.
    ///
    /// # Errors
    /// What a checker found.
    pub fn rage(mut self, cluster: &mut Cluster, count: u64) -> Result<(), Found> {
        for _ in 0..count {
            let rest = millis(20 + cluster.sim.draw(300));
            cluster.go_on(rest)?;
            self.end(cluster, cluster.sim.now());
            self.strike(cluster);
        }
        let rest = millis(100 + cluster.sim.draw(500));
        cluster.go_on(rest)?;
        self.end(cluster, Nanos(u64::MAX));
        for node in cluster.nodes() {
            cluster.sim.clear_faults(node);
        }
        cluster.sim.heal();
        Ok(())
    }

    fn end(&mut self, cluster: &mut Cluster, now: Nanos) {
        for (at, undo) in std::mem::take(&mut self.ends) {
            if at > now {
                self.ends.push((at, undo));
                continue;
            }
            match undo {
                Undo::Heal => cluster.sim.heal(),
                Undo::Part(one, other) => cluster.sim.partition(&[one], &[other]),
                Undo::Calm(from, to) => {
                    let mut link = cluster.sim.link(from, to);
                    (link.corruption, link.cut_after) = (Chance::percent(0), None);
                }
                Undo::Room(node) => cluster.sim.host(node).disk.set_capacity("/data", self.capacity),
                Undo::Thaw(node) => cluster.sim.thaw(node),
                Undo::Quicken(node) => cluster.sim.host(node).slowness = 1,
            }
        }
    }

    fn strike(&mut self, cluster: &mut Cluster) {
        let nodes = cluster.nodes();
        let pick = || nodes[cluster.sim.draw(nodes.len() as u64) as usize];
        let (one, other) = (pick(), pick());
        let length = millis(30 + cluster.sim.draw(900));
        let until = cluster.sim.now().plus(length);
        if cluster.shape.churn && cluster.sim.draw(2) == 0 {
            let _nobody_to_ask = cluster.churn(one, other);
            *cluster.ledger.struck.entry("members").or_default() += 1;
            return;
        }
        if cluster.shape.churn && one != other && cluster.sim.draw(5) == 0 {
            let name = self.strike_link(cluster, one, other, length);
            *cluster.ledger.struck.entry(name).or_default() += 1;
            return;
        }
        let name = match cluster.sim.draw(17) {
            0 | 1 => {
                let rest = if cluster.sim.draw(3) == 0 { Nanos(0) } else { length };
                cluster.kill(one, rest);
                "kill"
            }
            2 | 3 => {
                cluster.power_cut(one, length);
                "power cut"
            }
            4 if cluster.sim.draw(3) == 0 => {
                nodes.iter().for_each(|node| cluster.power_cut(*node, millis(10)));
                "power cut of all"
            }
            4 | 5 => {
                let rest: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != one).collect();
                cluster.sim.partition(&[one], &rest);
                self.ends.push((until, Undo::Heal));
                "partition"
            }
            6 if one != other => {
                cluster.sim.block(one, other);
                self.ends.push((until, Undo::Heal));
                "one way blocked"
            }
            6 | 7 => {
                cluster.sim.cut(one, other);
                "connections cut"
            }
            8 => {
                cluster.sim.link(one, other).corruption = Chance::percent(2);
                self.ends.push((until, Undo::Calm(one, other)));
                "corruption"
            }
            9 => {
                let bytes = cluster.sim.draw(200_000);
                cluster.sim.link(one, other).cut_after = Some(bytes);
                self.ends.push((until, Undo::Calm(one, other)));
                "cut after bytes"
            }
            10 => {
                let room = cluster.sim.draw(400_000);
                let mut host = cluster.sim.host(one);
                let used = self.capacity.saturating_sub(host.disk.available(1));
                host.disk.set_capacity("/data", used + room);
                drop(host);
                self.ends.push((until, Undo::Room(one)));
                "disk full"
            }
            other => self.strike_disk(cluster, one, other, until, length),
        };
        *cluster.ledger.struck.entry(name).or_default() += 1;
        cluster.sim.note(one, name, &[]);
    }

    /// Two nodes that do not hear each other and hear all others, once, or again and again.
    fn strike_link(
        &mut self,
        cluster: &mut Cluster,
        one: NodeId,
        other: NodeId,
        length: Nanos,
    ) -> &'static str {
        cluster.sim.partition(&[one], &[other]);
        let now = cluster.sim.now();
        if cluster.sim.draw(2) == 0 {
            self.ends.push((now.plus(length), Undo::Heal));
            return "bridge";
        }
        let beat = Nanos(length.0 / 8);
        for beats in 1..=7 {
            let undo = if beats % 2 == 0 { Undo::Part(one, other) } else { Undo::Heal };
            self.ends.push((now.plus(Nanos(beat.0 * beats)), undo));
        }
        "flapping"
    }

    fn strike_disk(
        &mut self,
        cluster: &mut Cluster,
        node: NodeId,
        kind: u64,
        until: Nanos,
        length: Nanos,
    ) -> &'static str {
        let place = PLACES[cluster.sim.draw(PLACES.len() as u64) as usize];
        let skip = cluster.sim.draw(12);
        match kind {
            11 => {
                let on = if cluster.sim.draw(3) == 0 { OpKind::Write } else { OpKind::Sync };
                cluster.sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(on).path(place).skip(skip));
                "failing disk"
            }
            12 => {
                let how = if cluster.sim.draw(2) == 0 { How::Kill } else { How::PowerCut };
                let crash = Crash { how, after: cluster.sim.draw(2) == 0 };
                let rule = Rule::new(Fault::Crash(crash)).on_durable_steps().path(place).skip(skip * 2);
                cluster.sim.fault(node, rule);
                "crash at a step"
            }
            13 => {
                cluster.sim.pause(node, length);
                "pause"
            }
            14 if cluster.sim.draw(2) == 0 => {
                cluster.sim.freeze(node);
                self.ends.push((until, Undo::Thaw(node)));
                "frozen disk"
            }
            14 => {
                cluster.sim.host(node).slowness = 30;
                self.ends.push((until, Undo::Quicken(node)));
                "slow disk"
            }
            15 => cluster.rot(node).map_or("nothing to rot", |()| "bit rot"),
            _ => cluster.spoil(node, length).map_or("nothing to lose", |()| "file lost or changed"),
        }
    }
}

impl Cluster {
    /// A file that stands on a node and that another node registered.
    fn replica_on(&mut self, node: NodeId) -> Option<(ShardId, String)> {
        let shard = ShardId(self.sim.draw(u64::from(self.shape.shards)) as u32);
        let running = self.shard(node, shard)?;
        let machine = running.group().machine();
        let machine = machine.borrow();
        let held = machine.entries(None).filter(|entry| {
            entry.origin != node && entry.bytes > 0 && running.store().is_held(entry.id, entry.root)
        });
        // What the engine there is about to replace is its own to lose.
        let is_kept = |path: &String| self.ledger.kept.contains_key(&(node, shard, path.clone()));
        let paths: Vec<String> =
            held.map(|entry| entry.path().as_str().to_owned()).filter(|path| !is_kept(path)).collect();
        if paths.is_empty() {
            return None;
        }
        let path = paths[self.sim.draw(paths.len() as u64) as usize].clone();
        let stands = self.sim.host(node).disk.file(&file(shard, &path)).is_some();
        stands.then_some((shard, path))
    }

    /// A byte of a replica's file goes bad on the medium.
    fn rot(&mut self, node: NodeId) -> Option<()> {
        let (shard, path) = self.replica_on(node)?;
        let name = file(shard, &path);
        let inode = self.sim.host(node).disk.absolute(name.as_bytes()).ok()?;
        let names = self.names_of(node, inode);
        let is_known = |name: &(ShardId, String)| {
            self.ledger.rotten.iter().any(|(_, of, path)| (of, path) == (&name.0, &name.1))
        };
        if names.iter().any(is_known) {
            return None; // somebody has to have it sound
        }
        let len = self.sim.host(node).disk.file(&name)?.len() as u64;
        let at = self.sim.draw(len.max(1));
        self.sim.host(node).disk.rot(&name, at, 0x10).then_some(())?;
        self.ledger.rotten.extend(names.into_iter().map(|(shard, path)| (node, shard, path)));
        self.ledger.rotten_files.insert((node, inode));
        Some(())
    }

    /// The segments that one file of a node is: of the same content, linked.
    fn names_of(&self, node: NodeId, inode: u64) -> Vec<(ShardId, String)> {
        let mut names = Vec::new();
        for shard in self.shards() {
            let Some(running) = self.shard(node, shard) else { continue };
            let machine = running.group().machine();
            let machine = machine.borrow();
            let host = self.sim.host(node);
            let paths = machine.entries(None).map(|entry| entry.path().as_str().to_owned());
            let is_it =
                |path: &String| host.disk.absolute(file(shard, path).as_bytes()).is_ok_and(|at| at == inode);
            names.extend(paths.filter(is_it).map(|path| (shard, path)));
        }
        names
    }

    /// While a node is down somebody removes one of its replicas, or writes over it.
    fn spoil(&mut self, node: NodeId, rest: Nanos) -> Option<()> {
        let (shard, path) = self.replica_on(node)?;
        let name = file(shard, &path);
        self.kill(node, rest);
        let removes = self.sim.draw(2) == 0;
        let disk = &mut self.sim.host(node).disk;
        disk.file(&name)?;
        if removes {
            disk.remove(&name);
        } else {
            // Who reads there reads nonsense from now on, and that is not the product's doing.
            let inode = disk.absolute(name.as_bytes()).ok()?;
            self.ledger.readings.retain(|reading| !reading.is_of(node, inode));
            disk.overwrite(&name, b"not what was verified");
        }
        Some(())
    }
}
