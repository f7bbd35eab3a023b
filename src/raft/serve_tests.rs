//! Calls as a peer makes them, one beside the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::join;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use rkyv::util::AlignedVec;

use crate::auth::{Secret, SecretSet};
use crate::ids::{ClusterId, GroupId, Incarnation, LogIndex, NodeId, Term};
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::manifest::State;
use crate::transport::{Transport, TransportOptions};
use crate::uring::{Dir, Gate, OpenOptions};

use super::group::{Group, GroupConfig, GroupOptions};
use super::machine::Machine;
use super::rpc::{self, Call, SnapshotOffer};
use super::serve::{Argument, Server};
use super::snapshot::{SnapshotFile, SnapshotHead, write};
use super::testing::{on_core, open, scratch};
use super::types::{Entry, Member, Membership, Point, StoredMembership, Vote};

const GROUP: GroupId = GroupId(3);
const PEER: NodeId = NodeId(2);

async fn group(dir: Dir) -> Group<State> {
    group_behind(dir, None).await
}

async fn group_behind(dir: Dir, gate: Option<Gate>) -> Group<State> {
    let random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ 9);
    let secrets = SecretSet::new(Secret::generate(&mut { random }).expect("not weak"), None);
    let (cluster, node) = (Some(ClusterId([3; 16])), NodeId(1));
    let transport = Transport::new(TransportOptions::new(cluster, Some(node), Incarnation([1; 16]), secrets));
    let config = GroupConfig::default();
    let options =
        GroupOptions { group: GROUP, node, dir, gate, transport, resolve: None, hook: None, config };
    Group::open(options).await.expect("an empty directory")
}

/// The bytes of a snapshot of a state of so many passed entries, and what offers it.
async fn snapshot(entries: u64) -> (Vec<u8>, SnapshotOffer) {
    snapshot_of(1, entries).await
}

/// The same of a term.
async fn snapshot_of(term: u64, entries: u64) -> (Vec<u8>, SnapshotOffer) {
    snapshot_with(term, entries, StoredMembership::default()).await
}

/// The same of a group with members.
async fn snapshot_with(term: u64, entries: u64, members: StoredMembership) -> (Vec<u8>, SnapshotOffer) {
    let folder = scratch();
    let mut state = State::new();
    (1..=entries).for_each(|index| Machine::pass(&mut state, LogIndex(index)));
    let frozen = Machine::freeze(&mut state);
    let point = Point { term: Term(term), index: LogIndex(entries) };
    let head = SnapshotHead { point, members };
    let machine = Rc::new(std::cell::RefCell::new(state));
    let file = write(&open(&folder).await, GROUP, None, head.clone(), &machine, frozen).await;
    file.expect("room");
    let bytes = std::fs::read(folder.path().join(name(entries))).expect("it has its name");
    let offer = SnapshotOffer { vote: Vote::new_committed(term, PEER.0), head, bytes: bytes.len() as u64 };
    (bytes, offer)
}

fn name(entries: u64) -> String {
    format!("snapshot-{entries:016x}.ring")
}

async fn call(server: &Server<State>, peer: NodeId, call: Call, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut memory = AlignedVec::new();
    memory.extend_from_slice(bytes);
    let argument = Argument { range: 0..bytes.len(), memory: Rc::new(memory) };
    server.answer(Some(peer), call.number(), argument).await
}

/// A snapshot from its announcement to its end, all in one piece.
async fn bring(server: &Server<State>, offer: &SnapshotOffer, bytes: &[u8]) -> Result<Vec<u8>, String> {
    begin(server, offer, bytes).await;
    call(server, PEER, Call::SnapshotEnd, &rpc::write_offer(offer)).await
}

/// The same without its end.
async fn begin(server: &Server<State>, offer: &SnapshotOffer, bytes: &[u8]) {
    call(server, PEER, Call::SnapshotBegin, &rpc::write_offer(offer)).await.expect("announced");
    let piece = rpc::write_piece(offer.head.point, 0, bytes);
    call(server, PEER, Call::SnapshotPiece, &piece).await.expect("written");
}

/// A snapshot that has come, and was checked.
async fn arrived(
    folder: &tempfile::TempDir,
    (bytes, offer): (Vec<u8>, SnapshotOffer),
) -> (SnapshotOffer, SnapshotFile) {
    let name = format!("arrived-{}", offer.head.point);
    std::fs::write(folder.path().join(&name), bytes).expect("room");
    let file = open(folder).await.open(&name, OpenOptions::default()).await.expect("it is there");
    let file = SnapshotFile { head: offer.head.clone(), file, bytes: offer.bytes, unsettled: None };
    (offer, file)
}

/// Blank entries of term 1, all of them committed, from a leader of a term.
fn blanks(term: u64, count: u64) -> Vec<u8> {
    let log_id = |index| Point { term: Term(1), index: LogIndex(index) }.log_id().expect("not the start");
    let entry = |index| Entry { log_id: log_id(index), payload: EntryPayload::Blank };
    let entries = (1..=count).map(entry).collect();
    let leader_commit = Some(log_id(count));
    let vote = Vote::new_committed(term, PEER.0);
    rpc::write_append(GROUP, &AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit })
}

fn left_over(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.contains("incoming")).collect()
}

/// A snapshot whose end was being checked shared the name of its file with the next one that began: the file that got
/// the final name was the one that nobody had checked.
#[test]
fn what_was_checked_gets_the_name_whatever_begins_meanwhile() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (bytes, offer) = snapshot(7).await;
        begin(server, &offer, &bytes).await;
        let end = rpc::write_offer(&offer);
        let end = call(server, PEER, Call::SnapshotEnd, &end);
        let meanwhile = async {
            let point = Point { term: Term(1), index: LogIndex(9) };
            let other = SnapshotOffer { head: SnapshotHead { point, ..offer.head.clone() }, ..offer.clone() };
            begin(server, &other, b"nothing that anybody has checked").await;
        };
        let (ended, ()) = join(end, meanwhile).await;
        ended.expect("taken in");
        let stands = std::fs::read(folder.path().join(name(7))).expect("it has its name");
        assert!(stands == bytes, "{} other bytes have the name", stands.len());
        assert_eq!(group.machine().borrow().applied(), LogIndex(7));
        assert_eq!(left_over(folder.path()).len(), 1, "the second is still coming");
        group.shut_down().await.expect("closed");
    });
    std::fs::write(folder.path().join("snapshot.incoming"), b"of an earlier build").expect("room");
    on_core(async {
        let group = group(open(&folder).await).await;
        assert_eq!(left_over(folder.path()), [""; 0], "opening lets go of what was on its way");
        assert_eq!(group.machine().borrow().applied(), LogIndex(7));
        group.shut_down().await.expect("closed");
    });
}

#[test]
fn every_call_that_speaks_for_a_node_is_refused_to_all_but_that_node() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (_, offer) = snapshot(7).await;
        let transfer = TransferLeaderRequest::new(offer.vote, 1, None);
        let (transfer, offered) = (rpc::write_transfer(&transfer), rpc::write_offer(&offer));
        let calls =
            [(Call::Transfer, &transfer), (Call::SnapshotBegin, &offered), (Call::SnapshotEnd, &offered)];
        for (refused, (call_of, argument)) in (1..).zip(calls) {
            let error = call(server, NodeId(3), call_of, argument).await.expect_err("in another's name");
            assert_eq!(error, "node 3 speaks in the name of node 2");
            assert_eq!(group.figures().foreign_calls, refused);
        }
        group.shut_down().await.expect("closed");
    });
}

#[test]
fn a_snapshot_that_is_not_whole_or_not_of_use_leaves_no_file() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (mut bytes, offer) = snapshot(7).await;
        for _ in 0..2 {
            bring(server, &offer, &bytes).await.expect("answered");
            assert_eq!(left_over(folder.path()), [""; 0], "the second time it was known already");
        }
        bytes[40] ^= 1;
        let (_, offer) = snapshot(8).await;
        let refused = bring(server, &offer, &bytes).await;
        assert!(refused.expect_err("damaged").contains("damaged"));
        assert_eq!(left_over(folder.path()), [""; 0]);
        group.shut_down().await.expect("closed");
    });
}

#[test]
fn pieces_out_of_order_or_beyond_what_was_announced_and_another_snapshot_than_that_are_refused() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (bytes, offer) = snapshot(7).await;
        let offered = rpc::write_offer(&offer);
        let announce =
            async || drop(call(server, PEER, Call::SnapshotBegin, &offered).await.expect("announced"));
        let piece = async |offset, bytes: &[u8]| {
            call(server, PEER, Call::SnapshotPiece, &rpc::write_piece(offer.head.point, offset, bytes)).await
        };
        let refused = |answer: Result<Vec<u8>, String>, why: &str| {
            let error = answer.expect_err("it is refused");
            assert!(error.contains(why), "{why:?} is not in: {error}");
            assert_eq!(left_over(folder.path()), [""; 0], "{why}");
        };
        announce().await;
        refused(piece(5, &bytes[5..]).await, "byte 0 of the snapshot was due, 5 came");
        announce().await;
        refused(piece(0, &[&bytes[..], &[1]].concat()).await, "byte 0 of the snapshot was due, 0 came");
        announce().await;
        piece(0, &bytes[..10]).await.expect("written");
        refused(piece(0, &bytes[..10]).await, "byte 10 of the snapshot was due, 0 came");
        announce().await;
        piece(0, &bytes[..10]).await.expect("written");
        let early = call(server, PEER, Call::SnapshotEnd, &offered).await;
        refused(early, &format!("byte {} of the snapshot was due, 10 came", bytes.len()));
        let point = Point { term: Term(1), index: LogIndex(8) };
        let other = SnapshotOffer { head: SnapshotHead { point, ..offer.head.clone() }, ..offer.clone() };
        refused(bring(server, &other, &bytes).await, "was announced");
        bring(server, &offer, &bytes).await.expect("in order, and what was said");
        assert_eq!(group.machine().borrow().applied(), LogIndex(7));
        group.shut_down().await.expect("closed");
    });
}

/// A piece that is written while another snapshot begins to come is of one that nobody will end.
#[test]
fn a_snapshot_that_has_begun_meanwhile_stays_and_an_older_one_takes_no_newer_one_s_place() {
    let folder = scratch();
    on_core(async {
        let gate = Gate::new();
        let group = group_behind(open(&folder).await, Some(gate.clone())).await;
        let server = group.server();
        let ((older, offer_older), (newer, offer_newer)) = (snapshot(7).await, snapshot(9).await);
        call(server, PEER, Call::SnapshotBegin, &rpc::write_offer(&offer_older)).await.expect("announced");
        // The device has no place: the piece waits until the other one has begun.
        let mut held: Vec<_> = std::iter::from_fn(|| gate.bulk(1).now_or_never()).collect();
        let piece = rpc::write_piece(offer_older.head.point, 0, &older);
        let piece = call(server, PEER, Call::SnapshotPiece, &piece);
        let offered = rpc::write_offer(&offer_newer);
        let meanwhile = async {
            call(server, PEER, Call::SnapshotBegin, &offered).await.expect("announced");
            held.clear();
        };
        let (refused, ()) = join(piece, meanwhile).await;
        assert_eq!(refused.expect_err("too late"), "another snapshot has begun to come");
        assert_eq!(left_over(folder.path()).len(), 1, "what came of the older one is gone");
        let piece = rpc::write_piece(offer_newer.head.point, 0, &newer);
        call(server, PEER, Call::SnapshotPiece, &piece).await.expect("it is still coming");
        call(server, PEER, Call::SnapshotEnd, &offered).await.expect("taken in");
        bring(server, &offer_older, &older).await.expect("answered");
        assert_eq!(group.machine().borrow().applied(), LogIndex(9), "the older one is of no use");
        assert!(!folder.path().join(name(7)).exists() && left_over(folder.path()).is_empty());
        group.shut_down().await.expect("closed");
    });
}

#[test]
fn a_snapshot_is_offered_continued_and_ended_by_one_peer_in_its_own_name() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (bytes, offer) = snapshot(7).await;
        let (offered, other) = (rpc::write_offer(&offer), NodeId(3));
        for call_of in [Call::SnapshotBegin, Call::SnapshotEnd] {
            let refused = call(server, other, call_of, &offered).await.expect_err("another's name");
            assert_eq!(refused, "node 3 speaks in the name of node 2");
        }
        assert_eq!(group.figures().foreign_calls, 2);
        call(server, PEER, Call::SnapshotBegin, &offered).await.expect("announced");
        let piece = rpc::write_piece(offer.head.point, 0, &bytes);
        call(server, other, Call::SnapshotPiece, &piece).await.expect_err("node 3 has announced none");
        call(server, PEER, Call::SnapshotPiece, &piece).await.expect("written");
        call(server, PEER, Call::SnapshotEnd, &offered).await.expect("taken in");
        group.shut_down().await.expect("closed");
    });
}

/// Once the first of these ended the process: openraft takes for granted that no leader sends such a snapshot.
#[test]
fn a_snapshot_of_another_history_a_piece_past_all_numbers_and_a_term_that_is_the_last_are_refused() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (bytes, offer) = snapshot(9).await;
        bring(server, &offer, &bytes).await.expect("taken in");
        let (bytes, offer) = snapshot_of(2, 5).await;
        let refused = bring(server, &offer, &bytes).await.expect_err("entry 9 is committed here, of term 1");
        assert!(refused.contains("committed here"), "{refused}");
        let (bytes, offer) = snapshot_of(2, 12).await;
        call(server, PEER, Call::SnapshotBegin, &rpc::write_offer(&offer)).await.expect("announced");
        let piece = rpc::write_piece(offer.head.point, u64::MAX, &bytes);
        call(server, PEER, Call::SnapshotPiece, &piece).await.expect_err("no file has such a place");
        let leap = VoteRequest::new(Vote::new(u64::MAX, PEER.0), offer.head.point.log_id());
        let refused = call(server, PEER, Call::Vote, &rpc::write_vote_request(&leap)).await;
        assert!(refused.expect_err("nobody could be elected after it").contains("so far ahead"));
        let nobody = AppendEntriesRequest {
            vote: Vote::new(3, PEER.0),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let refused = call(server, PEER, Call::Append, &rpc::write_append(GROUP, &nobody)).await;
        assert!(refused.expect_err("no quorum has granted it").contains("leader's vote"));
        assert_eq!(group.machine().borrow().applied(), LogIndex(9));
        let (bytes, offer) = snapshot_of(4, 12).await;
        bring(server, &offer, &bytes).await.expect("the group goes on");
        assert_eq!(group.machine().borrow().applied(), LogIndex(12));
        group.shut_down().await.expect("closed");
    });
}

/// Consensus takes a snapshot of another history than what is committed for impossible, and ends.
#[test]
fn entries_that_come_while_a_snapshot_is_taken_in_commit_nothing_that_contradicts_it() {
    let (folder, other) = (scratch(), scratch());
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (offer, file) = arrived(&other, snapshot_of(2, 5).await).await;
        let entries = blanks(2, 9);
        let (taken, refused) =
            join(server.install(offer, file), call(server, PEER, Call::Append, &entries)).await;
        taken.expect("taken in");
        assert!(refused.expect_err("entry 5 is of term 2").contains("committed here"));
        assert_eq!(group.machine().borrow().applied(), LogIndex(5));
        let (offer, file) = arrived(&other, snapshot_of(3, 7).await).await;
        server.install(offer, file).await.expect("the group goes on");
        group.shut_down().await.expect("closed");
    });
}

#[test]
fn a_snapshot_is_looked_at_behind_the_entries_that_came_before_it() {
    let (folder, other) = (scratch(), scratch());
    on_core(async {
        let group = group(open(&folder).await).await;
        let server = group.server();
        let (offer, file) = arrived(&other, snapshot_of(2, 5).await).await;
        let entries = blanks(2, 9);
        let (appended, refused) =
            join(call(server, PEER, Call::Append, &entries), server.install(offer, file)).await;
        appended.expect("they came first");
        assert!(refused.expect_err("entry 5 is of term 1").contains("committed here"));
        let (offer, file) = arrived(&other, snapshot_of(3, 12).await).await;
        server.install(offer, file).await.expect("the group goes on");
        assert_eq!(group.machine().borrow().applied(), LogIndex(12));
        group.shut_down().await.expect("closed");
    });
}

/// Each was looked at before the other was taken in, and found to contradict nothing.
#[test]
fn of_two_snapshots_at_once_that_contradict_each_other_one_is_refused() {
    for points in [[(1, 9), (2, 5)], [(2, 5), (1, 9)]] {
        let (folder, other) = (scratch(), scratch());
        on_core(async {
            let group = group(open(&folder).await).await;
            let server = group.server();
            let [first, second] = points.map(|(term, entries)| snapshot_of(term, entries));
            let (offer, file) = arrived(&other, first.await).await;
            let (other_offer, other_file) = arrived(&other, second.await).await;
            // Both in the name of the same leader.
            let vote = Vote::new_committed(2, PEER.0);
            let (offer, other_offer) =
                (SnapshotOffer { vote, ..offer }, SnapshotOffer { vote, ..other_offer });
            let (taken, refused) =
                join(server.install(offer, file), server.install(other_offer, other_file)).await;
            taken.expect("the first");
            assert!(refused.expect_err("the second").contains("committed here"));
            assert_eq!(group.machine().borrow().applied(), LogIndex(points[0].1));
            group.shut_down().await.expect("closed");
        });
    }
}

#[test]
fn a_snapshot_that_is_announced_as_larger_than_can_be_or_than_there_is_room_for_makes_no_file() {
    let folder = scratch();
    on_core(async {
        let dir = open(&folder).await;
        let available = dir.space().await.expect("known").available;
        let group = group(dir).await;
        let server = group.server();
        let (bytes, offer) = snapshot(7).await;
        let announce = async |bytes| {
            let offer = SnapshotOffer { bytes, ..offer.clone() };
            call(server, PEER, Call::SnapshotBegin, &rpc::write_offer(&offer)).await
        };
        for large in [SNAPSHOT_BYTES_MAX + 1, u64::MAX] {
            let refused = announce(large).await.expect_err("no state has so many");
            assert!(refused.contains("the largest possible"), "{refused}");
        }
        let beyond = available + (8 << 30);
        let refused = announce(beyond).await.expect_err("more than there is room for");
        assert!(beyond > SNAPSHOT_BYTES_MAX || refused.contains("the disk has room for"), "{refused}");
        assert_eq!(left_over(folder.path()), [""; 0]);
        bring(server, &offer, &bytes).await.expect("there is room for this one");
        group.shut_down().await.expect("closed");
    });
}

/// A node that a half-done change makes a voter, and one that only learns, are none of the voters that count.
#[test]
fn voters_are_those_of_every_set_in_force_and_no_learner() {
    let folder = scratch();
    on_core(async {
        let group = group(open(&folder).await).await;
        let member =
            |n: u8| Member { address: format!("10.0.0.{n}:7000"), incarnation: Incarnation([n; 16]) };
        let nodes = BTreeMap::from([(1, member(1)), (2, member(2)), (3, member(3))]);
        let sets = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        let members = Membership::new(sets, nodes).expect("each voter has its address");
        let at = Point { term: Term(1), index: LogIndex(6) }.log_id();
        let (bytes, offer) = snapshot_with(1, 7, StoredMembership::new(at, members)).await;
        bring(group.server(), &offer, &bytes).await.expect("taken in");
        assert_eq!(group.voters(), BTreeMap::from([(NodeId(1), Incarnation([1; 16]))]));
        let voting: Vec<_> = group.members().iter().map(|member| (member.node.0, member.voter)).collect();
        assert_eq!(voting, [(1, true), (2, true), (3, false)], "with those that will vote when it is done");
        assert!(group.is_changing());
        group.shut_down().await.expect("closed");
    });
}
