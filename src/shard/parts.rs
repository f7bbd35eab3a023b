//! What a shard is made of, and how it stands: plain values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::config::Spread;
use crate::ids::{Incarnation, LogIndex, Nanos, NodeId, ShardId};
use crate::journal::{QueueFileError, SessionFileError};
use crate::segment::{DiskError, Store};
use crate::transfer::{Desk, Helpers, Neighbours, Pacer, Resolver, Unavailable};
use crate::transport::Transport;
use crate::uring::{Dir, Errno, Gate};

/// Where nodes are reached; shared by all shards of a core, kept up to date by the cluster group.
pub type Addresses = Rc<RefCell<BTreeMap<NodeId, SocketAddr>>>;

/// What a shard is made of.
pub struct ShardParts {
    /// Its number.
    pub id: ShardId,
    /// This node.
    pub node: NodeId,
    /// This node's life.
    pub incarnation: Incarnation,
    /// Its files on this disk, recovered.
    pub store: Rc<Store>,
    /// The core's connections.
    pub transport: Transport,
    /// Where nodes are reached.
    pub addresses: Addresses,
    /// Where the core's fetches by other nodes are counted.
    pub desk: Rc<Desk>,
    /// The folder of the node's own records of this shard.
    pub journal: Dir,
    /// Of the device that they are on.
    pub gate: Gate,
    /// Whether large segments are fetched from several nodes at once.
    pub spread: Spread,
    /// How long a deleted segment's file stays.
    pub delete_grace: Nanos,
    /// The node's other cores, if they are to help with large segments.
    pub helpers: Option<Rc<Helpers>>,
    /// The node's other shards.
    pub neighbours: Neighbours,
    /// The embedder's choice of sources.
    pub resolver: Option<Resolver>,
    /// The limits of what it receives.
    pub pacer: Pacer,
    /// Entries of the manifest that are compared with the inventory in one turn.
    pub derive_page: usize,
}

/// A shard could not begin to work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// Its segments' disk refuses something.
    Segments(DiskError),
    /// The record of the node's session cannot be read.
    Session(SessionFileError),
    /// The queue of the node's registrar cannot be read.
    Queue(QueueFileError),
    /// The disk refuses the files of the events.
    Events {
        /// Why.
        errno: Errno,
    },
}

/// What a node must have to be ready, and lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overdue {
    /// What was committed up to here is due.
    pub due: LogIndex,
    /// Segments of it that do not stand here.
    pub missing: u64,
}

/// How a shard's fetches stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transfers {
    /// Segments of the manifest that do not stand here.
    pub missing: u64,
    /// Segments that stand here and are damaged.
    pub damaged: u64,
    /// Of the missing ones, those that a walk through the manifest has found, and of them those that no source could
    /// serve yet.
    pub catching_up: (u64, u64),
    /// Bytes of the missing ones.
    pub missing_bytes: u64,
    /// Since when the one is missing that has been for longest.
    pub missing_since: Option<Nanos>,
    /// Fetches under way.
    pub in_flight: u64,
    /// Of them, those that are not live.
    pub in_flight_behind: u64,
    /// Planned, and waiting for their turn or for a source.
    pub queued: u64,
    /// Segments that no source could serve yet.
    pub unavailable_count: u64,
    /// Since when the first of them.
    pub unavailable_since: Option<Nanos>,
    /// Some of them.
    pub unavailable: Vec<Unavailable>,
    /// Everything waits for room on the disk.
    pub paused: bool,
}

impl StartError {
    /// The disk has no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Segments(error) => error.is_disk_full(),
            Self::Session(SessionFileError::Disk { errno }) => errno.is_disk_full(),
            Self::Queue(QueueFileError::Disk { errno }) | Self::Events { errno } => errno.is_disk_full(),
            Self::Session(_) | Self::Queue(_) => false,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segments(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
            Self::Queue(error) => error.fmt(f),
            Self::Events { errno } => write!(f, "the files of events: {errno}"),
        }
    }
}

impl std::error::Error for StartError {}
