//! The checkers, fed by what the product's nodes do: every entry that they apply, every watermark, every role.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::rc::Rc;

use ringway::engine::{Seat, Watch};
use ringway::ids::{Digest, GroupId, LogIndex, NodeId, SegmentId, ShardId};
use ringway::limits::{FETCHES_BEHIND_MAX, FETCHES_MAX, PROPOSALS_IN_FLIGHT_MAX};
use ringway::manifest::{Change, Entry, State};
use ringway::raft::{Applied, Group, GroupRole, Machine};
use ringway::segment::Sabotage;
use ringway::shard::Shard;
use ringway::uring::{Core, Priority};

use crate::sim::check::{
    AppliedOnce, Bounded, Converges, ManifestAgreement, NeverOlder, NoLostCommit, NoUnverifiedByte,
    OneLeader, SharesRespected, Verdict, WatermarkOrder, Watermarks,
};
use crate::sim::trace::hash;

use super::fetched::Budget;
use super::follow::{Follower, follow};
use super::secs;

/// Of fewer bytes there are not enough to be different each time.
const TELLING_BYTES: u64 = 8;

/// What one change of the manifest did, without the manifest's own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    pub path: String,
    /// What stands there now; nothing after a delete.
    pub content: Option<(SegmentId, Digest, u64)>,
}

/// A checker said no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub checker: &'static str,
    pub what: String,
}

/// All checkers, and what they have seen.
pub struct Checks {
    pub leaders: OneLeader,
    pub commits: NoLostCommit,
    pub manifests: ManifestAgreement,
    pub bytes: NoUnverifiedByte,
    pub marks: WatermarkOrder,
    pub bounds: Bounded,
    pub converges: Converges,
    pub once: AppliedOnce,
    pub older: NeverOlder,
    pub shares: SharesRespected,
    /// Replicas that the engine of their node has put something new in the place of.
    pub overlaid: BTreeSet<(NodeId, GroupId, SegmentId)>,
    /// The first thing that a checker refused.
    pub found: Option<Found>,
    /// What every committed entry did.
    pub log: BTreeMap<(GroupId, LogIndex), Vec<Fact>>,
    /// What each process has applied: from a snapshot up to an index, and the entries behind it.
    pub applied: BTreeMap<(NodeId, GroupId), (LogIndex, BTreeMap<LogIndex, u64>)>,
    /// Snapshots that came from a leader.
    pub installed: u64,
    /// A consumer of events on each node.
    pub followers: BTreeMap<(NodeId, GroupId), Follower>,
    /// What each process may fetch.
    pub budgets: BTreeMap<(NodeId, GroupId), Budget>,
}

pub type SharedChecks = Rc<RefCell<Checks>>;

impl Default for Checks {
    fn default() -> Self {
        Self {
            leaders: OneLeader::default(),
            commits: NoLostCommit::default(),
            manifests: ManifestAgreement::default(),
            bytes: NoUnverifiedByte::default(),
            marks: WatermarkOrder::default(),
            bounds: Bounded::default()
                .gauge("fetches of a shard", FETCHES_MAX as u64)
                .gauge("fetches of a shard that are not live", FETCHES_BEHIND_MAX as u64)
                .gauge("proposals of a shard", PROPOSALS_IN_FLIGHT_MAX as u64)
                .gauge("entries of a log behind its snapshot", 200),
            converges: Converges::within(secs(90)),
            once: AppliedOnce::default(),
            older: NeverOlder::default(),
            shares: SharesRespected::default(),
            overlaid: BTreeSet::new(),
            found: None,
            log: BTreeMap::new(),
            applied: BTreeMap::new(),
            installed: 0,
            followers: BTreeMap::new(),
            budgets: BTreeMap::new(),
        }
    }
}

impl Checks {
    /// Keeps the first refusal.
    pub fn hold(&mut self, checker: &'static str, verdict: Verdict) {
        if let (Err(violation), None) = (verdict, &self.found) {
            self.found = Some(Found { checker, what: violation.0 });
        }
    }

    fn command(&mut self, node: NodeId, shard: ShardId, index: LogIndex, changes: &[Change], entry: u64) {
        let group = shard.group();
        let verdict = self.commits.committed(node, group, index, entry);
        self.hold("no_lost_commit", verdict);
        let own = self.applied.entry((node, group)).or_default();
        own.1.insert(index, entry);
        let facts: Vec<Fact> = changes.iter().filter_map(fact).collect();
        for fact in
            facts.iter().filter(|fact| fact.content.is_none_or(|(_, _, bytes)| bytes >= TELLING_BYTES))
        {
            let verdict = self.once.changed(group, index, &fact.path, fact.content.map(|(_, root, _)| root));
            self.hold("applied_once", verdict);
        }
        self.log.entry((group, index)).or_insert(facts);
        for change in changes {
            if let Change::Registered(entry) | Change::Updated { entry, .. } = change {
                self.bytes.committed(shard, entry.path().as_str(), entry.root, entry.bytes);
                if entry.bytes >= TELLING_BYTES {
                    self.older.committed(shard, index, entry.path().as_str(), entry.root);
                }
            }
        }
    }

    /// A node's manifest at its last index.
    pub fn state(&mut self, node: NodeId, shard: ShardId, state: &State) {
        let verdict = self.manifests.applied(node, shard.group(), state.applied(), digest_of(state));
        self.hold("manifest_agreement", verdict);
    }

    fn begins_with(&mut self, node: NodeId, shard: ShardId, state: &State) {
        self.applied.insert((node, shard.group()), (state.applied(), BTreeMap::new()));
        self.state(node, shard, state);
    }
}

fn fact(change: &Change) -> Option<Fact> {
    let (entry, is_there) = match change {
        Change::Registered(entry) | Change::Updated { entry, .. } => (entry, true),
        Change::Deleted { entry, .. } => (entry, false),
        Change::Unchanged { .. } => return None,
    };
    let content = is_there.then_some((entry.id, entry.root, entry.bytes));
    Some(Fact { path: entry.path().as_str().to_owned(), content })
}

/// All of a manifest that replicas must agree on, as one number.
pub fn digest_of(state: &State) -> u64 {
    // Asked for at every index of every node: the text of all entries would take longer than the nodes do.
    let mut all = Vec::new();
    for entry in state.entries(None) {
        let path = entry.path().as_str();
        let numbers = [
            entry.id.index.0,
            u64::from(entry.id.ordinal),
            entry.bytes,
            u64::from(entry.version),
            entry.origin.0,
            u64::from(entry.tier.0),
            path.len() as u64,
        ];
        numbers.iter().for_each(|number| all.extend(number.to_le_bytes()));
        all.extend(path.bytes());
        all.extend(entry.root.0);
    }
    for session in state.sessions() {
        write!(all, "{session:?}").expect("it is memory");
    }
    hash(&all)
}

/// One process of a node, watched.
pub struct Watcher {
    pub node: NodeId,
    pub life: u32,
    pub checks: SharedChecks,
    pub seats: Rc<RefCell<Vec<Seat>>>,
    pub sabotage: Sabotage,
}

impl Watch for Watcher {
    fn applied(&self, shard: ShardId, applied: &Applied<'_, State>) {
        let mut checks = self.checks.borrow_mut();
        match applied {
            Applied::Command { index, effect, state } => {
                // Whether a process keeps an outcome it was told before is its own affair.
                let entry = hash(format!("{:?} {:?}", effect.outcome, effect.changes).as_bytes());
                checks.command(self.node, shard, *index, &effect.changes.0, entry);
                checks.state(self.node, shard, state);
                let seats = self.seats.borrow();
                let here = seats.iter().flat_map(Seat::shards).find(|here| here.id() == shard);
                let is_here = |entry: &Entry| {
                    here.as_ref().is_some_and(|shard| shard.store().is_held(entry.id, entry.root))
                };
                let budget = checks.budgets.entry((self.node, shard.group())).or_default();
                for change in &effect.changes.0 {
                    if let Change::Registered(entry) | Change::Updated { entry, .. } = change
                        && !is_here(entry)
                    {
                        budget.came(self.life, entry);
                    }
                }
            }
            Applied::Passed { .. } => {}
            Applied::Installed { state } => {
                checks.installed += 1;
                checks.begins_with(self.node, shard, state);
            }
        }
    }

    fn opened(&self, seat: Seat) {
        let core = Core::current();
        if let Some(group) = seat.cluster() {
            watch_group(&core, self.node, GroupId::CLUSTER, group, &self.checks);
        }
        for shard in seat.shards() {
            watch_group(&core, self.node, shard.id().group(), shard.group().clone(), &self.checks);
            let follower = follow(self.node, shard.clone(), Rc::clone(&self.checks));
            drop(core.spawn(Priority::Urgent, follower));
            drop(
                core.spawn(
                    Priority::Urgent,
                    watch_shard(self.node, self.life, shard, Rc::clone(&self.checks)),
                ),
            );
        }
        self.seats.borrow_mut().push(seat);
    }

    fn sabotage(&self) -> Sabotage {
        self.sabotage
    }

    /// So few that most walks have several turns.
    fn derive_page(&self) -> usize {
        7
    }
}

/// A process begins: what its disk gives it back comes before what it applies.
pub fn begins(checks: &SharedChecks, node: NodeId, shard: ShardId) {
    checks.borrow_mut().applied.insert((node, shard.group()), (LogIndex(0), BTreeMap::new()));
}

fn watch_group<M: Machine>(core: &Core, node: NodeId, id: GroupId, group: Group<M>, checks: &SharedChecks) {
    let checks = Rc::clone(checks);
    drop(core.spawn(Priority::Urgent, async move {
        loop {
            let changed = group.changed().notified();
            let marks = group.watermarks();
            if marks.role == GroupRole::Stopped {
                return;
            }
            {
                let mut checks = checks.borrow_mut();
                let verdict = match marks.role {
                    GroupRole::Leader => checks.leaders.leads(id, marks.term, node),
                    GroupRole::Learner | GroupRole::Follower | GroupRole::Candidate | GroupRole::Stopped => {
                        checks.leaders.in_term(id, marks.term, node)
                    }
                };
                checks.hold("one_leader", verdict);
            }
            changed.await;
        }
    }));
}

async fn watch_shard(node: NodeId, life: u32, shard: Shard, checks: SharedChecks) {
    loop {
        {
            let mut checks = checks.borrow_mut();
            observe(node, life, &shard, &mut checks);
            let budget = checks.budgets.entry((node, shard.id().group())).or_default();
            let verdict = budget.look(life, &shard);
            checks.hold("fetched_once", verdict);
        }
        shard.changed().await;
    }
}

/// A shard's watermarks and gauges on one node, now.
pub fn observe(node: NodeId, life: u32, shard: &Shard, checks: &mut Checks) {
    let group = shard.id().group();
    let marks = shard.watermarks();
    let leads = shard.group().watermarks().role == GroupRole::Leader;
    let now = Watermarks {
        proposed: leads.then_some(marks.proposed),
        committed: marks.committed,
        applied: marks.applied,
        installed: marks.installed,
    };
    let verdict = checks.marks.observe(node, life, group, now);
    checks.hold("watermark_order", verdict);
    let machine = shard.group().machine();
    let machine = machine.borrow();
    let lacks = machine.entries(None).find(|entry| {
        !shard.store().is_held(entry.id, entry.root) && !checks.overlaid.contains(&(node, group, entry.id))
    });
    if let Some(entry) = lacks {
        let verdict = checks.marks.lacks(node, group, marks.installed, entry.id.index);
        checks.hold("watermark_order", verdict);
    }
    let transfers = shard.transfers(0);
    for (gauge, value) in [
        ("fetches of a shard", transfers.in_flight),
        ("fetches of a shard that are not live", transfers.in_flight_behind),
    ] {
        let verdict = checks.bounds.observe(node, gauge, value);
        checks.hold("bounded", verdict);
    }
}
