//! Driving the plan: begins what it says can begin, tells it what came of it, waits for what changes that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::config::Spread;
use crate::ids::{Nanos, NodeId, SegmentId};
use crate::segment::{self, RelativePath};
use crate::stats::TransferStats;
use crate::transport::Peer;
use crate::uring::{Core, Notify, Priority, Task, sleep_until};

use super::failure::Failure;
use super::fetch::Fetcher;
use super::plan::{Plan, Start, Want};
use super::share::{Share, Told};
use super::source::{Announced, Sources};
use super::spread::Part;

/// What became of a fetch.
pub type Hook = Box<dyn Fn(SegmentId, Result<(), Failure>)>;

/// The fetches of one shard, or of one pull.
pub struct Driver {
    plan: RefCell<Plan>,
    sources: RefCell<Sources>,
    fetcher: Fetcher,
    peers: Box<dyn Fn(NodeId) -> Option<Peer>>,
    spread: Cell<Spread>,
    hook: Hook,
    tasks: RefCell<BTreeMap<SegmentId, Task<()>>>,
    changed: Notify,
    stopped: Cell<bool>,
    stats: Rc<TransferStats>,
}

impl Driver {
    /// A driver that asks `peers` where a node is, and tells `hook` what came of each fetch. It does nothing
    /// before `run`.
    #[must_use]
    pub fn new(
        fetcher: Fetcher,
        peers: Box<dyn Fn(NodeId) -> Option<Peer>>,
        hook: Hook,
        stats: Rc<TransferStats>,
    ) -> Rc<Self> {
        Rc::new(Self {
            plan: RefCell::default(),
            sources: RefCell::default(),
            fetcher,
            peers,
            spread: Cell::new(Spread::Never),
            hook,
            tasks: RefCell::default(),
            changed: Notify::default(),
            stopped: Cell::new(false),
            stats,
        })
    }

    /// From now on large segments are fetched from several nodes at once, unless never; `me` is this node.
    pub fn spread(&self, me: NodeId, spread: Spread) {
        self.spread.set(spread);
        if spread != Spread::Never {
            self.plan.borrow_mut().spread(me);
        }
    }

    /// Fetches until `stop`.
    pub async fn run(self: Rc<Self>) {
        let core = Core::current();
        while !self.stopped.get() {
            let changed = self.changed.notified();
            let now = core.now();
            while let Some(start) = self.next(now) {
                let id = start.want.id;
                let task = core.spawn(Priority::Bulk, Rc::clone(&self).one(start));
                self.tasks.borrow_mut().insert(id, task);
            }
            let deadline = self.plan.borrow().next_deadline(&self.sources.borrow(), now);
            match deadline {
                Some(at) => {
                    let _either = futures_util::future::select(Box::pin(changed), sleep_until(at)).await;
                }
                None => changed.await,
            }
        }
    }

    fn next(&self, now: Nanos) -> Option<Start> {
        self.plan.borrow_mut().next(&mut self.sources.borrow_mut(), now)
    }

    async fn one(self: Rc<Self>, start: Start) {
        let Start { want, source, parts } = start;
        let shares = self.shares(source, parts);
        let done = match ((self.peers)(source), RelativePath::parse(&want.path)) {
            (None, _) => Err(Failure::Unreachable),
            (_, Err(error)) => {
                tracing::error!(%error, segment = %want.id, "a path of the manifest cannot stand on a disk");
                Err(Failure::Disk)
            }
            (Some(peer), Ok(path)) => {
                let segment = segment::Want { id: want.id, path, len: want.bytes, root: want.root };
                let tell = |node, told: Told| self.told(node, told);
                self.fetcher.fetch(segment, (source, peer), &shares, &tell).await
            }
        };
        let core = Core::current();
        {
            let (mut plan, mut sources) = (self.plan.borrow_mut(), self.sources.borrow_mut());
            match done {
                Ok(()) => {
                    self.stats.landed.add(1);
                    plan.landed(want.id, &mut sources, core.now());
                }
                Err(failure) => {
                    self.stats.failed.add(1);
                    let [jitter] = core.random();
                    plan.failed(want.id, failure, jitter, &mut sources, core.now());
                }
            }
        }
        self.tasks.borrow_mut().remove(&want.id);
        (self.hook)(want.id, done);
        self.changed.notify();
    }

    /// The parts with where their nodes are, the source's first; none if nobody is left beside it, or if a node is on
    /// this machine and that is not asked for.
    fn shares(&self, source: NodeId, parts: Vec<Part>) -> Vec<Share> {
        let is_near = |share: &Share| share.peer.address.ip().to_canonical().is_loopback();
        let found = parts.into_iter().filter_map(|part| Some(Share { peer: (self.peers)(part.node)?, part }));
        let shares: Vec<Share> = found.collect();
        let is_spread = shares.len() > 1 && shares.first().is_some_and(|share| share.part.node == source);
        let is_avoided = self.spread.get() == Spread::Auto && shares.iter().any(is_near);
        if is_spread && !is_avoided { shares } else { Vec::new() }
    }

    /// How it stands with the share that another node than the source was asked for. One that sends what it should not
    /// is set aside as a source, too. One that is given up may be so outside of the core.
    fn told(&self, node: NodeId, told: Told) {
        let (mut sources, now) = (self.sources.borrow_mut(), || Core::current().now());
        match told {
            Told::Asked => sources.begin(node),
            Told::Came => sources.share_ended(node, true, now()),
            Told::GivenUp | Told::Failed(Failure::DiskFull | Failure::Disk) => sources.release(node),
            Told::Failed(Failure::Corrupt) => sources.end(node, false, now()),
            Told::Late
            | Told::Failed(
                Failure::NotHere
                | Failure::NotAllowed
                | Failure::Busy
                | Failure::Unreachable
                | Failure::NoProgress,
            ) => sources.share_ended(node, false, now()),
        }
    }

    /// Takes a segment to fetch. False if there is no room: derive the difference again when `take_overflow` says so.
    pub fn want(&self, want: Want) -> bool {
        let taken = self.plan.borrow_mut().want(want, Core::current().now());
        self.changed.notify();
        taken
    }

    /// The manifest no longer has the segment; a fetch of it ends.
    pub fn forget(&self, id: SegmentId) {
        self.plan.borrow_mut().forget(id, &mut self.sources.borrow_mut());
        if let Some(task) = self.tasks.borrow_mut().remove(&id) {
            task.abort();
        }
        self.changed.notify();
    }

    /// Sets who can be asked.
    pub fn set_sources(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.sources.borrow_mut().set(nodes);
        self.changed.notify();
    }

    /// Takes what a node tells of what it holds.
    pub fn announce(&self, node: NodeId, announced: Announced) {
        self.sources.borrow_mut().announce(node, announced);
        self.changed.notify();
    }

    /// Looks at the sources.
    pub fn with_sources<T>(&self, look: impl FnOnce(&Sources) -> T) -> T {
        look(&self.sources.borrow())
    }

    /// Looks at the plan.
    pub fn with_plan<T>(&self, look: impl FnOnce(&Plan) -> T) -> T {
        look(&self.plan.borrow())
    }

    /// A part of the difference had no room, and there is room now.
    #[must_use]
    pub fn take_overflow(&self) -> bool {
        self.plan.borrow_mut().take_overflow()
    }

    /// Ends `run` and every fetch; what was verified stays staged.
    pub fn stop(&self) {
        self.stopped.set(true);
        for task in std::mem::take(&mut *self.tasks.borrow_mut()).into_values() {
            task.abort();
        }
        self.changed.notify();
    }
}
