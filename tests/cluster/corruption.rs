//! Bits that change between two nodes where TCP does not see it: nothing of it is taken, and all is right in the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::asked::Asked;
use crate::bench::{Place, alone, segments_of};
use crate::binary::{content, write};
use crate::corruptor::{Part, Plan, corrupt};
use crate::fleet::{Fleet, loopback};
use crate::writers::{WITHIN, Writers, verified};

/// Three nodes that reach each other through a proxy only.
fn founded(place: &Place, plan: &Arc<Plan>) -> Fleet {
    let listen = loopback(3);
    let known: Vec<_> = listen.iter().map(|at| corrupt(*at, plan)).collect();
    let mut fleet = Fleet::known_as(&place.root, &listen, &known, Vec::new());
    fleet.found();
    fleet
}

/// Chunks that the nodes have fetched again since they started.
fn refetched(fleet: &Asked) -> u64 {
    let of = |number| fleet.status(number).expect("it answers")["shards"][0]["chunks_refetched"].as_u64();
    fleet.numbers().map(|number| of(number).expect("a number")).sum()
}

#[test]
fn a6_payload_changed_between_nodes_is_fetched_again_and_never_lands() {
    const CHANGES: u64 = 40;
    let place = alone();
    let plan = Plan::new(Part::Payload, 4, CHANGES);
    let fleet = founded(&place, &plan);
    // Many small ones, which come in batches, and some of several chunks.
    let sizes = (0..60).map(|_| 20_000).chain((0..24).map(|index| (3 << 20) + index));
    let files: Vec<_> =
        (0..).zip(sizes).map(|(seed, bytes)| (format!("file-{seed}"), content(seed, bytes))).collect();
    for (number, (path, bytes)) in fleet.numbers().cycle().zip(&files) {
        write(&fleet.segments(number), path, bytes);
        fleet.register(number, path, WITHIN).expect("there is a leader");
    }
    fleet.at_rest();
    for number in fleet.numbers() {
        let found = segments_of(&fleet.root, number, 1);
        assert_eq!(found.len(), files.len());
        for (path, bytes) in &files {
            assert!(found[path] == *bytes, "{path} differs on node {number}");
        }
    }
    verified(&fleet.root);
    let (changed, again) = (plan.changed.load(Ordering::Relaxed), refetched(&fleet));
    println!("{changed} payloads were changed, {again} chunks fetched again");
    assert_eq!(changed, CHANGES);
    assert_eq!(again, changed, "each of them is told from the others");
}

/// Whoever lacks something for longer than it takes to come is not ready, whatever else goes on.
#[test]
fn c2_a_node_to_which_a_segment_does_not_come_stops_being_ready() {
    let place = alone();
    let fleet = founded(&place, &Plan::new(Part::Payload, 1, u64::MAX));
    write(&fleet.segments(1), "file", &content(1, 5000));
    fleet.register(1, "file", WITHIN).expect("there is a leader");
    fleet.wait("the others say what they lack", |fleet| {
        let why = |number| fleet.status(number).expect("it answers")["not_ready"][0].clone();
        why(2) == "shard 0 lacks 1 segments" && why(3) == why(2)
    });
    assert!(fleet.is_ready(1) && refetched(&fleet) > 0);
    assert!(
        [2, 3].iter().all(|number| segments_of(&fleet.root, *number, 1).is_empty()),
        "nothing of it has landed"
    );
}

fn ended_by_the_tag(part: Part) {
    const CHANGES: u64 = 12;
    let place = alone();
    let plan = Plan::new(part, 150, CHANGES);
    let fleet = founded(&place, &plan);
    let writers = Writers::start(&fleet.asked());
    fleet.wait("all changes are made, and ended what they were made to", |_| {
        plan.changed.load(Ordering::Relaxed) == CHANGES && plan.ended.load(Ordering::Relaxed) == CHANGES
    });
    // The connections are dialled anew.
    writers.wait_for(3, fleet.numbers());
    writers.end();
}

#[test]
fn a6_a_frame_whose_header_was_changed_ends_its_connection_which_is_dialled_anew() {
    ended_by_the_tag(Part::Header);
}

#[test]
fn a6_a_frame_whose_body_was_changed_ends_its_connection_which_is_dialled_anew() {
    ended_by_the_tag(Part::Body);
}
