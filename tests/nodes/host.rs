//! One node of a simulated cluster: its process is opened, runs, ends and is opened again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway::config::{CoreConfig, DigestConfig, NodeConfig, RaftConfig, Rates, TransferConfig};
use ringway::engine::{Engine, NoAnswer, OpenError, Opened, Opening, Reply, Seat};
use ringway::ids::{ClusterId, Nanos, NodeId, ShardId};
use ringway::raft::GroupRole;
use ringway::segment::Sabotage;
use ringway::shard::Shard;

use crate::sim::Sim;

use super::checks::{SharedChecks, Watcher, begins};

pub const ROOT: &str = "/data/node";
pub const PORT: u16 = 7400;

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub nodes: u64,
    pub shards: u32,
    pub cores: u16,
    pub snapshot_entries: u64,
    pub sabotage: Sabotage,
    /// Engines make new versions of what stands on their node, whoever has sealed it.
    pub anyone_updates: bool,
    /// Members come and go.
    pub churn: bool,
    /// Limits of every node.
    pub rates: Rates,
}

/// How far a node is.
pub enum Stage {
    /// No process; one begins at this time.
    Down(Nanos),
    /// Its cores are being opened.
    Opening { opening: Box<Opening>, waiting: Reply<Opened, OpenError>, first: Option<Opened> },
    /// It runs.
    Up(Engine),
}

/// One node.
pub struct Host {
    pub node: NodeId,
    pub stage: Stage,
    pub seats: Rc<RefCell<Vec<Seat>>>,
    /// Why it could not be opened, the last time.
    pub refused: Option<String>,
    pub life: u32,
}

/// What a reply has to say by now.
pub fn poll<T, E: From<NoAnswer>>(reply: &mut Reply<T, E>) -> Option<Result<T, E>> {
    match Future::poll(Pin::new(reply), &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn config(sim: &Sim, shape: &Shape, node: NodeId) -> NodeConfig {
    let members: BTreeMap<_, _> =
        (1..=shape.nodes).map(NodeId).map(|node| (node, sim.address(node, PORT))).collect();
    NodeConfig {
        cluster: ClusterId([5; 16]),
        node,
        root: ROOT.into(),
        listen: sim.address(node, PORT),
        members,
        shards: shape.shards,
        segments: BTreeMap::new(),
        cores: CoreConfig { count: shape.cores, ..CoreConfig::default() },
        raft: RaftConfig { snapshot_entries: shape.snapshot_entries, ..RaftConfig::default() },
        transfer: TransferConfig { rates: shape.rates, ..TransferConfig::default() },
        digest: DigestConfig { kernel: Some("ring") },
    }
}

fn secret() -> String {
    let mut random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ 9);
    ringway::auth::Secret::generate(&mut random).expect("not weak").text().to_string()
}

impl Host {
    /// A host with an empty disk; its process begins at once.
    pub fn new(node: NodeId) -> Self {
        Self { node, stage: Stage::Down(Nanos(0)), seats: Rc::default(), refused: None, life: 0 }
    }

    /// The node's handle, while it runs.
    pub fn engine(&self) -> Option<&Engine> {
        match &self.stage {
            Stage::Up(engine) => Some(engine),
            Stage::Down(_) | Stage::Opening { .. } => None,
        }
    }

    /// What runs of a shard here.
    pub fn shard(&self, id: ShardId) -> Option<Shard> {
        self.seats.borrow().iter().flat_map(Seat::shards).find(|shard| shard.id() == id)
    }

    /// A change of some group's voters is half done.
    pub fn is_changing(&self) -> bool {
        let changing = |seat: &Seat| {
            seat.cluster().is_some_and(|group| group.is_changing())
                || seat.shards().iter().any(|shard| shard.group().is_changing())
        };
        self.seats.borrow().iter().any(changing)
    }

    /// A log has failed under a group: the process is of no use any more.
    pub fn has_stopped(&self) -> bool {
        let stopped = |seat: &Seat| {
            seat.cluster().is_some_and(|group| group.watermarks().role == GroupRole::Stopped)
                || seat.shards().iter().any(|shard| shard.group().watermarks().role == GroupRole::Stopped)
        };
        self.seats.borrow().iter().any(stopped)
    }

    /// The process ends or has ended; another one begins at `again`.
    pub fn down(&mut self, again: Nanos) {
        self.seats.borrow_mut().clear();
        self.stage = Stage::Down(again);
    }

    /// Goes on with opening.
    pub fn step(&mut self, sim: &mut Sim, shape: &Shape, checks: &SharedChecks) {
        let has_stopped = self.has_stopped();
        match &mut self.stage {
            Stage::Down(at) if *at <= sim.now() => self.begin(sim, shape, checks),
            Stage::Down(_) => {}
            Stage::Opening { waiting, .. } => {
                if let Some(answer) = poll(waiting) {
                    self.opened(sim, answer);
                }
            }
            Stage::Up(_) if has_stopped => {
                sim.kill(self.node);
                let again = sim.now().plus(Nanos::from_millis(50));
                self.down(again);
            }
            Stage::Up(_) => {}
        }
    }

    fn begin(&mut self, sim: &mut Sim, shape: &Shape, checks: &SharedChecks) {
        if !sim.is_up(self.node) {
            sim.restart(self.node);
        }
        self.life += 1;
        for shard in 0..shape.shards {
            sim.host(self.node).disk.plant_dir(&format!("{ROOT}/shard-{shard:04}/segments"));
            begins(checks, self.node, ShardId(shard));
        }
        self.seats = Rc::default();
        let watcher = Watcher {
            node: self.node,
            life: self.life,
            checks: Rc::clone(checks),
            seats: Rc::clone(&self.seats),
            sabotage: shape.sabotage,
        };
        let config = config(sim, shape, self.node);
        // However the power went: what an earlier boot staged is another boot's.
        let boot = [sim.host(self.node).power_cuts.to_le_bytes(); 4].concat();
        let boot = boot.try_into().expect("sixteen bytes");
        let opening = Opening::new(config, &secret(), boot, Rc::new(watcher));
        let mut opening = Box::new(opening.expect("a sound configuration"));
        let waiting = opening.start(&sim.core(self.node, 0)).expect("a node has a core");
        self.stage = Stage::Opening { opening, waiting, first: None };
    }

    fn opened(&mut self, sim: &mut Sim, answer: Result<Opened, OpenError>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Down(Nanos(0)));
        let Stage::Opening { mut opening, first, .. } = stage else { unreachable!("it was being opened") };
        let opened = match answer {
            Ok(opened) => opened,
            Err(error) => {
                self.refused = Some(error.to_string());
                sim.note(self.node, "open refused", &[]);
                sim.kill(self.node);
                return self.down(sim.now().plus(Nanos::from_millis(100)));
            }
        };
        let first = first.unwrap_or(opened);
        let next = opening.next_core();
        self.stage = match next.and_then(|index| opening.start(&sim.core(self.node, index))) {
            Some(waiting) => Stage::Opening { opening, waiting, first: Some(first) },
            None => {
                self.refused = None;
                sim.note(self.node, "open", &[]);
                Stage::Up(opening.engine(first))
            }
        };
    }
}
