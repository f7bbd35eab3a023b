//! Opening a node: one ring and one core for each configured core, each on a thread of its own or as a guest, then the
//! shards on them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::{Secret, SecretSet};
use crate::config::{CoreConfig, DigestConfig, NodeConfig, RaftConfig, Rates, TransferConfig};
use crate::ids::{ClusterId, NodeId, ShardId};
use crate::limits::{CHUNK_BYTES, MAILBOX_MESSAGES_MAX, RING_ENTRIES};
use crate::transfer::{Limits, Resolver};
use crate::uring::{
    Core, Gate, KernelOptions, KernelRing, MailReceiver, MailSender, Pinned, Priority, RingError, mailbox,
    pinned,
};

use super::boot::boot_id;
use super::digests::kernel_of;
use super::error::OpenError;
use super::guest::{GuestNode, guests};
use super::handle::{Engine, Hosts};
use super::node::{self, CoreParts, HOST_PINNED, Opened};
use super::reply::reply;
use super::request::Request;

/// Describes a node. What is not said has the default of `NodeConfig`'s parts.
#[derive(Clone, Debug)]
pub struct Builder {
    config: NodeConfig,
    secret: Option<Secret>,
    previous: Option<Secret>,
    bad_secret: Option<String>,
    resolver: Option<Resolver>,
}

impl Default for Builder {
    fn default() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = NodeConfig {
            cluster: ClusterId::default(),
            node: NodeId(1),
            root: PathBuf::new(),
            listen: nowhere,
            members: BTreeMap::new(),
            shards: 1,
            segments: BTreeMap::new(),
            cores: CoreConfig::default(),
            raft: RaftConfig::default(),
            transfer: TransferConfig::default(),
            digest: DigestConfig::default(),
        };
        Self { config, secret: None, previous: None, bad_secret: None, resolver: None }
    }
}

impl Builder {
    /// All of a configuration at once.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// The cluster's id, the same on every node: drawn at random, once.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterId) -> Self {
        self.config.cluster = cluster;
        self
    }

    /// This node's number, from 1, and where it listens. It is a member under this address unless `member` says
    /// another.
    #[must_use]
    pub fn node(mut self, node: NodeId, listen: SocketAddr) -> Self {
        self.config.node = node;
        self.config.listen = listen;
        self.config.members.entry(node).or_insert(listen);
        self
    }

    /// A first member of the cluster, and where the others reach it.
    #[must_use]
    pub fn member(mut self, node: NodeId, address: SocketAddr) -> Self {
        self.config.members.insert(node, address);
        self
    }

    /// Directory of the node's own files; made if absent.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.config.root = root.into();
        self
    }

    /// Shards of the cluster; fixed when the root is made.
    #[must_use]
    pub fn shards(mut self, count: u32) -> Self {
        self.config.shards = count;
        self
    }

    /// The directory in which a shard's segments stand, if not in the root.
    #[must_use]
    pub fn segments(mut self, shard: ShardId, directory: impl Into<PathBuf>) -> Self {
        self.config.segments.insert(shard, directory.into());
        self
    }

    /// Threads and memory.
    #[must_use]
    pub fn cores(mut self, cores: CoreConfig) -> Self {
        self.config.cores = cores;
        self
    }

    /// How many bytes a second the node and each of its shards may receive and serve.
    #[must_use]
    pub fn rates(mut self, rates: Rates) -> Self {
        self.config.transfer.rates = rates;
        self
    }

    /// Who is asked for a segment, by its origin and its path: the first one first, asked anew before every attempt.
    /// Nodes that are no replicas are passed over. When all have been asked in vain, or rest after a failure, Ringway
    /// chooses among the others. An empty answer says that nobody is known yet: it is asked again, ever later, up to
    /// 30 seconds. It is called on the threads of the cores and must not block.
    #[must_use]
    pub fn sources(mut self, resolve: impl Fn(NodeId, &str) -> Vec<NodeId> + Send + Sync + 'static) -> Self {
        self.resolver = Some(Resolver::new(resolve));
        self
    }

    /// The cluster's secret: the text of a secret file.
    #[must_use]
    pub fn secret(mut self, text: &str) -> Self {
        match Secret::parse(text.as_bytes()) {
            Ok(secret) => self.secret = Some(secret),
            Err(error) => self.bad_secret = Some(error.to_string()),
        }
        self
    }

    /// The secret that other nodes may still have while it is being changed.
    #[must_use]
    pub fn previous_secret(mut self, text: &str) -> Self {
        match Secret::parse(text.as_bytes()) {
            Ok(secret) => self.previous = Some(secret),
            Err(error) => self.bad_secret = Some(error.to_string()),
        }
        self
    }

    /// Opens the node: its files are recovered and it listens. Blocks until then; the cluster may still be
    /// without a leader.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing runs then.
    pub fn open(self) -> Result<Engine, OpenError> {
        let Prepared { config, senders, cores } = self.prepare()?;
        let (mut threads, mut first) = (Vec::new(), None);
        for (parts, mail) in cores {
            // One after the other: the first makes the root's identity, the others read it.
            let (thread, opened) = start_core(parts, mail)?;
            threads.push(thread);
            first.get_or_insert(opened);
        }
        let Opened { identity, address } = first.expect("a node has at least one core");
        let address = address.unwrap_or(config.listen);
        Ok(Engine::new(config, identity, address, senders, Hosts::Pinned(threads)))
    }

    /// Prepares the node for executors of the embedder's own, in which its cores are guests: see
    /// [`GuestCore`](super::GuestCore). What can be checked beforehand is an error here; the rest is told by
    /// [`GuestNode::engine`].
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn open_guest(self) -> Result<GuestNode, OpenError> {
        self.prepare().map(guests)
    }

    /// Checks what can be checked, makes the directories, and says what each core is made of.
    fn prepare(self) -> Result<Prepared, OpenError> {
        self.config.check().map_err(OpenError::Config)?;
        if let Some(why) = self.bad_secret {
            return Err(OpenError::Secret { why });
        }
        let missing = || OpenError::Secret { why: "there is none; no node starts without".to_owned() };
        let secrets = SecretSet::new(self.secret.ok_or_else(missing)?, self.previous);
        let kernel = kernel_of(self.config.digest)?;
        make_directories(&self.config)?;
        let config = Arc::new(self.config);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..config.cores.count).map(|_| mailbox(MAILBOX_MESSAGES_MAX)).unzip();
        // One for the device of the root, shared by all cores.
        let gate = Gate::new();
        let limits = Limits::new(&config.transfer.rates, config.shards);
        let parts = |index: usize| CoreParts {
            config: Arc::clone(&config),
            index: u16::try_from(index).expect("bounded by the configuration"),
            secrets: secrets.clone(),
            boot: boot_id(),
            kernel,
            gate: gate.clone(),
            limits: limits.clone(),
            resolver: self.resolver.clone(),
            cores: senders.clone(),
            host: HOST_PINNED,
        };
        let cores = receivers.into_iter().enumerate().map(|(index, mail)| (parts(index), mail)).collect();
        Ok(Prepared { config: Arc::clone(&config), senders: senders.clone(), cores })
    }
}

/// A node whose cores are still to be made.
pub(super) struct Prepared {
    pub(super) config: Arc<NodeConfig>,
    pub(super) senders: Vec<MailSender<Request>>,
    /// In their order.
    pub(super) cores: Vec<(CoreParts, MailReceiver<Request>)>,
}

/// The ring and the core of the calling thread.
pub(super) fn core_of(cores: CoreConfig) -> Result<Core, RingError> {
    let ring = KernelRing::open(KernelOptions { entries: RING_ENTRIES, ..KernelOptions::default() })?;
    Ok(Core::new(Box::new(ring), cores.slab_buffers, CHUNK_BYTES))
}

/// Starts a core's thread and waits until what it runs is recovered.
fn start_core(parts: CoreParts, mail: MailReceiver<Request>) -> Result<(Pinned, Opened), OpenError> {
    let (replier, waiting) = reply();
    let (index, cores) = (parts.index, parts.config.cores);
    let cpu = cores.pin.then_some(usize::from(index));
    let make = move || {
        let core = core_of(cores)?;
        drop(core.spawn(Priority::Urgent, node::run(parts, mail, replier)));
        Ok(core)
    };
    let started = pinned(usize::from(index), cpu, make);
    let thread = started.map_err(|error| OpenError::Core { why: error.to_string() })?;
    let opened = waiting.wait()?;
    Ok((thread, opened))
}

fn make_directories(config: &NodeConfig) -> Result<(), OpenError> {
    let make = |path: &Path| {
        let is_full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        make_durably(path).map_err(|error| OpenError::root(path, is_full(&error), &error))
    };
    make(&config.root)?;
    (0..config.shards).map(ShardId).try_for_each(|shard| {
        make(&config.shard_dir(shard))?;
        make(&config.segments_dir(shard))
    })
}

/// Makes a directory and what is missing above it, each name durable in its parent before the next is made.
fn make_durably(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if path.is_dir() {
        // A start that was killed in between has made it, and its name is in memory alone.
        let synced = fs::File::open(above.unwrap_or(Path::new("."))).and_then(|above| above.sync_all());
        // Where a node may not look, or nothing can be written, it has made nothing.
        let is_foreign = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
        };
        return synced.or_else(|error| if is_foreign(&error) { Ok(()) } else { Err(error) });
    }
    if let Some(above) = above {
        make_durably(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        done => done?,
    }
    fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_made_with_all_that_is_missing_above_it_and_again_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("a/b/c");
        make_durably(&root).expect("made");
        make_durably(&root).expect("there");
        assert!(root.is_dir());
        fs::write(dir.path().join("file"), "").expect("written");
        assert!(make_durably(&dir.path().join("file/below")).is_err());
        assert!(make_durably(&dir.path().join("file")).is_err());
    }
}
