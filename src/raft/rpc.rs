//! What the members of a group say to each other, in bytes: fixed-width little-endian fields, and entries as the
//! log's own records, so that the bytes of a command are the bytes that were proposed.

use std::ops::Range;
use std::rc::Rc;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use rkyv::util::AlignedVec;

use crate::ids::GroupId;
use crate::limits::{APPEND_ENTRIES_MAX, SNAPSHOT_PIECE_BYTES_MAX};
use crate::wire::{CodecError, Reader, Writer};

use super::log::record::{HEADER_BYTES, Record, Stamp, record_bytes};
use super::log::{Shape, entry_of};
use super::members::{read_point, read_stored, write_point, write_stored};
use super::payload::CommandBytes;
use super::plausible::{candidates, check_order, leaders};
use super::snapshot::SnapshotHead;
use super::types::{Entry, Point, Types, Vote};

/// Bytes of a vote.
const VOTE_BYTES: usize = 24;
/// Bytes before the first entry of an append.
const APPEND_BYTES: usize = VOTE_BYTES + 16 + 16 + 8;

const _: () = assert!(APPEND_BYTES.is_multiple_of(16));

/// The calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Entries, or a sign of life.
    Append,
    /// A vote for a candidate.
    Vote,
    /// Whether it would get the vote.
    PreVote,
    /// Leadership is handed over.
    Transfer,
    /// A snapshot is about to come.
    SnapshotBegin,
    /// A piece of it.
    SnapshotPiece,
    /// All of it has come.
    SnapshotEnd,
    /// Up to where a read has to wait.
    Barrier,
}

impl Call {
    const ALL: [Self; 8] = [
        Self::Append,
        Self::Vote,
        Self::PreVote,
        Self::Transfer,
        Self::SnapshotBegin,
        Self::SnapshotPiece,
        Self::SnapshotEnd,
        Self::Barrier,
    ];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Append => 1,
            Self::Vote => 2,
            Self::PreVote => 3,
            Self::Transfer => 4,
            Self::SnapshotBegin => 5,
            Self::SnapshotPiece => 6,
            Self::SnapshotEnd => 7,
            Self::Barrier => 8,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.number() == number)
    }
}

/// A snapshot that is about to come, or has come.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SnapshotOffer {
    pub(super) vote: Vote,
    pub(super) head: SnapshotHead,
    pub(super) bytes: u64,
}

/// What the receiver of an offer says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum OfferReply {
    /// Go on from this byte.
    From(u64),
    /// Another leader is known.
    HigherVote(Vote),
}

fn write_vote(writer: &mut Writer<'_>, vote: &Vote) {
    writer.u64(vote.leader_id.term);
    writer.u64(vote.leader_id.voted_for);
    writer.u8(u8::from(vote.committed));
    writer.zeros(7);
}

fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, CodecError> {
    let (term, node) = (reader.u64()?, reader.u64()?);
    let committed = truth(reader)?;
    reader.zeros(7)?;
    Ok(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

fn truth(reader: &mut Reader<'_>) -> Result<bool, CodecError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError::Unknown { of: "truth", found: other.into() }),
    }
}

/// Entries travel as records without salt.
fn stamp(group: GroupId) -> Stamp {
    Stamp { group, salt: 0 }
}

pub(super) fn write_append(group: GroupId, request: &AppendEntriesRequest<Types>) -> Vec<u8> {
    let shapes: Vec<Shape> = request.entries.iter().map(Shape::of).collect();
    let bytes: usize = shapes.iter().map(|shape| record_bytes(shape.payload().len())).sum();
    let mut out = Vec::with_capacity(APPEND_BYTES + bytes);
    let mut writer = Writer::new(&mut out);
    write_vote(&mut writer, &request.vote);
    write_point(&mut writer, Point::of(request.prev_log_id.as_ref()));
    write_point(&mut writer, Point::of(request.leader_commit.as_ref()));
    writer.u32(u32::try_from(shapes.len()).expect("an append is within its limit"));
    writer.zeros(4);
    let mut at = out.len();
    out.resize(at + bytes, 0);
    for (entry, shape) in request.entries.iter().zip(&shapes) {
        at += shape.record(Point::of_entry(entry)).encode(stamp(group), &mut out[at..]);
    }
    out
}

/// Reads an append; the entries share its memory.
pub(super) fn read_append(
    group: GroupId,
    memory: &Rc<AlignedVec<16>>,
    range: Range<usize>,
) -> Result<AppendEntriesRequest<Types>, CodecError> {
    let bytes = memory.get(range.clone()).unwrap_or_default();
    let mut reader = Reader::new(bytes);
    let vote = leaders(read_vote(&mut reader)?)?;
    let prev_log_id = read_point(&mut reader)?.log_id();
    let leader_commit = read_point(&mut reader)?.log_id();
    let count = reader.u32()? as usize;
    reader.zeros(4)?;
    if count > APPEND_ENTRIES_MAX || count * HEADER_BYTES > reader.left() {
        return Err(CodecError::TooLong { max: APPEND_ENTRIES_MAX, found: count });
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let at = bytes.len() - reader.left();
        let no_record = CodecError::Unknown { of: "log record", found: 0 };
        let record = Record::decode(&bytes[at..], stamp(group)).map_err(|_| no_record)?;
        let start = range.start + at + HEADER_BYTES;
        let command = |length: usize| CommandBytes::part_of(memory, start..start + length);
        let entry = entry_of(&record, command).map_err(|_| no_record)?;
        reader.take(record_bytes(record.payload.len()))?;
        entries.push(entry);
    }
    reader.finish()?;
    check_order(&vote, prev_log_id.as_ref(), &entries)?;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(super) fn write_append_reply(reply: &AppendEntriesResponse<Types>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    match reply {
        AppendEntriesResponse::Success => writer.u8(0),
        AppendEntriesResponse::PartialSuccess(last) => {
            writer.u8(1);
            write_point(&mut writer, Point::of(last.as_ref()));
        }
        AppendEntriesResponse::Conflict => writer.u8(2),
        AppendEntriesResponse::HigherVote(vote) => {
            writer.u8(3);
            write_vote(&mut writer, vote);
        }
    }
    out
}

pub(super) fn read_append_reply(bytes: &[u8]) -> Result<AppendEntriesResponse<Types>, CodecError> {
    let mut reader = Reader::new(bytes);
    let reply = match reader.u8()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(read_point(&mut reader)?.log_id()),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(read_vote(&mut reader)?),
        other => return Err(CodecError::Unknown { of: "append reply", found: other.into() }),
    };
    reader.finish()?;
    Ok(reply)
}

pub(super) fn write_vote_request(request: &VoteRequest<Types>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    write_vote(&mut writer, &request.vote);
    write_point(&mut writer, Point::of(request.last_log_id.as_ref()));
    writer.u8(u8::from(request.leadership_transfer));
    out
}

pub(super) fn read_vote_request(bytes: &[u8]) -> Result<VoteRequest<Types>, CodecError> {
    let mut reader = Reader::new(bytes);
    let vote = candidates(read_vote(&mut reader)?)?;
    let last_log_id = read_point(&mut reader)?.log_id();
    let mut request = VoteRequest::new(vote, last_log_id);
    request.leadership_transfer = truth(&mut reader)?;
    reader.finish()?;
    Ok(request)
}

pub(super) fn write_vote_reply(reply: &VoteResponse<Types>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    write_vote(&mut writer, &reply.vote);
    write_point(&mut writer, Point::of(reply.last_log_id.as_ref()));
    writer.u8(u8::from(reply.vote_granted));
    out
}

pub(super) fn read_vote_reply(bytes: &[u8]) -> Result<VoteResponse<Types>, CodecError> {
    let mut reader = Reader::new(bytes);
    let vote = read_vote(&mut reader)?;
    let last = read_point(&mut reader)?.log_id();
    let granted = truth(&mut reader)?;
    reader.finish()?;
    Ok(VoteResponse::new(vote, last, granted))
}

pub(super) fn write_transfer(request: &TransferLeaderRequest<Types>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    write_vote(&mut writer, request.from_leader());
    writer.u64(*request.to_node_id());
    write_point(&mut writer, Point::of(request.last_log_id()));
    out
}

pub(super) fn read_transfer(bytes: &[u8]) -> Result<TransferLeaderRequest<Types>, CodecError> {
    let mut reader = Reader::new(bytes);
    let from = read_vote(&mut reader)?;
    let to = reader.u64()?;
    let last = read_point(&mut reader)?.log_id();
    reader.finish()?;
    Ok(TransferLeaderRequest::new(from, to, last))
}

pub(super) fn write_offer(offer: &SnapshotOffer) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    write_vote(&mut writer, &offer.vote);
    writer.u64(offer.bytes);
    write_point(&mut writer, offer.head.point);
    write_stored(&mut writer, &offer.head.members).expect("members came through the log");
    out
}

pub(super) fn read_offer(bytes: &[u8]) -> Result<SnapshotOffer, CodecError> {
    let mut reader = Reader::new(bytes);
    let vote = leaders(read_vote(&mut reader)?)?;
    let bytes = reader.u64()?;
    let head = SnapshotHead { point: read_point(&mut reader)?, members: read_stored(&mut reader)? };
    reader.finish()?;
    if head.point.term.0 > vote.leader_id().term {
        return Err(CodecError::Unknown { of: "term of a snapshot", found: 0 });
    }
    Ok(SnapshotOffer { vote, head, bytes })
}

pub(super) fn write_offer_reply(reply: &OfferReply) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    match reply {
        OfferReply::From(offset) => {
            writer.u8(0);
            writer.u64(*offset);
        }
        OfferReply::HigherVote(vote) => {
            writer.u8(1);
            write_vote(&mut writer, vote);
        }
    }
    out
}

pub(super) fn read_offer_reply(bytes: &[u8]) -> Result<OfferReply, CodecError> {
    let mut reader = Reader::new(bytes);
    let reply = match reader.u8()? {
        0 => OfferReply::From(reader.u64()?),
        1 => OfferReply::HigherVote(read_vote(&mut reader)?),
        other => return Err(CodecError::Unknown { of: "offer reply", found: other.into() }),
    };
    reader.finish()?;
    Ok(reply)
}

pub(super) fn write_piece(point: Point, offset: u64, piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len() + 32);
    let mut writer = Writer::new(&mut out);
    write_point(&mut writer, point);
    writer.u64(offset);
    writer.bytes(piece, SNAPSHOT_PIECE_BYTES_MAX).expect("a piece is read within its limit");
    out
}

pub(super) fn read_piece(bytes: &[u8]) -> Result<(Point, u64, &[u8]), CodecError> {
    let mut reader = Reader::new(bytes);
    let piece = (read_point(&mut reader)?, reader.u64()?, reader.bytes(SNAPSHOT_PIECE_BYTES_MAX)?);
    reader.finish()?;
    Ok(piece)
}

pub(super) fn write_number(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

pub(super) fn read_number(bytes: &[u8]) -> Result<u64, CodecError> {
    let mut reader = Reader::new(bytes);
    let number = reader.u64()?;
    reader.finish()?;
    Ok(number)
}

pub(super) fn write_one_vote(vote: &Vote) -> Vec<u8> {
    let mut out = Vec::new();
    write_vote(&mut Writer::new(&mut out), vote);
    out
}

pub(super) fn read_one_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    let mut reader = Reader::new(bytes);
    let vote = read_vote(&mut reader)?;
    reader.finish()?;
    Ok(vote)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::EntryPayload;
    use openraft::entry::RaftEntry;

    use super::*;
    use crate::ids::{Incarnation, LogIndex, Term};
    use crate::raft::types::{LogId, Member, Membership, StoredMembership};

    const GROUP: GroupId = GroupId(4);

    fn id(term: u64, index: u64) -> LogId {
        Point { term: Term(term), index: LogIndex(index) }.log_id().expect("not the start")
    }

    fn members() -> Membership {
        let member = Member { address: "10.0.0.1:7000".to_owned(), incarnation: Incarnation([3; 16]) };
        Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member)])).expect("valid")
    }

    fn append() -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(id(2, 7)),
            entries: vec![
                Entry::new(id(3, 8), EntryPayload::Blank),
                Entry::new(id(3, 9), EntryPayload::Normal(CommandBytes::copy_of(b"nineteen bytes here"))),
                Entry::new(id(3, 10), EntryPayload::Membership(members())),
            ],
            leader_commit: Some(id(2, 6)),
        }
    }

    fn memory(bytes: &[u8]) -> Rc<AlignedVec<16>> {
        let mut memory = AlignedVec::new();
        memory.extend_from_slice(&[0; 16]);
        memory.extend_from_slice(bytes);
        Rc::new(memory)
    }

    #[test]
    fn an_append_reads_back_and_its_commands_are_aligned() {
        let bytes = write_append(GROUP, &append());
        let memory = memory(&bytes);
        let read = read_append(GROUP, &memory, 16..memory.len()).expect("whole");
        assert_eq!(read.entries, append().entries);
        assert_eq!(
            (read.vote, read.prev_log_id, read.leader_commit),
            (append().vote, Some(id(2, 7)), Some(id(2, 6)))
        );
        let EntryPayload::Normal(command) = &read.entries[1].payload else { panic!("a command") };
        assert_eq!(command.as_ptr().align_offset(16), 0);
    }

    #[test]
    fn a_cut_or_changed_append_is_refused_and_never_a_panic() {
        let bytes = write_append(GROUP, &append());
        for length in 0..bytes.len() {
            let memory = memory(&bytes[..length]);
            assert!(read_append(GROUP, &memory, 16..memory.len()).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x80;
            let memory = memory(&bad);
            let _no_panic = read_append(GROUP, &memory, 16..memory.len());
        }
        let memory = memory(&bytes);
        assert!(read_append(GroupId(5), &memory, 16..memory.len()).is_err(), "another group's entries");
    }

    #[test]
    fn an_append_with_a_gap_a_step_back_or_a_later_term_is_refused() {
        let spoiled: [fn(&mut AppendEntriesRequest<Types>); 5] = [
            |append| append.entries[1] = Entry::new(id(3, 15), EntryPayload::Blank),
            |append| append.entries[0] = Entry::new(id(3, 9), EntryPayload::Blank),
            |append| append.entries[2] = Entry::new(id(2, 10), EntryPayload::Blank),
            |append| append.entries[2] = Entry::new(id(4, 10), EntryPayload::Blank),
            |append| append.prev_log_id = None,
        ];
        for (number, spoil) in spoiled.iter().enumerate() {
            let mut append = append();
            spoil(&mut append);
            let memory = memory(&write_append(GROUP, &append));
            assert!(read_append(GROUP, &memory, 16..memory.len()).is_err(), "{number}");
        }
        let mut first = append();
        first.prev_log_id = None;
        first.entries = vec![Entry::new(id(0, 1), EntryPayload::Membership(members()))];
        let memory = memory(&write_append(GROUP, &first));
        assert!(read_append(GROUP, &memory, 16..memory.len()).is_ok(), "a log begins at 0");
    }

    #[test]
    fn the_other_calls_and_replies_read_back() {
        for reply in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(id(1, 2))),
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(9, 3)),
        ] {
            assert_eq!(read_append_reply(&write_append_reply(&reply)), Ok(reply));
        }
        let mut request = VoteRequest::new(Vote::new(5, 2), Some(id(4, 10)));
        request.leadership_transfer = true;
        assert_eq!(read_vote_request(&write_vote_request(&request)), Ok(request));
        let reply = VoteResponse::new(Vote::new(5, 2), None, true);
        assert_eq!(read_vote_reply(&write_vote_reply(&reply)), Ok(reply));
        let transfer = TransferLeaderRequest::new(Vote::new_committed(5, 2), 3, Some(id(5, 11)));
        assert_eq!(read_transfer(&write_transfer(&transfer)), Ok(transfer));
        let head = SnapshotHead {
            point: Point { term: Term(2), index: LogIndex(50) },
            members: StoredMembership::new(Some(id(1, 1)), members()),
        };
        let offer = SnapshotOffer { vote: Vote::new_committed(5, 2), head, bytes: 12_345 };
        assert_eq!(read_offer(&write_offer(&offer)), Ok(offer.clone()));
        let early = SnapshotOffer { vote: Vote::new_committed(1, 2), ..offer };
        assert!(read_offer(&write_offer(&early)).is_err(), "a state of a later term than its sender's");
        for reply in [OfferReply::From(77), OfferReply::HigherVote(Vote::new(8, 1))] {
            assert_eq!(read_offer_reply(&write_offer_reply(&reply)), Ok(reply));
        }
        let point = Point { term: Term(2), index: LogIndex(50) };
        assert_eq!(read_piece(&write_piece(point, 9, b"abc")), Ok((point, 9, &b"abc"[..])));
        assert_eq!(read_number(&write_number(u64::MAX - 1)), Ok(u64::MAX - 1));
        assert_eq!(read_one_vote(&write_one_vote(&Vote::new(1, 2))), Ok(Vote::new(1, 2)));
        for call in Call::ALL {
            assert_eq!(Call::of_number(call.number()), Some(call));
        }
    }
}
