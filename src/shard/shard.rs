//! The shard: what the rooms below tell it, and what it asks of them.
//!
//! Level-triggered: what to fetch is derived from the applied manifest and the verified inventory at every start, after
//! every snapshot, when the plan has room again, and every few minutes for no reason at all.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::broken::{self, Broken};
use crate::config::Spread;
use crate::ids::{Incarnation, LogIndex, Nanos, NodeId, SegmentId, ShardId};
use crate::journal::{EventFiles, Queue};
use crate::manifest::{Change, Effect, Entry, State};
use crate::raft::{Applied, Group, Hook};
use crate::segment::{RelativePath, Store, Want as SegmentWant};
use crate::stats::{CheckpointStats, ProposalStats, Seldom, TransferStats};
use crate::transfer::{Desk, Driver, Failure, Fetcher, Helpers, Neighbours, Pacer, Resolver};
use crate::transport::{Peer, Transport};
use crate::uring::{Core, Dir, Gate, Notify, Places, Priority};

use super::derive::Deriving;
use super::events::{self, EventWriter, Happening, Line, Local};
use super::forward::Forwarder;
use super::parts::{Addresses, ShardParts, StartError};
use super::proposer::Session;
use super::registrar::Registrar;
use super::session::{Kept, load};
use super::watermark::{Installed, Lack, Watermarks};

/// One shard on its core. Clones are the same shard.
#[derive(Clone)]
pub struct Shard(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) id: ShardId,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) store: Rc<Store>,
    pub(super) transport: Transport,
    pub(super) addresses: Addresses,
    pub(super) desk: Rc<Desk>,
    pub(super) group: OnceCell<Group<State>>,
    pub(super) driver: OnceCell<Rc<Driver>>,
    pub(super) stats: Rc<TransferStats>,
    pub(super) proposals: ProposalStats,
    pub(super) installed: RefCell<Installed>,
    /// What was committed up to here has to stand here. Known when a read barrier has passed since this start.
    pub(super) due: Cell<Option<LogIndex>>,
    pub(super) deriving: Deriving,
    /// Batches whose files are being digested.
    pub(super) preparing: Cell<usize>,
    /// Drafts of an earlier process are being let go: nothing is digested meanwhile.
    pub(super) sweeping: Cell<bool>,
    /// By the newest version of a path: those before it, whose files go when it stands here.
    superseded: RefCell<BTreeMap<SegmentId, Vec<SegmentId>>>,
    /// Entries of this origin whose file is being pinned.
    pub(super) pinning: RefCell<BTreeSet<SegmentId>>,
    /// Segments that are being removed.
    pub(super) removing: RefCell<BTreeSet<SegmentId>>,
    /// Segments that readers have pinned, or had.
    pub(super) pins: RefCell<BTreeMap<SegmentId, Weak<()>>>,
    /// The checkpoint under way, if there is one.
    pub(super) checkpoint: RefCell<Weak<()>>,
    pub(super) checkpoints: Arc<CheckpointStats>,
    /// How long a deleted segment's file stays.
    pub(super) delete_grace: Nanos,
    pub(super) session: RefCell<Option<Session>>,
    /// What stands on the disk of it while it is not open.
    pub(super) kept_session: Cell<Kept>,
    /// Somebody opens it or reserves numbers.
    pub(super) session_busy: Cell<bool>,
    /// Old sessions are being retired.
    pub(super) retiring: Cell<bool>,
    pub(super) journal: Dir,
    gate: Gate,
    pub(super) registrar: OnceCell<Rc<Registrar>>,
    /// What an earlier process has proposed for the registrar may still happen.
    pub(super) unsettled: Cell<bool>,
    pub(super) spread: Spread,
    helpers: Option<Rc<Helpers>>,
    /// Until the shard is started.
    neighbours: Cell<Neighbours>,
    resolver: Option<Resolver>,
    pacer: Pacer,
    /// The stream on which proposals go to another node that leads.
    pub(super) forwarder: RefCell<Option<Rc<Forwarder>>>,
    pub(super) events: RefCell<Line>,
    /// Where they are kept.
    pub(super) files: EventFiles,
    pub(super) event_writer: Cell<EventWriter>,
    /// How far the log is by what they have, and when they were made durable.
    pub(super) events_progress: Cell<LogIndex>,
    pub(super) events_synced: Cell<Nanos>,
    pub(super) events_told: Seldom,
    /// Of each peer, its proposals that are being answered.
    pub(super) answering: RefCell<BTreeMap<NodeId, Places>>,
    /// Proposals of peers in another node's session.
    pub(super) foreign_proposals: Cell<u64>,
    pub(super) foreign_told: Seldom,
    /// Anything that somebody may wait for: watermarks, announcements, roles.
    pub(super) changed: Notify,
    /// The last snapshot that was taken in from a leader since this start.
    pub(super) installed_snapshot: Cell<Option<LogIndex>>,
    /// The last fetch that had an end met a full disk.
    pub(super) is_full: Cell<bool>,
    /// The first entry that the plan of fetches had no room for.
    pub(super) left_out: Cell<Option<SegmentId>>,
    pub(super) stopped: Cell<bool>,
}

impl Shard {
    /// A shard that waits for its group.
    ///
    /// # Errors
    /// This disk refuses something.
    pub async fn open(parts: ShardParts) -> Result<Self, StartError> {
        let ShardParts { id, node, incarnation, store, transport, addresses, desk, .. } = parts;
        let ShardParts { journal, gate, spread, helpers, neighbours, delete_grace, .. } = parts;
        let ShardParts { resolver, pacer, derive_page, .. } = parts;
        let opened = events::open(&journal).await;
        let (files, line) = opened.map_err(|errno| StartError::Events { errno })?;
        Ok(Self(Rc::new(Inner {
            id,
            node,
            incarnation,
            store,
            transport,
            addresses,
            desk,
            group: OnceCell::new(),
            driver: OnceCell::new(),
            stats: Rc::default(),
            proposals: ProposalStats::default(),
            installed: RefCell::default(),
            due: Cell::new(None),
            deriving: Deriving::new(derive_page),
            preparing: Cell::new(0),
            sweeping: Cell::new(false),
            superseded: RefCell::default(),
            pinning: RefCell::default(),
            removing: RefCell::default(),
            pins: RefCell::default(),
            checkpoint: RefCell::default(),
            checkpoints: Arc::default(),
            delete_grace,
            session: RefCell::default(),
            kept_session: Cell::new(Kept::Earlier(None)),
            session_busy: Cell::new(false),
            retiring: Cell::new(false),
            journal,
            gate,
            registrar: OnceCell::new(),
            unsettled: Cell::new(false),
            spread,
            helpers,
            neighbours: Cell::new(neighbours),
            resolver,
            pacer,
            forwarder: RefCell::default(),
            events: RefCell::new(line),
            files,
            event_writer: Cell::default(),
            events_progress: Cell::default(),
            events_synced: Cell::default(),
            events_told: Seldom::default(),
            answering: RefCell::default(),
            foreign_proposals: Cell::default(),
            foreign_told: Seldom::default(),
            changed: Notify::default(),
            installed_snapshot: Cell::new(None),
            is_full: Cell::new(false),
            left_out: Cell::new(None),
            stopped: Cell::new(false),
        })))
    }

    /// What the group calls after it has applied something. Holds the shard weakly: the group is the shard's.
    #[must_use]
    pub fn hook(&self) -> Hook<State> {
        let shard = Rc::downgrade(&self.0);
        Rc::new(move |applied| {
            let Some(inner) = shard.upgrade() else { return };
            match applied {
                Applied::Command { index, effect, .. } => inner.applied(index, &effect),
                Applied::Passed { index } => {
                    inner.events.borrow_mut().begin(index);
                    inner.installed.borrow_mut().applied(index);
                }
                Applied::Installed { state } => {
                    inner.installed_snapshot.set(Some(state.applied()));
                    inner.deriving.replaced();
                    inner.installed.borrow_mut().unknown();
                    inner.events.borrow_mut().installed_snapshot(state.applied());
                    inner.derive_soon();
                }
            }
            inner.tell_later();
            inner.changed.notify();
        })
    }

    /// Begins to work with its group: settles what the disk holds against the manifest, then fetches what is missing.
    ///
    /// # Errors
    /// This disk refuses something.
    pub async fn start(&self, group: Group<State>) -> Result<(), StartError> {
        let inner = &self.0;
        inner.kept_session.set(load(&inner.journal, inner.id).await.map_err(StartError::Session)?);
        let queue = Queue::open(inner.journal.clone(), Some(inner.gate.clone())).await;
        inner.take_registrar(queue.map_err(StartError::Queue)?);
        let (wanted, applied) = {
            let (machine, store) = (group.machine(), &inner.store);
            let state = machine.borrow();
            let is_open = |entry: &&Rc<Entry>| !store.is_settled(entry.id, entry.root, entry.path().as_str());
            let open = state.entries(None).filter(is_open);
            let wants = open.filter_map(|entry| Some((entry.origin, segment_want(entry)?)));
            // A file that nobody knows at its origin is the engine's: it is pinned, and never set aside.
            let ours = |(origin, want): &(NodeId, SegmentWant)| {
                *origin != inner.node || store.id_at(&want.path).is_some()
            };
            (wants.filter(ours).map(|(_, want)| want).collect::<Vec<_>>(), state.applied())
        };
        let manifest = group.machine();
        let listed = group.machine();
        let is_listed = move |id| listed.borrow().entry(&id).is_some();
        inner.store.settle_to(wanted, applied, is_listed).await.map_err(StartError::Segments)?;
        assert!(inner.group.set(group).is_ok(), "a shard is started once");
        let fetcher = Fetcher::new(
            inner.transport.clone(),
            Rc::clone(&inner.store),
            inner.id.group(),
            Rc::clone(&inner.stats),
        )
        .with_helpers(inner.helpers.clone())
        .that_links(inner.neighbours.take())
        .with_pacer(inner.pacer.clone());
        let (addresses, landed) = (Rc::clone(&inner.addresses), Rc::downgrade(inner));
        let peers = move |node| {
            let address = addresses.borrow().get(&node).copied()?;
            Some(Peer { node: Some(node), address })
        };
        let hook = move |id, done: Result<(), Failure>| {
            let Some(inner) = landed.upgrade() else { return };
            inner.heard_of_room(done);
            match done {
                Ok(()) => inner.landed(id),
                Err(failure) => inner.failed(id, failure),
            }
            inner.refill();
        };
        let driver = Driver::new(fetcher, Box::new(peers), Box::new(hook), Rc::clone(&inner.stats));
        driver.spread(inner.node, inner.spread);
        inner.resolver.iter().for_each(|resolver| driver.resolve_by(resolver.clone()));
        assert!(inner.driver.set(Rc::clone(&driver)).is_ok(), "a shard is started once");
        inner.events.borrow_mut().stands_at(manifest.borrow().applied());
        inner.tell_held(&manifest.borrow());
        inner.tell_later();
        inner.begin_events();
        let core = Core::current();
        drop(core.spawn(Priority::Bulk, driver.run()));
        drop(core.spawn(Priority::Bulk, Rc::clone(inner).derive_forever()));
        drop(core.spawn(Priority::Urgent, Rc::clone(inner).announce_forever()));
        drop(core.spawn(Priority::Urgent, Rc::clone(inner).catch_up()));
        inner.begin_registering();
        Ok(())
    }

    /// The watermarks now, in their order.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.0.watermarks()
    }

    /// The shard's number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.0.id
    }

    /// The shard's group.
    ///
    /// # Panics
    /// Before `start`.
    #[must_use]
    pub fn group(&self) -> &Group<State> {
        self.0.group()
    }

    /// The shard's files.
    #[must_use]
    pub fn store(&self) -> &Rc<Store> {
        &self.0.store
    }

    /// Waits for the next change of anything that the shard tells of.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Ends everything that the shard has begun; its group is shut down, what is staged stays.
    pub async fn stop(&self) {
        self.0.stopped.set(true);
        if let Some(driver) = self.0.driver.get() {
            driver.stop();
        }
        self.0.changed.notify();
        if let Some(registrar) = self.0.registrar.get() {
            registrar.close().await;
        }
        let Some(group) = self.0.group.get() else { return };
        if let Err(error) = group.shut_down().await {
            tracing::error!(%error, shard = %self.0.id, "the log had stopped before");
        }
        self.0.changed.notify();
        self.0.close_events().await;
    }
}

impl Inner {
    /// The members of the group, learners among them.
    pub(super) fn members(&self) -> Vec<NodeId> {
        self.group().members().into_iter().map(|member| member.node).collect()
    }

    pub(super) fn group(&self) -> &Group<State> {
        self.group.get().expect("the shard was started")
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        let Some(group) = self.group.get() else { return Watermarks::default() };
        let at = group.watermarks();
        let installed = self.installed.borrow().installed();
        let applied = at.applied.max(installed);
        let committed = at.committed.max(applied);
        let watermarks =
            Watermarks { proposed: group.figures().last.index.max(committed), committed, applied, installed };
        watermarks.check();
        watermarks
    }

    /// One entry of the log has been applied: O(changes), no I/O.
    fn applied(self: &Rc<Self>, index: LogIndex, effect: &Effect) {
        self.events.borrow_mut().begin(index);
        for change in &effect.changes.0 {
            match change {
                Change::Registered(entry) => self.came(entry, Happening::Registered),
                Change::Updated { entry, previous } => {
                    self.went(previous);
                    let mut olds = self.superseded.borrow_mut().remove(&previous.id).unwrap_or_default();
                    olds.push(previous.id);
                    self.superseded.borrow_mut().insert(entry.id, olds);
                    self.came(entry, Happening::Updated);
                }
                Change::Deleted { entry, reason } => {
                    self.went(entry);
                    let what = Happening::Deleted { reason: reason.to_string() };
                    self.events.borrow_mut().of_log(entry, what);
                    self.remove_superseded(entry.id);
                    self.remove(entry.id);
                }
                Change::Unchanged { .. } => {}
            }
        }
        self.installed.borrow_mut().applied(index);
    }

    fn came(self: &Rc<Self>, entry: &Rc<Entry>, what: Happening) {
        self.events.borrow_mut().of_log(entry, what);
        if self.store.is_held(entry.id, entry.root) {
            self.events.borrow_mut().local(entry, Local::Held);
            self.stats.held_already.count();
            return self.remove_superseded(entry.id);
        }
        if !broken::is(Broken::InstalledEarly) {
            let lack = Lack { bytes: entry.bytes, since: Core::current().now(), by_walk: false };
            self.installed.borrow_mut().lacks(entry.id, lack);
        }
        self.obtain(entry, self.work_of_applied());
    }

    /// A segment is no more in the manifest.
    fn went(&self, entry: &Entry) {
        if let Some(driver) = self.driver.get().filter(|_| !broken::is(Broken::GoneStillWanted)) {
            driver.forget(entry.id);
        }
        self.refill();
        // Held or not: what has just landed may not have been told, and is not told any more.
        self.installed.borrow_mut().settled(entry.id);
        self.events.borrow_mut().forget(entry.id);
    }

    fn remove_superseded(self: &Rc<Self>, id: SegmentId) {
        let olds = self.superseded.borrow_mut().remove(&id);
        olds.into_iter().flatten().for_each(|old| self.remove(old));
    }

    /// A segment stands here.
    pub(super) fn landed(self: &Rc<Self>, id: SegmentId) {
        self.remove_superseded(id);
        self.installed.borrow_mut().settled(id);
        if let Some(group) = self.group.get() {
            let machine = group.machine();
            let state = machine.borrow();
            if let Some(entry) = state.entry(&id) {
                self.events.borrow_mut().local(entry, Local::Landed);
            }
        }
        self.changed.notify();
    }

    /// A fetch ended without its segment.
    fn failed(&self, id: SegmentId, failure: Failure) {
        let (Some(driver), Some(group)) = (self.driver.get(), self.group.get()) else { return };
        if driver.with_plan(|plan| plan.is_unavailable(id)) {
            let machine = group.machine();
            if let Some(entry) = machine.borrow().entry(&id) {
                self.events.borrow_mut().local(entry, Local::Unavailable(failure.word()));
            }
            self.changed.notify();
        }
    }
}

/// What the store is asked for; `None` for a path that cannot stand on a disk.
pub(super) fn segment_want(entry: &Entry) -> Option<SegmentWant> {
    let path = RelativePath::parse(entry.path().as_str()).ok()?;
    Some(SegmentWant { id: entry.id, path, len: entry.bytes, root: entry.root })
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({} on node {})", self.0.id, self.0.node)
    }
}
