//! A node without threads: its cores are made and driven by the simulator, everything that runs on them is the
//! product's own.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::auth::{Secret, SecretSet};
use crate::cluster::ClusterState;
use crate::config::NodeConfig;
use crate::digest::Kernel;
use crate::limits::MAILBOX_MESSAGES_MAX;
use crate::raft::Group;
use crate::shard::Shard;
use crate::transfer::Limits;
use crate::transport::Transport;
use crate::uring::{Core, Gate, MailReceiver, MailSender, Priority, mailbox};

use super::digests::kernel_of;
use super::error::OpenError;
use super::handle::{Engine, Hosts};
use super::hooks::{Hooks, Watch};
use super::node::{self, CoreNode, CoreParts, Opened};
use super::reply::{Reply, reply};
use super::request::Request;

/// A node that is being opened, core by core.
pub struct Opening {
    config: Arc<NodeConfig>,
    secrets: SecretSet,
    boot: [u8; 16],
    gate: Gate,
    limits: Limits,
    kernel: Kernel,
    senders: Vec<MailSender<Request>>,
    receivers: std::vec::IntoIter<MailReceiver<Request>>,
    hooks: Hooks,
    next: u16,
}

impl Opening {
    /// A node of this configuration; its directories are there.
    ///
    /// # Errors
    /// The configuration or the secret is none.
    pub fn new(
        config: NodeConfig,
        secret: &str,
        boot: [u8; 16],
        watch: Rc<dyn Watch>,
    ) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let secret = Secret::parse(secret.as_bytes());
        let secret = secret.map_err(|error| OpenError::Secret { why: error.to_string() })?;
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..config.cores.count).map(|_| mailbox(MAILBOX_MESSAGES_MAX)).unzip();
        Ok(Self {
            kernel: kernel_of(config.digest)?,
            limits: Limits::new(&config.transfer.rates, config.shards),
            config: Arc::new(config),
            secrets: SecretSet::new(secret, None),
            boot,
            gate: Gate::new(),
            senders,
            receivers: receivers.into_iter(),
            hooks: Hooks { watch: Some(watch) },
            next: 0,
        })
    }

    /// Starts the next core; the one before it has answered. `None` when all are started.
    pub fn start(&mut self, core: &Core) -> Option<Reply<Opened, OpenError>> {
        let mail = self.receivers.next()?;
        let parts = CoreParts {
            config: Arc::clone(&self.config),
            index: self.next,
            secrets: self.secrets.clone(),
            boot: self.boot,
            gate: self.gate.clone(),
            limits: self.limits.clone(),
            resolver: None,
            kernel: self.kernel,
            cores: self.senders.clone(),
            host: "simulator",
        };
        self.next += 1;
        let (replier, waiting) = reply();
        let run = node::run_watched(parts, self.hooks.clone(), mail, replier);
        drop(core.spawn(Priority::Urgent, run));
        Some(waiting)
    }

    /// The number of the core that is started next.
    #[must_use]
    pub fn next_core(&self) -> Option<u16> {
        (self.next < self.config.cores.count).then_some(self.next)
    }

    /// The node's handle, as an embedder has it. `first` is what opening its first core gave.
    #[must_use]
    pub fn engine(self, first: Opened) -> Engine {
        let Opened { identity, address } = first;
        let address = address.unwrap_or(self.config.listen);
        Engine::new(self.config, identity, address, self.senders, Hosts::Pinned(Vec::new()))
    }
}

/// What runs on one core of a node, for looking at. Keeps nothing alive.
#[derive(Clone)]
pub struct Seat(Weak<CoreNode>);

impl Seat {
    pub(super) fn new(node: &Rc<CoreNode>) -> Self {
        Self(Rc::downgrade(node))
    }

    /// The shards of the core; none when its process has ended.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        self.0.upgrade().map(|node| node.shards.values().cloned().collect()).unwrap_or_default()
    }

    /// The cluster group, on core 0.
    #[must_use]
    pub fn cluster(&self) -> Option<Group<ClusterState>> {
        Some(self.0.upgrade()?.cluster.as_ref()?.group().clone())
    }

    /// The limits of the node's bytes per second.
    #[must_use]
    pub fn limits(&self) -> Option<Limits> {
        Some(self.0.upgrade()?.parts.limits.clone())
    }

    /// The core's connections.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        Some(self.0.upgrade()?.transport.clone())
    }
}
