//! Hosts and their processes: boot, kill, power cut, restart, pause; and what their descriptors leave behind.

use ringway::ids::{Nanos, NodeId};

use super::disk::Loss;
use super::job::{Ask, CoreKey, Job};
use super::node::{Descriptor, Node, State, Target};
use super::world::{CoreSide, Event, World};

impl World {
    /// A new host, with an empty directory `/data`.
    pub fn boot(&mut self, id: NodeId) {
        let mut node = Node::new(id, &self.options.disk, &mut self.rng);
        node.disk.plant_dir("/data");
        let before = self.nodes.insert(id, node);
        assert!(before.is_none(), "node {id} is there already");
        self.note(id, "boot", &[]);
    }

    /// A core of a host's process.
    pub fn start_core(&mut self, node: NodeId, core: u16) -> CoreKey {
        let host = self.node(node);
        assert_eq!(host.state, State::Up, "node {node} has to be restarted first");
        let key = CoreKey { node, core, life: host.life };
        self.cores.insert(key, CoreSide::default());
        self.note(node, "core", &[u64::from(core), u64::from(key.life)]);
        key
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: NodeId) {
        self.note(id, "kill", &[]);
        let life = self.node(id).life;
        self.end_process(id, State::Killed);
        let linger = if self.rng.coin() { Nanos(0) } else { self.rng.time((Nanos(0), self.options.linger)) };
        let descriptors = std::mem::take(&mut self.node(id).descriptors);
        for (raw, descriptor) in descriptors {
            if let Target::Socket(..) = descriptor.target {
                self.abandon_socket(id, &descriptor);
            } else {
                self.node(id).ghosts.push((life, raw, descriptor));
            }
        }
        if linger.0 == 0 {
            self.lay_ghosts(id, life);
        } else {
            self.after(linger, Event::Ghosts(id, life));
        }
    }

    /// The last descriptors of a killed process close.
    pub(super) fn lay_ghosts(&mut self, id: NodeId, life: u32) {
        let ghosts = std::mem::take(&mut self.node(id).ghosts);
        for (owner, raw, descriptor) in ghosts {
            if owner == life {
                self.drop_descriptor(id, owner, raw, &descriptor);
            } else {
                self.node(id).ghosts.push((owner, raw, descriptor));
            }
        }
    }

    /// A descriptor is closed.
    pub(super) fn drop_descriptor(&mut self, id: NodeId, life: u32, raw: i32, descriptor: &Descriptor) {
        match descriptor.target {
            Target::Inode { inode, .. } => self.node(id).disk.closed(inode, (life, raw)),
            Target::Listener(listener) => self.close_listener(listener),
            Target::Socket(conn, side) => self.close_socket(conn, side),
        }
    }

    /// The power goes.
    pub fn power_cut(&mut self, id: NodeId, loss: Loss) {
        self.note(id, "power cut", &[loss as u64]);
        self.end_process(id, State::Off);
        let Self { nodes, rng, .. } = self;
        let Some(node) = nodes.get_mut(&id) else { return };
        node.descriptors.clear();
        node.ghosts.clear();
        node.power_cuts += 1;
        (node.frozen, node.slowness) = (false, 1);
        node.disk.power_cut(loss, rng);
        self.unplug(id);
    }

    /// A killed process, or a host without power, comes back; its cores are made anew.
    pub fn restart(&mut self, id: NodeId) {
        self.note(id, "restart", &[]);
        let clock = self.rng.below(1 << 50);
        let node = self.node(id);
        assert_ne!(node.state, State::Up, "node {id} is up already");
        if node.state == State::Off {
            node.clock = clock;
        }
        node.state = State::Up;
        self.replug(id);
    }

    /// The disk completes nothing until it thaws.
    pub fn freeze(&mut self, id: NodeId) {
        self.note(id, "freeze", &[]);
        self.node(id).frozen = true;
    }

    /// The disk goes on, with what waited for it.
    pub fn thaw(&mut self, id: NodeId) {
        self.note(id, "thaw", &[]);
        let node = self.node(id);
        node.frozen = false;
        for job in std::mem::take(&mut node.stuck) {
            self.after(Nanos::MILLISECOND, Event::Disk(job, None));
        }
    }
}

impl Node {
    /// The path of what an operation is about.
    #[must_use]
    pub fn path_of(&self, job: &Job) -> String {
        let base = |raw: &i32| self.descriptors.get(raw).map_or("?", |descriptor| descriptor.path.as_str());
        let below = |dir: &i32, name: &[u8]| format!("{}/{}", base(dir), String::from_utf8_lossy(name));
        match &job.ask {
            Ask::OpenRoot { path } => String::from_utf8_lossy(path).into_owned(),
            Ask::Open { dir, path, .. } => below(dir, path),
            Ask::StatName { dir, name }
            | Ask::Unlink { dir, name }
            | Ask::RemoveDir { dir, name }
            | Ask::MakeDir { dir, name } => below(dir, name),
            Ask::Rename { from_dir, from, to_dir, to, .. } | Ask::Link { from_dir, from, to_dir, to } => {
                format!("{} {}", below(from_dir, from), below(to_dir, to))
            }
            Ask::Reflink { to, .. } => base(to).to_owned(),
            Ask::Close { raw } => base(raw).to_owned(),
            Ask::Read { file, .. }
            | Ask::Write { file, .. }
            | Ask::Sync { file, .. }
            | Ask::Allocate { file, .. }
            | Ask::Truncate { file, .. }
            | Ask::Stat { file }
            | Ask::Lock { file }
            | Ask::Resident { file, .. }
            | Ask::SendFile { file, .. }
            | Ask::Map { file, .. } => base(file).to_owned(),
            Ask::StatNames { dir, .. } | Ask::List { dir } | Ask::Space { dir } => base(dir).to_owned(),
            Ask::Listen { .. }
            | Ask::Accept { .. }
            | Ask::Connect { .. }
            | Ask::Receive { .. }
            | Ask::Send { .. }
            | Ask::SendZeroCopy { .. }
            | Ask::Room { .. }
            | Ask::Shutdown { .. } => String::new(),
        }
    }
}
