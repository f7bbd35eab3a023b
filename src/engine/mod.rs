//! The embedding API: build a node, change a shard's manifest, wait for bytes, follow events; and the hosts that drive
//! cores.
//!
//! A node's cores are threads of their own or, opened by [`Builder::open_guest`], guests in the embedder's executors.
//! The handles, [`Engine`] and [`Shard`], go to any thread; what they are asked is answered by a [`Reply`]. Of a node
//! with threads of its own, [`Builder::open`], [`Engine::shut_down`] and dropping the last [`Engine`] block, and
//! nothing else does: in an asynchronous runtime they belong on a thread that may (`spawn_blocking` in tokio).

mod adapter;
mod adopt;
mod answer;
mod boot;
mod builder;
mod cache;
mod change;
mod checkpoint;
mod cluster;
mod cluster_calls;
mod digests;
mod doctor;
mod door;
mod drive;
mod error;
mod event;
mod fallback;
mod figures;
mod gather;
mod guest;
mod handle;
mod hooks;
mod identity;
mod layout;
mod listing;
mod members;
mod node;
mod on_disk;
mod placement;
mod point;
mod pull;
mod pull_cores;
mod pull_parts;
mod registrar;
mod rejoin;
mod reply;
mod report;
mod request;
mod run;
mod scan;
mod seats;
mod serve;
#[cfg(feature = "sim")]
mod sim;
mod source;
mod status;
mod stopped;
mod sync;
mod token;
mod tree;
mod verify;

#[cfg(feature = "sim")]
#[doc(hidden)]
pub use self::{
    hooks::Watch,
    node::Opened,
    sim::{Opening, Seat},
};
pub use crate::stats::Sent;
pub use crate::uring::block_on;
pub use adapter::{CommitError, Cut, CutError, DirectoryAdapter, SealRule};
pub use adopt::{AdoptError, Adopted};
pub use builder::Builder;
pub use change::{Ask, Change, ChangeError, Committed, Durability, Sealed};
pub use checkpoint::{ActiveFile, ActiveFiles, CheckpointError, Checkpointed, Checkpointing, Frozen, How};
pub use digests::{flat_digest, tree_digest};
pub use doctor::{Check, DoctorError, Standing};
pub use error::{
    BootstrapError, EventsError, LocateError, NoSuchShard, OpenError, RatesError, TransferLeaderError,
    WaitError,
};
pub use event::{Event, EventCursor, EventSegment, What};
pub use figures::{
    CheckpointStatus, CountStatus, HistogramStatus, LagStatus, PeerStatus, ProposalStatus, RateStatus,
    TransferStatus, TransportStatus, WalkStatus, WorkStatus,
};
pub use guest::{GuestCore, GuestError, GuestNode};
pub use handle::{Engine, PinnedSegment, Segment, Shard};
pub use identity::IdentityError;
pub use members::{MemberError, MemberRole};
pub use on_disk::{OnDisk, OnDiskError, last_applied_on_disk};
pub use pull_parts::{Lost, PullError, PullOptions, PullProgress, PullReport};
pub use registrar::{EnqueueError, RefusedChange, RegistrarStatus, Ticket};
pub use rejoin::{RejoinError, Rejoining};
pub use reply::{NoAnswer, Reply};
pub use request::Locator;
pub use run::{ServeOptions, adopt, doctor, pull, rejoin, serve};
pub use scan::DigestProgress;
pub use serve::ServeError;
pub use status::{
    ConnectionStatus, CoreStatus, FindingStatus, GroupStatus, MemberStatus, NodeStatus, SeatStatus,
    SegmentPage, SegmentStatus, ShardStatus, UnavailableStatus,
};
pub use stopped::RootError;
pub use sync::{AllSynced, Behind, SyncError, Synced};
pub use token::{admin_token, same_token};
pub use tree::{Facts, Found, SkipReason, Skipped, Walk, walk};
pub use verify::{Damage, Damaged, Verified, is_root, shards_of, verify_segments};
