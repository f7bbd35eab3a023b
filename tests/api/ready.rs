//! Readiness: a node that does not know what was committed without it, or lacks some of it, is not ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{Change, Durability};

use crate::nodes::{Nodes, PATIENCE, patient, register, seal, until};

#[test]
fn c2_a_node_is_not_ready_before_its_cluster_is_founded_and_says_why() {
    let mut nodes = Nodes::unfounded(1, 2);
    nodes.open(1);
    let status = nodes.engine(1).status().wait().expect("it runs");
    assert!(!status.ready && status.shards.iter().all(|shard| !shard.ready));
    assert!(status.not_ready.iter().any(|why| why.contains("not founded")), "{:?}", status.not_ready);
    nodes.engine(1).bootstrap().wait().expect("founded");
    until("it is ready", || {
        let status = nodes.engine(1).status().wait().expect("it runs");
        assert_eq!(status.ready, status.not_ready.is_empty());
        status.ready && status.shards.iter().all(|shard| shard.ready)
    });
}

/// A node that had just started said that it was ready as soon as it knew a leader: what it had applied before was all
/// that it knew to be committed.
#[test]
fn c2_a_node_that_was_away_is_not_ready_before_it_has_what_was_committed_meanwhile() {
    let mut nodes = Nodes::new(3);
    let mut expected = 0;
    for round in 0..4 {
        nodes.stop(3);
        let shard = nodes.shard(1);
        let paths: Vec<String> = (0..50).map(|number| format!("{round}/{number}")).collect();
        paths.iter().for_each(|path| seal(&shard, path, path.as_bytes()));
        let changes = paths.iter().map(Change::register).collect();
        let done = shard.batch(changes, patient(Durability::Landed(2))).wait().expect("committed");
        expected += 50;
        let engine = nodes.open(3).clone();
        let end = Instant::now() + PATIENCE;
        loop {
            let status = engine.status().wait().expect("it runs");
            if status.ready {
                let shard = &status.shards[0];
                assert_eq!((shard.segments, shard.missing), (expected, 0), "round {round}: {shard:?}");
                assert!(shard.installed >= done.index.0);
                break;
            }
            assert!(Instant::now() < end, "{:?}", status.not_ready);
        }
    }
}

/// Something is always on its way to a node then, and no poll found it ready: a restart one by one, each node waited
/// for, did not get past its first.
#[test]
fn c2_a_node_is_ready_while_its_cluster_is_written_to_without_a_pause() {
    let nodes = Nodes::new(3);
    let status = || nodes.engine(3).status().wait().expect("it runs");
    until("it is ready", || status().ready);
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let shard = nodes.shard(1);
            let mut number = 0;
            while !is_enough.load(Ordering::Relaxed) {
                register(&shard, &number.to_string(), b"x");
                number += 1;
            }
        });
        let mut on_their_way = 0;
        let mut ready = true;
        let end = Instant::now() + PATIENCE;
        while on_their_way < 20 && ready && Instant::now() < end {
            let status = status();
            if status.shards[0].missing > 0 {
                on_their_way += 1;
                ready = !status.not_ready.iter().any(|why| why.contains("lacks"));
            }
        }
        is_enough.store(true, Ordering::Relaxed);
        assert!(ready, "after {on_their_way}");
        assert_eq!(on_their_way, 20);
    });
}

#[test]
fn c2_a_node_alone_of_three_never_says_that_it_is_ready() {
    let mut nodes = Nodes::new(3);
    let done = register(&nodes.shard(1), "a", b"x");
    nodes.shard(3).wait_installed(done.index, PATIENCE).wait().expect("it lands");
    (1..=3).for_each(|node| nodes.stop(node));
    nodes.open(3);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let status = nodes.engine(3).status().wait().expect("it runs");
        assert!(!status.ready, "it cannot know what the other two have committed: {status:?}");
        thread::sleep(Duration::from_millis(10));
    }
    nodes.open(2);
    until("two of three are enough", || nodes.engine(3).status().wait().expect("it runs").ready);
}

/// A node with fewer shards than the cluster said that it was ready, and had a part of what there is.
#[test]
fn c2_a_node_that_is_configured_for_fewer_shards_than_the_cluster_has_is_not_ready() {
    let mut nodes = Nodes::unfounded(2, 2);
    nodes.open(1);
    let second = nodes.builder(2).shards(1).open().expect("its root is new");
    nodes.engine(1).bootstrap().wait().expect("founded");
    let status = || second.status().wait().expect("it runs");
    until("it says why", || status().not_ready.iter().any(|why| why.contains("the cluster has 2 shards")));
    assert!(!status().ready);
}
