//! Every checker finds what it is there for, and is silent else.

use std::collections::BTreeMap;

use ringway::config::Direction;
use ringway::ids::{Digest, GroupId, LogIndex, Nanos, NodeId, ShardId, Term};

use crate::sim::check::{
    AppliedOnce, Bounded, Converges, Limit, ManifestAgreement, NeverOlder, NoLostCommit, NoUnverifiedByte,
    OneLeader, Passed, SharesRespected, WatermarkOrder, Watermarks,
};

const GROUP: GroupId = GroupId(1);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

#[test]
fn two_leaders_of_one_term_are_found() {
    let mut check = OneLeader::default();
    assert_eq!(check.leads(GROUP, Term(3), ONE), Ok(()));
    assert_eq!(check.leads(GROUP, Term(3), ONE), Ok(()));
    assert_eq!(check.leads(GroupId(2), Term(3), TWO), Ok(()), "another group");
    assert_eq!(check.leads(GROUP, Term(4), TWO), Ok(()), "another term");
    assert!(check.leads(GROUP, Term(4), ONE).is_err());
}

#[test]
fn a_term_that_goes_back_is_found_unless_the_disk_is_new() {
    let mut check = OneLeader::default();
    assert_eq!(check.in_term(GROUP, Term(4), ONE), Ok(()));
    assert!(check.in_term(GROUP, Term(3), ONE).is_err());
    check.emptied(ONE);
    assert_eq!(check.in_term(GROUP, Term(1), ONE), Ok(()));
}

#[test]
fn a_change_that_is_applied_twice_is_found() {
    let mut check = AppliedOnce::default();
    let (one, other) = (Some(Digest([1; 32])), Some(Digest([2; 32])));
    assert_eq!(check.changed(GROUP, LogIndex(5), "a", one), Ok(()));
    assert_eq!(check.changed(GROUP, LogIndex(5), "a", one), Ok(()), "another replica");
    assert_eq!(check.changed(GROUP, LogIndex(6), "b", one), Ok(()), "another path");
    assert_eq!(check.changed(GROUP, LogIndex(7), "a", other), Ok(()), "another content");
    assert_eq!(check.changed(GROUP, LogIndex(8), "a", None), Ok(()), "deleted");
    assert!(check.changed(GROUP, LogIndex(9), "a", one).is_err());
    assert!(check.changed(GROUP, LogIndex(9), "a", None).is_err());
}

#[test]
fn an_acknowledged_entry_that_is_gone_is_found() {
    let mut check = NoLostCommit::default();
    assert_eq!(check.acknowledged(GROUP, LogIndex(5), 0xa), Ok(()));
    assert_eq!(check.acknowledged(GroupId(2), LogIndex(5), 0xb), Ok(()), "another group");
    let log = BTreeMap::from([(LogIndex(5), 0xa), (LogIndex(6), 0xc)]);
    assert_eq!(check.holds(ONE, GROUP, LogIndex(0), &log), Ok(()));
    assert_eq!(check.holds(ONE, GROUP, LogIndex(5), &BTreeMap::new()), Ok(()), "the snapshot has it");
    assert!(check.holds(ONE, GROUP, LogIndex(4), &BTreeMap::new()).is_err());
    assert!(check.holds(ONE, GROUP, LogIndex(0), &BTreeMap::from([(LogIndex(5), 0xd)])).is_err());
    assert!(check.acknowledged(GROUP, LogIndex(5), 0xd).is_err());
}

#[test]
fn two_entries_committed_at_one_index_are_found() {
    let mut check = NoLostCommit::default();
    assert_eq!(check.committed(ONE, GROUP, LogIndex(5), 0xa), Ok(()));
    assert_eq!(check.committed(TWO, GROUP, LogIndex(5), 0xa), Ok(()));
    assert!(check.committed(TWO, GROUP, LogIndex(5), 0xb).is_err());
}

#[test]
fn manifests_that_part_are_found() {
    let mut check = ManifestAgreement::default();
    assert_eq!(check.applied(ONE, GROUP, LogIndex(5), 0xa), Ok(()));
    assert_eq!(check.applied(TWO, GROUP, LogIndex(6), 0xb), Ok(()));
    assert!(check.applied(TWO, GROUP, LogIndex(5), 0xb).is_err());
}

#[test]
fn a_file_that_no_entry_knows_is_found_unless_the_engine_owns_it() {
    let mut check = NoUnverifiedByte::default();
    let (old, new, other) = (Digest([1; 32]), Digest([2; 32]), Digest([3; 32]));
    check.committed(ShardId(0), "a", old, 10);
    check.committed(ShardId(0), "a", new, 11);
    assert_eq!(check.visible(ONE, ShardId(0), "a", old, 10), Ok(()), "superseded is not wrong");
    assert_eq!(check.visible(ONE, ShardId(0), "a", new, 11), Ok(()));
    assert!(check.visible(ONE, ShardId(0), "a", new, 10).is_err(), "another size");
    assert!(check.visible(ONE, ShardId(0), "b", new, 11).is_err(), "another path");
    assert!(check.visible(ONE, ShardId(1), "a", new, 11).is_err(), "another shard");
    check.sealed(ONE, ShardId(0), "b", other);
    assert_eq!(check.visible(ONE, ShardId(0), "b", other, 1), Ok(()));
    assert!(check.visible(TWO, ShardId(0), "b", other, 1).is_err());
    assert!(check.visible(ONE, ShardId(0), "b", new, 1).is_err(), "the engine has put something else there");
}

#[test]
fn a_version_that_re_appears_or_stands_for_a_newer_one_is_found() {
    let mut check = NeverOlder::default();
    let (old, new, own) = (Digest([1; 32]), Digest([2; 32]), Digest([3; 32]));
    check.committed(ShardId(0), LogIndex(5), "a", old);
    check.committed(ShardId(0), LogIndex(8), "a", new);
    let mut shows = |who, held, content| check.visible(who, ShardId(0), "a", LogIndex(held), content);
    assert_eq!(shows((ONE, 1), 5, old), Ok(()));
    assert_eq!(shows((ONE, 1), 5, new), Ok(()), "it stands before its record does");
    assert_eq!(shows((ONE, 1), 8, own), Ok(()), "what nobody has committed yet");
    assert!(shows((ONE, 1), 5, old).is_err(), "it was newer before");
    assert!(shows((TWO, 1), 8, old).is_err(), "the newer one is held");
    assert_eq!(shows((ONE, 2), 5, old), Ok(()), "a power cut may have taken the newer one back");
}

#[test]
fn watermarks_out_of_order_or_going_back_are_found() {
    let marks = |proposed: Option<u64>, committed, applied, installed| Watermarks {
        proposed: proposed.map(LogIndex),
        committed: LogIndex(committed),
        applied: LogIndex(applied),
        installed: LogIndex(installed),
    };
    let mut check = WatermarkOrder::default();
    assert_eq!(check.observe(ONE, 1, GROUP, marks(Some(9), 8, 8, 5)), Ok(()));
    assert_eq!(check.observe(ONE, 2, GROUP, marks(None, 3, 2, 1)), Ok(()), "another process begins again");
    assert!(check.observe(ONE, 1, GROUP, marks(None, 8, 8, 4)).is_err(), "installed went back");
    for wrong in [marks(Some(7), 8, 8, 5), marks(None, 8, 9, 5), marks(None, 9, 8, 9)] {
        assert!(WatermarkOrder::default().observe(ONE, 1, GROUP, wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_gauge_above_its_bound_or_without_one_is_found() {
    let mut check = Bounded::default().gauge("queue", 3);
    assert_eq!(check.observe(ONE, "queue", 3), Ok(()));
    assert_eq!(check.peak("queue"), 3);
    assert!(check.observe(ONE, "queue", 4).is_err());
    assert!(check.observe(ONE, "descriptors", 1).is_err());
}

#[test]
fn what_passes_beyond_a_limit_or_beside_it_or_before_who_waits_is_found() {
    let of = (ONE, 1, None, Direction::Receive);
    let limit = Limit { rate: 1000, burst: 200, most: 100, shares: [50, 25, 5] };
    let passed = |bytes: u64, held_back: u64| {
        let live =
            Passed { bytes: 0, waits: u64::from(held_back > 0), held_back: Nanos::from_secs(held_back) };
        [live, Passed { bytes, ..Passed::default() }, Passed::default()]
    };
    let mut check = SharesRespected::default();
    let mut at = |seconds, passed| check.observe(of, limit, Nanos::from_secs(seconds), passed);
    assert_eq!(at(10, passed(200, 0)), Ok(()));
    assert_eq!(at(12, passed(2400, 0)), Ok(()), "as the limit allows");
    assert!(at(12, passed(2402, 0)).is_err(), "beyond it");
    assert_eq!(check.moved(of, 2400), Ok(()));
    assert!(check.moved(of, 2401).is_err(), "beside it");

    let mut check = SharesRespected::default();
    let mut at = |seconds, passed| check.observe(of, limit, Nanos::from_secs(seconds), passed);
    assert_eq!(at(10, passed(1000, 0)), Ok(()), "it is free");
    assert_eq!(at(11, passed(2000, 1)), Ok(()), "500 of 1000 are due, and one of another went before");
    assert_eq!(at(19, passed(2000, 9)), Ok(()), "nothing passes");
    assert!(at(20, passed(3000, 10)).is_err(), "live waits and has nothing");
}

#[test]
fn a_node_that_does_not_come_to_the_same_content_is_found() {
    let mut check = Converges::within(Nanos(100));
    check.disturbed(Nanos(50), 0xa);
    assert_eq!(check.observe(Nanos(60), ONE, 0xa), Ok(()));
    assert_eq!(check.observe(Nanos(60), TWO, 0x9), Ok(()));
    assert_eq!(check.verdict(Nanos(149), &[ONE, TWO]), Ok(()), "there is time left");
    assert!(check.verdict(Nanos(150), &[ONE, TWO]).is_err());
    assert_eq!(check.verdict(Nanos(150), &[ONE]), Ok(()));
    assert!(check.verdict(Nanos(150), &[NodeId(3)]).is_err(), "one that was never seen");
    assert!(check.observe(Nanos(151), ONE, 0xb).is_err(), "it left again");
    check.disturbed(Nanos(200), 0xc);
    assert_eq!(check.observe(Nanos(201), ONE, 0xb), Ok(()), "it may still be on its way");
}
