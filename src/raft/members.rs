//! The members of a group in bytes: in the log, in a snapshot's head and on the wire.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Incarnation, LogIndex, Term};
use crate::limits::{ENTRY_BYTES_MAX, NODE_TEXT_BYTES_MAX, NODES_MAX};
use crate::wire::{CodecError, Reader, Writer};

use super::types::{LogId, Member, Membership, Point, StoredMembership};

/// Sets of voters that are in force at once: two while a change is under way, more if one follows on another.
const VOTER_SETS_MAX: usize = 8;

const MEMBER_BYTES_MAX: usize = 8 + 4 + NODE_TEXT_BYTES_MAX + Incarnation::BYTES;
const _: () =
    assert!(4 + VOTER_SETS_MAX * (4 + 8 * NODES_MAX) + 4 + NODES_MAX * MEMBER_BYTES_MAX < ENTRY_BYTES_MAX);

pub(super) fn write_members(writer: &mut Writer<'_>, members: &Membership) -> Result<(), CodecError> {
    let sets = members.get_joint_config();
    writer.count(sets.len(), VOTER_SETS_MAX)?;
    for set in sets {
        writer.count(set.len(), NODES_MAX)?;
        set.iter().for_each(|id| writer.u64(*id));
    }
    writer.count(members.nodes().count(), NODES_MAX)?;
    for (id, member) in members.nodes() {
        writer.u64(*id);
        writer.bytes(member.address.as_bytes(), NODE_TEXT_BYTES_MAX)?;
        writer.put(&member.incarnation.0);
    }
    Ok(())
}

pub(super) fn read_members(reader: &mut Reader<'_>) -> Result<Membership, CodecError> {
    let mut sets = Vec::new();
    for _ in 0..reader.count(4, VOTER_SETS_MAX)? {
        let count = reader.count(8, NODES_MAX)?;
        let set = (0..count).map(|_| reader.u64()).collect::<Result<BTreeSet<_>, _>>()?;
        sets.push(set);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.count(8 + 4 + Incarnation::BYTES, NODES_MAX)? {
        let id = reader.u64()?;
        let address = reader.bytes(NODE_TEXT_BYTES_MAX)?.to_vec();
        let address = String::from_utf8(address).map_err(|_| CodecError::NotUtf8)?;
        nodes.insert(id, Member { address, incarnation: Incarnation(reader.array()?) });
    }
    // A voter without its address is no membership: openraft says so.
    if sets.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(sets, nodes).map_err(|_| CodecError::Unknown { of: "membership", found: 0 })
}

pub(super) fn write_point(writer: &mut Writer<'_>, point: Point) {
    writer.u64(point.term.0);
    writer.u64(point.index.0);
}

pub(super) fn read_point(reader: &mut Reader<'_>) -> Result<Point, CodecError> {
    Ok(Point { term: Term(reader.u64()?), index: LogIndex(reader.u64()?) })
}

pub(super) fn write_stored(writer: &mut Writer<'_>, stored: &StoredMembership) -> Result<(), CodecError> {
    write_point(writer, Point::of(stored.log_id().as_ref()));
    write_members(writer, stored.membership())
}

pub(super) fn read_stored(reader: &mut Reader<'_>) -> Result<StoredMembership, CodecError> {
    let at: Option<LogId> = read_point(reader)?.log_id();
    Ok(StoredMembership::new(at, read_members(reader)?))
}

/// The bytes of a log entry that changes the members.
pub(super) fn members_payload(members: &Membership) -> Vec<u8> {
    let mut out = Vec::new();
    write_members(&mut Writer::new(&mut out), members).expect("a change is checked before it is proposed");
    out
}

pub(super) fn read_members_payload(payload: &[u8]) -> Result<Membership, CodecError> {
    let mut reader = Reader::new(payload);
    let members = read_members(&mut reader)?;
    reader.finish()?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Membership {
        let member =
            |n: u8| Member { address: format!("10.0.0.{n}:7000"), incarnation: Incarnation([n; 16]) };
        let nodes = BTreeMap::from([(1, member(1)), (2, member(2)), (3, member(3))]);
        Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).expect("valid")
    }

    #[test]
    fn members_read_back_with_learners_and_both_sets_of_voters() {
        let payload = members_payload(&members());
        assert_eq!(read_members_payload(&payload), Ok(members()));
        assert_eq!(read_members_payload(&members_payload(&Membership::default())), Ok(Membership::default()));
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        let payload = members_payload(&members());
        for length in 0..payload.len() {
            assert!(read_members_payload(&payload[..length]).is_err(), "cut to {length}");
        }
        let mut voter_unknown = payload.clone();
        voter_unknown[8] = 9;
        assert!(read_members_payload(&voter_unknown).is_err());
    }
}
