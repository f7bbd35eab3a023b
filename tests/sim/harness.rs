//! What a simulation test drives: hosts, cores made over simulated rings, time, and what happens to them.
//!
//! One thread runs everything. A step is one turn of one core that has something to do, the core drawn from the seed;
//! when none has, time goes to the next event or deadline. The same seed gives the same run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway::ids::{Nanos, NodeId};
use ringway::uring::{Core, Priority, Turn};

use super::disk::Loss;
use super::faults::{How, Rule};
use super::job::CoreKey;
use super::net::Link;
use super::node::{Node, State};
use super::options::SimOptions;
use super::ring::{Flag, SimRing};
use super::world::{SharedWorld, World};

/// Turns without a pause after which a core is held to be stuck.
const BUSY_TURNS_MAX: u64 = 20_000;

struct Driven {
    core: Core,
    flag: Arc<Flag>,
    again: bool,
    deadline: Option<Nanos>,
    busy: u64,
}

type Plan = Box<dyn FnOnce(&mut Sim)>;

/// One simulated world and all that runs in it.
pub struct Sim {
    seed: u64,
    world: SharedWorld,
    cores: BTreeMap<CoreKey, Driven>,
    plans: BTreeMap<(Nanos, u64), Plan>,
    steps: u64,
}

/// What `run_until` ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The condition holds.
    Met,
    /// The time ran out first.
    TimedOut,
    /// Nothing is left that could happen.
    Idle,
}

/// The seed of this run: `SEED` of the environment, else `default`.
#[must_use]
pub fn seed_or(default: u64) -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default)
}

/// Runs `test` with the seeds 1 to `count`; the environment may give one seed (`SEED`) or another count (`SEEDS`).
pub fn each_seed(count: u64, mut test: impl FnMut(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => test(seed),
        None => (1..=number("SEEDS").unwrap_or(count)).for_each(test),
    }
}

/// Runs `test` twice and asserts that the seed alone decides the run. Returns the digest of the event log.
///
/// # Panics
/// If the two runs differ.
pub fn twice(seed: u64, test: impl Fn(u64) -> u64) -> u64 {
    let first = test(seed);
    let second = test(seed);
    assert_eq!(first, second, "two runs of seed {seed} differ; compare their traces (TRACE=1)");
    first
}

impl Sim {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, options: SimOptions) -> Self {
        let world = Rc::new(RefCell::new(World::new(seed, options)));
        Self { seed, world, cores: BTreeMap::new(), plans: BTreeMap::new(), steps: 0 }
    }

    /// Boots a new host with an empty directory `/data`; its address is `address(id)`.
    pub fn node(&mut self, id: u64) -> NodeId {
        self.world.borrow_mut().boot(NodeId(id));
        NodeId(id)
    }

    /// A core of a host's running process: the one that is there, or a new one.
    pub fn core(&mut self, node: NodeId, index: u16) -> Core {
        let here = |(key, driven): (&CoreKey, &Driven)| {
            (key.node == node && key.core == index).then(|| driven.core.clone())
        };
        if let Some(core) = self.cores.iter().find_map(here) {
            return core;
        }
        let key = self.world.borrow_mut().start_core(node, index);
        let (ring, flag) = SimRing::new(Rc::clone(&self.world), key);
        let (count, bytes) = {
            let world = self.world.borrow();
            (world.options.slab_buffers, world.options.buffer_bytes)
        };
        let core = Core::new(Box::new(ring), count, bytes);
        let driven = Driven { core: core.clone(), flag, again: true, deadline: None, busy: 0 };
        self.cores.insert(key, driven);
        core
    }

    /// The world itself, for what has no function here.
    #[must_use]
    pub fn world(&self) -> std::cell::RefMut<'_, World> {
        self.world.borrow_mut()
    }

    /// A host, to look at or to change its disk, clocks and fault plan.
    #[must_use]
    pub fn host(&self, id: NodeId) -> std::cell::RefMut<'_, Node> {
        std::cell::RefMut::map(self.world.borrow_mut(), |world| world.node(id))
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.world.borrow().now
    }

    /// The digest of the event log so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.world.borrow().trace.digest()
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds an event of the test or the product to the log.
    pub fn note(&self, node: NodeId, what: &str, numbers: &[u64]) {
        self.world.borrow_mut().note(node, what, numbers);
    }

    /// A number from 0 to `bound` - 1, drawn from the seed.
    #[must_use]
    pub fn draw(&self, bound: u64) -> u64 {
        self.world.borrow_mut().rng.below(bound)
    }

    /// Does something when a time has passed, between two steps.
    pub fn later(&mut self, delay: Nanos, plan: impl FnOnce(&mut Self) + 'static) {
        let mut world = self.world.borrow_mut();
        let at = world.now.plus(delay);
        let sequence = world.sequence();
        drop(world);
        self.plans.insert((at, sequence), Box::new(plan));
    }

    /// Where a host listens.
    #[must_use]
    pub fn address(&self, node: NodeId, port: u16) -> SocketAddr {
        SocketAddr::new(Node::address(node), port)
    }

    /// Nothing gets from any of these hosts to any of those, nor back, before `heal`.
    pub fn partition(&mut self, these: &[NodeId], those: &[NodeId]) {
        self.world.borrow_mut().partition(these, those);
    }

    /// Nothing gets from one host to the other any more; the other way stays open.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.world.borrow_mut().block(from, to);
    }

    /// All ways are open again; senders notice it when they next try.
    pub fn heal(&mut self) {
        self.world.borrow_mut().heal();
    }

    /// All connections between two hosts are reset.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        self.world.borrow_mut().cut(one, other);
    }

    /// One direction between two hosts, to change its delay, rate, corruption, or to plan a cut.
    #[must_use]
    pub fn link(&self, from: NodeId, to: NodeId) -> std::cell::RefMut<'_, Link> {
        std::cell::RefMut::map(self.world.borrow_mut(), |world| world.link(from, to))
    }

    /// Adds a fault to a host's plan; the result names it for `hits`.
    pub fn fault(&mut self, node: NodeId, rule: Rule) -> usize {
        let mut host = self.host(node);
        host.rules.push(rule);
        host.rules.len() - 1
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn hits(&self, node: NodeId, fault: usize) -> u64 {
        self.host(node).rules[fault].hits()
    }

    /// Takes all faults out of a host's plan.
    pub fn clear_faults(&mut self, node: NodeId) {
        self.host(node).rules.clear();
    }

    /// Runs until the condition holds, asked between steps, or for at most `limit` of the world's time.
    pub fn try_until(&mut self, mut condition: impl FnMut() -> bool, limit: Nanos) -> Ended {
        let end = self.now().plus(limit);
        // Work that was given to cores from outside of their turns woke nobody.
        self.cores.values_mut().for_each(|driven| driven.again = true);
        loop {
            if condition() {
                return Ended::Met;
            }
            if self.now() >= end {
                return Ended::TimedOut;
            }
            if !self.step(end) {
                return if condition() { Ended::Met } else { Ended::Idle };
            }
        }
    }

    /// Runs until the condition holds.
    ///
    /// # Panics
    /// If it does not within `limit` of the world's time.
    pub fn run_until(&mut self, condition: impl FnMut() -> bool, limit: Nanos) {
        let ended = self.try_until(condition, limit);
        assert_eq!(ended, Ended::Met, "seed {}: the condition does not hold at {}", self.seed, self.now());
    }

    /// Runs for a length of the world's time.
    pub fn run_for(&mut self, length: Nanos) {
        let end = self.now().plus(length);
        if self.try_until(|| false, length) == Ended::Idle {
            let mut world = self.world.borrow_mut();
            world.now = world.now.max(end);
        }
    }

    /// Runs until a future on a core has ended; `None` if its node went down first.
    ///
    /// # Panics
    /// If it does not end within the options' patience.
    pub fn try_block_on<T: 'static>(
        &mut self,
        core: &Core,
        future: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let place = Rc::new(RefCell::new(None));
        let theirs = Rc::clone(&place);
        let task = core.spawn(Priority::Urgent, async move {
            let output = future.await;
            theirs.replace(Some(output));
        });
        let patience = self.world.borrow().options.patience;
        self.run_until(|| task.is_ended(), patience);
        place.take()
    }

    /// Runs until a future on a core has ended.
    ///
    /// # Panics
    /// If the core's node goes down first, or it does not end within the options' patience.
    pub fn block_on<T: 'static>(&mut self, core: &Core, future: impl Future<Output = T> + 'static) -> T {
        let output = self.try_block_on(core, future);
        output.unwrap_or_else(|| panic!("seed {}: the node went down under a task", self.seed))
    }

    /// One turn of a core, or one event; false if nothing is left to happen.
    fn step(&mut self, end: Nanos) -> bool {
        self.steps += 1;
        let steps_max = self.world.borrow().options.steps_max;
        assert!(
            self.steps < steps_max,
            "seed {}: stuck after {} steps at {}",
            self.seed,
            self.steps,
            self.now()
        );
        if self.carry_out() {
            return true;
        }
        if self.world.borrow_mut().fire() {
            return true;
        }
        let (ready, next) = self.look();
        if let Some(key) = self.draw_core(&ready) {
            self.turn(key);
            return true;
        }
        let mut world = self.world.borrow_mut();
        let events = world.next_event();
        let plans = self.plans.keys().next().map(|(at, _)| *at);
        let Some(next) = [next, events, plans].into_iter().flatten().min() else { return false };
        world.now = world.now.max(next.min(end));
        true
    }

    /// What a fault plan or the test has decided to do now.
    fn carry_out(&mut self) -> bool {
        let crash = self.world.borrow_mut().crash.take();
        if let Some((node, how)) = crash {
            match how {
                How::Kill => self.kill(node),
                How::PowerCut => self.power_cut(node),
            }
            return true;
        }
        let now = self.now();
        match self.plans.first_entry() {
            Some(first) if first.key().0 <= now => {
                let plan = first.remove();
                plan(self);
                true
            }
            _ => false,
        }
    }

    /// The cores that have something to do, and when the next of the others will.
    fn look(&self) -> (Vec<CoreKey>, Option<Nanos>) {
        let world = self.world.borrow();
        let mut ready = Vec::new();
        let mut next = None;
        for (key, driven) in &self.cores {
            let Some(node) = world.nodes.get(&key.node) else { continue };
            // A core tells its deadline in its host's time.
            let deadline = driven.deadline.map(|at| Nanos(at.0.saturating_sub(node.clock)));
            let works = driven.again || driven.flag.is_set() || world.has_ready(*key);
            let wants = if works { Some(world.now) } else { deadline };
            let Some(at) = wants.map(|at| at.max(node.stopped_until)) else { continue };
            if at <= world.now {
                ready.push(*key);
            } else {
                next = Some(next.map_or(at, |next: Nanos| next.min(at)));
            }
        }
        (ready, next)
    }

    fn draw_core(&self, ready: &[CoreKey]) -> Option<CoreKey> {
        match ready {
            [] => None,
            [only] => Some(*only),
            several => Some(several[self.world.borrow_mut().rng.index(several.len())]),
        }
    }

    fn turn(&mut self, key: CoreKey) {
        let Some(driven) = self.cores.get_mut(&key) else { return };
        driven.flag.take();
        let turn = driven.core.turn();
        driven.again = turn == Turn::Again;
        driven.deadline = match turn {
            Turn::Again => None,
            Turn::Park(deadline) => deadline,
        };
        driven.busy = if driven.again { driven.busy + 1 } else { 0 };
        assert!(driven.busy < BUSY_TURNS_MAX, "seed {}: core {key:?} never rests", self.seed);
        // A turn takes time, so that whoever waits by asking again sees it pass.
        let mut world = self.world.borrow_mut();
        let cost = world.rng.within(500..=3000);
        world.now = world.now.plus(Nanos(cost));
    }

    /// SIGKILL: the product's memory is gone, what it wrote stays, its descriptors close.
    pub fn kill(&mut self, node: NodeId) {
        self.world.borrow_mut().kill(node);
        self.bury(node);
    }

    /// The power goes: what was not synced is kept, lost or torn by the seed.
    pub fn power_cut(&mut self, node: NodeId) {
        self.power_cut_with(node, Loss::Drawn);
    }

    /// The power goes; what was not synced is treated as `loss` says.
    pub fn power_cut_with(&mut self, node: NodeId, loss: Loss) {
        self.world.borrow_mut().power_cut(node, loss);
        self.bury(node);
    }

    /// Drops a process's cores. Their rings are dead by now: they swallow what destructors still ask for.
    fn bury(&mut self, node: NodeId) {
        let keys: Vec<CoreKey> = self.cores.keys().filter(|key| key.node == node).copied().collect();
        for key in keys {
            if let Some(driven) = self.cores.remove(&key) {
                driven.core.shut_down();
            }
        }
    }

    /// Ends a host's process in good order, as the product's own exit does.
    pub fn exit(&mut self, node: NodeId) {
        let keys: Vec<CoreKey> = self.cores.keys().filter(|key| key.node == node).copied().collect();
        for key in keys {
            if let Some(driven) = self.cores.remove(&key) {
                driven.core.shut_down();
            }
        }
        self.world.borrow_mut().kill(node);
    }

    /// A host that went down comes back. Its cores are new: ask for them with `core`.
    pub fn restart(&mut self, node: NodeId) {
        self.world.borrow_mut().restart(node);
    }

    /// Whether a host's process runs.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.host(node).state == State::Up
    }

    /// A host's cores do not run for a while (SIGSTOP and SIGCONT).
    pub fn pause(&mut self, node: NodeId, length: Nanos) {
        let until = self.now().plus(length);
        self.host(node).stopped_until = until;
        self.note(node, "pause", &[length.0]);
    }

    /// A host's disk completes nothing until `thaw`.
    pub fn freeze(&mut self, node: NodeId) {
        self.world.borrow_mut().freeze(node);
    }

    /// A host's disk goes on.
    pub fn thaw(&mut self, node: NodeId) {
        self.world.borrow_mut().thaw(node);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let now = self.world.try_borrow().map_or(Nanos(0), |world| world.now);
            eprintln!("the run failed with SEED={} at {now}", self.seed);
            // Destructors of half-run tasks could panic again: what is left leaks with the test.
            self.cores.values().for_each(|driven| std::mem::forget(driven.core.clone()));
            return;
        }
        let nodes: Vec<NodeId> = self.world.borrow().nodes.keys().copied().collect();
        for node in nodes {
            if self.is_up(node) {
                self.kill(node);
            }
        }
    }
}
