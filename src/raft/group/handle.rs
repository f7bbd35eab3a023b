//! The handle of a group: open, bootstrap, look, shut down.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use openraft::Raft;
use openraft::errors::{InitializeError, RaftError};
use openraft_rt::WatchReceiver;

use crate::ids::{GroupId, LogIndex, Nanos, NodeId};
use crate::limits::PROPOSALS_IN_FLIGHT_MAX;
use crate::raft::keeper::Keeper;
use crate::raft::log::{Log, LogStopped};
use crate::raft::machine::Machine;
use crate::raft::network::Lines;
use crate::raft::serve::Server;
use crate::raft::types::{Member, Point, Seat, Types};
use crate::transport::Stream;
use crate::uring::{Core, Notify, Priority, Task};

use super::error::{BootstrapError, OpenError};
use super::options::{GroupConfig, GroupOptions};
use super::policy::Policy;
use super::watch::{GroupFigures, GroupRole, Watermarks, pass_on, watermarks};

/// Leases without a sign of life after which nobody is said to lead. A new leader stands after two; a busy machine
/// should not say that there is none.
const LEASES_MAX: u64 = 4;

/// One replicated state on this node. Clones are the same group.
pub struct Group<M: Machine>(Rc<Inner<M>>);

struct Inner<M: Machine> {
    seat: Seat,
    config: GroupConfig,
    raft: Raft<Types, Keeper<M>>,
    keeper: Keeper<M>,
    log: Log,
    lines: Lines,
    server: Server<M>,
    changed: Rc<Notify>,
    ended: Rc<Cell<bool>>,
    in_flight: Rc<Cell<usize>>,
    snapshots_failed: Rc<Cell<u64>>,
    tasks: RefCell<Vec<Task<()>>>,
}

/// A proposal's place among those that wait for their outcome.
pub(super) struct InFlight(Rc<Cell<usize>>);

impl<M: Machine> Group<M> {
    /// Opens the group: its snapshot, then its log, then consensus, which applies again what is committed. A group
    /// that was never here waits for its bootstrap, or for a leader that adds it.
    ///
    /// # Errors
    /// `OpenError`. Damage leaves the disk as it is.
    pub async fn open(options: GroupOptions<M>) -> Result<Self, OpenError> {
        let GroupOptions { group, node, dir, gate, transport, resolve, hook, config } = options;
        let seat = Seat { group, node };
        let openraft =
            config.openraft(group).map_err(|error| OpenError::Config { why: error.to_string() })?;
        let changed = Rc::new(Notify::default());
        let keeper = Keeper::open(group, dir.clone(), gate.clone(), hook, Rc::clone(&changed)).await?;
        let log = Log::open(dir, group, gate).await?;
        let (purged, snapshot) = (log.ends().0, keeper.applied());
        if purged > snapshot {
            return Err(OpenError::Gap { snapshot: snapshot.index, purged: purged.index });
        }
        let lines = Lines::new(seat, transport, resolve);
        let raft = Raft::new(node.0, Arc::new(openraft), lines.clone(), log.clone(), keeper.clone()).await;
        let raft = raft.map_err(|fatal| OpenError::Start { why: fatal.to_string() })?;
        let server = Server::new(group, raft.clone(), keeper.clone());
        let this = Self(Rc::new(Inner {
            seat,
            config,
            raft,
            keeper,
            log,
            lines,
            server,
            changed,
            ended: Rc::default(),
            in_flight: Rc::default(),
            snapshots_failed: Rc::default(),
            tasks: RefCell::default(),
        }));
        this.spawn();
        Ok(this)
    }

    fn spawn(&self) {
        let inner = &self.0;
        let watch = pass_on(inner.raft.metrics(), Rc::clone(&inner.changed), Rc::clone(&inner.ended));
        let core = Core::current();
        let tasks = [core.spawn(Priority::Urgent, watch), core.spawn(Priority::Bulk, self.policy().run())];
        inner.tasks.borrow_mut().extend(tasks);
    }

    pub(super) fn keeper(&self) -> &Keeper<M> {
        &self.0.keeper
    }

    fn policy(&self) -> Policy<M> {
        let inner = &self.0;
        Policy {
            raft: inner.raft.clone(),
            keeper: inner.keeper.clone(),
            log: inner.log.clone(),
            config: inner.config,
            changed: Rc::clone(&inner.changed),
            failed: Rc::clone(&inner.snapshots_failed),
        }
    }

    /// Gives the group its first members, once, and durably. This node is one of them; the others are told by it.
    ///
    /// # Errors
    /// `Done` every time after the first, also after a restart.
    pub async fn bootstrap(&self, members: BTreeMap<NodeId, Member>) -> Result<(), BootstrapError> {
        let members: BTreeMap<u64, Member> =
            members.into_iter().map(|(node, member)| (node.0, member)).collect();
        match self.0.raft.initialize(members).await {
            Ok(()) => {
                let durable = self.0.log.durable_to(LogIndex(1)).await;
                durable.map_err(|stopped| BootstrapError::Stopped { why: stopped.to_string() })
            }
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(BootstrapError::Done),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => Err(BootstrapError::NotAMember),
            Err(RaftError::Fatal(fatal)) => Err(BootstrapError::Stopped { why: fatal.to_string() }),
        }
    }

    /// Serves a stream that another member opened, until it ends.
    pub async fn serve(&self, stream: Stream) {
        let server = self.0.server.clone();
        server.serve(stream).await;
    }

    /// The replicated state, to be read between two applies: a borrow must not be held across a wait.
    #[must_use]
    pub fn machine(&self) -> Rc<RefCell<M>> {
        Rc::clone(self.0.keeper.machine())
    }

    /// How far the group is here.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let metrics = self.0.raft.metrics();
        let mut marks = watermarks(&metrics.borrow_watched(), self.0.keeper.applied());
        if self.0.ended.get() {
            marks.role = GroupRole::Stopped;
        }
        marks
    }

    /// Who leads, if it is known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.watermarks().leader
    }

    /// Who leads, as far as it shows: none where this node leads and no quorum has answered for several leases, or
    /// follows and has heard nothing for so long. Consensus names the last leader until there is another, as it makes
    /// nobody a candidate who would not be elected.
    #[must_use]
    pub fn live_leader(&self) -> Option<NodeId> {
        let Watermarks { leader, role, .. } = self.watermarks();
        let since = match role {
            GroupRole::Leader if self.voters().len() < 2 => return leader,
            GroupRole::Leader => self.quorum_answered(),
            GroupRole::Learner | GroupRole::Follower | GroupRole::Candidate | GroupRole::Stopped => {
                self.0.server.led()
            }
        };
        leader.filter(|_| since.is_some_and(|since| since.0 < self.0.config.election_max.0 * LEASES_MAX))
    }

    /// Told when a watermark, the role, the leader or the members may have changed.
    #[must_use]
    pub fn changed(&self) -> &Notify {
        &self.0.changed
    }

    /// What the group has done.
    #[must_use]
    pub fn figures(&self) -> GroupFigures {
        let inner = &self.0;
        let (purged, last) = inner.log.ends();
        let metrics = inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.iter().flatten();
        GroupFigures {
            watermarks: self.watermarks(),
            last,
            purged,
            snapshot: inner.keeper.snapshot(),
            log_bytes: inner.log.bytes(),
            log: inner.log.figures(),
            matched: matched.map(|(node, id)| (NodeId(*node), Point::of(id.as_ref()).index)).collect(),
            quorum_answered: self.quorum_answered(),
            snapshots_failed: inner.snapshots_failed.get(),
            foreign_calls: inner.server.foreign_calls(),
        }
    }

    /// On the leader: how long ago a quorum last answered.
    pub(super) fn quorum_answered(&self) -> Option<Nanos> {
        let metrics = self.0.raft.metrics();
        let answered = metrics.borrow_watched().last_quorum_acked.as_ref().map(|at| **at);
        let now = Core::try_current()?.now();
        answered.map(|at| now.since(at.0))
    }

    /// Ends the group: no call is served or made any more, and the log is closed when all of it is durable.
    ///
    /// # Errors
    /// What stopped the log before.
    pub async fn shut_down(&self) -> Result<(), LogStopped> {
        // It has ended one way or the other.
        let _ended = self.0.raft.shutdown().await;
        self.0.tasks.take().iter().for_each(Task::abort);
        self.0.lines.close();
        self.0.ended.set(true);
        self.0.changed.notify();
        self.0.log.close().await
    }

    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.0.seat.group
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.seat.node
    }

    pub(super) fn config(&self) -> &GroupConfig {
        &self.0.config
    }

    pub(super) fn raft(&self) -> &Raft<Types, Keeper<M>> {
        &self.0.raft
    }

    #[cfg(test)]
    pub(in crate::raft) fn server(&self) -> &Server<M> {
        &self.0.server
    }

    pub(super) fn lines(&self) -> &Lines {
        &self.0.lines
    }

    /// Why the group stopped, as far as it is known.
    pub(super) fn why_stopped(&self) -> String {
        if let Some(stopped) = self.0.log.stopped() {
            return stopped.to_string();
        }
        let metrics = self.0.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.map_or_else(|fatal| fatal.to_string(), |()| "it was shut down".to_owned())
    }

    /// A place for one more proposal.
    pub(super) fn place(&self) -> Option<InFlight> {
        let count = &self.0.in_flight;
        (count.get() < PROPOSALS_IN_FLIGHT_MAX).then(|| {
            count.set(count.get() + 1);
            InFlight(Rc::clone(count))
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<M: Machine> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({} on {}: {:?})", self.id().folder(), self.node(), self.watermarks())
    }
}
