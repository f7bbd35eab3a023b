//! A node's configuration, parsed and checked: inside, the type is the proof. No file is read here.

mod rates;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::ids::{ClusterId, GroupId, Nanos, NodeId, ShardId};
use crate::limits::{
    CORES_MAX, ELECTION_MAX_DEFAULT, ELECTION_MIN_DEFAULT, HEARTBEAT_DEFAULT, NODES_MAX, SHARDS_MAX,
    SLAB_BUFFERS_DEFAULT, SLAB_BUFFERS_MIN, SNAPSHOT_LOG_ENTRIES,
};

pub use rates::{Direction, Rates, Work, WorkShares};

/// What an embedder or a configuration file says of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// The cluster, the same on every node.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Directory of the node's own files; made if absent.
    pub root: PathBuf,
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// The cluster's first members with the addresses under which the others reach them, this node among them.
    pub members: BTreeMap<NodeId, SocketAddr>,
    /// Shards of the cluster; fixed when the root is made.
    pub shards: u32,
    /// Where a shard's segments stand, if not in the root: no two in the same folder, as Ringway's own stands beside.
    pub segments: BTreeMap<ShardId, PathBuf>,
    /// How cores are driven and what they may use.
    pub cores: CoreConfig,
    /// Times and thresholds of consensus.
    pub raft: RaftConfig,
    /// How bytes are moved.
    pub transfer: TransferConfig,
    /// How segments are digested.
    pub digest: DigestConfig,
}

/// How cores are driven and what they may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreConfig {
    /// Threads; a group lives on core `group % count`.
    pub count: u16,
    /// Pin core `n` to the n-th processor that the process may use.
    pub pin: bool,
    /// Registered buffers of each core, one chunk each.
    pub slab_buffers: u16,
}

/// Times and thresholds of consensus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RaftConfig {
    /// Time between two signs of life of a leader.
    pub heartbeat: Nanos,
    /// Shortest time behind the end of a leader's lease after which a follower stands for election.
    pub election_min: Nanos,
    /// The longest; and a leader's lease.
    pub election_max: Nanos,
    /// Entries after the last snapshot at which the next is made.
    pub snapshot_entries: u64,
}

/// How bytes are moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferConfig {
    /// O_DIRECT where the file system takes it.
    pub direct: bool,
    /// Congestion control of connections, one of `CONGESTION_CONTROLS`; the system's default without it. Where the
    /// system does not have or not allow it, connections have its default, the log warns, and status tells.
    pub congestion: Option<&'static str>,
    /// Whether a large segment is fetched from several nodes at once, so that it leaves its origin about once.
    pub spread: Spread,
    /// How long the file of a segment that is deleted stays on a node that has applied that, for readers that open it
    /// by its name: half a second unless told, an hour at most. A reader that needs it longer pins it.
    pub delete_grace: Nanos,
    /// How many bytes a second may be moved.
    pub rates: Rates,
}

/// Whether large segments are fetched from several nodes at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Spread {
    /// From nodes on other machines. Those of one machine share the page cache in which the origin has it; staged
    /// files would have to be read.
    #[default]
    Auto,
    /// From nodes of the same machine, too.
    Always,
    /// From one node at a time.
    Never,
}

/// How segments are digested.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DigestConfig {
    /// One of `DIGEST_KERNELS`, instead of the one that is the fastest here. All give the same digests; a node on a
    /// machine that lacks it does not open.
    pub kernel: Option<&'static str>,
}

/// Names of the congestion controls that can be asked for.
pub const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "bbr"];

/// Names of the digest kernels.
pub const DIGEST_KERNELS: [&str; 5] = ["ring", "sha-ni", "avx2", "avx512", "arm-sha2"];

/// A configuration that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The cluster has no id: draw one at random, once, for all of its nodes.
    ClusterZero,
    /// Node ids count from 1.
    NodeZero,
    /// The node is not among the members.
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// Two members at one address.
    AddressTwice {
        /// The address.
        address: SocketAddr,
    },
    /// A number outside its bounds.
    OutOfBounds {
        /// Its name in the file.
        name: &'static str,
        /// What was given.
        given: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// The election's times must be at least twice the heartbeat, and in order.
    ElectionTimes,
    /// A congestion control that is none of `CONGESTION_CONTROLS`.
    UnknownCongestion {
        /// What was given.
        given: &'static str,
    },
    /// The shares of the kinds of work are more than all there is.
    SharesTooLarge {
        /// Their sum, in per cent.
        sum: u64,
    },
    /// A path that is not absolute.
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Segments configured for a shard that is not there.
    NoSuchShard {
        /// The shard.
        shard: ShardId,
    },
    /// The segments' folders of two shards stand in one folder: the private folders beside them would be the same.
    SharedFolder {
        /// The one.
        shard: ShardId,
        /// The other.
        other: ShardId,
        /// The folder that both stand in.
        folder: PathBuf,
    },
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self { count: 1, pin: false, slab_buffers: SLAB_BUFFERS_DEFAULT }
    }
}

impl Default for RaftConfig {
    /// Far above the tail of a flush, and a new leader stands in under a second (`limits::ELECTION_MIN_DEFAULT`).
    fn default() -> Self {
        Self {
            heartbeat: HEARTBEAT_DEFAULT,
            election_min: ELECTION_MIN_DEFAULT,
            election_max: ELECTION_MAX_DEFAULT,
            snapshot_entries: SNAPSHOT_LOG_ENTRIES,
        }
    }
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self {
            direct: true,
            congestion: Some("cubic"),
            spread: Spread::Auto,
            delete_grace: Nanos::from_millis(500),
            rates: Rates::default(),
        }
    }
}

impl NodeConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.cluster == ClusterId::default() {
            return Err(ConfigError::ClusterZero);
        }
        if self.node == NodeId(0) || self.members.contains_key(&NodeId(0)) {
            return Err(ConfigError::NodeZero);
        }
        if !self.members.contains_key(&self.node) {
            return Err(ConfigError::NotAMember { node: self.node });
        }
        let mut seen = Vec::new();
        for address in self.members.values() {
            if seen.contains(&address) {
                return Err(ConfigError::AddressTwice { address: *address });
            }
            seen.push(address);
        }
        bounded("members", self.members.len() as u64, 1, NODES_MAX as u64)?;
        bounded("shards", u64::from(self.shards), 1, SHARDS_MAX as u64)?;
        bounded("cores", u64::from(self.cores.count), 1, CORES_MAX as u64)?;
        bounded("slab_buffers", u64::from(self.cores.slab_buffers), u64::from(SLAB_BUFFERS_MIN), 4096)?;
        bounded("snapshot_entries", self.raft.snapshot_entries, 16, 1 << 32)?;
        let raft = self.raft;
        if raft.election_min.0 < raft.heartbeat.0 * 2
            || raft.election_max <= raft.election_min
            || raft.heartbeat.0 == 0
        {
            return Err(ConfigError::ElectionTimes);
        }
        bounded("delete_grace_millis", self.transfer.delete_grace.0 / 1_000_000, 0, 3_600_000)?;
        if let Some(given) = self.transfer.congestion.filter(|name| !CONGESTION_CONTROLS.contains(name)) {
            return Err(ConfigError::UnknownCongestion { given });
        }
        self.transfer.rates.check()?;
        for path in std::iter::once(&self.root).chain(self.segments.values()) {
            if !path.is_absolute() {
                return Err(ConfigError::NotAbsolute { path: path.clone() });
            }
        }
        if let Some(shard) = self.segments.keys().find(|shard| shard.0 >= self.shards) {
            return Err(ConfigError::NoSuchShard { shard: *shard });
        }
        let mut folders = BTreeMap::new();
        for shard in (0..self.shards).map(ShardId) {
            let folder = self.segments_dir(shard).parent().map(Path::to_owned).unwrap_or_default();
            if let Some(other) = folders.insert(folder.clone(), shard) {
                return Err(ConfigError::SharedFolder { shard, other, folder });
            }
        }
        Ok(())
    }

    /// Directory of a shard's own files.
    #[must_use]
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.root.join(shard.group().folder())
    }

    /// Directory in which a shard's segments stand.
    #[must_use]
    pub fn segments_dir(&self, shard: ShardId) -> PathBuf {
        self.segments.get(&shard).cloned().unwrap_or_else(|| self.shard_dir(shard).join("segments"))
    }

    /// The core on which a group lives: the cluster group on core 0, shards in turn from there.
    #[must_use]
    pub fn core_of(&self, group: GroupId) -> u16 {
        let core = group.0 % u32::from(self.cores.count);
        u16::try_from(core).expect("below the number of cores")
    }
}

fn bounded(name: &'static str, given: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(ConfigError::OutOfBounds { name, given, least, most })
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterZero => f.write_str("the cluster's id is zero; draw one at random, once"),
            Self::NodeZero => f.write_str("node ids count from 1; 0 is none"),
            Self::NotAMember { node } => write!(f, "node {node} is not among the members"),
            Self::AddressTwice { address } => write!(f, "two members have the address {address}"),
            Self::OutOfBounds { name, given, least, most } => {
                write!(f, "{name} is {given}; it must be from {least} to {most}")
            }
            Self::ElectionTimes => {
                f.write_str("raft: election_min must be at least twice the heartbeat, and below election_max")
            }
            Self::UnknownCongestion { given } => {
                write!(
                    f,
                    "{given} is no congestion control that can be asked for; {CONGESTION_CONTROLS:?} are"
                )
            }
            Self::SharesTooLarge { sum } => {
                write!(
                    f,
                    "live_share, catch_up_share and scrub_share are {sum} per cent together; 100 is all"
                )
            }
            Self::NotAbsolute { path } => write!(f, "{} is not an absolute path", path.display()),
            Self::NoSuchShard { shard } => {
                write!(f, "segments are configured for shard {shard}, which is not there")
            }
            Self::SharedFolder { shard, other, folder } => write!(
                f,
                "the segments of shards {other} and {shard} both stand in {}; each needs a folder of its own around it",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig {
            cluster: ClusterId([1; 16]),
            node: NodeId(1),
            root: PathBuf::from("/data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7001)),
            members: BTreeMap::from([
                (NodeId(1), SocketAddr::from(([127, 0, 0, 1], 7001))),
                (NodeId(2), SocketAddr::from(([127, 0, 0, 1], 7002))),
            ]),
            shards: 2,
            segments: BTreeMap::new(),
            cores: CoreConfig::default(),
            raft: RaftConfig::default(),
            transfer: TransferConfig::default(),
            digest: DigestConfig::default(),
        }
    }

    #[test]
    fn a_plain_configuration_passes() {
        assert_eq!(config().check(), Ok(()));
    }

    #[test]
    fn each_mistake_is_named() {
        let broken = |change: fn(&mut NodeConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().expect_err("it is broken")
        };
        assert_eq!(broken(|c| c.cluster = ClusterId::default()), ConfigError::ClusterZero);
        assert_eq!(broken(|c| c.node = NodeId(0)), ConfigError::NodeZero);
        assert_eq!(broken(|c| c.node = NodeId(9)), ConfigError::NotAMember { node: NodeId(9) });
        assert!(matches!(
            broken(|c| {
                let first = c.members[&NodeId(1)];
                c.members.insert(NodeId(2), first);
            }),
            ConfigError::AddressTwice { .. }
        ));
        assert!(matches!(broken(|c| c.shards = 0), ConfigError::OutOfBounds { name: "shards", .. }));
        assert!(matches!(broken(|c| c.cores.slab_buffers = 1), ConfigError::OutOfBounds { .. }));
        assert_eq!(broken(|c| c.raft.election_min = c.raft.heartbeat), ConfigError::ElectionTimes);
        // It became cubic without a word.
        let given = "reno";
        assert_eq!(
            broken(|c| c.transfer.congestion = Some("reno")),
            ConfigError::UnknownCongestion { given }
        );
        assert_eq!(broken(|c| c.transfer.rates.shares.live = 71), ConfigError::SharesTooLarge { sum: 101 });
        assert!(matches!(broken(|c| c.root = PathBuf::from("data")), ConfigError::NotAbsolute { .. }));
        assert!(matches!(
            broken(|c| {
                c.segments.insert(ShardId(2), PathBuf::from("/x"));
            }),
            ConfigError::NoSuchShard { .. }
        ));
    }

    /// The second shard found the first one's lock, and said that another process used its segments.
    #[test]
    fn segments_of_two_shards_do_not_stand_in_one_folder() {
        let mut config = config();
        config.segments = BTreeMap::from([
            (ShardId(0), PathBuf::from("/disk/shard-0")),
            (ShardId(1), PathBuf::from("/disk/shard-1")),
        ]);
        let (shard, other, folder) = (ShardId(1), ShardId(0), PathBuf::from("/disk"));
        assert_eq!(config.check(), Err(ConfigError::SharedFolder { shard, other, folder }));
        config.segments.insert(ShardId(1), PathBuf::from("/disk/1/segments"));
        assert_eq!(config.check(), Ok(()));
    }
}
