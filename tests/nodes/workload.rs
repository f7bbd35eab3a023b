//! What engines do: seal files of awkward sizes, register, update and delete them, alone and in batches, from every
//! node.

use std::rc::Rc;

use ringway::engine::{Ask, Durability};
use ringway::ids::{NodeId, ShardId};
use ringway::limits::CHUNK_BYTES;

use super::cluster::Cluster;
use super::ledger::{Known, Task, Wish, file, root_of};
use super::secs;

/// Batches that the engine of one node has outstanding.
const OUTSTANDING_MAX: usize = 2;
/// Sizes that go wrong first.
const AWKWARD: [usize; 8] = [0, 1, 4095, 4096, 4097, 65_535, 65_537, 100_000];
const LARGE: [usize; 4] = [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 77];

/// Bytes that no other number gives.
pub fn content(number: u64, len: usize) -> Rc<Vec<u8>> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    Rc::new(words.take(len.div_ceil(8)).flatten().take(len).collect())
}

impl Cluster {
    /// Each engine that has time begins something, now and then.
    pub fn begin_work(&mut self) {
        for node in self.nodes() {
            let busy = self.ledger.tasks.iter().filter(|task| task.node == node).count();
            if busy < OUTSTANDING_MAX && self.host(node).engine().is_some() && self.sim.draw(20) == 0 {
                let wishes = self.wishes(node);
                if let Some((shard, wishes)) = wishes {
                    let ask = self.drawn_ask();
                    self.ledger.tasks.push(Task { node, shard, wishes, ask, reply: None, attempts: 0 });
                }
            }
        }
    }

    fn drawn_ask(&mut self) -> Ask {
        let durability = match self.sim.draw(8) {
            0 | 1 => Durability::Landed(2),
            2 => Durability::LandedQuorum,
            3 => Durability::Landed(self.shape.nodes as u32),
            _ => Durability::Committed,
        };
        Ask { durability, timeout: secs(1 + self.sim.draw(3)) }
    }

    fn wishes(&mut self, node: NodeId) -> Option<(ShardId, Vec<Wish>)> {
        let shard = ShardId(self.sim.draw(u64::from(self.shape.shards)) as u32);
        let wishes = match self.sim.draw(10) {
            0..5 => vec![self.register(node, shard)],
            5 => (0..2 + self.sim.draw(3)).map(|_| self.register(node, shard)).collect(),
            6 | 7 => {
                let wish = self.update(node, shard)?;
                if self.sim.draw(3) == 0 { vec![self.register(node, shard), wish] } else { vec![wish] }
            }
            _ => {
                // Anybody may delete what anybody has registered.
                let whose =
                    if self.sim.draw(3) == 0 { NodeId(1 + self.sim.draw(self.shape.nodes)) } else { node };
                let path = self.idle_path(whose, shard)?;
                vec![Wish::Delete { path }]
            }
        };
        Some((shard, wishes))
    }

    /// A new version of a path of this engine, or of another one's.
    fn update(&mut self, node: NodeId, shard: ShardId) -> Option<Wish> {
        let others = self.shape.anyone_updates && self.sim.draw(3) == 0;
        let whose = if others { NodeId(1 + self.sim.draw(self.shape.nodes)) } else { node };
        let path = self.idle_path(whose, shard)?;
        if whose == node {
            return Some(self.seal(node, shard, path, true));
        }
        if !self.stands(node, shard, &path) {
            self.ledger.paths.get_mut(&(shard, path)).expect("it was idle").busy = false;
            return None;
        }
        Some(self.seal_over(node, shard, path))
    }

    /// A path of this engine that nothing happens to, marked as busy.
    fn idle_path(&mut self, node: NodeId, shard: ShardId) -> Option<String> {
        let idle = self.ledger.paths.iter().filter(|((of, _), known)| {
            *of == shard && known.owner == node && !known.busy && known.versions > 0
        });
        let idle: Vec<String> = idle.map(|((_, path), _)| path.clone()).collect();
        if idle.is_empty() {
            return None;
        }
        let path = idle[self.sim.draw(idle.len() as u64) as usize].clone();
        self.ledger.paths.get_mut(&(shard, path.clone())).expect("it is idle").busy = true;
        Some(path)
    }

    fn register(&mut self, node: NodeId, shard: ShardId) -> Wish {
        self.ledger.next += 1;
        let (number, depth) = (self.ledger.next, self.sim.draw(3));
        let path = match depth {
            0 => format!("s-{number}"),
            1 => format!("n{node}/s-{number}"),
            _ => format!("n{node}/level-{}/deep/s-{number}", number % 3),
        };
        let known = Known { owner: node, versions: 0, busy: true };
        self.ledger.paths.insert((shard, path.clone()), known);
        self.seal(node, shard, path, false)
    }

    /// The engine puts a sealed file in place, by a rename.
    fn seal(&mut self, node: NodeId, shard: ShardId, path: String, update: bool) -> Wish {
        let (number, len) = self.drawn_content();
        // Now and then what another path has already.
        let of = match self.ledger.latest.filter(|_| self.sim.draw(8) == 0) {
            Some(latest) if !update => latest,
            Some(_) | None => (number, len),
        };
        self.ledger.latest = Some(of);
        self.seal_bytes(node, shard, path, &content(of.0, of.1), update)
    }

    /// A content that nothing else has: its number, its length.
    pub fn drawn_content(&mut self) -> (u64, usize) {
        self.ledger.next += 1;
        let len = match self.sim.draw(40) {
            0 => LARGE[self.sim.draw(4) as usize],
            1..20 => AWKWARD[self.sim.draw(8) as usize],
            _ => self.sim.draw(20_000) as usize,
        };
        (self.ledger.next, len)
    }

    /// Puts these bytes in place.
    pub fn seal_bytes(
        &mut self,
        node: NodeId,
        shard: ShardId,
        path: String,
        bytes: &[u8],
        update: bool,
    ) -> Wish {
        let root = root_of(bytes);
        self.checks.borrow_mut().bytes.sealed(node, shard, &path, root);
        self.ledger.sealed.entry((shard, path.clone())).or_default().insert((node, root));
        let file = file(shard, &path);
        let mut host = self.sim.host(node);
        let folder = file.rsplit_once('/').expect("an absolute path").0;
        host.disk.plant_dir(folder);
        host.disk.plant_file(&file, bytes);
        Wish::Put { path, root, update }
    }
}
