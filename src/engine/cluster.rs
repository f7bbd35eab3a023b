//! The node's seat in the cluster group: group 0, on core 0. What the group agrees on goes to every core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::{Bootstrap, ClusterState, Command, NodeRecord, Outcome, Replicas, Role, Roll};
use crate::config::NodeConfig;
use crate::ids::{GroupId, Incarnation, Nanos, NodeId};
use crate::limits::{BOOTSTRAP_TIMEOUT, PROPOSE_TIMEOUT};
use crate::raft::{Group, GroupOptions, GroupRole, Member, MemberState};
use crate::transport::{Peer, RefusedCode};
use crate::uring::{Core, Dir, MailSender, Notify, Priority, SendError, deadline, sleep};
use crate::wire::{Class, Purpose};

use super::error::{BootstrapError, OpenError};
use super::layout::{folder, group_place};
use super::node::{CoreNode, group_config, resolver};
use super::placement::Placement;
use super::request::Request;
use super::seats::keep_cluster;

/// Rest between attempts to reach a member or a leader.
const RETRY: Nanos = Nanos::from_millis(50);

/// The node's seat in the cluster group.
pub(crate) struct ClusterSeat {
    group: Group<ClusterState>,
    /// Why the group does not take what the cluster is to be.
    refusal: Rc<RefCell<Option<String>>>,
    /// Another node's roll, from when this one was behind.
    heard: Heard,
    changed: Rc<Notify>,
}

type Heard = Rc<RefCell<Option<Roll>>>;

impl ClusterSeat {
    /// Recovers the group's files and begins to take part.
    pub(super) async fn open(node: &CoreNode, root: &Dir) -> Result<Self, OpenError> {
        let config = &node.parts.config;
        let (above, name) = group_place(config, GroupId::CLUSTER);
        let path = above.join(name);
        let dir = folder(root, name).await.map_err(OpenError::disk(&path))?;
        let cores = node.parts.cores.clone();
        let changed: Rc<Notify> = Rc::default();
        let hooked = Rc::clone(&changed);
        let options = GroupOptions {
            group: GroupId::CLUSTER,
            node: config.node,
            dir,
            gate: Some(node.parts.gate.clone()),
            transport: node.transport.clone(),
            resolve: Some(resolver(&node.addresses)),
            hook: Some(Rc::new(move |_| hooked.notify())),
            config: group_config(&config.raft),
        };
        let group = Group::open(options).await.map_err(OpenError::group(&path))?;
        let core = Core::current();
        let (refusal, heard): (_, Heard) = Default::default();
        let told = (Rc::clone(&heard), Rc::clone(&changed));
        let found = found_forever(group.clone(), Arc::clone(config), Rc::clone(&refusal));
        drop(core.spawn(Priority::Urgent, tell_forever(group.clone(), cores, told)));
        drop(core.spawn(Priority::Urgent, keep_cluster(group.clone(), Rc::clone(&node.door))));
        drop(core.spawn(Priority::Urgent, found));
        Ok(Self { group, refusal, heard, changed })
    }

    /// Takes another node's roll, which counts while it is newer than what this node has applied.
    pub(super) fn heard(&self, roll: Roll) {
        let known = self.heard.borrow().as_ref().map(|known| known.changed);
        if known.is_none_or(|known| known < roll.changed) {
            self.heard.replace(Some(roll));
            self.changed.notify();
        }
    }

    /// The group.
    pub(super) fn group(&self) -> &Group<ClusterState> {
        &self.group
    }
}

/// Tells every core what the group has agreed on, now and after every change of it.
async fn tell_forever(
    group: Group<ClusterState>,
    cores: Vec<MailSender<Request>>,
    (heard, changed): (Heard, Rc<Notify>),
) {
    let mut last: Option<Arc<Placement>> = None;
    loop {
        let notified = changed.notified();
        let members = group.agreed_members();
        let now = Placement::of(&group.machine().borrow(), &members, heard.borrow().as_ref());
        if let Some(now) = now.filter(|now| last.as_deref() != Some(now)) {
            let now = Arc::new(now);
            if !broadcast(&cores, &now) {
                sleep(RETRY).await;
                continue;
            }
            last = Some(now);
        }
        notified.await;
    }
}

/// False if a core has no room for it now; the others hear it twice then.
fn broadcast(cores: &[MailSender<Request>], placement: &Arc<Placement>) -> bool {
    let told = |core: &MailSender<Request>| {
        let full = core.try_send(Request::Placement(Arc::clone(placement)));
        !matches!(full, Err(SendError::Full(_)))
    };
    cores.iter().filter(|core| !told(core)).count() == 0
}

/// Founds the cluster with the configured members: asks each for its life, founds group 0, and waits until its leader
/// has committed what it is.
pub(super) async fn bootstrap(node: Rc<CoreNode>) -> Result<(), BootstrapError> {
    let Some(seat) = &node.cluster else {
        return Err(BootstrapError::Refused { why: "this core has no seat in the cluster group".to_owned() });
    };
    let until = Core::current().now().plus(BOOTSTRAP_TIMEOUT);
    if seat.group.machine().borrow().cluster().is_some() {
        return Err(BootstrapError::AlreadyFounded);
    }
    let config = &node.parts.config;
    let mut lives: BTreeMap<NodeId, Incarnation> = BTreeMap::from([(config.node, node.identity.incarnation)]);
    for (member, address) in config.members.iter().filter(|(member, _)| **member != config.node) {
        let life = life_of(&node, *member, *address, until).await;
        lives.insert(*member, life.map_err(|why| not_reached(*member, why))?);
    }
    let refused = |why: &dyn std::fmt::Display| BootstrapError::Refused { why: why.to_string() };
    let addresses = node.addresses.borrow().clone();
    let members = lives.iter().map(|(member, incarnation)| {
        let address = addresses[member].to_string();
        (*member, Member { address, incarnation: *incarnation })
    });
    match seat.group.bootstrap(members.collect()).await {
        // A start that was killed in between has left the group without its first entry, or it is not applied yet.
        Ok(()) | Err(crate::raft::BootstrapError::Done) => {}
        Err(error) => return Err(refused(&error)),
    }
    // Whoever comes to lead the group commits what the cluster is.
    loop {
        let changed = seat.group.changed().notified();
        if seat.group.machine().borrow().cluster().is_some() {
            return Ok(());
        }
        if let Some(why) = seat.refusal.borrow_mut().take() {
            return Err(refused(&why));
        }
        if deadline(until, changed).await.is_err() {
            return Err(refused(&"no leader has committed what the cluster is; ask again"));
        }
    }
}

/// Commits what the cluster is, as soon as this node leads a group that has members and nothing else: a founding goes
/// on to its end also where the node that began it was killed, or lost the group to another leader.
async fn found_forever(
    group: Group<ClusterState>,
    config: Arc<NodeConfig>,
    refusal: Rc<RefCell<Option<String>>>,
) {
    loop {
        let changed = group.changed().notified();
        let is_founded = group.machine().borrow().cluster().is_some();
        if is_founded {
            return;
        }
        let members = group.members();
        if group.watermarks().role != GroupRole::Leader || members.is_empty() {
            changed.await;
            continue;
        }
        let proposed = group.propose(founding(&config, &members).encode(), PROPOSE_TIMEOUT).await;
        if let Ok((_, outcome)) = proposed
            && let Ok(Outcome::Refused(why)) = Outcome::decode(&outcome)
            && group.machine().borrow().cluster().is_none()
        {
            tracing::error!(%why, "the cluster is not founded");
            refusal.replace(Some(why.to_string()));
            group.changed().notify();
        }
        sleep(RETRY).await;
    }
}

/// What the cluster is: the members of its group in the lives that were admitted, and what is configured.
fn founding(config: &NodeConfig, members: &[MemberState]) -> Command {
    let nodes = members.iter().map(|state| NodeRecord {
        id: state.node,
        name: format!("node-{}", state.node),
        address: state.member.address.clone(),
        admin_address: None,
        incarnation: state.member.incarnation,
        role: Role::Voter,
    });
    Command::Bootstrap(Bootstrap {
        cluster: config.cluster,
        nodes: nodes.collect(),
        shard_count: config.shards,
        replicas: Replicas::All,
    })
}

/// Why a node's life is not known.
pub(super) enum NoLife {
    /// It is known here in another one.
    Other,
    /// It did not answer, or does not let this node in.
    Unreachable(String),
}

fn not_reached(node: NodeId, why: NoLife) -> BootstrapError {
    match why {
        // It knows this node in another life: there is a cluster, and this node is to come back to it.
        NoLife::Other => BootstrapError::AlreadyFounded,
        NoLife::Unreachable(why) => BootstrapError::Unreachable { node, why },
    }
}

/// The life of a node's data root, as its handshake proves it.
pub(super) async fn life_of(
    node: &CoreNode,
    member: NodeId,
    address: SocketAddr,
    until: Nanos,
) -> Result<Incarnation, NoLife> {
    let peer = Peer { node: Some(member), address };
    loop {
        let dial = node.transport.open_stream(peer, GroupId::CLUSTER, Class::Control, Purpose::Soft);
        let why = match deadline(until, dial).await {
            Ok(Ok(stream)) => return Ok(stream.peer().incarnation),
            Ok(Err(error)) if error.refusal() == Some(RefusedCode::Incarnation) => return Err(NoLife::Other),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if Core::current().now() >= until {
            return Err(NoLife::Unreachable(why));
        }
        sleep(RETRY).await;
    }
}
