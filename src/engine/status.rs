//! How a node stands, as plain values: for status pages, metrics, and the command line's JSON.

use crate::stats::Sent;

use super::figures::{
    CheckpointStatus, LagStatus, ProposalStatus, RateStatus, TransferStatus, TransportStatus,
};
use super::registrar::RegistrarStatus;

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeStatus {
    /// Its number.
    pub node: u64,
    /// Its cluster, hexadecimal.
    pub cluster: String,
    /// Its data root's life, hexadecimal.
    pub incarnation: String,
    /// Where peers reach it.
    pub address: String,
    /// Every shard is ready.
    pub ready: bool,
    /// If not: why, a line each.
    pub not_ready: Vec<String>,
    /// The node's cores.
    pub cores: Vec<CoreStatus>,
    /// The Raft groups that it is a member of.
    pub groups: Vec<GroupStatus>,
    /// Its shards.
    pub shards: Vec<ShardStatus>,
    /// The cluster's members, and others that still have a seat. None where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub members: Vec<MemberStatus>,
    /// Its connections with other nodes, of all cores. None where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub connections: Vec<ConnectionStatus>,
    /// Its limits of bytes per second, both directions of the node first, then those of shards that have one. None
    /// where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub rates: Vec<RateStatus>,
}

/// One core.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct CoreStatus {
    /// Its number, from 0.
    pub core: u16,
    /// What stands behind its ring: `io_uring`.
    pub backend: String,
    /// Who drives it: `pinned` for a thread of its own, `tokio-uring`, `glommio`. Empty where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    /// Each capability that was looked for.
    pub findings: Vec<FindingStatus>,
    /// The digest kernel in use.
    pub digest: String,
    /// Buffers of its slab.
    pub buffers: u16,
    /// Of them, free.
    pub buffers_free: u16,
    /// Of them, registered with the ring: all, or none if the system refused it, as the finding says.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub buffers_registered: u16,
    /// Size of each.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub buffer_bytes: u64,
    /// Payload sent since the node started, on all of the core's connections, those that have ended among them.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub sent: Sent,
    /// What its connections did.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub transport: TransportStatus,
}

/// One connection with another node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct ConnectionStatus {
    /// The core that it lives on.
    pub core: u16,
    /// The other node.
    pub node: Option<u64>,
    /// Its address.
    pub address: String,
    /// `control` or `bulk`.
    pub class: String,
    /// This node dialled it.
    pub dialled: bool,
    /// Streams open on it.
    pub streams: u64,
    /// Congestion control in force; none if the system does not tell.
    pub congestion: Option<String>,
    /// How large payload in buffers leaves: `zero-copy` or `copy`. What is in the page cache leaves by reference.
    pub send_path: String,
    /// Why it is copied; empty if it is not.
    pub send_path_why: String,
    /// Payload sent on it.
    pub sent: Sent,
    /// Last measured time from a ping to its answer, in microseconds.
    pub round_trip_micros: Option<u64>,
}

/// One capability of a core's ring.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct FindingStatus {
    /// The capability.
    pub name: String,
    /// It is in use.
    pub in_use: bool,
    /// A figure, or what stands in for it and what to change.
    pub note: String,
}

/// One Raft group on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupStatus {
    /// The group: 0 is the cluster's, shard s has group s + 1.
    pub group: u32,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: String,
    /// The current term.
    pub term: u64,
    /// The leader known; none where it has given no sign of life for long, and on a leader that no quorum answers.
    pub leader: Option<u64>,
    /// Its voters as last committed; of a change that is half done, those who vote before it and after it.
    pub voters: Vec<u64>,
    /// Log index committed.
    pub committed: u64,
    /// Log index applied.
    pub applied: u64,
    /// Calls refused since the node started, because a peer made them in another node's name.
    pub foreign_calls: u64,
}

/// One shard on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct ShardStatus {
    /// The shard.
    pub shard: u32,
    /// Since this start the leader was once asked what is committed; all of that stands here, and so does all that was
    /// committed more than `limits::READY_LAG` ago, twice that at most; and nothing is damaged.
    pub ready: bool,
    /// Segments in its manifest.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Proposers' sessions in its manifest: one for each node that has proposed.
    pub sessions: u64,
    /// Watermark, as a log index.
    pub proposed: u64,
    /// Watermark, as a log index.
    pub committed: u64,
    /// Watermark, as a log index.
    pub applied: u64,
    /// Watermark, as a log index.
    pub installed: u64,
    /// Segments of the manifest that do not stand here.
    pub missing: u64,
    /// Segments that stand here and are damaged.
    pub damaged: u64,
    /// Fetches under way.
    pub fetching: u64,
    /// Segments that no source could serve yet.
    pub unavailable: Vec<UnavailableStatus>,
    /// Why nothing is fetched at present, if so.
    pub paused: Option<String>,
    /// Payload bytes received since the node started.
    pub bytes_fetched: u64,
    /// Of them, bytes that other cores of the node have brought and written.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub bytes_lent: u64,
    /// Payload bytes served since the node started.
    pub bytes_served: u64,
    /// Of them, bytes of segments that this node was itself still fetching.
    pub bytes_relayed: u64,
    /// Chunks that arrived with a wrong digest and were fetched again, since the node started.
    pub chunks_refetched: u64,
    /// Proposals refused since the node started, because a peer made them in another node's session.
    pub foreign_proposals: u64,
    /// Content passes by the page cache where that is worth it; false if it is not asked for, or was refused once.
    pub direct: bool,
    /// It is asked for: by `direct` under `[transfer]`.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub direct_asked: bool,
    /// Engines' files are kept by hard links; false if one was refused: the files are held open instead.
    pub links: bool,
    /// How far it is behind.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub lag: LagStatus,
    /// What its transfers did.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub transfers: TransferStatus,
    /// What became of this node's own proposals.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub proposals: ProposalStatus,
    /// The node's registrar of the shard. Zeros where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub registrar: RegistrarStatus,
    /// Segments that the manifest has no more and whose files still stand here, in their grace time or pinned.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub leaving: u64,
    /// What became of its checkpoints. Zeros where an older node tells.
    #[cfg_attr(feature = "daemon", serde(default))]
    pub checkpoints: CheckpointStatus,
}

/// A segment that no source could serve yet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct UnavailableStatus {
    /// Its id.
    pub segment: String,
    /// Why, at the last attempt.
    pub reason: String,
    /// For how long, in seconds.
    pub seconds: u64,
}

/// A member of the cluster, as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct MemberStatus {
    /// Its number.
    pub node: u64,
    /// Where peers reach it; empty of one that is leaving.
    pub address: String,
    /// Its data root's life, hexadecimal; empty while the cluster group has not recorded it.
    pub incarnation: String,
    /// `voter`; `promotable` until it votes; `non_voter`; `leaving` while a group has it that was removed; empty before
    /// the cluster is founded.
    pub role: String,
    /// It votes in the cluster group.
    pub voter: bool,
    /// Its seats, in the order of the groups.
    pub seats: Vec<SeatStatus>,
}

/// A member's seat in one Raft group, as last committed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct SeatStatus {
    /// The group: 0 is the cluster's, shard s has group s + 1.
    pub group: u32,
    /// It votes; of a change that is half done, before it and after it.
    pub voter: bool,
    /// How far it has said that it has installed the shard: a log index.
    pub installed: Option<u64>,
    /// Where the node asked leads the group: by which way the member comes to what the leader has, `log`, `snapshot` or
    /// `diverged`.
    pub way: Option<String>,
}

/// One segment of a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentStatus {
    /// Its id: log index and ordinal.
    pub segment: String,
    /// Its path in the shard's directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Root of its digest tree, hexadecimal.
    pub root: String,
    /// SHA-256 of the whole, hexadecimal, where it was given.
    pub sha256: Option<String>,
    /// The node that registered it.
    pub origin: u64,
    /// Counts the contents that the path has had, from 1.
    pub version: u32,
    /// It stands verified on the node asked.
    pub here: bool,
    /// The engine's names and values.
    pub labels: Vec<(String, String)>,
}

/// A page of a manifest, in the order of paths.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentPage {
    /// The segments.
    pub segments: Vec<SegmentStatus>,
    /// Ask for what is after this path; none at the end.
    pub next: Option<String>,
}
