//! What runs on one core of a node: its connections, its shards, on core 0 the cluster group and the listener; and the
//! requests of other threads.
//!
//! It is driven like any task, by a pinned thread in production and by the simulator in tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::auth::SecretSet;
use crate::config::{Direction, NodeConfig, RaftConfig, Work};
use crate::digest::Kernel;
use crate::ids::{GroupId, NodeId, ShardId};
use crate::limits::{LOG_ENTRIES_KEPT, REGISTRAR_STOP_TIMEOUT};
use crate::raft::{Group, GroupConfig, GroupOptions, Member, Resolve};
use crate::segment::{Ownership, StoreOptions};
use crate::shard::{Addresses, Shard, ShardParts};
use crate::transfer::{Desk, Helper, Helpers, Holdings, Inquiry, Limits, Loan, Neighbours, Resolver, serve};
use crate::transport::{Incoming, Stream, Transport, TransportOptions};
use crate::uring::{
    Congestion, Core, Dir, Gate, MailReceiver, MailSender, Priority, SendError, SocketOptions,
};
use crate::wire::Purpose;

use super::answer;
use super::cluster::ClusterSeat;
use super::cluster_calls::{self, HandOver};
use super::door::Door;
use super::error::OpenError;
use super::fallback;
use super::handle::ask;
use super::hooks::Hooks;
use super::identity::Identity;
use super::layout::{beside, folder, group_place, text};
use super::placement::Placement;
use super::reply::Replier;
use super::request::Request;
use super::seats::keep_shard;

/// The host of a core that has a thread of its own, as `status` names it.
pub(crate) const HOST_PINNED: &str = "pinned";

/// What a core is made of.
pub(crate) struct CoreParts {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) index: u16,
    pub(crate) secrets: SecretSet,
    pub(crate) boot: [u8; 16],
    pub(crate) kernel: Kernel,
    /// Of the device that the root is on.
    pub(crate) gate: Gate,
    /// Of bytes per second, shared by all cores.
    pub(crate) limits: Limits,
    /// The embedder's choice of sources.
    pub(crate) resolver: Option<Resolver>,
    pub(crate) cores: Vec<MailSender<Request>>,
    /// Who drives it, as `status` names it.
    pub(crate) host: &'static str,
}

/// What opening a core found.
#[derive(Debug)]
pub struct Opened {
    pub(crate) identity: Identity,
    /// Where core 0 listens.
    pub(crate) address: Option<SocketAddr>,
}

/// One core of a node at work.
pub(crate) struct CoreNode {
    pub(super) parts: CoreParts,
    pub(super) identity: Identity,
    pub(super) transport: Transport,
    pub(super) addresses: Addresses,
    pub(super) door: Rc<Door>,
    pub(super) shards: BTreeMap<ShardId, Shard>,
    pub(super) cluster: Option<ClusterSeat>,
    desk: Rc<Desk>,
    helper: Rc<Helper>,
}

/// Opens a core and works until it is told to stop.
pub(crate) async fn run(
    parts: CoreParts,
    mail: MailReceiver<Request>,
    opened: Replier<Result<Opened, OpenError>>,
) {
    run_watched(parts, Hooks::default(), mail, opened).await;
}

/// The same, with hooks.
pub(super) async fn run_watched(
    parts: CoreParts,
    hooks: Hooks,
    mut mail: MailReceiver<Request>,
    opened: Replier<Result<Opened, OpenError>>,
) {
    // A process may have several nodes, and a log those of a whole cluster.
    let (node, core) = (parts.config.node.0, parts.index);
    Core::current().tell_within(tracing::error_span!("node", node, core));
    let (node, address) = match open(parts, &hooks).await {
        Ok(open) => open,
        Err(error) => return opened.answer(Err(error)),
    };
    opened.answer(Ok(Opened { identity: node.identity, address }));
    let node = Rc::new(node);
    hooks.opened(&node);
    drop(Core::current().spawn(Priority::Urgent, Rc::clone(&node).accept_forever()));
    drop(Core::current().spawn(Priority::Urgent, cluster_calls::ask_forever(Rc::clone(&node))));
    while let Some(request) = mail.receive().await {
        if let Request::Stop(replier) = request {
            node.stop().await;
            return replier.answer(Ok(()));
        }
        answer::answer(&node, request);
    }
}

async fn open(parts: CoreParts, hooks: &Hooks) -> Result<(CoreNode, Option<SocketAddr>), OpenError> {
    let config = Arc::clone(&parts.config);
    fallback::tell(&Core::current().probe(), parts.index, congestion(&config));
    let root = Dir::open_root(&text(&config.root)?).await;
    let root = root.map_err(|errno| OpenError::root(&config.root, errno.is_disk_full(), &errno))?;
    let identity = Identity::load_or_make(&root, config.cluster, config.node, config.shards).await;
    let identity = identity.map_err(|error| OpenError::root(&config.root, error.is_disk_full(), &error))?;
    let addresses: Addresses = Rc::new(RefCell::new(config.members.clone()));
    let door = Rc::new(Door::new(config.members.keys().copied().collect()));
    let transport = transport(&parts, &identity, &door);
    let desk = Rc::<Desk>::default();
    let mut shards = BTreeMap::new();
    for id in (0..config.shards).map(ShardId).filter(|id| config.core_of(id.group()) == parts.index) {
        let shared = (&transport, &addresses, &desk);
        let shard = open_shard(&parts, &root, id, &identity, shared, hooks).await?;
        drop(
            Core::current()
                .spawn(Priority::Urgent, keep_shard(shard.clone(), Rc::clone(&door), parts.cores[0].clone())),
        );
        shards.insert(id, shard);
    }
    let own: Vec<Shard> = shards.values().cloned().collect();
    let fetches = move || own.iter().any(|shard| shard.is_fetching());
    let (cluster, helper) = (None, Rc::new(Helper::unless(fetches)));
    let mut node = CoreNode { parts, identity, transport, addresses, door, shards, cluster, desk, helper };
    let mut address = None;
    if node.parts.index == 0 {
        node.cluster = Some(ClusterSeat::open(&node, &root).await?);
        let listen = node.parts.config.listen;
        let listening = node.transport.listen(listen).await;
        let bound =
            listening.map_err(|error| OpenError::Listen { address: listen, why: error.to_string() })?;
        address = Some(bound);
        // The system has chosen the port by which the others reach this node.
        let mut addresses = node.addresses.borrow_mut();
        if let Some(own) = addresses.get_mut(&node.parts.config.node).filter(|own| own.port() == 0) {
            own.set_port(bound.port());
        }
    }
    Ok((node, address))
}

fn congestion(config: &NodeConfig) -> Option<Congestion> {
    let named = |name| Congestion::named(name).expect("the configuration was checked");
    config.transfer.congestion.map(named)
}

fn transport(parts: &CoreParts, identity: &Identity, door: &Rc<Door>) -> Transport {
    let config = &parts.config;
    let mut options = TransportOptions::new(
        Some(config.cluster),
        Some(config.node),
        identity.incarnation,
        parts.secrets.clone(),
    );
    options.core_index = parts.index;
    options.core_count = config.cores.count;
    options.socket = SocketOptions { congestion: congestion(config) };
    let door = Rc::clone(door);
    options.admit = Rc::new(move |peer| door.admit(peer));
    let cores = parts.cores.clone();
    options.carry = Some(Rc::new(move |core, hand_over| {
        match cores[usize::from(core)].try_send(Request::HandOver(hand_over)) {
            Ok(()) => Ok(()),
            Err(SendError::Full(back) | SendError::Closed(back)) => {
                let Request::HandOver(hand_over) = back else {
                    unreachable!("the mailbox gives back what it was given")
                };
                Err(hand_over)
            }
        }
    }));
    Transport::new(options)
}

async fn open_shard(
    parts: &CoreParts,
    root: &Dir,
    id: ShardId,
    identity: &Identity,
    (transport, addresses, desk): (&Transport, &Addresses, &Rc<Desk>),
    hooks: &Hooks,
) -> Result<Shard, OpenError> {
    let config = &parts.config;
    let path = config.shard_dir(id);
    let dir = folder(root, &id.group().folder()).await.map_err(OpenError::disk(&path))?;
    let raft = folder(&dir, group_place(config, id.group()).1).await.map_err(OpenError::disk(&path))?;
    let segments = config.segments_dir(id);
    let store = StoreOptions {
        private: text(beside(&segments))?,
        segments_root: text(&segments)?,
        ownership: Ownership::Ours,
        direct: config.transfer.direct,
        kernel: parts.kernel,
        boot: parts.boot,
        gate: parts.gate.clone(),
    };
    let opened = hooks.open_store(store).await;
    let (store, recovery) = opened.map_err(|error| OpenError::files(&path, error.is_disk_full(), &error))?;
    if let Some(cut) = &recovery.inventory_cut {
        tracing::warn!(shard = %id, %cut, "the inventory is damaged; what it lost is hashed again");
    }
    tracing::debug!(shard = %id, ?recovery, "the shard's files are recovered");
    let opened = Shard::open(ShardParts {
        id,
        node: config.node,
        incarnation: identity.incarnation,
        store: Rc::new(store),
        transport: transport.clone(),
        addresses: Rc::clone(addresses),
        desk: Rc::clone(desk),
        journal: dir,
        gate: parts.gate.clone(),
        spread: config.transfer.spread,
        delete_grace: config.transfer.delete_grace,
        helpers: helpers(parts),
        neighbours: neighbours(parts, id),
        resolver: parts.resolver.clone(),
        pacer: parts.limits.pacer(id, Direction::Receive),
        derive_page: hooks.derive_page(),
    });
    let shard = opened.await.map_err(|error| OpenError::files(&path, error.is_disk_full(), &error))?;
    let options = GroupOptions {
        group: id.group(),
        node: config.node,
        dir: raft,
        gate: Some(parts.gate.clone()),
        transport: transport.clone(),
        resolve: Some(resolver(addresses)),
        hook: Some(hooks.on_apply(id, shard.hook())),
        config: group_config(&config.raft),
    };
    let group = Group::open(options).await.map_err(OpenError::group(&path))?;
    let started = shard.start(group).await;
    started.map_err(|error| OpenError::files(&path, error.is_disk_full(), &error))?;
    Ok(shard)
}

/// The node's other cores, which are asked to help with large segments; none of a node of one core.
fn helpers(parts: &CoreParts) -> Option<Rc<Helpers>> {
    let (cores, own, others) = (parts.cores.clone(), parts.index, parts.config.cores.count - 1);
    let ask = move |place: u32, loan: Box<Loan>| {
        let core = (usize::from(own) + 1 + place as usize) % cores.len();
        if let Err(SendError::Full(_) | SendError::Closed(_)) = cores[core].try_send(Request::Lend(loan)) {
            tracing::debug!(core, "another core has no time to be asked for help");
        }
    };
    (others > 0).then(|| Rc::new(Helpers::new(others, ask)))
}

/// The cores on which the node's other shards are, the shard's own among them if it is not alone there.
fn neighbours(parts: &CoreParts, id: ShardId) -> Neighbours {
    let config = &parts.config;
    let others = (0..config.shards).map(ShardId).filter(|other| *other != id);
    let on: BTreeSet<u16> = others.map(|other| config.core_of(other.group())).collect();
    let cores = parts.cores.clone();
    Neighbours::new(on.into_iter().collect(), move |core, inquiry| {
        if cores[usize::from(core)].try_send(Request::Inquire(inquiry)).is_err() {
            tracing::debug!(core, "another core has no time to say what its shards hold");
        }
    })
}

/// Finds a member by what this node knows of it, before what the group's members say.
pub(super) fn resolver(addresses: &Addresses) -> Resolve {
    let addresses = Rc::clone(addresses);
    Rc::new(move |node, member| {
        let known = addresses.borrow().get(&node).copied();
        known.or_else(|| member.address.parse().ok())
    })
}

/// A group's times, from the configuration.
pub(super) fn group_config(raft: &RaftConfig) -> GroupConfig {
    GroupConfig {
        heartbeat: raft.heartbeat,
        election_min: raft.election_min,
        election_max: raft.election_max,
        snapshot_log_entries: raft.snapshot_entries,
        log_entries_kept: LOG_ENTRIES_KEPT.min(raft.snapshot_entries / 4),
        ..GroupConfig::default()
    }
}

impl CoreNode {
    async fn accept_forever(self: Rc<Self>) {
        let mut incoming = self.transport.incoming();
        while let Some(next) = incoming.receive().await {
            self.accept(next);
        }
    }

    /// Gives a peer's stream to whom it is about.
    fn accept(&self, incoming: Incoming) {
        let Incoming { peer, group, purpose, stream, .. } = incoming;
        let Some(node) = peer.node else { return };
        let core = Core::current();
        if group == GroupId::CLUSTER {
            let group = self.cluster.as_ref().map(|seat| seat.group().clone());
            match (group, purpose) {
                (Some(group), Purpose::Raft) => {
                    drop(core.spawn(Priority::Urgent, async move { group.serve(stream).await }));
                }
                (Some(group), Purpose::Manifest) => {
                    let serving = cluster_calls::serve(group, self.hand_over(), stream);
                    drop(core.spawn(Priority::Urgent, serving));
                }
                (Some(_), Purpose::Soft | Purpose::Transfer | Purpose::CatchUp) | (None, _) => {}
            }
            return;
        }
        let Some(shard) = group.shard().and_then(|id| self.shards.get(&id)).cloned() else {
            tracing::warn!(peer = %node, %group, "a peer asks for a group that is not on this core");
            return;
        };
        match purpose {
            Purpose::Raft => {
                drop(core.spawn(Priority::Urgent, async move { shard.group().serve(stream).await }));
            }
            Purpose::Manifest => drop(core.spawn(Priority::Urgent, shard.serve_proposals(stream))),
            Purpose::Soft => drop(core.spawn(Priority::Urgent, shard.hear(node, stream))),
            Purpose::Transfer => self.serve(&shard, stream, Work::Live),
            Purpose::CatchUp => self.serve(&shard, stream, Work::CatchUp),
        }
    }

    fn hand_over(&self) -> HandOver {
        let (config, cores) = (Arc::clone(&self.parts.config), self.parts.cores.clone());
        Box::new(move |group, to| {
            let core = &cores[usize::from(config.core_of(group))];
            ask(core, |replier| Request::TransferLeader { group, to, asks_leader: false, replier })
        })
    }

    fn serve(&self, shard: &Shard, stream: Stream, work: Work) {
        let pace = self.parts.limits.pacer(shard.id(), Direction::Serve).of(work);
        let (holdings, desk) = (Holdings::Store(Rc::clone(shard.store())), Rc::clone(&self.desk));
        let serving = serve(stream, holdings, None, desk, pace, Rc::clone(shard.stats()));
        drop(Core::current().spawn(Priority::Bulk, serving));
    }

    /// Takes what the cluster group has agreed on: where nodes are, and who founds which shard's group.
    pub(super) fn place(&self, placement: &Arc<Placement>) {
        {
            let mut addresses = self.addresses.borrow_mut();
            addresses.retain(|node, _| placement.admits_some(*node));
            addresses.extend(placement.nodes.iter().map(|(node, placed)| (*node, placed.address)));
        }
        self.door.place(Arc::clone(placement));
        let is_known = |node, life| self.door.knows(node, life).is_ok();
        self.transport
            .cut_unless(|info| info.peer.node.is_none_or(|node| is_known(node, info.peer.incarnation)));
        if placement.founder != Some((self.parts.config.node, self.identity.incarnation)) {
            return;
        }
        for shard in self.shards.values() {
            let shard = shard.clone();
            let members = placement.nodes.iter().map(|(node, placed)| (*node, placed.member()));
            let members: BTreeMap<NodeId, Member> = members.collect();
            let founding = async move {
                if let Err(error) = shard.group().bootstrap(members).await {
                    tracing::debug!(%error, shard = %shard.id(), "the shard's group was founded before");
                }
            };
            drop(Core::current().spawn(Priority::Urgent, founding));
        }
    }

    /// Brings a part of another core's segment, unless this one fetches something itself.
    pub(super) fn help(&self, loan: Loan) {
        let help = Rc::clone(&self.helper).help(loan, self.transport.clone());
        drop(Core::current().spawn(Priority::Bulk, help));
    }

    /// Says what the shards here hold to another shard of the node.
    pub(super) fn tell(&self, inquiry: Inquiry) {
        let asks = inquiry.group;
        let others = self.shards.values().filter(|shard| shard.id().group() != asks);
        inquiry.answer(others.map(|shard| &**shard.store()));
    }

    async fn stop(&self) {
        // Nothing is lost without: a queue is durable. Where nobody leads there is nothing to wait for.
        let until = Core::current().now().plus(REGISTRAR_STOP_TIMEOUT);
        for shard in self.shards.values() {
            if shard.group().watermarks().leader.is_some() {
                let _left_for_the_next_start = shard.drain(until).await;
            }
        }
        for shard in self.shards.values() {
            shard.stop().await;
        }
        self.helper.stop().await;
        self.transport.shut_down();
        let Some(cluster) = &self.cluster else { return };
        if let Err(error) = cluster.group().shut_down().await {
            tracing::error!(%error, "the cluster group's log had stopped before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CONGESTION_CONTROLS;

    #[test]
    fn every_congestion_control_that_a_configuration_may_name_is_one() {
        assert_eq!(CONGESTION_CONTROLS, Congestion::ALL.map(Congestion::name));
    }

    /// A node had other times than the group whose failover was tested: a new leader took more than a second.
    #[test]
    fn r4_a_node_that_is_not_told_otherwise_has_the_times_of_the_failover_test() {
        assert_eq!(group_config(&RaftConfig::default()), GroupConfig::default());
    }
}
