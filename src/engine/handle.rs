//! The handles that an embedder holds: a node, and its shards. Cheap to clone, usable from any thread and any runtime.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{NodeConfig, Rates};
use crate::ids::{GroupId, LogIndex, Nanos, NodeId, SegmentId, ShardId, UnixNanos};
use crate::limits::OPEN_ATTEMPTS_MAX;
use crate::segment::Identity;
use crate::shard::Pin;
use crate::uring::{MailSender, Pinned, SendError, block_on};

use super::builder::Builder;
use super::change::{Ask, Change, ChangeError, Committed, Sealed};
use super::error::{
    BootstrapError, EventsError, LocateError, NoSuchShard, RatesError, TransferLeaderError, WaitError,
};
use super::event::{Event, EventCursor};
use super::gather::gather;
use super::guest::Leave;
use super::identity;
use super::members::{MemberError, MemberRole};
use super::reply::{NoAnswer, Replier, Reply, reply};
use super::request::{ClusterRequest, Located, Locator, MemberChange, Request, ShardRequest};
use super::status::{MemberStatus, NodeStatus, SegmentPage};
use super::sync::{AllSynced, SyncError, Synced};

/// One node of a cluster, running in this process. Clones are the same node; it stops when `shut_down` is
/// called or the last clone goes.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Arc<NodeConfig>,
    identity: identity::Identity,
    address: std::net::SocketAddr,
    cores: Vec<MailSender<Request>>,
    hosts: Mutex<Option<Hosts>>,
}

/// Who drives a node's cores. Dropping it stops them.
#[derive(Debug)]
pub(crate) enum Hosts {
    /// Threads of their own.
    Pinned(Vec<Pinned>),
    /// The embedder's executors.
    Guests(Leave),
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

/// A segment whose file keeps its name as long as this lives, even if the segment is deleted meanwhile. An update of
/// its path takes the name all the same.
#[derive(Debug)]
pub struct PinnedSegment {
    /// Its id.
    pub id: SegmentId,
    /// Where its file stands.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    _pin: Pin,
}

impl Engine {
    /// Describes a node and opens it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        config: Arc<NodeConfig>,
        identity: identity::Identity,
        address: std::net::SocketAddr,
        cores: Vec<MailSender<Request>>,
        hosts: Hosts,
    ) -> Self {
        Self(Arc::new(Shared { config, identity, address, cores, hosts: Mutex::new(Some(hosts)) }))
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

    /// Brings all shards of this node up to date, side by side: each for itself, and none waits for another one's
    /// trouble.
    pub async fn sync_all(&self, timeout: impl Into<Nanos>) -> AllSynced {
        let timeout = timeout.into();
        let asked: Vec<_> = self.shards().map(|shard| (shard.id(), shard.sync(timeout))).collect();
        let mut all = AllSynced::default();
        for (id, reply) in asked {
            match reply.await {
                Ok(done) => all.synced.push((id, done)),
                Err(error) => all.failed.push((id, error)),
            }
        }
        all
    }

    fn core_of(&self, group: GroupId) -> &MailSender<Request> {
        let core = self.0.config.core_of(group);
        &self.0.cores[usize::from(core)]
    }

    /// How the node stands.
    pub fn status(&self) -> Reply<NodeStatus> {
        self.gather(|status| status)
    }

    fn gather<T: Send + 'static>(&self, part: fn(NodeStatus) -> T) -> Reply<T> {
        let shared = &self.0;
        gather(&shared.config, &shared.identity, shared.address, &shared.cores, part)
    }

    /// The cluster's members, as this node knows them.
    pub fn members(&self) -> Reply<Vec<MemberStatus>> {
        self.gather(|status| status.members)
    }

    /// Founds the cluster with the first members of the configuration, all of which have to be up. Once, on one node;
    /// every time after that the answer is `AlreadyFounded`.
    pub fn bootstrap(&self) -> Reply<(), BootstrapError> {
        ask(&self.0.cores[0], |replier| Request::Cluster(ClusterRequest::Bootstrap(replier)))
    }

    /// Adds a node that runs at this address, whose configuration lists the members that there are: it learns, fetches
    /// what there is and, as a voter, votes as soon as it has installed. Answers when that is committed; how far it has
    /// come tells `members`. A member with this role is left as it is, one with another role gets this one.
    pub fn add_member(
        &self,
        node: NodeId,
        address: std::net::SocketAddr,
        role: MemberRole,
        timeout: impl Into<Nanos>,
    ) -> Reply<(), MemberError> {
        self.change_members(MemberChange::Add(node, address, role), timeout.into())
    }

    /// Gives a member another role. Answers when that is committed; the groups follow.
    pub fn set_member_role(
        &self,
        node: NodeId,
        role: MemberRole,
        timeout: impl Into<Nanos>,
    ) -> Reply<(), MemberError> {
        self.change_members(MemberChange::Role(node, role), timeout.into())
    }

    /// Removes a node from the cluster; nothing happens if it is no member. Where it leads a group, leadership is
    /// handed over first. Answers when that is committed; the groups follow. Its disk is left as it is, and it may be
    /// added again.
    pub fn remove_member(&self, node: NodeId, timeout: impl Into<Nanos>) -> Reply<(), MemberError> {
        self.change_members(MemberChange::Remove(node), timeout.into())
    }

    fn change_members(&self, change: MemberChange, timeout: Nanos) -> Reply<(), MemberError> {
        let change = |replier| ClusterRequest::Change(change, timeout, replier);
        ask(&self.0.cores[0], |replier| Request::Cluster(change(replier)))
    }

    /// Makes another member the leader of a group, by whoever leads it.
    pub fn transfer_leader(&self, group: GroupId, to: NodeId) -> Reply<(), TransferLeaderError> {
        ask(self.core_of(group), |replier| Request::TransferLeader { group, to, asks_leader: true, replier })
    }

    /// From now on other limits of bytes per second hold, in the place of those that the node was opened with; what
    /// waits for one is held to the new. Not kept beyond this start.
    ///
    /// # Errors
    /// They are none, or the node does not answer: those before hold.
    pub fn set_rates(&self, rates: Rates) -> Reply<(), RatesError> {
        if let Err(error) = rates.check() {
            let (replier, refused) = reply();
            replier.answer(Err(RatesError::Config(error)));
            return refused;
        }
        ask(&self.0.cores[0], |replier| Request::Rates(rates, replier))
    }

    /// Stops the node: no new requests, everything in flight is seen to its end, files and sockets are closed. What was
    /// acknowledged is durable before this already. Other clones and the shards find the node stopped. Blocks the
    /// thread until then, as does dropping the last clone.
    ///
    /// Where the cores are guests it blocks nobody and only asks for all of that: done it is when the futures of the
    /// [`GuestCore`](super::GuestCore)s have ended.
    pub fn shut_down(self) {
        self.0.shut_down();
    }
}

impl Shared {
    fn shut_down(&self) {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = match hosts {
            Some(Hosts::Pinned(threads)) if !threads.is_empty() => threads,
            Some(Hosts::Guests(leave)) => return drop(leave),
            Some(Hosts::Pinned(_)) | None => return,
        };
        for core in &self.cores {
            let (replier, waiting) = reply::<(), NoAnswer>();
            // A full mailbox is waited for: a core that is asked to stop brings its work to an end.
            if block_on(core.send(Request::Stop(replier))).is_ok() {
                let _stopped_already = waiting.wait();
            }
        }
        threads.into_iter().for_each(Pinned::stop);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Never waits: what a full mailbox does not take is answered as busy.
pub(super) fn ask<T, E: From<NoAnswer>>(
    core: &MailSender<Request>,
    make: impl FnOnce(Replier<Result<T, E>>) -> Request,
) -> Reply<T, E> {
    let (replier, waiting) = reply();
    match core.try_send(make(replier)) {
        Ok(()) => waiting,
        Err(SendError::Full(_)) => Reply::none(NoAnswer::Busy),
        Err(SendError::Closed(_)) => Reply::none(NoAnswer::Stopped),
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

    pub(super) fn ask<T, E: From<NoAnswer>>(
        &self,
        make: impl FnOnce(Replier<Result<T, E>>) -> ShardRequest,
    ) -> Reply<T, E> {
        ask(&self.core, |replier| Request::Shard(self.id, make(replier)))
    }

    /// Registers a sealed file that stands in the shard's directory on this node.
    pub fn register(&self, sealed: Sealed, ask: Ask) -> Reply<Committed, ChangeError> {
        self.batch(vec![Change::Register(sealed)], ask)
    }

    /// Takes the sealed file at a registered path as the path's new content.
    pub fn update(&self, sealed: Sealed, ask: Ask) -> Reply<Committed, ChangeError> {
        self.batch(vec![Change::Update(sealed)], ask)
    }

    /// Deletes a path from the manifest; nothing happens if there is none.
    pub fn delete(
        &self,
        path: impl Into<String>,
        reason: impl Into<String>,
        ask: Ask,
    ) -> Reply<Committed, ChangeError> {
        self.batch(vec![Change::delete(path, reason)], ask)
    }

    /// Performs changes together or not at all, as one log entry.
    pub fn batch(&self, changes: Vec<Change>, ask: Ask) -> Reply<Committed, ChangeError> {
        self.ask(|replier| ShardRequest::Change(changes, ask, replier))
    }

    /// Waits until every segment up to the log index stands here, is superseded or deleted. Answers with what
    /// is installed.
    pub fn wait_installed(&self, index: LogIndex, timeout: impl Into<Nanos>) -> Reply<LogIndex, WaitError> {
        let timeout = timeout.into();
        self.ask(|replier| ShardRequest::WaitInstalled(index, timeout, replier))
    }

    /// Waits until everything stands on this node that was committed anywhere when this is called, and looks anew at
    /// what is missing first. Writes go on meanwhile. What is verified stays when it fails: asking again goes on with
    /// it.
    pub fn sync(&self, timeout: impl Into<Nanos>) -> Reply<Synced, SyncError> {
        let timeout = timeout.into();
        self.ask(|replier| ShardRequest::Sync(timeout, replier))
    }

    /// Waits until another member of the shard's group says that everything stands there that was committed anywhere
    /// when this is called. Answers with the log index up to which that is.
    pub fn sync_member(&self, node: NodeId, timeout: impl Into<Nanos>) -> Reply<LogIndex, SyncError> {
        let timeout = timeout.into();
        self.ask(|replier| ShardRequest::SyncMember(node, timeout, replier))
    }

    /// A page of the manifest as this node has applied it, in the order of paths, after `after`; at most 1000 segments.
    pub fn segments(&self, after: Option<String>, limit: usize) -> Reply<SegmentPage> {
        self.ask(|replier| ShardRequest::Segments(after, limit, replier))
    }

    /// The place behind the shard's last event on this node. Who begins to follow takes it, then walks the manifest
    /// by `segments`, then asks for the events after it. Answers when the log has repeated what an earlier start told.
    pub fn events_now(&self) -> Reply<EventCursor> {
        self.ask(ShardRequest::EventsNow)
    }

    /// The shard's events on this node after a place, in their order, waiting for at least one. Following is done by
    /// asking again with the last event's cursor, which is good after restarts too; the shard never waits for a
    /// consumer, and one that has fallen behind is told so by `EventsError::Gap`.
    pub fn events(&self, after: EventCursor) -> Reply<Vec<Event>, EventsError> {
        self.ask(|replier| ShardRequest::Events(after, replier))
    }

    /// Pins a segment whose verified file stands here, by id or, for its latest content, by path: for readers that open
    /// it by its name, and again and again. A restart of the node forgets pins.
    ///
    /// # Errors
    /// It is not in the manifest, or not here yet.
    pub async fn pin_segment(&self, which: Locator) -> Result<PinnedSegment, LocateError> {
        let (located, pin) = self.ask(|replier| ShardRequest::Pin(which, replier)).await?;
        let Located { id, path, bytes, .. } = located;
        Ok(PinnedSegment { id, file: self.directory().join(path), bytes, _pin: pin })
    }

    /// Opens a segment's verified file, by id or, for its latest content, by path. What is opened is the file that was
    /// verified, whatever its name has become meanwhile.
    ///
    /// # Errors
    /// It is not in the manifest, or not here yet, or cannot be opened.
    pub async fn open_segment(&self, which: Locator) -> Result<Segment, LocateError> {
        let mut left = OPEN_ATTEMPTS_MAX;
        loop {
            left -= 1;
            let located = self.ask(|replier| ShardRequest::Locate(which.clone(), replier)).await?;
            match open_verified(&located) {
                Ok(file) => {
                    let Located { id, path, bytes, .. } = located;
                    return Ok(Segment { id, path, bytes, file });
                }
                // It may have been deleted or superseded since it was located: then the manifest says so now.
                Err(why) if left == 0 => return Err(LocateError::File { why }),
                Err(_) => {}
            }
        }
    }
}

/// Opens the first file that is the one that was verified.
fn open_verified(located: &Located) -> Result<File, String> {
    let mut why = String::new();
    for place in &located.places {
        // A FIFO that somebody has put there would hold the open until a writer comes; a regular file is as ever.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(place);
        match opened.and_then(|file| Ok((identity_of(&file.metadata()?), file))) {
            Ok((found, file)) if found == located.identity => return Ok(file),
            Ok((found, _)) => {
                let expected = located.identity;
                why = format!("{}: {found}; verified was {expected}", place.display());
            }
            Err(error) => why = format!("{}: {error}", place.display()),
        }
    }
    Err(why)
}

fn identity_of(facts: &Metadata) -> Identity {
    let device = facts.dev();
    let nanos = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
    Identity {
        device: u64::from(libc::major(device)) << 32 | u64::from(libc::minor(device)),
        inode: facts.ino(),
        bytes: facts.size(),
        modified: UnixNanos(u64::try_from(nanos).unwrap_or_default()),
    }
}
