//! A simulated cluster: its hosts, its embedders' engines and the checkers, driven in slices of simulated time.

use ringway::config::Rates;
use ringway::engine::{BootstrapError, Reply};
use ringway::ids::{GroupId, Nanos, NodeId, ShardId};
use ringway::raft::GroupRole;
use ringway::shard::Shard;

use crate::sim::{Loss, Sim, SimOptions};

use super::checks::{Found, SharedChecks};
use super::churn::Churn;
use super::host::{Host, Shape, Stage, poll};
use super::ledger::Ledger;
use super::millis;
use super::shares::look_at_limits;

/// Between two looks at replies and processes.
const SLICE: Nanos = Nanos::from_millis(2);

/// Whether the cluster is founded.
enum Founding {
    Not,
    Asked(Reply<(), BootstrapError>),
    Done,
}

pub struct Cluster {
    pub sim: Sim,
    pub shape: Shape,
    pub checks: SharedChecks,
    pub hosts: Vec<Host>,
    pub ledger: Ledger,
    pub churning: Churn,
    /// New work is begun.
    pub working: bool,
    founding: Founding,
}

impl Cluster {
    pub fn new(seed: u64, options: SimOptions, shape: Shape) -> Self {
        let mut sim = Sim::new(seed, options);
        let hosts = (1..=shape.nodes).map(|id| Host::new(sim.node(id))).collect();
        let (checks, ledger, founding) = (SharedChecks::default(), Ledger::default(), Founding::Not);
        Self { sim, shape, checks, hosts, ledger, churning: Churn::default(), working: true, founding }
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        (1..=self.shape.nodes).map(NodeId).collect()
    }

    pub fn shards(&self) -> Vec<ShardId> {
        (0..self.shape.shards).map(ShardId).collect()
    }

    pub fn host(&self, node: NodeId) -> &Host {
        self.hosts.iter().find(|host| host.node == node).expect("a node of the cluster")
    }

    pub fn host_mut(&mut self, node: NodeId) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.node == node).expect("a node of the cluster")
    }

    pub fn shard(&self, node: NodeId, shard: ShardId) -> Option<Shard> {
        self.host(node).shard(shard)
    }

    /// How far the founding is, for people.
    pub fn founding(&self) -> &'static str {
        match self.founding {
            Founding::Not => "not asked for",
            Founding::Asked(_) => "asked for",
            Founding::Done => "done",
        }
    }

    pub fn is_founded(&self) -> bool {
        matches!(self.founding, Founding::Done)
    }

    /// Who leads a group, as far as anybody that runs it says of itself.
    pub fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        let leads = |host: &Host| {
            let seats = host.seats.borrow();
            let role = match group.shard() {
                None => seats.iter().find_map(|seat| Some(seat.cluster()?.watermarks().role)),
                Some(id) => host.shard(id).map(|shard| shard.group().watermarks().role),
            };
            role == Some(GroupRole::Leader)
        };
        self.hosts.iter().find(|host| leads(host)).map(|host| host.node)
    }

    /// SIGKILL; another process begins when `rest` has passed.
    pub fn kill(&mut self, node: NodeId, rest: Nanos) {
        if self.sim.is_up(node) {
            self.sim.kill(node);
        }
        let again = self.sim.now().plus(rest);
        self.host_mut(node).down(again);
    }

    /// The power goes, and comes back when `rest` has passed.
    pub fn power_cut(&mut self, node: NodeId, rest: Nanos) {
        self.power_cut_with(node, Loss::Drawn, rest);
    }

    /// The same; what was not synced is treated as `loss` says.
    pub fn power_cut_with(&mut self, node: NodeId, loss: Loss, rest: Nanos) {
        self.sim.power_cut_with(node, loss);
        let again = self.sim.now().plus(rest);
        self.host_mut(node).down(again);
    }

    /// Time goes on for this long.
    ///
    /// # Errors
    /// What a checker found.
    pub fn go_on(&mut self, length: Nanos) -> Result<(), Found> {
        let end = self.sim.now().plus(length);
        while self.sim.now() < end {
            self.slice()?;
        }
        Ok(())
    }

    /// Time goes on until the condition holds; false if it does not in time.
    ///
    /// # Errors
    /// What a checker found.
    pub fn until(
        &mut self,
        limit: Nanos,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, Found> {
        let end = self.sim.now().plus(limit);
        while !condition(self) {
            if self.sim.now() >= end {
                return Ok(false);
            }
            self.slice()?;
        }
        Ok(true)
    }

    fn slice(&mut self) -> Result<(), Found> {
        self.sim.run_for(SLICE);
        for index in 0..self.hosts.len() {
            let Self { sim, shape, checks, hosts, .. } = self;
            let host = &mut hosts[index];
            if !sim.is_up(host.node) && !matches!(host.stage, Stage::Down(_)) {
                let again = sim.now().plus(millis(50));
                host.down(again);
            }
            host.step(sim, shape, checks);
            if shape.rates != Rates::default() {
                look_at_limits(host, sim.now(), &mut checks.borrow_mut());
            }
        }
        self.found();
        self.churning.poll();
        self.poll_work();
        if self.shape.anyone_updates {
            self.look_around();
        }
        match self.checks.borrow_mut().found.take() {
            Some(found) => Err(found),
            None => Ok(()),
        }
    }

    /// Founds the cluster on the first node, and asks again when that did not end well.
    fn found(&mut self) {
        let first = NodeId(1);
        match &mut self.founding {
            Founding::Done => {}
            Founding::Not => {
                if let Some(engine) = self.host(first).engine() {
                    self.founding = Founding::Asked(engine.bootstrap());
                }
            }
            Founding::Asked(reply) => {
                let answer = poll(reply);
                if let (Some(Err(error)), Some(_)) = (&answer, std::env::var_os("TELL")) {
                    eprintln!("{}: bootstrap: {error}", self.sim.now());
                }
                self.founding = match answer {
                    None => return,
                    Some(Ok(()) | Err(BootstrapError::AlreadyFounded)) => Founding::Done,
                    Some(_) => Founding::Not,
                };
            }
        }
    }

    /// The last event of the run and what is committed, as one number.
    pub fn digest(&self) -> u64 {
        self.sim.digest()
    }
}
