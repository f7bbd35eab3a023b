//! What a transport is told: who we are, whom we admit, how long we wait and how much we take.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use crate::auth::{KeyId, SecretSet, Side};
use crate::ids::{ClusterId, GroupId, Incarnation, Nanos, NodeId};
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PEER_MAX, CONNECTIONS_UNPROVEN_MAX, DIAL_TIMEOUT, HANDSHAKE_TIMEOUT,
    IDLE_TIMEOUT, PING_AFTER, STREAMS_MAX, UNUSED_TIMEOUT,
};
use crate::stats::Sent;
use crate::uring::SocketOptions;
use crate::wire::{Class, Role};

use super::error::RefusedCode;
use super::hand_over::HandOver;
use super::send_path::SendPath;

/// Whether a proven peer may connect. It holds the secret; whether it is a member, and in the right life, is
/// decided here.
pub type Admit = Rc<dyn Fn(&PeerIdentity) -> Result<(), RefusedCode>>;
/// Carries a connection to the core of that index, which calls `Transport::adopt`; gives it back if it
/// cannot.
pub type Carry = Rc<dyn Fn(u16, Box<HandOver>) -> Result<(), Box<HandOver>>>;

/// All that a transport needs to know.
#[derive(Clone)]
pub struct TransportOptions {
    /// Our cluster; none before it was bootstrapped or joined.
    pub cluster: Option<ClusterId>,
    /// Our id; none for a puller, which is no member.
    pub node: Option<NodeId>,
    /// The life of our data root; a puller draws one.
    pub incarnation: Incarnation,
    /// The secrets that we hold.
    pub secrets: SecretSet,
    /// How long we wait.
    pub timeouts: Timeouts,
    /// How much we take.
    pub caps: Caps,
    /// Options of every connection.
    pub socket: SocketOptions,
    /// Which of the node's cores this is.
    pub core_index: u16,
    /// How many cores the node has: group `g` lives on core `g % core_count`.
    pub core_count: u16,
    /// Whom we admit.
    pub admit: Admit,
    /// The way to the node's other cores; without it a connection for one of them is refused.
    pub carry: Option<Carry>,
}

impl TransportOptions {
    /// The options of a node with one core and default limits, which admits every holder of the secret.
    #[must_use]
    pub fn new(
        cluster: Option<ClusterId>,
        node: Option<NodeId>,
        incarnation: Incarnation,
        secrets: SecretSet,
    ) -> Self {
        Self {
            cluster,
            node,
            incarnation,
            secrets,
            timeouts: Timeouts::default(),
            caps: Caps::default(),
            socket: SocketOptions::default(),
            core_index: 0,
            core_count: 1,
            admit: Rc::new(|_| Ok(())),
            carry: None,
        }
    }

    pub(super) fn role(&self) -> Role {
        if self.node.is_some() { Role::Node } else { Role::Puller }
    }

    pub(super) fn side(&self) -> Side {
        let node = self.node.unwrap_or(NO_NODE);
        Side { cluster: self.cluster, node, incarnation: self.incarnation }
    }

    pub(super) fn core_of(&self, group: GroupId) -> u16 {
        core_of(group, self.core_count)
    }
}

impl fmt::Debug for TransportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, core_index, core_count, .. } = self;
        write!(f, "TransportOptions({node:?} of {cluster:?}, core {core_index} of {core_count})")
    }
}

/// The node id of a peer that has none; ids count from 1.
pub(super) const NO_NODE: NodeId = NodeId(0);

/// The core of a group on a node with `core_count` cores.
pub(super) fn core_of(group: GroupId, core_count: u16) -> u16 {
    u16::try_from(group.0 % u32::from(core_count.max(1))).expect("a remainder is below its 16-bit divisor")
}

/// How long we wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// To connect.
    pub dial: Nanos,
    /// From connected, or accepted, to proven: all of the handshake.
    pub handshake: Nanos,
    /// Silence after which a peer is asked for a sign of life.
    pub ping: Nanos,
    /// Silence after which a connection is cut.
    pub idle: Nanos,
    /// A connection that we dialled is closed when no stream has been open on it for so long.
    pub unused: Nanos,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: DIAL_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            ping: PING_AFTER,
            idle: IDLE_TIMEOUT,
            unused: UNUSED_TIMEOUT,
        }
    }
}

/// How much we take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Connections in all.
    pub connections: usize,
    /// Accepted connections that have not proven themselves; beyond it the oldest of the address with the most gives
    /// way.
    pub unproven: usize,
    /// Accepted connections of one proven peer.
    pub peer: usize,
    /// Streams of one connection.
    pub streams: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            unproven: CONNECTIONS_UNPROVEN_MAX,
            peer: CONNECTIONS_PEER_MAX,
            streams: STREAMS_MAX,
        }
    }
}

/// Whom to reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Peer {
    /// The node that must answer; none where only the address is known.
    pub node: Option<NodeId>,
    /// Where.
    pub address: SocketAddr,
}

/// Who a peer is: all of it is covered by its proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerIdentity {
    /// Its cluster; none for a node that has not joined yet.
    pub cluster: Option<ClusterId>,
    /// Its id; none for a puller.
    pub node: Option<NodeId>,
    /// The life of its data root.
    pub incarnation: Incarnation,
    /// Whether it is a node or a puller.
    pub role: Role,
    /// We dialled it; else it dialled us.
    pub dialled: bool,
}

/// Who is counted as one where peers have bounds: a node by its id; those that are none by where they come from, as
/// each of them draws its incarnation itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Who {
    /// A node.
    Node(NodeId),
    /// All that come from there and are no nodes.
    From(IpAddr),
}

impl PeerIdentity {
    /// As whom the peer counts that comes from `address`.
    #[must_use]
    pub fn who(&self, address: SocketAddr) -> Who {
        self.node.map_or(Who::From(address.ip().to_canonical()), Who::Node)
    }
}

/// One connection, for status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// Who is at the other end.
    pub peer: PeerIdentity,
    /// Its address.
    pub address: SocketAddr,
    /// What the connection is for.
    pub class: Class,
    /// The protocol version in use.
    pub version: u16,
    /// The secret that it stands on.
    pub key: KeyId,
    /// Streams open now.
    pub streams: usize,
    /// How payload in buffers leaves.
    pub send_path: SendPath,
    /// What has left, by which way.
    pub sent: Sent,
    /// The congestion control in force, where the ring can tell.
    pub congestion: Option<String>,
    /// Last measured time from a ping to its answer.
    pub round_trip: Option<Nanos>,
}
