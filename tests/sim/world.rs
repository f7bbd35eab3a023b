//! The simulated world: hosts, time, and what is under way, in one order that the seed decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId, UnixNanos};
use ringway::uring::{Completion, Errno, Handle, Op, Outcome};

use super::faults::{Fault, How, Rule};
use super::job::{CoreKey, Job, OpKind};
use super::net::{Net, NetEvent};
use super::node::{Node, State, WALL_START_SECONDS};
use super::options::SimOptions;
use super::rng::Rng;
use super::trace::{Trace, hash};

/// The world, shared by the rings of all cores.
pub type SharedWorld = Rc<RefCell<World>>;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Event {
    /// An operation on a disk completes.
    Disk(u64, Option<Fault>),
    /// Descriptors of a killed process close at last.
    Ghosts(NodeId, u32),
    /// On the network.
    Net(NetEvent),
}

/// A completion on its way to its core, with the handles that it frees.
pub struct Ready {
    /// What the core sees.
    pub completion: Completion,
    /// Dropped outside of the world: the last one of a file asks for its close.
    pub handles: Vec<Rc<Handle>>,
}

/// What the world keeps for a core.
#[derive(Default)]
pub struct CoreSide {
    /// Completions that it has not taken yet.
    pub ready: Vec<Ready>,
    /// Its process is gone: what it asks for is swallowed.
    pub dead: bool,
}

/// The world.
pub struct World {
    pub(super) options: SimOptions,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) now: Nanos,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) cores: BTreeMap<CoreKey, CoreSide>,
    pub(super) net: Net,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) tokens: BTreeMap<(CoreKey, u64), u64>,
    pub(super) crash: Option<(NodeId, How)>,
    events: BTreeMap<(Nanos, u64), Event>,
    sequence: u64,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, options: SimOptions) -> Self {
        Self {
            options,
            rng: Rng::new(seed),
            trace: Trace::new(seed),
            now: Nanos(0),
            nodes: BTreeMap::new(),
            cores: BTreeMap::new(),
            net: Net::default(),
            jobs: BTreeMap::new(),
            tokens: BTreeMap::new(),
            crash: None,
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// A host.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("no node {id} in this world"))
    }

    /// A host's monotonic clock.
    #[must_use]
    pub fn clock(&self, id: NodeId) -> Nanos {
        Nanos(self.now.0 + self.nodes.get(&id).map_or(0, |node| node.clock))
    }

    /// A host's wall clock.
    #[must_use]
    pub fn wall(&self, id: NodeId) -> UnixNanos {
        let start = WALL_START_SECONDS * 1_000_000_000 + self.now.0;
        let offset = self.nodes.get(&id).map_or(0, |node| node.wall);
        UnixNanos(start.saturating_add_signed(offset))
    }

    pub(super) fn note(&mut self, node: NodeId, what: &str, numbers: &[u64]) {
        self.trace.note(self.now, node, what, numbers);
    }

    pub(super) fn sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn after(&mut self, delay: Nanos, event: Event) {
        self.at(self.now.plus(delay), event);
    }

    pub(super) fn at(&mut self, time: Nanos, event: Event) {
        let sequence = self.sequence();
        self.events.insert((time.max(self.now), sequence), event);
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_event(&self) -> Option<Nanos> {
        self.events.keys().next().map(|(time, _)| *time)
    }

    /// Lets the next event happen if it is due; false if none is.
    pub fn fire(&mut self) -> bool {
        let Some(first) = self.events.first_entry() else { return false };
        if first.key().0 > self.now {
            return false;
        }
        match first.remove() {
            Event::Disk(id, fault) => self.disk_due(id, fault),
            Event::Ghosts(node, life) => self.lay_ghosts(node, life),
            Event::Net(event) => self.net_due(event),
        }
        true
    }

    /// A core asks for an operation.
    ///
    /// # Panics
    /// If it uses a descriptor of another core.
    pub fn submit(&mut self, key: CoreKey, token: u64, op: Op) {
        let mut job = Job::new(key, token, op);
        let side = self.cores.entry(key).or_default();
        if side.dead {
            self.finish(job, Err(Errno::CANCELED));
            return;
        }
        let outgoing = job.buffer.is_some() && !matches!(job.kind, OpKind::Read | OpKind::Receive);
        let data = if outgoing { hash(job.data()) } else { 0 };
        let about = [u64::from(key.core), job.kind as u64, job.span.len() as u64, data];
        self.note(key.node, "ask", &about);
        self.check_owner(&job);
        let id = self.sequence();
        self.tokens.insert((key, token), id);
        let mut fault = None;
        if !self.node(key.node).doomed {
            fault = self.strike(&job);
            if let Some(Fault::Crash(crash)) = fault
                && (!crash.after || !job.kind.is_disk())
            {
                self.doom(key.node, crash.how);
            }
        }
        if self.node(key.node).doomed {
            job.swallowed = true;
            self.jobs.insert(id, job);
            return;
        }
        if job.kind.is_disk() {
            self.ask_disk(id, job, fault);
        } else {
            self.ask_net(id, job, fault);
        }
    }

    fn check_owner(&mut self, job: &Job) {
        let node = self.node(job.key.node);
        let raws = job.handles.iter().map(|handle| handle.raw());
        for raw in raws {
            let owner = node.descriptors.get(&raw).and_then(|descriptor| descriptor.core);
            let mine = Some(job.key.core);
            assert_eq!(owner, mine, "{:?} of node {} on descriptor {raw}", job.kind, job.key.node);
        }
    }

    fn strike(&mut self, job: &Job) -> Option<Fault> {
        let node = self.node(job.key.node);
        if job.kind.is_disk() {
            node.asked.0 += 1;
            node.asked.1 += u64::from(job.kind.is_durable_step());
        }
        let named = node.rules.iter().any(Rule::needs_path);
        let path = if named { node.path_of(job) } else { String::new() };
        let fault = node.rules.iter_mut().find_map(|rule| rule.strike(job.kind, &path))?;
        self.note(job.key.node, "fault", &[job.kind as u64]);
        Some(fault)
    }

    /// From now on nothing happens that the node's process asks for; the harness takes it down after this step.
    pub(super) fn doom(&mut self, id: NodeId, how: How) {
        self.node(id).doomed = true;
        self.crash = Some((id, how));
    }

    /// Completes an operation.
    pub(super) fn finish(&mut self, job: Job, result: Result<Outcome, Errno>) {
        let Job { key, token, buffer, handles, kind, .. } = job;
        self.tokens.remove(&(key, token));
        let code = match &result {
            Ok(Outcome::Count(count)) => *count as u64,
            Ok(_) => 0,
            Err(errno) => u64::MAX - errno.0 as u64,
        };
        self.note(key.node, "done", &[u64::from(key.core), kind as u64, code]);
        let completion = Completion { token, result, buffer, more: false };
        self.cores.entry(key).or_default().ready.push(Ready { completion, handles });
    }

    /// A core asks to cancel an operation.
    pub fn cancel(&mut self, key: CoreKey, token: u64) {
        let Some(id) = self.tokens.get(&(key, token)).copied() else { return };
        let Some(kind) = self.jobs.get(&id).map(|job| job.kind) else { return };
        self.note(key.node, "cancel", &[u64::from(key.core), kind as u64]);
        // What a disk has begun it also ends.
        if !kind.is_disk() && !self.node(key.node).doomed {
            self.cancel_net(id);
        }
    }

    /// What has completed for a core.
    pub fn take_ready(&mut self, key: CoreKey) -> Vec<Ready> {
        self.cores.get_mut(&key).map(|side| std::mem::take(&mut side.ready)).unwrap_or_default()
    }

    /// Something has completed for a core.
    #[must_use]
    pub fn has_ready(&self, key: CoreKey) -> bool {
        self.cores.get(&key).is_some_and(|side| !side.ready.is_empty())
    }

    /// A process of a node ends; its cores' operations come back as cancelled. They may have happened or not.
    pub(super) fn end_process(&mut self, id: NodeId, state: State) {
        for (key, side) in &mut self.cores {
            side.dead |= key.node == id;
        }
        let mine = |(key, id): (&u64, &Job), node: NodeId| (id.key.node == node).then_some(*key);
        let jobs: Vec<u64> = self.jobs.iter().filter_map(|entry| mine(entry, id)).collect();
        for job in jobs {
            let Some(mut job) = self.jobs.remove(&job) else { continue };
            if job.kind.is_disk() && !job.swallowed && self.rng.coin() {
                let _unseen = self.run_disk(&mut job, None);
            }
            self.finish(job, Err(Errno::CANCELED));
        }
        let node = self.node(id);
        node.state = state;
        node.doomed = false;
        node.life += 1;
        node.stuck.clear();
    }
}
