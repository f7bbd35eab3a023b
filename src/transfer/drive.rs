//! Driving the plan: begins what it says can begin, tells it what came of it, waits for what changes that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};

use crate::config::{Spread, Work};
use crate::ids::{Nanos, NodeId, SegmentId};
use crate::limits::LINKS_MAX;
use crate::segment::{self, RelativePath};
use crate::stats::{Seldom, TransferStats};
use crate::transport::Peer;
use crate::uring::{Core, Notify, Priority, Task, sleep_until};

use super::failure::{Failure, Fetched};
use super::fetch::Fetcher;
use super::link::Place;
use super::plan::{Plan, Start, Want};
use super::resolve::Resolver;
use super::share::{Share, Told};
use super::source::{Announced, Sources};
use super::spread::Part;
use super::together::Batches;

/// What became of a fetch.
pub type Hook = Box<dyn Fn(SegmentId, Result<(), Failure>)>;

/// Names a batch of segments that are fetched together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct BatchNumber(u64);

/// The fetches of one shard, or of one pull.
pub struct Driver {
    plan: RefCell<Plan>,
    sources: RefCell<Sources>,
    fetcher: Fetcher,
    peers: Box<dyn Fn(NodeId) -> Option<Peer>>,
    spread: Cell<Spread>,
    hook: Hook,
    tasks: RefCell<BTreeMap<SegmentId, Task<()>>>,
    batches: RefCell<BTreeMap<BatchNumber, Task<()>>>,
    /// The segments of batches that are under way and were not forgotten since.
    members: RefCell<BTreeMap<SegmentId, BatchNumber>>,
    next_batch: Cell<BatchNumber>,
    changed: Notify,
    stopped: Cell<bool>,
    aside_told: Seldom,
    refusal_told: Seldom,
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
        let mut plan = Plan::default();
        if fetcher.neighbours.is_some() {
            plan.look_first();
        }
        Rc::new(Self {
            plan: RefCell::new(plan),
            sources: RefCell::default(),
            fetcher,
            peers,
            spread: Cell::new(Spread::Never),
            hook,
            tasks: RefCell::default(),
            batches: RefCell::default(),
            members: RefCell::default(),
            next_batch: Cell::default(),
            changed: Notify::default(),
            stopped: Cell::new(false),
            aside_told: Seldom::default(),
            refusal_told: Seldom::default(),
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

    /// From now on the embedder is asked first whom to ask for a segment.
    pub fn resolve_by(&self, resolver: Resolver) {
        self.sources.borrow_mut().resolve_by(resolver);
    }

    /// Fetches until `stop`.
    pub async fn run(self: Rc<Self>) {
        let core = Core::current();
        while !self.stopped.get() {
            let changed = self.changed.notified();
            let now = core.now();
            self.begin_look(now);
            let (mut batches, mut alone) = (Batches::default(), Vec::new());
            while let Some(start) = self.next(now) {
                if !start.parts.is_empty() || !self.fetcher.is_small(&start.want) {
                    alone.push(start);
                } else if let Some((of, full)) = batches.add(start.source, start.want) {
                    self.begin_batch(of, full);
                }
            }
            self.stats.no_source.add(self.plan.borrow_mut().take_stranded());
            // A source answers in the order in which it is asked: what is small waits for nothing large.
            for (of, wants) in batches {
                self.begin_batch(of, wants);
            }
            for start in alone {
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
        let done = match (self.peer(source), on_disk(&want)) {
            (None, _) => Err(Failure::Unreachable),
            (_, Err(failure)) => Err(failure),
            (Some(peer), Ok(segment)) => {
                let tell = |node, told: Told| self.told(node, told);
                self.fetcher.fetch(segment, (source, peer, want.work), &shares, &tell).await
            }
        };
        self.tasks.borrow_mut().remove(&want.id);
        self.ended(want.id, done);
    }

    /// Where a source is; one without an address is none.
    fn peer(&self, source: NodeId) -> Option<Peer> {
        let peer = (self.peers)(source);
        if peer.is_none() {
            self.stats.no_source.count();
        }
        peer
    }

    /// Looks for what is new on this node itself.
    fn begin_look(self: &Rc<Self>, now: Nanos) {
        let wants = self.plan.borrow_mut().take_looks(now, |want| self.fetcher.stands_here(want));
        let (may_be_here, elsewhere): (Vec<_>, Vec<_>) =
            wants.into_iter().partition(|want| self.fetcher.may_find(want));
        elsewhere.iter().for_each(|want| self.plan.borrow_mut().found_nothing(want.id, now));
        if may_be_here.is_empty() {
            return;
        }
        let number = self.next_number();
        self.members.borrow_mut().extend(may_be_here.iter().map(|want| (want.id, number)));
        let task = Core::current().spawn(Priority::Bulk, Rc::clone(self).look(number, may_be_here));
        self.batches.borrow_mut().insert(number, task);
    }

    async fn look(self: Rc<Self>, number: BatchNumber, wants: Vec<Want>) {
        let places = self.fetcher.find(&wants).await;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (want, place) in wants.into_iter().zip(places) {
            match (place, on_disk(&want)) {
                (Some(place), Ok(segment)) => found.push((segment, place)),
                (None, _) | (_, Err(_)) => missing.push(want.id),
            }
        }
        missing.into_iter().for_each(|id| self.looked(number, id, None));
        let link = async |(segment, place): (segment::Want, Place)| {
            let id = segment.id;
            if self.is_member(number, id) {
                self.looked(number, id, self.fetcher.link(segment, place).await);
            }
        };
        stream::iter(found).for_each_concurrent(LINKS_MAX, link).await;
        self.batches.borrow_mut().remove(&number);
    }

    /// What was looked for stands by now, or has to be fetched.
    fn looked(&self, number: BatchNumber, id: SegmentId, done: Option<Fetched>) {
        if !self.is_member(number, id) {
            return; // forgotten meanwhile
        }
        self.members.borrow_mut().remove(&id);
        match done {
            Some(fetched) => self.ended(id, Ok(fetched)),
            None => {
                self.plan.borrow_mut().found_nothing(id, Core::current().now());
                self.changed.notify();
            }
        }
    }

    fn is_member(&self, number: BatchNumber, id: SegmentId) -> bool {
        self.members.borrow().get(&id) == Some(&number)
    }

    fn next_number(&self) -> BatchNumber {
        self.next_batch.replace(BatchNumber(self.next_batch.get().0 + 1))
    }

    fn begin_batch(self: &Rc<Self>, of: (Work, NodeId), wants: Vec<Want>) {
        let number = self.next_number();
        let mut segments = Vec::with_capacity(wants.len());
        for want in wants {
            match on_disk(&want) {
                Ok(segment) => segments.push(segment),
                Err(failure) => self.ended(want.id, Err(failure)),
            }
        }
        self.members.borrow_mut().extend(segments.iter().map(|segment| (segment.id, number)));
        let task = Core::current().spawn(Priority::Bulk, Rc::clone(self).batch(number, of, segments));
        self.batches.borrow_mut().insert(number, task);
    }

    async fn batch(
        self: Rc<Self>,
        number: BatchNumber,
        (work, source): (Work, NodeId),
        segments: Vec<segment::Want>,
    ) {
        let ids: Vec<SegmentId> = segments.iter().map(|segment| segment.id).collect();
        let is_member = |id| self.is_member(number, id);
        let done = match self.peer(source) {
            Some(peer) => self.fetcher.fetch_together(segments, (source, peer, work), &is_member).await,
            None => ids.into_iter().map(|id| (id, Err(Failure::Unreachable))).collect(),
        };
        for (id, done) in done {
            if is_member(id) {
                self.members.borrow_mut().remove(&id);
                self.ended(id, done);
            }
        }
        self.batches.borrow_mut().remove(&number);
    }

    /// Counts what came of a fetch, and tells it to the plan and the hook.
    fn ended(&self, id: SegmentId, done: Result<Fetched, Failure>) {
        let core = Core::current();
        {
            let (mut plan, mut sources) = (self.plan.borrow_mut(), self.sources.borrow_mut());
            let source = plan.source_of(id);
            match done {
                Ok(fetched) => {
                    let took = plan.landed(id, &mut sources, core.now());
                    self.count_end(source, fetched, took);
                }
                Err(failure) => {
                    self.count_failure(source, failure);
                    source.into_iter().for_each(|source| self.note_damage(source, &mut sources));
                    let (group, source, failed) =
                        (self.fetcher.group.0, source.map(|node| node.0), failure.word());
                    tracing::debug!(group, segment = %id, source, failed, "a fetch ended without its segment");
                    let [jitter] = core.random();
                    plan.failed(id, failure, jitter, &mut sources, core.now());
                }
            }
        }
        (self.hook)(id, done.map(drop));
        self.changed.notify();
    }

    fn count_end(&self, source: Option<NodeId>, fetched: Fetched, took: Option<Nanos>) {
        match fetched {
            Fetched::Landed => {
                self.stats.landed.count();
                if let Some(took) = took {
                    self.stats.landing.count(took);
                }
                if let Some(source) = source {
                    self.stats.peers.count(source, |peer| peer.landed.count());
                }
            }
            Fetched::Linked(bytes) => {
                self.stats.landed.count();
                self.stats.linked.count();
                self.stats.bytes_linked.add(bytes);
                took.into_iter().for_each(|took| self.stats.landing.count(took));
            }
            Fetched::Held => self.stats.held_already.count(),
        }
    }

    /// A source whose chunks come damaged again and again is set aside.
    fn note_damage(&self, source: NodeId, sources: &mut Sources) {
        if !self.fetcher.took_damage(source) || !sources.damaged(source, Core::current().now()) {
            return;
        }
        self.stats.peers.count(source, |peer| peer.set_aside.count());
        if self.aside_told.is_due(Core::current().now()) {
            let group = self.fetcher.group.0;
            tracing::warn!(group, %source, "chunks of a source came damaged again and again: it is set aside");
        }
    }

    fn count_failure(&self, source: Option<NodeId>, failure: Failure) {
        self.stats.failed.count();
        self.stats.failures[failure.place()].count();
        if let Some(source) = source.filter(|_| failure.blames_source()) {
            self.stats.peers.count(source, |peer| peer.failed.count());
        }
        if failure == Failure::NotAllowed && self.refusal_told.is_due(Core::current().now()) {
            let (group, source) = (self.fetcher.group.0, source.map(|node| node.0));
            tracing::warn!(
                group,
                source,
                "a source refuses this node: by its secret, or as none of its cluster"
            );
        }
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
        let is_fault = match told {
            Told::Failed(failure) => failure.blames_source(),
            Told::Late => true,
            Told::Asked | Told::Came | Told::GivenUp => false,
        };
        if is_fault {
            self.stats.peers.count(node, |peer| peer.failed.count());
        }
        match told {
            Told::Asked => sources.begin(node),
            Told::Came => sources.share_ended(node, true, now()),
            Told::GivenUp | Told::Failed(Failure::DiskFull | Failure::Disk) => sources.release(node),
            Told::Failed(Failure::Corrupt) => {
                self.note_damage(node, &mut sources);
                sources.end(node, Err(Failure::Corrupt), now());
            }
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
        let mut plan = self.plan.borrow_mut();
        let is_planned = plan.contains(want.id);
        let taken = plan.want(want, Core::current().now());
        match (taken, is_planned) {
            (true, true) => self.stats.planned_already.count(),
            (true, false) => self.stats.planned.count(),
            (false, _) => self.stats.left_out.count(),
        }
        self.changed.notify();
        taken
    }

    /// The manifest no longer has the segment; a fetch of it ends. One in a batch is received with the others and then
    /// dropped, unless it is being staged already: then it lands, and whoever removes it waits for that.
    pub fn forget(&self, id: SegmentId) {
        self.plan.borrow_mut().forget(id, &mut self.sources.borrow_mut());
        self.leave_batch(id);
        if let Some(task) = self.tasks.borrow_mut().remove(&id) {
            task.abort();
        }
        self.changed.notify();
    }

    /// A batch whose last segment was forgotten ends; what it has begun to write or to land goes on by itself.
    fn leave_batch(&self, id: SegmentId) {
        let left = self.members.borrow_mut().remove(&id);
        let is_over = |number: &BatchNumber| !self.members.borrow().values().any(|other| other == number);
        let over = left.filter(is_over).and_then(|number| self.batches.borrow_mut().remove(&number));
        if let Some(task) = over {
            task.abort();
        }
    }

    /// Sets who can be asked.
    pub fn set_sources(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut sources = self.sources.borrow_mut();
        sources.set(nodes);
        self.stats.peers.set(sources.nodes());
        drop(sources);
        self.changed.notify();
    }

    /// Takes what a node tells of what it holds. What it has come to hold rests no longer.
    pub fn announce(&self, node: NodeId, announced: Announced) {
        let now = Core::current().now();
        let mut sources = self.sources.borrow_mut();
        if let Some(before) = sources.announce(node, announced)
            && let Some(told) = sources.announced(node)
        {
            self.plan.borrow_mut().hurry(now, |want, _| told.holds(want.id) && !before.holds(want.id));
        }
        drop(sources);
        self.changed.notify();
    }

    /// A node has come to us that may have been out of reach: what rests for that is asked for again.
    pub fn came_back(&self, node: NodeId) {
        self.sources.borrow_mut().came_back(node);
        let now = Core::current().now();
        self.plan.borrow_mut().hurry(now, |_, last| last.is_some_and(Failure::is_out_of_reach));
        self.changed.notify();
    }

    /// Asks again at once for whatever rests, and every node, whatever it has failed in.
    pub fn hurry(&self) {
        self.sources.borrow_mut().rest_no_more();
        self.plan.borrow_mut().hurry_all(Core::current().now());
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
        let batches = std::mem::take(&mut *self.batches.borrow_mut()).into_values();
        for task in std::mem::take(&mut *self.tasks.borrow_mut()).into_values().chain(batches) {
            task.abort();
        }
        self.changed.notify();
    }
}

/// A segment of the manifest as the store has it.
fn on_disk(want: &Want) -> Result<segment::Want, Failure> {
    match RelativePath::parse(&want.path) {
        Ok(path) => Ok(segment::Want { id: want.id, path, len: want.bytes, root: want.root }),
        Err(error) => {
            tracing::error!(%error, segment = %want.id, "a path of the manifest cannot stand on a disk");
            Err(Failure::Disk)
        }
    }
}
