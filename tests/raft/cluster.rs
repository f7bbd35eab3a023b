//! A cluster of nodes with one group, the clients that use it, and the checkers that watch it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway::auth::{Secret, SecretSet};
use ringway::ids::{ClusterId, GroupId, Incarnation, LogIndex, Nanos, NodeId};
use ringway::raft::{
    Applied, Group, GroupConfig, GroupOptions, GroupRole, Hook, Member, OpenError, ProposeError,
};
use ringway::transport::{Transport, TransportOptions};
use ringway::uring::{Core, Dir, Priority, sleep};

use crate::sim::check::{ManifestAgreement, NoLostCommit, OneLeader};
use crate::sim::{Sim, SimOptions};

use super::secs;
use super::tape::{Tape, digest};

pub const GROUP: GroupId = GroupId(1);
const PORT: u16 = 7000;

/// What is checked all the time.
#[derive(Default)]
pub struct Checks {
    pub commits: NoLostCommit,
    pub leaders: OneLeader,
    pub states: ManifestAgreement,
    pub acknowledged: u64,
    pub installed: u64,
    pub refused: BTreeMap<&'static str, u64>,
}

pub type SharedChecks = Rc<RefCell<Checks>>;

/// One node's running part.
pub struct Running {
    pub core: Core,
    pub group: Group<Tape>,
    /// Connections last as long as somebody holds it.
    _transport: Transport,
}

pub struct Cluster {
    pub sim: Sim,
    pub checks: SharedChecks,
    pub running: BTreeMap<NodeId, Running>,
    pub config: GroupConfig,
    lives: BTreeMap<NodeId, u8>,
}

fn secrets() -> SecretSet {
    let mut random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ 9);
    SecretSet::new(Secret::generate(&mut random).expect("not weak"), None)
}

impl Cluster {
    pub fn new(seed: u64, options: SimOptions, count: u64) -> Self {
        let mut sim = Sim::new(seed, options);
        for id in 1..=count {
            sim.node(id);
        }
        Self {
            sim,
            checks: SharedChecks::default(),
            running: BTreeMap::new(),
            config: GroupConfig::default(),
            lives: BTreeMap::new(),
        }
    }

    /// A cluster of `count` nodes, bootstrapped, with a leader.
    pub fn bootstrapped(seed: u64, options: SimOptions, count: u64) -> Self {
        let mut cluster = Self::new(seed, options, count);
        for id in 1..=count {
            cluster.start(NodeId(id));
        }
        let members = (1..=count).map(|id| (NodeId(id), cluster.member(NodeId(id)))).collect();
        let group = cluster.group(NodeId(1));
        let core = cluster.running[&NodeId(1)].core.clone();
        cluster.sim.block_on(&core, async move { group.bootstrap(members).await }).expect("the first time");
        cluster.leader(secs(10));
        cluster
    }

    pub fn member(&self, node: NodeId) -> Member {
        let life = self.lives.get(&node).copied().unwrap_or(0);
        let address = self.sim.address(node, PORT).to_string();
        Member { address, incarnation: Incarnation([life.wrapping_mul(16) + node.0 as u8; 16]) }
    }

    /// The node's data root is a new one from now on.
    pub fn new_life(&mut self, node: NodeId) {
        *self.lives.entry(node).or_default() += 1;
    }

    pub fn group(&self, node: NodeId) -> Group<Tape> {
        self.running[&node].group.clone()
    }

    pub fn start(&mut self, node: NodeId) {
        self.try_start(node).unwrap_or_else(|error| panic!("node {node}: {error}"));
    }

    pub fn try_start(&mut self, node: NodeId) -> Result<(), OpenError> {
        let core = self.sim.core(node, 0);
        let options = TransportOptions::new(
            Some(ClusterId([3; 16])),
            Some(node),
            self.member(node).incarnation,
            secrets(),
        );
        let transport = core.enter(|| Transport::new(options));
        let (listening, address) = (transport.clone(), self.sim.address(node, PORT));
        let hook = watch(node, &self.checks);
        let (config, carrier, clock) = (self.config, transport.clone(), core.clone());
        let opened: Option<Result<_, OpenError>> = self.sim.try_block_on(&core, async move {
            // The port of a killed process may linger.
            while listening.listen(address).await.is_err() {
                sleep(Nanos::from_millis(1)).await;
            }
            let root = Dir::open_root("/data").await.expect("it is there");
            let dir = root.make_dir("raft").await.expect("room");
            root.sync().await.expect("a working disk");
            let options = GroupOptions {
                group: GROUP,
                node,
                dir,
                gate: None,
                transport: carrier.clone(),
                resolve: None,
                hook: Some(hook),
                config,
            };
            let group = Group::<Tape>::open(options).await?;
            let served = group.clone();
            let mut incoming = carrier.incoming();
            let serving = clock.clone();
            drop(clock.spawn(Priority::Urgent, async move {
                while let Some(incoming) = incoming.receive().await {
                    let group = served.clone();
                    drop(serving.spawn(Priority::Urgent, async move { group.serve(incoming.stream).await }));
                }
            }));
            Ok(group)
        });
        let Some(group) = opened else { return Ok(()) };
        let group = group?;
        watch_leader(&core, &group, &self.checks);
        self.running.insert(node, Running { core, group, _transport: transport });
        Ok(())
    }

    /// Starts a client on the node: it proposes whenever the node leads, until the node goes down.
    pub fn client(&self, node: NodeId, pause: Nanos, bytes: usize) {
        let Some(running) = self.running.get(&node) else { return };
        let (group, checks) = (running.group.clone(), Rc::clone(&self.checks));
        let life = self.sim.now().0;
        drop(running.core.spawn(Priority::Bulk, async move {
            for number in 0_u64.. {
                if group.watermarks().role != GroupRole::Leader {
                    sleep(Nanos::from_millis(20)).await;
                    continue;
                }
                let mut command = [node.0.to_le_bytes(), life.to_le_bytes(), number.to_le_bytes()].concat();
                command.resize(bytes.max(24), number as u8);
                propose(&group, &checks, &command, secs(2)).await;
                sleep(pause).await;
            }
        }));
    }

    pub fn kill(&mut self, node: NodeId) {
        self.sim.kill(node);
        self.running.remove(&node);
    }

    pub fn power_cut(&mut self, node: NodeId) {
        self.sim.power_cut(node);
        self.running.remove(&node);
    }

    pub fn restart(&mut self, node: NodeId) {
        self.sim.restart(node);
        self.start(node);
    }

    /// Forgets nodes that a fault plan took down, and starts them again.
    pub fn revive(&mut self) -> Vec<NodeId> {
        let down: Vec<NodeId> = self.running.keys().copied().filter(|node| !self.sim.is_up(*node)).collect();
        for node in &down {
            self.running.remove(node);
            self.restart(*node);
        }
        down
    }

    /// Who leads, by its own word and a quorum's.
    pub fn leading(&self) -> Option<NodeId> {
        let leads = |(node, running): (&NodeId, &Running)| {
            (running.group.watermarks().role == GroupRole::Leader)
                .then_some((running.group.watermarks().term, *node))
        };
        self.running.iter().filter_map(leads).max().map(|(_, node)| node)
    }

    /// Runs until there is a leader whom more than half of the running nodes know.
    pub fn leader(&mut self, limit: Nanos) -> NodeId {
        let groups: Vec<Group<Tape>> = self.running.values().map(|running| running.group.clone()).collect();
        let found = Rc::new(RefCell::new(None));
        let place = Rc::clone(&found);
        self.sim.run_until(
            move || {
                let leads = groups.iter().find(|group| {
                    let marks = group.watermarks();
                    let follow = groups.iter().filter(|other| {
                        let theirs = other.watermarks();
                        theirs.leader == Some(group.node()) && theirs.term == marks.term
                    });
                    marks.role == GroupRole::Leader && follow.count() * 2 > groups.len()
                });
                *place.borrow_mut() = leads.map(Group::node);
                leads.is_some()
            },
            limit,
        );
        found.take().expect("it was just found")
    }

    /// Proposes on the leader, whoever that is, until it is acknowledged.
    pub fn propose(&mut self, command: &[u8]) -> LogIndex {
        for _ in 0..100 {
            let leader = self.leader(secs(20));
            let (group, checks) = (self.group(leader), Rc::clone(&self.checks));
            let (core, command) = (self.running[&leader].core.clone(), command.to_vec());
            let done =
                self.sim.block_on(&core, async move { propose(&group, &checks, &command, secs(3)).await });
            if let Some(index) = done {
                return index;
            }
            self.sim.run_for(Nanos::from_millis(50));
        }
        panic!("seed {}: nothing is acknowledged: {:?}", self.sim.seed(), self.checks.borrow().refused);
    }

    /// Runs until all running nodes have applied the same, everything that was acknowledged among it.
    pub fn converge(&mut self, limit: Nanos) {
        let last = self.propose(b"the last word");
        let groups: Vec<Group<Tape>> = self.running.values().map(|running| running.group.clone()).collect();
        self.sim.run_until(
            || {
                let applied: Vec<LogIndex> = groups.iter().map(|group| group.watermarks().applied).collect();
                applied.iter().all(|index| *index >= last && *index == applied[0])
            },
            limit,
        );
        for group in &groups {
            let machine = group.machine();
            let machine = machine.borrow();
            let held =
                self.checks.borrow().commits.holds(group.node(), GROUP, LogIndex(0), machine.commands());
            held.unwrap_or_else(|violation| panic!("seed {}: {violation:?}", self.sim.seed()));
        }
    }

    /// The last event of the run and all of the states, as one number.
    pub fn digest(&self) -> u64 {
        let state = |running: &Running| running.group.machine().borrow().rolling();
        self.running.values().map(state).fold(self.sim.digest(), |all, one| all.rotate_left(7) ^ one)
    }
}

async fn propose(
    group: &Group<Tape>,
    checks: &SharedChecks,
    command: &[u8],
    within: Nanos,
) -> Option<LogIndex> {
    let copy = ringway::raft::CommandBytes::copy_of(command);
    let refused = match group.propose(copy, within).await {
        Ok((index, outcome)) => {
            let entry = digest(command);
            assert_eq!(outcome, entry.to_le_bytes(), "the outcome is this command's");
            let mut checks = checks.borrow_mut();
            checks.acknowledged += 1;
            checks.commits.acknowledged(GROUP, index, entry).expect("no lost commit");
            return Some(index);
        }
        Err(ProposeError::NotLeader { .. }) => "not leader",
        Err(ProposeError::NoQuorum { .. }) => "no quorum",
        Err(ProposeError::TimedOut { .. }) => "timed out",
        Err(ProposeError::OutcomeUnknown { .. }) => "unknown",
        Err(ProposeError::Stopped { .. }) => "stopped",
        Err(other) => panic!("{other}"),
    };
    *checks.borrow_mut().refused.entry(refused).or_default() += 1;
    None
}

fn watch(node: NodeId, checks: &SharedChecks) -> Hook<Tape> {
    let checks = Rc::clone(checks);
    Rc::new(move |applied| {
        let mut checks = checks.borrow_mut();
        match applied {
            Applied::Command { index, effect, .. } => {
                checks.commits.committed(node, GROUP, index, effect.digest).expect("no lost commit");
                checks.states.applied(node, GROUP, index, effect.rolling).expect("states agree");
            }
            Applied::Passed { .. } => {}
            Applied::Installed { state } => {
                checks.installed += 1;
                if let Some((last, _)) = state.commands().iter().next_back() {
                    checks.states.applied(node, GROUP, *last, state.rolling()).expect("states agree");
                }
            }
        }
    })
}

fn watch_leader(core: &Core, group: &Group<Tape>, checks: &SharedChecks) {
    let (group, checks) = (group.clone(), Rc::clone(checks));
    drop(core.spawn(Priority::Urgent, async move {
        loop {
            let marks = group.watermarks();
            if marks.role == GroupRole::Leader {
                checks
                    .borrow_mut()
                    .leaders
                    .leads(GROUP, marks.term, group.node())
                    .expect("one leader a term");
            }
            assert!(marks.applied <= marks.committed, "applied is committed");
            group.changed().notified().await;
        }
    }));
}
