//! Events: in order, after a place that the consumer names; and the word for what cannot be told any more.

use std::time::Duration;

use ringway::engine::{Ask, Event, EventCursor, EventsError, Sealed, Shard, What, block_on};

use crate::nodes::{Nodes, PATIENCE, register, seal};

/// Follows until so many events are told.
fn follow(shard: &Shard, mut after: EventCursor, count: usize) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    while all.len() < count {
        let some = shard.events(after).wait().expect("no gap");
        after = some.last().expect("at least one").cursor;
        all.extend(some);
    }
    all
}

fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match &event.what {
        What::Registered => format!("registered {}", event.path),
        What::Updated => format!("updated {}", event.path),
        What::Deleted { reason } => format!("deleted {} ({reason})", event.path),
        What::Installed => format!("installed {}", event.path),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect()
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
    assert_eq!((all[0].applied, all[0].segment), (first.index, first.segments[0]));
    assert_eq!((all[3].applied, all[3].segment), (second.index, second.segments[0]));
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
    assert_eq!(told[0].path, "after");
}

#[test]
fn m6_a_place_from_before_a_restart_or_from_nowhere_is_a_gap_and_the_gap_says_where_to_go_on() {
    let mut nodes = Nodes::new(1);
    register(&nodes.shard(1), "a", b"x");
    let old = nodes.shard(1).events_now().wait().expect("it runs");
    nodes.stop(1);
    nodes.open(1);
    let shard = nodes.shard(1);
    let Err(EventsError::Gap { now }) = block_on(shard.events(old)) else { panic!("the line began anew") };
    assert_ne!(now.life, old.life);
    let ahead = EventCursor { number: now.number + 1000, ..now };
    assert!(matches!(shard.events(ahead).wait(), Err(EventsError::Gap { .. })));
    // The way on: the place, then the manifest, then what comes after the place.
    assert_eq!(shard.segments(None, 10).wait().expect("a page").segments[0].path, "a");
    register(&shard, "b", b"y");
    assert!(words(&follow(&shard, now, 2)).contains(&"registered b".to_owned()));
}

#[test]
fn m6_a_replica_tells_what_it_applies_and_what_it_has_landed() {
    let nodes = Nodes::new(3);
    let replica = nodes.shard(3);
    let start = replica.events_now().wait().expect("it runs");
    let done = register(&nodes.shard(1), "a", b"one");
    let told = follow(&replica, start, 2);
    assert_eq!(words(&told), ["registered a", "installed a"]);
    assert!(told.iter().all(|event| event.segment == done.segments[0]));
}
