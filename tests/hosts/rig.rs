//! Three nodes of a cluster with their roots and addresses, and what they are to hold.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway::config::CoreConfig;
use ringway::engine::{
    Ask, BootstrapError, Builder, Committed, Durability, Engine, Locator, Sealed, Shard, block_on,
};
use ringway::ids::{ClusterId, LogIndex, NodeId};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Long for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// These tests measure delays and count descriptors: one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where nodes are, none of which runs.
pub struct Places {
    dir: TempDir,
    addresses: Vec<SocketAddr>,
}

impl Places {
    pub fn new(count: usize) -> Self {
        // The listeners choose the ports and let go of them.
        let bind = || TcpListener::bind("127.0.0.1:0").expect("loopback");
        let listeners: Vec<_> = (0..count).map(|_| bind()).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let addresses = listeners.iter().map(address).collect();
        Self { dir: tempfile::tempdir().expect("a directory"), addresses }
    }

    pub fn root(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// A node of two cores and two shards.
    pub fn builder(&self, node: usize) -> Builder {
        let cores = CoreConfig { count: 2, slab_buffers: 16, ..CoreConfig::default() };
        let builder =
            Engine::builder().cluster(ClusterId([7; 16])).root(self.root(node)).shards(2).secret(SECRET);
        let members = (1..).zip(&self.addresses);
        let builder = members.fold(builder.cores(cores), |builder, (number, address)| {
            builder.member(NodeId(number), *address)
        });
        builder.node(NodeId(node as u64), self.addresses[node - 1])
    }
}

/// Founds the cluster, on the node asked.
pub fn found(engine: &Engine) {
    match engine.bootstrap().wait() {
        Ok(()) | Err(BootstrapError::AlreadyFounded) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A file's bytes, different for each number.
pub fn content(number: usize, bytes: usize) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// Seals files in a shard and registers each.
pub fn register(shard: &Shard, numbers: std::ops::Range<usize>, bytes: usize) -> LogIndex {
    let ask = Ask::durable(Durability::Committed).within(PATIENCE);
    let asked = numbers.map(|number| {
        let path = format!("segment-{number:03}");
        fs::write(shard.directory().join(&path), content(number, bytes)).expect("written");
        shard.register(Sealed::at(path), ask)
    });
    let committed: Vec<Committed> =
        asked.collect::<Vec<_>>().into_iter().map(|asked| asked.wait().expect("committed")).collect();
    committed.iter().map(|done| done.index).max().expect("one at least")
}

/// Waits until everything to the index stands there, and reads it.
pub fn verify(shard: &Shard, index: LogIndex, numbers: std::ops::Range<usize>, bytes: usize) {
    shard.wait_installed(index, PATIENCE).wait().expect("it lands");
    for number in numbers {
        let which = Locator::Path(format!("segment-{number:03}"));
        let mut segment = block_on(shard.open_segment(which)).expect("here");
        let mut found = Vec::new();
        segment.file.read_to_end(&mut found).expect("read");
        assert!(found == content(number, bytes), "segment {number} of shard {}", shard.id());
    }
}

#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
