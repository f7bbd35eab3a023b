//! The handles that an embedder holds: a node, and its shards. Cheap to clone, usable from any thread and any runtime.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::NodeConfig;
use crate::ids::{GroupId, LogIndex, Nanos, NodeId, SegmentId, ShardId};
use crate::uring::{MailSender, Pinned};

use super::builder::Builder;
use super::change::{Ask, Change, ChangeError, Committed, Sealed};
use super::error::{BootstrapError, LocateError, NoSuchShard, TransferLeaderError, WaitError};
use super::event::Event;
use super::gather::gather;
use super::identity::Identity;
use super::reply::{Reply, reply};
use super::request::{ClusterRequest, Locator, Request, ShardRequest};
use super::status::{MemberStatus, NodeStatus, SegmentPage};

/// One node of a cluster, running in this process. Clones are the same node; it stops when `shut_down` is
/// called or the last clone goes.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Arc<NodeConfig>,
    identity: Identity,
    address: std::net::SocketAddr,
    cores: Vec<MailSender<Request>>,
    threads: Mutex<Vec<Pinned>>,
}

/// One shard of a node.
#[derive(Clone, Debug)]
pub struct Shard {
    id: ShardId,
    core: MailSender<Request>,
    segments: PathBuf,
}

/// A segment whose verified file stands here.
#[derive(Debug)]
pub struct Segment {
    /// Its id.
    pub id: SegmentId,
    /// Its path in the shard's directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The file, open for reading. It stays readable when the segment is deleted or superseded.
    pub file: File,
}

impl Engine {
    /// Describes a node and opens it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        config: Arc<NodeConfig>,
        identity: Identity,
        address: std::net::SocketAddr,
        cores: Vec<MailSender<Request>>,
        threads: Vec<Pinned>,
    ) -> Self {
        Self(Arc::new(Shared { config, identity, address, cores, threads: Mutex::new(threads) }))
    }

    /// The node's configuration.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.0.config
    }

    /// Where it listens, its port known.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.0.address
    }

    /// A shard of the node.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn shard(&self, id: ShardId) -> Result<Shard, NoSuchShard> {
        let count = self.0.config.shards;
        if id.0 >= count {
            return Err(NoSuchShard { shard: id, count });
        }
        let segments = self.0.config.segments_dir(id);
        Ok(Shard { id, core: self.core_of(id.group()).clone(), segments })
    }

    /// All shards of the node.
    pub fn shards(&self) -> impl Iterator<Item = Shard> {
        (0..self.0.config.shards).filter_map(|id| self.shard(ShardId(id)).ok())
    }

    fn core_of(&self, group: GroupId) -> &MailSender<Request> {
        let core = self.0.config.core_of(group);
        &self.0.cores[usize::from(core)]
    }

    /// How the node stands.
    pub fn status(&self) -> Reply<NodeStatus> {
        let shared = &self.0;
        gather(&shared.config, &shared.identity, shared.address, &shared.cores)
    }

    /// The cluster's members, as this node knows them.
    pub fn members(&self) -> Reply<Vec<MemberStatus>> {
        let (replier, waiting) = reply();
        send(&self.0.cores[0], Request::Cluster(ClusterRequest::Members(replier)));
        waiting
    }

    /// Founds the cluster with the first members of the configuration, all of which have to be up. Once, on one node.
    pub fn bootstrap(&self) -> Reply<Result<(), BootstrapError>> {
        let (replier, waiting) = reply();
        send(&self.0.cores[0], Request::Cluster(ClusterRequest::Bootstrap(replier)));
        waiting
    }

    /// Makes another member the leader of a group that this node leads.
    pub fn transfer_leader(&self, group: GroupId, to: NodeId) -> Reply<Result<(), TransferLeaderError>> {
        let (replier, waiting) = reply();
        send(self.core_of(group), Request::TransferLeader(group, to, replier));
        waiting
    }

    /// Stops the node: no new requests, everything in flight is seen to its end, files and sockets are closed. What was
    /// acknowledged is durable before this already. Other clones find the node stopped.
    pub fn shut_down(self) {
        self.0.shut_down();
    }
}

impl Shared {
    fn shut_down(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        for core in &self.cores {
            let (replier, waiting) = reply();
            send(core, Request::Stop(replier));
            let _stopped_already = waiting.wait();
        }
        threads.into_iter().for_each(Pinned::stop);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A full mailbox drops the request, whose reply then says that nobody answers; never waits.
fn send(core: &MailSender<Request>, request: Request) {
    if core.try_send(request).is_err() {
        tracing::warn!("a core's mailbox is full or closed; the request is not taken");
    }
}

impl Shard {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The directory in which its segments stand: at an origin the engine's own, on a replica Ringway's.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.segments
    }

    fn ask<T>(&self, make: impl FnOnce(super::reply::Replier<T>) -> ShardRequest) -> Reply<T> {
        let (replier, waiting) = reply();
        send(&self.core, Request::Shard(self.id, make(replier)));
        waiting
    }

    /// Registers a sealed file that stands in the shard's directory on this node.
    pub fn register(&self, sealed: Sealed, ask: Ask) -> Reply<Result<Committed, ChangeError>> {
        self.batch(vec![Change::Register(sealed)], ask)
    }

    /// Takes the sealed file at a registered path as the path's new content.
    pub fn update(&self, sealed: Sealed, ask: Ask) -> Reply<Result<Committed, ChangeError>> {
        self.batch(vec![Change::Update(sealed)], ask)
    }

    /// Deletes a path from the manifest; nothing happens if there is none.
    pub fn delete(
        &self,
        path: impl Into<String>,
        reason: impl Into<String>,
        ask: Ask,
    ) -> Reply<Result<Committed, ChangeError>> {
        self.batch(vec![Change::delete(path, reason)], ask)
    }

    /// Performs changes together or not at all, as one log entry.
    pub fn batch(&self, changes: Vec<Change>, ask: Ask) -> Reply<Result<Committed, ChangeError>> {
        self.ask(|replier| ShardRequest::Change(changes, ask, replier))
    }

    /// Waits until every segment up to the log index stands here, is superseded or deleted. Answers with what
    /// is installed.
    pub fn wait_installed(&self, index: LogIndex, timeout: Nanos) -> Reply<Result<LogIndex, WaitError>> {
        self.ask(|replier| ShardRequest::WaitInstalled(index, timeout, replier))
    }

    /// A page of the manifest as this node has applied it, in the order of paths, after `after`.
    pub fn segments(&self, after: Option<String>, limit: usize) -> Reply<SegmentPage> {
        self.ask(|replier| ShardRequest::Segments(after, limit, replier))
    }

    /// The shard's events on this node after the one with this number, waiting for at least one. Events are
    /// kept in a bounded line: a gap in the numbers says that older ones are gone, and the manifest tells what is.
    pub fn events(&self, after: u64) -> Reply<Vec<Event>> {
        self.ask(|replier| ShardRequest::Events(after, replier))
    }

    /// Opens a segment's verified file, by id or, for its latest content, by path.
    ///
    /// # Errors
    /// It is not in the manifest, or not here yet, or cannot be opened.
    pub async fn open_segment(&self, which: Locator) -> Result<Segment, LocateError> {
        let located = self.ask(|replier| ShardRequest::Locate(which, replier)).await;
        let located = located.map_err(|_| LocateError::Stopped)??;
        let file = File::open(&located.file)
            .map_err(|error| LocateError::File { why: format!("{}: {error}", located.file.display()) })?;
        Ok(Segment { id: located.id, path: located.path, bytes: located.bytes, file })
    }
}
