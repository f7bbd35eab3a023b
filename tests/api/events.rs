//! Events: in order, after a place that the consumer names; and the word for what cannot be told any more.

use std::time::Duration;

use ringway::engine::{Ask, Change, Event, EventCursor, EventsError, Sealed, Shard, What, block_on};
use ringway::ids::SegmentId;
use ringway::limits::EVENTS_MAX;
use ringway::raft::GroupRole;

use crate::nodes::{Nodes, PATIENCE, register, seal};

/// Follows until so many events of segments are told; those of roles are left out.
fn follow(shard: &Shard, mut after: EventCursor, count: usize) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    while all.len() < count {
        let some = shard.events(after).wait().expect("no gap");
        after = some.last().expect("at least one").cursor;
        all.extend(some.into_iter().filter(|event| event.segment.is_some()));
    }
    all
}

fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| {
        let path = event.segment.as_ref().map_or("", |segment| &segment.path);
        match &event.what {
            What::Registered => format!("registered {path}"),
            What::Updated => format!("updated {path}"),
            What::Deleted { reason } => format!("deleted {path} ({reason})"),
            What::Installed => format!("installed {path}"),
            What::Damaged => format!("damaged {path}"),
            What::Repaired => format!("repaired {path}"),
            What::Unavailable { why } => format!("unavailable {path} ({why})"),
            other @ (What::RoleChanged { .. } | _) => format!("{other:?}"),
        }
    };
    events.iter().map(word).collect()
}

fn id_of(event: &Event) -> SegmentId {
    event.segment.as_ref().expect("it is about one").id
}

#[test]
fn m6_events_are_told_in_order_and_from_any_place_again() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let start = shard.events_now().wait().expect("it runs");
    let first = register(&shard, "a", b"one");
    shard.wait_installed(first.index, PATIENCE).wait().expect("here");
    seal(&shard, "a", b"two");
    let second = shard.update(Sealed::at("a"), Ask::default()).wait().expect("committed");
    shard.wait_installed(second.index, PATIENCE).wait().expect("here");
    shard.delete("a", "why not", Ask::default()).wait().expect("committed");
    let all = follow(&shard, start, 5);
    let expected = ["registered a", "installed a", "updated a", "installed a", "deleted a (why not)"];
    assert_eq!(words(&all), expected);
    assert!(all.is_sorted_by_key(|event| event.applied));
    assert_eq!((all[0].applied, id_of(&all[0])), (first.index, first.segments[0]));
    assert_eq!((all[3].applied, id_of(&all[3])), (second.index, second.segments[0]));
    assert_eq!(words(&follow(&shard, all[1].cursor, 3)), expected[2..], "from a place in the middle");
    assert_eq!(shard.events_now().wait().expect("it runs"), all[4].cursor);
}

#[test]
fn m6_a_consumer_waits_for_the_next_event_and_one_that_goes_away_hurts_nobody() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let before = register(&shard, "before", b"x");
    shard.wait_installed(before.index, PATIENCE).wait().expect("here");
    let now = shard.events_now().wait().expect("it runs");
    drop(shard.events(now));
    let follower = shard.clone();
    let waiting = std::thread::spawn(move || follower.events(now).wait());
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waiting.is_finished(), "there is nothing to tell");
    register(&shard, "after", b"y");
    let told = waiting.join().expect("it ends").expect("told");
    assert_eq!(told[0].segment.as_ref().map(|segment| segment.path.as_str()), Some("after"));
}

#[test]
fn m6_after_a_restart_a_consumer_goes_on_where_it_was_and_hears_nothing_twice() {
    let mut nodes = Nodes::new(1);
    let start = nodes.shard(1).events_now().wait().expect("it runs");
    let mut all = Vec::new();
    for (round, path) in ["a", "b", "c"].into_iter().enumerate() {
        let shard = nodes.shard(1);
        let done = register(&shard, path, b"x");
        shard.wait_installed(done.index, PATIENCE).wait().expect("here");
        // The second time nothing is asked for before the next restart.
        if round != 1 {
            let after = all.last().map_or(start, |event: &Event| event.cursor);
            all.extend(follow(&shard, after, if round == 0 { 2 } else { 4 }));
        }
        nodes.stop(1);
        nodes.open(1);
    }
    let expected =
        ["registered a", "installed a", "registered b", "installed b", "registered c", "installed c"];
    assert_eq!(words(&all), expected);
    assert_eq!(words(&follow(&nodes.shard(1), start, 6)), expected, "from the first place again");
    assert_ne!(all[1].cursor.life, all[5].cursor.life);
    // Starts that tell of nothing lose no place either.
    let now = nodes.shard(1).events_now().wait().expect("it runs");
    for _ in 0..2 {
        nodes.stop(1);
        nodes.open(1);
    }
    register(&nodes.shard(1), "d", b"x");
    assert_eq!(words(&follow(&nodes.shard(1), now, 2)), ["registered d", "installed d"]);
}

#[test]
fn m6_a_place_from_nowhere_is_a_gap_and_the_gap_says_where_to_go_on() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let settled = |path: &str| {
        let done = register(&shard, path, b"x");
        shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    };
    settled("a");
    let now = shard.events_now().wait().expect("it runs");
    let (ahead, foreign) =
        (EventCursor { number: now.number + 1000, ..now }, EventCursor { life: now.life + 1, number: 1 });
    for nowhere in [ahead, foreign] {
        let Err(EventsError::Gap { now }) = block_on(shard.events(nowhere)) else { panic!("a place") };
        // The way on: the place, then the manifest, then what comes after the place.
        assert_eq!(shard.segments(None, 10).wait().expect("a page").segments[0].path, "a");
        let path = format!("b{}", nowhere.life);
        settled(&path);
        assert_eq!(words(&follow(&shard, now, 1))[0], format!("registered {path}"));
    }
}

#[test]
fn m6_a_consumer_that_is_far_behind_is_told_from_the_disk_and_nothing_is_left_out() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let start = shard.events_now().wait().expect("it runs");
    for round in 0..EVENTS_MAX / 500 + 1 {
        let paths: Vec<_> = (0..500).map(|at| format!("{round:03}-{at:03}")).collect();
        paths.iter().for_each(|path| seal(&shard, path, path.as_bytes()));
        let changes = paths.iter().map(|path| Change::Register(Sealed::at(path))).collect();
        let done = shard.batch(changes, Ask::default()).wait().expect("committed");
        shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    }
    let count = (EVENTS_MAX / 500 + 1) * 500;
    let all = words(&follow(&shard, start, 2 * count));
    let told = |word: &str| all.iter().filter(|told| told.starts_with(word)).count();
    assert_eq!((told("registered"), told("installed")), (count, count));
}

#[test]
fn m6_roles_are_told_too() {
    let mut nodes = Nodes::new(1);
    let now = nodes.shard(1).events_now().wait().expect("it runs");
    nodes.stop(1);
    nodes.open(1);
    let mut after = now;
    loop {
        let told = nodes.shard(1).events(after).wait().expect("no gap");
        let leads = What::RoleChanged { role: GroupRole::Leader, leader: Some(nodes.config(1).node) };
        if told.iter().any(|event| event.what == leads && event.segment.is_none()) {
            return;
        }
        after = told.last().expect("at least one").cursor;
    }
}

#[test]
fn m6_a_replica_tells_what_it_applies_and_what_it_has_landed() {
    let nodes = Nodes::new(3);
    let replica = nodes.shard(3);
    let start = replica.events_now().wait().expect("it runs");
    let done = register(&nodes.shard(1), "a", b"one");
    let told = follow(&replica, start, 2);
    assert_eq!(words(&told), ["registered a", "installed a"]);
    assert!(told.iter().all(|event| id_of(event) == done.segments[0]));
}
