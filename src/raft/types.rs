//! What openraft's types are here, and the way between its log ids and ours.
//!
//! openraft counts log indexes from 0; ours count from 1, and 0 stands before the first entry.

use std::fmt;

use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftTypeConfig};

use crate::ids::{GroupId, Incarnation, LogIndex, NodeId, Term};

use super::payload::{CommandBytes, OutcomeBytes};
use super::runtime::CoreRuntime;

/// openraft, as this crate uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Types;

/// A member of a group, as its log says it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Where the node listens: `host:port`.
    pub address: String,
    /// The life of its data root that was admitted.
    pub incarnation: Incarnation,
}

pub(super) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(super) type Leader = <LeaderId as RaftLeaderId>::Committed;
pub(super) type Vote = openraft::impls::Vote<LeaderId>;
pub(super) type LogId = openraft::LogId<Leader>;
pub(super) type Payload = EntryPayload<CommandBytes, u64, Member>;
pub(super) type Entry = openraft::impls::Entry<Leader, Payload>;
pub(super) type Membership = openraft::Membership<u64, Member>;
pub(super) type StoredMembership = openraft::StoredMembership<Leader, u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<Leader, u64, Member>;

impl RaftTypeConfig for Types {
    type D = CommandBytes;
    type R = OutcomeBytes;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = CoreRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: 'static;
    type ErrorSource = openraft::AnyError;
}

/// A place in the log: the term of its entry, and its index. `Point::START` is before the first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Point {
    /// The term in which the entry was proposed.
    pub term: Term,
    /// Its index.
    pub index: LogIndex,
}

impl Point {
    /// Before the first entry.
    pub const START: Self = Self { term: Term(0), index: LogIndex(0) };

    pub(super) fn of(id: Option<&LogId>) -> Self {
        id.map_or(Self::START, |id| Self { term: Term(id.leader_id.term), index: log_index(id.index) })
    }

    pub(super) fn of_entry(entry: &Entry) -> Self {
        Self::of(Some(&entry.log_id()))
    }

    pub(super) fn log_id(self) -> Option<LogId> {
        let index = self.index.0.checked_sub(1)?;
        Some(LogId::new(Leader::new(self.term.0), index))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// Our index of openraft's.
pub(super) fn log_index(index: u64) -> LogIndex {
    LogIndex(index.checked_add(1).expect("no log has 2^64 entries"))
}

/// What the room needs to know of who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
}
