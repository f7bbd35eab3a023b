//! What can go wrong when a node is opened, asked or steered: one error type an operation.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::ids::{LogIndex, NodeId, ShardId};
use crate::raft;
use crate::uring::Errno;

use super::event::EventCursor;
use super::members::MemberError;
use super::reply::NoAnswer;
use super::sync::SyncError;

/// What a change says whose time ran out after it was sent.
pub(super) const OUTCOME_UNKNOWN: &str = "the time ran out after the change was sent; asking again is safe";

/// What a change says that reached no leader in time.
pub(super) fn no_leader(f: &mut fmt::Formatter<'_>, last: Option<NodeId>) -> fmt::Result {
    f.write_str("no leader was reached in time")?;
    last.map_or(Ok(()), |node| write!(f, "; the last one known is node {node}"))?;
    f.write_str("; nothing has happened")
}

/// A node could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration does not hold together.
    Config(ConfigError),
    /// The secret is not usable.
    Secret {
        /// Why. Never the secret.
        why: String,
    },
    /// The root is not this node's, or damaged.
    Root {
        /// The root.
        root: PathBuf,
        /// Why.
        why: String,
    },
    /// A core could not be started: no ring, no thread.
    Core {
        /// Why, and what to change.
        why: String,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        why: String,
    },
    /// A shard's files, or the cluster group's, could not be opened.
    Files {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A shard's files, or the cluster group's, are damaged. Nothing was changed.
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What, and where.
        why: String,
    },
    /// The disk has no room to open them.
    DiskFull {
        /// The directory.
        path: PathBuf,
        /// For what.
        why: String,
    },
}

impl OpenError {
    /// For `map_err`: the files below `path` could not be opened.
    pub(crate) fn group(path: &Path) -> impl FnOnce(raft::OpenError) -> Self {
        let path = path.to_owned();
        move |error| {
            let why = error.to_string();
            if error.is_damage() {
                Self::Damaged { path, why }
            } else {
                Self::files(&path, error.is_disk_full(), &why)
            }
        }
    }

    /// The root cannot be used, for want of room or otherwise.
    pub(crate) fn root(root: &Path, is_disk_full: bool, why: &dyn fmt::Display) -> Self {
        let (root, why) = (root.to_owned(), why.to_string());
        if is_disk_full { Self::DiskFull { path: root, why } } else { Self::Root { root, why } }
    }

    /// Files below `path` could not be opened, for want of room or otherwise.
    pub(crate) fn files(path: &Path, is_disk_full: bool, why: &dyn fmt::Display) -> Self {
        let (path, why) = (path.to_owned(), why.to_string());
        if is_disk_full { Self::DiskFull { path, why } } else { Self::Files { path, why } }
    }

    /// For `map_err`: the disk refuses something below `path`.
    pub(crate) fn disk(path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::files(&path, errno.is_disk_full(), &errno)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Secret { why } => write!(f, "secret: {why}"),
            Self::Root { root, why } => write!(f, "{}: {why}", root.display()),
            Self::Core { why } => f.write_str(why),
            Self::Listen { address, why } => write!(f, "cannot listen on {address}: {why}"),
            Self::Files { path, why } | Self::DiskFull { path, why } => {
                write!(f, "{}: {why}", path.display())
            }
            Self::Damaged { path, why } => write!(
                f,
                "{}: {why}; `ringway rejoin --config FILE` sets it aside, and the node gets it from its peers",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<NoAnswer> for OpenError {
    fn from(why: NoAnswer) -> Self {
        Self::Core { why: why.to_string() }
    }
}

/// The node has no such shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchShard {
    /// The shard asked for.
    pub shard: ShardId,
    /// How many there are.
    pub count: u32,
}

impl fmt::Display for NoSuchShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no shard {}; the cluster has {}, from 0", self.shard, self.count)
    }
}

impl std::error::Error for NoSuchShard {}

/// Leadership was not handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TransferLeaderError {
    /// The node has no such group.
    NoSuchGroup,
    /// Only the leader can hand over; ask this one.
    NotLeader {
        /// The leader known.
        leader: Option<NodeId>,
    },
    /// The node is no voter of the group.
    NotAVoter {
        /// The node.
        node: NodeId,
    },
    /// The other node did not take over in time.
    TimedOut,
    /// The group has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for TransferLeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchGroup => f.write_str("this node has no such group"),
            Self::NotLeader { leader: Some(node) } => {
                write!(f, "only the leader can hand over; it is node {node}")
            }
            Self::NotLeader { leader: None } => {
                f.write_str("only the leader can hand over, and there is none now")
            }
            Self::NotAVoter { node } => write!(f, "node {node} is no voter of the group"),
            Self::TimedOut => f.write_str("the other node did not take over in time"),
            Self::Stopped => f.write_str("the group has stopped"),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for TransferLeaderError {}

/// Limits of bytes per second were not changed: those before hold.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RatesError {
    /// They cannot be used.
    Config(ConfigError),
    /// The node does not answer.
    NoAnswer(NoAnswer),
}

impl fmt::Display for RatesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoAnswer(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for RatesError {}

impl From<NoAnswer> for RatesError {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}

/// Not everything was installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The time ran out.
    TimedOut {
        /// What is installed.
        installed: LogIndex,
    },
    /// The shard has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { installed } => write!(f, "the time ran out with {installed} installed"),
            Self::Stopped => f.write_str("the shard has stopped"),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for WaitError {}

/// A segment cannot be opened here.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LocateError {
    /// The manifest does not have it.
    NotFound,
    /// The manifest has it, and it is not here yet.
    NotHere {
        /// Another node is better placed; retry here after so many milliseconds.
        retry_after_millis: u64,
    },
    /// Its file cannot be opened, or is not the one that was verified.
    File {
        /// Why.
        why: String,
    },
    /// The shard has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the manifest has no such segment"),
            Self::NotHere { retry_after_millis } => {
                write!(f, "the segment is not here yet; retry after {retry_after_millis} ms")
            }
            Self::File { why } => f.write_str(why),
            Self::Stopped => f.write_str("the shard has stopped"),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for LocateError {}

/// The cluster was not founded.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BootstrapError {
    /// There is a cluster already, and this node is in it.
    AlreadyFounded,
    /// A member did not answer; all of the first members have to be up.
    Unreachable {
        /// The member.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The cluster group refused.
    Refused {
        /// Why.
        why: String,
    },
    /// The node has stopped.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyFounded => f.write_str("the cluster is founded already; start without bootstrap"),
            Self::Unreachable { node, why } => {
                write!(f, "node {node} does not answer ({why}); all first members have to be up")
            }
            Self::Refused { why } => write!(f, "the cluster group refuses: {why}"),
            Self::Stopped => NoAnswer::Stopped.fmt(f),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for BootstrapError {}

/// The events asked for cannot be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EventsError {
    /// Events after the cursor are gone: the node has taken in a snapshot, lost power before they were durable, or the
    /// cursor is too far behind. Walk the manifest (`Shard::segments`) to see what is, then go on from `now`.
    Gap {
        /// Where to go on, taken before the walk: nothing is missed then.
        now: EventCursor,
    },
    /// The shard has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { now } => {
                write!(f, "events after the cursor are gone; walk the manifest, then go on from {now}")
            }
            Self::Stopped => f.write_str("the shard has stopped"),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for EventsError {}

macro_rules! from_no_answer {
    ($($error:ty)*) => {$(
        impl From<NoAnswer> for $error {
            fn from(why: NoAnswer) -> Self {
                match why {
                    NoAnswer::Stopped => Self::Stopped,
                    NoAnswer::Busy => Self::Busy,
                }
            }
        }
    )*};
}

from_no_answer!(TransferLeaderError WaitError LocateError BootstrapError EventsError MemberError SyncError);
