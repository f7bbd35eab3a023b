//! The seam's other side: a `Ring` whose outside is the simulated world.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringway::ids::{Nanos, UnixNanos};
use ringway::uring::{Completion, Op, Probe, Ring, Slab, Unpark};

use super::job::CoreKey;
use super::world::SharedWorld;

/// Marks a core as one that wants a turn.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Takes the mark away; true if it was there.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    /// It is marked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Unpark for Flag {
    fn unpark(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A core's way into the simulated world.
pub struct SimRing {
    world: SharedWorld,
    key: CoreKey,
    flag: Arc<Flag>,
    probe: Probe,
}

impl SimRing {
    /// The ring of a core, and the mark that says when it wants a turn.
    #[must_use]
    pub fn new(world: SharedWorld, key: CoreKey) -> (Self, Arc<Flag>) {
        let flag = Arc::new(Flag::default());
        let mut probe = Probe { backend: "simulation", kernel: "none".to_owned(), ..Probe::default() };
        let (zero_copy, cachestat) = {
            let options = &world.borrow().options;
            (options.net.zero_copy, options.disk.cachestat)
        };
        // The names are those of the kernel's ring.
        for (name, in_use) in
            [("zero-copy send", zero_copy), ("registered buffers", true), ("cachestat", cachestat)]
        {
            probe.note(name, in_use, "");
        }
        (Self { world, key, flag: Arc::clone(&flag), probe }, flag)
    }
}

impl Ring for SimRing {
    fn register(&mut self, _slab: &Slab) {}

    fn push(&mut self, token: u64, op: Op) {
        self.world.borrow_mut().submit(self.key, token, op);
    }

    fn cancel(&mut self, token: u64) {
        self.world.borrow_mut().cancel(self.key, token);
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let ready = self.world.borrow_mut().take_ready(self.key);
        for one in ready {
            completions.push(one.completion);
            drop(one.handles);
        }
    }

    /// Only a core that shuts down parks here: the world goes on until something has completed for it.
    fn park(&mut self, deadline: Option<Nanos>, completions: &mut Vec<Completion>) {
        let mut world = self.world.borrow_mut();
        let until = deadline.map(|at| world.now.plus(at.since(world.clock(self.key.node))));
        while !world.has_ready(self.key) {
            if world.fire() {
                continue;
            }
            let next = world.next_event().into_iter().chain(until).min();
            let Some(next) = next else { break };
            if world.now >= next {
                break;
            }
            world.now = next;
        }
        drop(world);
        self.reap(completions);
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.flag) as Arc<dyn Unpark>
    }

    fn release(&mut self, raw: i32) {
        let mut world = self.world.borrow_mut();
        if let Some(descriptor) = world.node(self.key.node).descriptors.get_mut(&raw) {
            descriptor.core = None;
        }
    }

    fn adopt(&mut self, raw: i32) {
        let mut world = self.world.borrow_mut();
        let core = self.key.core;
        if let Some(descriptor) = world.node(self.key.node).descriptors.get_mut(&raw) {
            assert_eq!(descriptor.core, None, "descriptor {raw} was not released before core {core} took it");
            descriptor.core = Some(core);
        }
    }

    fn now(&self) -> Nanos {
        self.world.borrow().clock(self.key.node)
    }

    fn wall(&self) -> UnixNanos {
        self.world.borrow().wall(self.key.node)
    }

    fn random(&mut self, out: &mut [u8]) {
        self.world.borrow_mut().rng.fill(out);
    }

    fn probe(&self) -> &Probe {
        &self.probe
    }
}
