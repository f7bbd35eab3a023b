//! Clusters of one process for the tests of this folder.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use ringway::config::NodeConfig;
use ringway::engine::{Ask, BootstrapError, Builder, Committed, Durability, Engine, Sealed, Shard};
use ringway::ids::{ClusterId, NodeId, ShardId};
use tempfile::TempDir;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub const CLUSTER: ClusterId = ClusterId([7; 16]);
/// Long for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes with their roots in one temporary directory; a stopped one leaves its place empty.
pub struct Nodes {
    dir: TempDir,
    addresses: Vec<SocketAddr>,
    /// Nodes that found the cluster; those behind them are added.
    first: usize,
    shards: u32,
    engines: Vec<Option<Engine>>,
}

impl Nodes {
    /// A founded cluster of so many nodes with one shard.
    pub fn new(count: usize) -> Self {
        Self::with_shards(count, 1)
    }

    pub fn with_shards(count: usize, shards: u32) -> Self {
        let mut nodes = Self::unfounded(count, shards);
        for node in 1..=count {
            nodes.open(node);
        }
        match nodes.engine(1).bootstrap().wait() {
            Ok(()) | Err(BootstrapError::AlreadyFounded) => nodes,
            Err(error) => panic!("{error}"),
        }
    }

    /// A founded cluster of the first of so many nodes; the others know of all before them, and do not run yet.
    pub fn with_more(first: usize, count: usize, shards: u32) -> Self {
        let mut nodes = Self { first, ..Self::unfounded(count, shards) };
        (1..=first).for_each(|node| drop(nodes.open(node).clone()));
        assert_eq!(nodes.engine(1).bootstrap().wait(), Ok(()));
        nodes
    }

    /// Nodes none of which runs.
    pub fn unfounded(count: usize, shards: u32) -> Self {
        // The listeners choose the ports and let go of them.
        let bind = || TcpListener::bind("127.0.0.1:0").expect("loopback");
        let listeners: Vec<_> = (0..count).map(|_| bind()).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            addresses: listeners.iter().map(address).collect(),
            first: count,
            shards,
            engines: (0..count).map(|_| None).collect(),
        }
    }

    pub fn builder(&self, node: usize) -> Builder {
        let mut builder =
            Engine::builder().cluster(CLUSTER).root(self.root(node)).shards(self.shards).secret(SECRET);
        for (number, address) in (1..).zip(&self.addresses[..self.first.max(node)]) {
            builder = builder.member(NodeId(number), *address);
        }
        builder.node(NodeId(node as u64), self.addresses[node - 1])
    }

    /// What a node that is opened without a change is told.
    pub fn config(&self, node: usize) -> NodeConfig {
        let members = (1..).zip(&self.addresses[..self.first.max(node)]);
        NodeConfig {
            cluster: CLUSTER,
            node: NodeId(node as u64),
            root: self.root(node),
            listen: self.address(node),
            members: members.map(|(number, address)| (NodeId(number), *address)).collect(),
            shards: self.shards,
            segments: Default::default(),
            cores: Default::default(),
            raft: Default::default(),
            transfer: Default::default(),
            digest: Default::default(),
        }
    }

    pub fn open(&mut self, node: usize) -> &Engine {
        self.open_as(node, |builder| builder)
    }

    /// Opens a node that is told something else.
    pub fn open_as(&mut self, node: usize, change: impl FnOnce(Builder) -> Builder) -> &Engine {
        let engine = change(self.builder(node)).open();
        self.engines[node - 1].insert(engine.unwrap_or_else(|error| panic!("node {node}: {error}")))
    }

    pub fn stop(&mut self, node: usize) {
        self.engines[node - 1].take().expect("it runs").shut_down();
    }

    pub fn engine(&self, node: usize) -> &Engine {
        self.engines[node - 1].as_ref().expect("it runs")
    }

    /// Shard 0 of a node.
    pub fn shard(&self, node: usize) -> Shard {
        self.engine(node).shard(ShardId(0)).expect("there is one")
    }

    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node - 1]
    }

    pub fn root(&self, node: usize) -> std::path::PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// The node that leads shard 0, when one does.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        until("a leader", || {
            leader = self.engines.iter().flatten().find_map(|engine| {
                let status = engine.status().wait().expect("it runs");
                status
                    .groups
                    .iter()
                    .find(|group| group.role == "leader" && group.group == 1)
                    .map(|_| status.node)
            });
            leader.is_some()
        });
        usize::try_from(leader.expect("found")).expect("a few")
    }
}

/// Writes a sealed file into a shard's directory: under another name first, then renamed, as engines do.
pub fn seal(shard: &Shard, path: &str, content: &[u8]) {
    seal_in(shard.directory(), path, content);
}

pub fn seal_in(directory: &Path, path: &str, content: &[u8]) {
    let (target, new) = (directory.join(path), directory.join(format!("{path}.new")));
    fs::create_dir_all(target.parent().expect("below the directory")).expect("made");
    fs::write(&new, content).expect("written");
    fs::rename(new, target).expect("renamed");
}

/// Seals a file and registers it.
pub fn register(shard: &Shard, path: &str, content: &[u8]) -> Committed {
    seal(shard, path, content);
    shard.register(Sealed::at(path), patient(Durability::Committed)).wait().expect("it is committed")
}

pub fn patient(durability: Durability) -> Ask {
    Ask::durable(durability).within(PATIENCE)
}

#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
