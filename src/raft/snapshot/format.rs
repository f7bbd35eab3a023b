//! The bytes of a snapshot file: records as in the log, of kinds of their own.

use crate::ids::{GroupId, LogIndex, Term};
use crate::raft::log::record::{Kind, Record, Stamp, record_bytes};
use crate::raft::members::{read_stored, write_stored};
use crate::raft::types::{Point, SnapshotMeta, StoredMembership};
use crate::wire::{CodecError, Reader, Writer};

/// What a snapshot is of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotHead {
    /// The last entry that is in it.
    pub(in crate::raft) point: Point,
    /// The members at that entry.
    pub(in crate::raft) members: StoredMembership,
}

impl SnapshotHead {
    pub(in crate::raft) fn of(meta: &SnapshotMeta) -> Self {
        Self { point: Point::of(meta.last_log_id.as_ref()), members: meta.last_membership.clone() }
    }

    pub(in crate::raft) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.point.log_id(), last_membership: self.members.clone() }
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_stored(&mut Writer::new(&mut out), &self.members).expect("members came through the log");
        out
    }
}

/// The records have no salt: the bytes are the same on every replica, and a moved file is the same file.
pub(super) fn stamp(group: GroupId) -> Stamp {
    Stamp { group, salt: 0 }
}

fn record(group: GroupId, kind: Kind, point: Point, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; record_bytes(payload.len())];
    Record { kind, term: point.term, index: point.index, payload }.encode(stamp(group), &mut out);
    out
}

pub(super) fn head_record(group: GroupId, head: &SnapshotHead) -> Vec<u8> {
    record(group, Kind::SnapshotHead, head.point, &head.payload())
}

/// Parts count from 0.
pub(super) fn part_record(group: GroupId, part: u64, payload: &[u8]) -> Vec<u8> {
    record(group, Kind::SnapshotPart, Point { term: Term(0), index: LogIndex(part) }, payload)
}

pub(super) fn end_record(group: GroupId, parts: u64) -> Vec<u8> {
    record(group, Kind::SnapshotEnd, Point { term: Term(0), index: LogIndex(parts) }, &[])
}

pub(super) fn read_head(record: &Record<'_>) -> Result<SnapshotHead, CodecError> {
    let mut reader = Reader::new(record.payload);
    let members = read_stored(&mut reader)?;
    reader.finish()?;
    Ok(SnapshotHead { point: Point { term: record.term, index: record.index }, members })
}
