//! The plan: sources in turn, parts, rests, room.

use super::*;
use crate::ids::LogIndex;
use crate::transfer::source::Announced;

fn want(index: u64) -> Want {
    let id = SegmentId { index: LogIndex(index), ordinal: 0 };
    Want { id, path: "a".into(), bytes: 1, root: Digest([1; 32]), origin: NodeId(1), work: Work::Live }
}

fn sources(nodes: &[u64]) -> Sources {
    let mut sources = Sources::default();
    sources.set(nodes.iter().map(|node| NodeId(*node)));
    sources
}

#[test]
fn a_segment_that_one_source_lacks_is_asked_of_the_next_at_once_and_of_an_early_origin_again() {
    let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
    assert!(plan.want(want(5), now));
    let first = plan.next(&mut from, now).expect("one is ready");
    assert_eq!(first.source, NodeId(1));
    assert_eq!(plan.next(&mut from, now), None, "it is in flight once");
    for _ in 0..ORIGIN_ASKS_MAX {
        plan.failed(first.want.id, Failure::NotHere, 0, &mut from, now);
        assert_eq!(plan.next_deadline(&from, now), Some(now.plus(ORIGIN_PAUSE)));
        now = now.plus(ORIGIN_PAUSE);
        assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
    }
    plan.failed(first.want.id, Failure::NotHere, 0, &mut from, now);
    let second = plan.next(&mut from, now).expect("another source");
    assert_eq!(second.source, NodeId(2));
    plan.landed(second.want.id, &mut from, now);
    assert!(plan.is_empty());
}

#[test]
fn p6_a_large_segment_of_its_origin_alone_is_divided_among_the_replicas_and_one_of_many_holders_among_them() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1, 2, 4]), Nanos(1));
    plan.spread(NodeId(3));
    let large = |index| Want { bytes: SPREAD_BYTES_MIN * 3, ..want(index) };
    plan.want(large(5), now);
    let first = plan.next(&mut from, now).expect("it is ready");
    let asked: Vec<_> = first.parts.iter().map(|part| (part.node, part.chunks.clone())).collect();
    assert_eq!(asked, [(NodeId(1), 2..4), (NodeId(4), 4..6), (NodeId(2), 0..2)]);
    for node in [2, 4] {
        from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
    }
    plan.want(large(6), now);
    let second = plan.next(&mut from, now).expect("it is ready");
    let asked: Vec<_> = second.parts.iter().map(|part| part.node).collect();
    assert_eq!(asked, [NodeId(2), NodeId(4)]);
    plan.failed(large(6).id, Failure::Corrupt, 0, &mut from, now);
    let again = plan.next(&mut from, now).expect("another source");
    assert!(again.want == large(6) && again.parts.is_empty(), "one after the other: {again:?}");
    plan.want(want(7), now);
    assert_eq!(plan.next(&mut from, now).map(|start| start.parts), Some(Vec::new()), "a small one");
}

/// Once one whose disk had been full, or that was asked for by a second node after damage, was divided again.
#[test]
fn p6_a_segment_that_was_not_there_is_divided_again_and_one_that_has_begun_to_come_is_not() {
    use Failure::{Corrupt, Disk, DiskFull, NoProgress, NotHere};
    let cases: [(&[Failure], bool); 6] = [
        (&[NotHere], true),
        (&[NotHere, NotHere], true),
        (&[DiskFull], false),
        (&[Disk, NotHere], false),
        (&[Corrupt, NotHere], false),
        (&[NotHere, NoProgress, NotHere], false),
    ];
    for (failures, is_divided) in cases {
        let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2, 4]), Nanos(1));
        plan.spread(NodeId(3));
        plan.want(Want { bytes: SPREAD_BYTES_MIN * 3, ..want(5) }, now);
        for failure in failures {
            let start = plan.next(&mut from, now).expect("it is due");
            plan.failed(start.want.id, *failure, 0, &mut from, now);
            now = now.plus(BACKOFF_MAX);
        }
        // Another node is asked by now, and has it from others.
        for node in [1, 2, 4] {
            from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
        }
        let again = plan.next(&mut from, now).expect("it is due");
        assert_eq!(again.parts.len() > 1, is_divided, "{failures:?}: {again:?}");
    }
}

#[test]
fn a_segment_that_nobody_has_is_unavailable_and_tried_again_for_ever() {
    let (mut plan, mut from) = (Plan::default(), sources(&[1]));
    let mut now = Nanos(1);
    plan.want(want(5), now);
    for _ in 0..10 {
        let start = plan.next(&mut from, now).expect("it is due");
        plan.failed(start.want.id, Failure::NotHere, 0, &mut from, now);
        assert_eq!(plan.next(&mut from, now), None);
        let at = plan.next_deadline(&from, now).expect("it will be due");
        assert!(at > now && at <= now.plus(BACKOFF_MAX));
        now = at;
    }
    assert_eq!(plan.unavailable().count(), 1);
}

#[test]
fn what_rests_is_due_at_once_when_it_is_hurried_and_only_that_which_is_meant() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(1));
    let idle = |plan: &mut Plan, from: &mut Sources| assert_eq!(plan.next(from, now), None);
    for (index, failure) in [(5, Failure::Unreachable), (6, Failure::NotHere)] {
        plan.want(want(index), now);
        assert_eq!(plan.next(&mut from, now).map(|start| start.want), Some(want(index)));
        plan.failed(want(index).id, failure, 0, &mut from, now);
        from.rest_no_more();
        idle(&mut plan, &mut from);
    }
    plan.hurry(now, |_, last| last.is_some_and(Failure::is_out_of_reach));
    assert_eq!(plan.next(&mut from, now).map(|start| start.want), Some(want(5)));
    idle(&mut plan, &mut from);
    plan.hurry(now, |want, _| want.id.index == LogIndex(6));
    assert_eq!(plan.next(&mut from, now).map(|start| start.want), Some(want(6)));
    plan.failed(want(6).id, Failure::DiskFull, 0, &mut from, now);
    idle(&mut plan, &mut from);
    plan.hurry_all(now);
    assert_eq!(plan.next(&mut from, now).map(|start| start.want), Some(want(6)), "whatever held it up");
}

#[test]
fn a_busy_source_costs_no_attempt_and_those_without_the_segment_are_asked_again_beside_it() {
    let (mut plan, mut from, mut now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
    plan.want(want(5), now);
    let mut asked = [0, 0];
    while now < Nanos::from_secs(600) {
        while let Some(start) = plan.next(&mut from, now) {
            let (failure, place) = match start.source {
                NodeId(1) => (Failure::Busy, 0),
                _ => (Failure::NotHere, 1),
            };
            asked[place] += 1;
            plan.failed(start.want.id, failure, 0, &mut from, now);
        }
        let at = plan.next_deadline(&from, now).expect("it will be due");
        assert!(at > now && at <= now.plus(BACKOFF_MAX), "{at} after {now}");
        now = at;
    }
    assert!(asked.iter().all(|count| *count >= 600 / 30), "{asked:?}");
    let lost = plan.unavailable().next().expect("status names it");
    assert_eq!((lost.attempts, lost.since), (0, Nanos(1)));
    plan.next(&mut from, now.plus(BACKOFF_MAX)).expect("either");
    plan.landed(want(5).id, &mut from, now);
    assert!(plan.is_empty());
}

#[test]
fn a_full_disk_pauses_everything_and_blames_no_source() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(1));
    plan.want(want(5), now);
    plan.want(want(6), now);
    let start = plan.next(&mut from, now).expect("ready");
    plan.failed(start.want.id, Failure::DiskFull, 0, &mut from, now);
    assert_eq!(plan.next(&mut from, now), None);
    let at = plan.next_deadline(&from, now).expect("a pause ends");
    assert!(plan.next(&mut from, at).is_some());
}

#[test]
fn what_has_no_room_is_derived_again_when_there_is_room() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(1));
    for index in 0..FETCH_QUEUE_MAX as u64 {
        assert!(plan.want(want(index + 1), now));
    }
    assert!(!plan.want(want(1 << 40), now), "full");
    assert!(!plan.take_overflow(), "still full");
    for index in 0..FETCH_QUEUE_MAX as u64 {
        plan.landed(want(index + 1).id, &mut from, now);
    }
    assert!(!plan.is_empty(), "something was left out");
    assert!(plan.take_overflow());
    assert!(plan.is_empty());
}

/// A fetch that was given up counted as under way for ever: its source came last for everything else.
#[test]
fn a_segment_forgotten_in_flight_weighs_on_its_source_no_more() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1, 2]), Nanos(1));
    for node in [1, 2] {
        from.announce(NodeId(node), Announced { held_to: LogIndex(9), ..Announced::default() });
    }
    plan.want(want(5), now);
    plan.forget(want(4).id, &mut from);
    assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
    plan.forget(want(5).id, &mut from);
    plan.failed(want(5).id, Failure::Unreachable, 0, &mut from, now);
    assert!(plan.is_empty());
    plan.want(want(6), now);
    assert_eq!(plan.next(&mut from, now).map(|start| start.source), Some(NodeId(1)));
}

#[test]
fn p7_what_is_behind_leaves_room_for_what_is_live_which_goes_first() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(9));
    let behind = |index| Want { work: Work::CatchUp, ..want(index) };
    let taken = (0..FETCH_QUEUE_MAX as u64).filter(|index| plan.want(behind(*index), Nanos(1))).count();
    assert_eq!(taken, FETCH_QUEUE_BEHIND_MAX);
    let begun = std::iter::from_fn(|| plan.next(&mut from, now)).count();
    assert_eq!(begun, FETCHES_BEHIND_MAX);
    let last = FETCH_QUEUE_MAX as u64 * 2;
    assert!(plan.want(want(last), now) && plan.want(want(last + 1), now), "there is room");
    plan.landed(behind(0).id, &mut from, now);
    let mut next = || plan.next(&mut from, now).map(|start| start.want.id.index.0);
    assert_eq!([next(), next()], [Some(last), Some(last + 1)], "before all that came first");
    assert_eq!([next(), next()], [Some(FETCHES_BEHIND_MAX as u64), None]);
}

/// What is due and has no room says nothing of when something else is due.
#[test]
fn p7_what_is_live_and_rests_is_waited_for_beside_what_is_behind_and_has_no_room() {
    let (mut plan, mut from, now) = (Plan::default(), sources(&[1]), Nanos(9));
    for index in 0..FETCHES_BEHIND_MAX as u64 + 1 {
        plan.want(Want { work: Work::CatchUp, ..want(index) }, Nanos(1));
    }
    while plan.next(&mut from, now).is_some() {}
    plan.want(want(5000), now);
    let live = plan.next(&mut from, now).expect("it has room");
    plan.failed(live.want.id, Failure::NotHere, 0, &mut from, now);
    assert_eq!(plan.next_deadline(&from, now), Some(now.plus(ORIGIN_PAUSE)));
}
