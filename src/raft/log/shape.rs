//! An entry as a record, and back: the same on disk and wire.

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use crate::raft::members::{members_payload, read_members_payload};
use crate::raft::payload::CommandBytes;
use crate::raft::types::{Entry, Point};

use super::error::Fault;
use super::record::{Kind, Record};

/// The kind and the content of an entry's record.
pub(in crate::raft) struct Shape {
    kind: Kind,
    content: Content,
}

enum Content {
    None,
    Command(CommandBytes),
    Members(Vec<u8>),
}

impl Shape {
    pub(in crate::raft) fn of(entry: &Entry) -> Self {
        match &entry.payload {
            EntryPayload::Blank => Self { kind: Kind::Blank, content: Content::None },
            EntryPayload::Normal(bytes) => {
                Self { kind: Kind::Command, content: Content::Command(bytes.clone()) }
            }
            EntryPayload::Membership(members) => {
                Self { kind: Kind::Members, content: Content::Members(members_payload(members)) }
            }
        }
    }

    pub(in crate::raft) fn payload(&self) -> &[u8] {
        match &self.content {
            Content::None => &[],
            Content::Command(bytes) => bytes,
            Content::Members(bytes) => bytes,
        }
    }

    pub(in crate::raft) fn record(&self, point: Point) -> Record<'_> {
        Record { kind: self.kind, term: point.term, index: point.index, payload: self.payload() }
    }
}

/// The entry of a record; `command` gives the bytes of a command of the given length.
pub(in crate::raft) fn entry_of(
    record: &Record<'_>,
    command: impl FnOnce(usize) -> CommandBytes,
) -> Result<Entry, Fault> {
    let payload = match record.kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Command => EntryPayload::Normal(command(record.payload.len())),
        Kind::Members => {
            EntryPayload::Membership(read_members_payload(record.payload).map_err(|_| Fault::Content)?)
        }
        Kind::Head
        | Kind::Batch
        | Kind::Vote
        | Kind::Committed
        | Kind::Truncated
        | Kind::Purged
        | Kind::SnapshotHead
        | Kind::SnapshotPart
        | Kind::SnapshotEnd => return Err(Fault::Content),
    };
    let id = Point { term: record.term, index: record.index }.log_id().ok_or(Fault::Content)?;
    Ok(Entry::new(id, payload))
}
