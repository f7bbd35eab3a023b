//! One simulated host: its disk, its process and the process's descriptors, its clocks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringway::ids::{Nanos, NodeId};
use ringway::uring::Errno;

use super::disk::Disk;
use super::disk::names::Inode;
use super::faults::Rule;
use super::options::DiskOptions;
use super::rng::Rng;

/// Seconds of the Unix epoch at which every run begins: 2026-01-01.
pub const WALL_START_SECONDS: u64 = 1_767_225_600;

/// What a descriptor stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// An open file, FIFO or directory.
    Inode {
        /// Its inode.
        inode: Inode,
        /// Opened for writing.
        write: bool,
        /// Opened with O_DIRECT.
        direct: bool,
    },
    /// A listening socket.
    Listener(u64),
    /// One side of a connection: 0 dialled, 1 accepted.
    Socket(u64, usize),
}

/// An open descriptor.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The core that owns it; none while it is on its way between two.
    pub core: Option<u16>,
    /// What it stands for.
    pub target: Target,
    /// The path under which it was opened, for fault plans.
    pub path: String,
}

/// Whether a host runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The process runs.
    Up,
    /// The system runs, the process was killed.
    Killed,
    /// No power.
    Off,
}

/// A host.
#[derive(Debug)]
pub struct Node {
    /// Who.
    pub id: NodeId,
    /// Whether it runs.
    pub state: State,
    /// A fault plan has struck: nothing that the process still asks for happens.
    pub doomed: bool,
    /// Which process this is.
    pub life: u32,
    /// How often the power went.
    pub power_cuts: u32,
    /// Its disk.
    pub disk: Disk,
    /// Open descriptors of the process.
    pub descriptors: BTreeMap<i32, Descriptor>,
    /// Descriptors that outlive their process for a while.
    pub ghosts: Vec<(u32, i32, Descriptor)>,
    /// Its monotonic clock, against the world's time.
    pub clock: u64,
    /// Its wall clock, against the true one, in nanoseconds.
    pub wall: i64,
    /// Its cores do not run before this (SIGSTOP).
    pub stopped_until: Nanos,
    /// Its disk completes nothing.
    pub frozen: bool,
    /// Its disk is this many times slower.
    pub slowness: u64,
    /// Operations that wait for the disk to thaw.
    pub stuck: Vec<u64>,
    /// What breaks.
    pub rules: Vec<Rule>,
    /// Disk operations that it has asked for, and how many of them were durable steps.
    pub asked: (u64, u64),
    /// Next port of an outgoing connection.
    pub next_port: u16,
}

impl Node {
    /// A host with an empty disk.
    #[must_use]
    pub fn new(id: NodeId, options: &DiskOptions, rng: &mut Rng) -> Self {
        Self {
            id,
            state: State::Up,
            doomed: false,
            life: 1,
            power_cuts: 0,
            disk: Disk::new(options),
            descriptors: BTreeMap::new(),
            ghosts: Vec::new(),
            clock: rng.below(1 << 50),
            wall: 0,
            stopped_until: Nanos(0),
            frozen: false,
            slowness: 1,
            stuck: Vec::new(),
            rules: Vec::new(),
            asked: (0, 0),
            next_port: 32_768,
        }
    }

    /// The host's address: 10.0.x.y of its id.
    #[must_use]
    pub fn address(id: NodeId) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, (id.0 >> 8) as u8, id.0 as u8))
    }

    /// The host that an address names. All of 10.*.x.y are the same host on different networks.
    #[must_use]
    pub fn of_address(address: SocketAddr, asking: NodeId) -> Option<NodeId> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        match ip.octets() {
            [127, ..] => Some(asking),
            [10, _, high, low] => Some(NodeId(u64::from(high) << 8 | u64::from(low))),
            _ => None,
        }
    }

    /// A new descriptor: the lowest number that is free, so that numbers are used again at once.
    pub fn open(&mut self, core: u16, target: Target, path: String) -> i32 {
        let mut raw = 3;
        while self.descriptors.contains_key(&raw) {
            raw += 1;
        }
        if let Target::Inode { inode, .. } = target {
            self.disk.opened(inode);
        }
        self.descriptors.insert(raw, Descriptor { core: Some(core), target, path });
        raw
    }

    /// What a descriptor stands for.
    ///
    /// # Errors
    /// `BAD_DESCRIPTOR`.
    pub fn target(&self, raw: i32) -> Result<Target, Errno> {
        self.descriptors.get(&raw).map(|descriptor| descriptor.target).ok_or(Errno::BAD_DESCRIPTOR)
    }

    /// The inode behind a descriptor.
    ///
    /// # Errors
    /// `BAD_DESCRIPTOR`, `INVALID` for a socket.
    pub fn inode(&self, raw: i32) -> Result<Inode, Errno> {
        match self.target(raw)? {
            Target::Inode { inode, .. } => Ok(inode),
            Target::Listener(_) | Target::Socket(..) => Err(Errno::INVALID),
        }
    }
}
