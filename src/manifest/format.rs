//! What a snapshot is made of, in format version 1: rkyv types, and nothing else.
//!
//! A change here is a new version with new types beside these.

use std::rc::Rc;

use rkyv::{Archive, Deserialize, Serialize};

use super::entry::Entry;
use super::outcome::Outcome;
use super::session::Session;
use crate::ids::{Digest, LogIndex, NodeId, SegmentId, SessionId, UnixNanos};
use crate::limits::{SESSION_OUTCOMES_MAX, SNAPSHOT_SESSION_BYTES_MAX};
use crate::wire::archive::ARCHIVE_HEADER_BYTES;

/// Version of the snapshots' format, named in each part's header.
pub const SNAPSHOT_VERSION: u16 = 1;

/// One archive of a snapshot: a head, then sessions, then entries; the header of the last says so.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(super) enum Part {
    /// What to expect.
    Head(Head),
    /// Sessions in order of their ids.
    Sessions(Vec<SessionRecord>),
    /// Entries in order of their paths, their labels given by place in this part's own table.
    Entries { labels: Vec<LabelRecord>, entries: Vec<EntryRecord> },
}

#[derive(Debug, Archive, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) entries: u64,
    pub(super) bytes_total: u64,
    pub(super) sessions: u32,
    pub(super) retired: Vec<(SessionId, LogIndex)>,
}

#[derive(Debug, Archive, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub(super) session: SessionId,
    pub(super) opened: LogIndex,
    pub(super) used: LogIndex,
    pub(super) low_water: u64,
    pub(super) outcomes: Vec<(u64, Outcome)>,
}

#[derive(Debug, Archive, Serialize, Deserialize)]
pub(super) struct LabelRecord {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Archive, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) id: SegmentId,
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) root: Digest,
    pub(super) flat: Option<Digest>,
    pub(super) tier: u8,
    pub(super) version: u32,
    pub(super) origin: NodeId,
    pub(super) sealed_at: UnixNanos,
    pub(super) proposed_at: UnixNanos,
    pub(super) labels: Vec<u32>,
}

// What `SNAPSHOT_BYTES_MAX` is reckoned with. A part has one record at least, so its own bytes count with that.
const AROUND_BYTES: usize = size_of::<ArchivedPart>() + 2 * ARCHIVE_HEADER_BYTES;
const _: () = assert!(size_of::<ArchivedEntryRecord>() + AROUND_BYTES < 1024);
const _: () = assert!(size_of::<u32>() + size_of::<ArchivedLabelRecord>() <= 32);
const _: () = assert!(
    size_of::<ArchivedSessionRecord>()
        + SESSION_OUTCOMES_MAX * size_of::<rkyv::Archived<(u64, Outcome)>>()
        + AROUND_BYTES
        < SNAPSHOT_SESSION_BYTES_MAX
);
const _: () = assert!(size_of::<rkyv::Archived<(SessionId, LogIndex)>>() <= 64);

impl SessionRecord {
    pub(super) fn new(id: SessionId, session: &Session) -> Self {
        Self {
            session: id,
            opened: session.opened,
            used: session.used,
            low_water: session.low_water,
            outcomes: session.outcomes.iter().map(|(number, outcome)| (*number, *outcome)).collect(),
        }
    }

    /// About how many bytes of an archive the record takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<ArchivedSessionRecord>() + self.outcomes.len() * size_of::<rkyv::Archived<(u64, Outcome)>>()
    }
}

impl LabelRecord {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

impl EntryRecord {
    pub(super) fn new(entry: &Entry, labels: Vec<u32>) -> Self {
        Self {
            id: entry.id,
            path: entry.path.to_string(),
            bytes: entry.bytes,
            root: entry.root,
            flat: entry.flat,
            tier: entry.tier.0,
            version: entry.version,
            origin: entry.origin,
            sealed_at: entry.sealed_at,
            proposed_at: entry.proposed_at,
            labels,
        }
    }

    /// At most how many bytes of an archive the entry takes, if no other shares its labels.
    pub(super) fn bytes(entry: &Rc<Entry>) -> usize {
        let label_bytes = |(name, value): (&str, &str)| {
            size_of::<u32>() + size_of::<ArchivedLabelRecord>() + name.len() + value.len()
        };
        size_of::<ArchivedEntryRecord>() + entry.path.len() + entry.labels().map(label_bytes).sum::<usize>()
    }
}
