//! What a shard is made of, and how it stands: plain values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::config::Spread;
use crate::ids::{Incarnation, NodeId, ShardId};
use crate::journal::SessionFileError;
use crate::segment::{DiskError, Store};
use crate::transfer::{Desk, Helpers, Unavailable};
use crate::transport::Transport;
use crate::uring::Dir;

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
    /// Whether large segments are fetched from several nodes at once.
    pub spread: Spread,
    /// The node's other cores, if they are to help with large segments.
    pub helpers: Option<Rc<Helpers>>,
}

/// A shard could not begin to work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// Its segments' disk refuses something.
    Segments(DiskError),
    /// The record of the node's session cannot be read.
    Session(SessionFileError),
}

/// How a shard's fetches stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transfers {
    /// Segments of the manifest that do not stand here.
    pub missing: u64,
    /// Segments that stand here and are damaged.
    pub damaged: u64,
    /// Fetches under way.
    pub in_flight: u64,
    /// Some of the segments that no source could serve yet.
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
            Self::Session(_) => false,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segments(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
