//! What becomes of a deleted segment's file: its grace time, and readers that hold it.

use std::fs;
use std::time::{Duration, Instant};

use ringway::config::{ConfigError, NodeConfig, TransferConfig};
use ringway::engine::{Durability, LocateError, Locator};
use ringway::ids::Nanos;

use super::nodes::{Nodes, PATIENCE, patient, register, until};

const GRACE: Duration = Duration::from_millis(1500);

fn nodes() -> Nodes {
    let mut nodes = Nodes::unfounded(2, 1);
    for node in 1..=2 {
        let config = nodes.config(node);
        let transfer = TransferConfig { delete_grace: GRACE.into(), ..config.transfer };
        nodes.open_as(node, |builder| builder.config(NodeConfig { transfer, ..config }));
    }
    assert_eq!(nodes.engine(1).bootstrap().wait(), Ok(()));
    nodes
}

fn at(path: &str) -> Locator {
    Locator::Path(path.to_owned())
}

#[test]
fn p8_weak_27_a_deleted_file_stays_for_its_grace_time_and_as_long_as_a_reader_has_it_pinned() {
    let mut nodes = nodes();
    for path in ["pinned", "free"] {
        let done = register(&nodes.shard(1), path, path.as_bytes());
        assert!(nodes.shard(2).wait_installed(done.index, PATIENCE).wait().is_ok());
    }
    let replica = nodes.shard(2);
    let leaving = |nodes: &Nodes| nodes.engine(2).status().wait().expect("it runs").shards[0].leaving;
    let (first, second) =
        (pollster::block_on(replica.pin_segment(at("pinned"))), replica.pin_segment(at("pinned")));
    let (first, second) = (first.expect("it stands here"), pollster::block_on(second).expect("twice"));
    assert_eq!((first.bytes, fs::read(&first.file).expect("by its name")), (6, b"pinned".to_vec()));
    let free = replica.directory().join("free");
    let asked = Instant::now();
    for path in ["pinned", "free"] {
        let deleted = nodes.shard(1).delete(path, "compacted", patient(Durability::Landed(2))).wait();
        assert!(deleted.is_ok(), "{deleted:?}");
    }
    until("both are deleted there", || leaving(&nodes) == 2);
    assert!(matches!(pollster::block_on(replica.pin_segment(at("free"))), Err(LocateError::NotFound)));
    until("the free one goes", || !free.exists());
    assert!(asked.elapsed() >= GRACE, "after {:?}", asked.elapsed());
    drop(first);
    std::thread::sleep(Duration::from_millis(300));
    assert!(second.file.exists() && leaving(&nodes) == 1, "another reader has it");
    let file = second.file.clone();
    drop(second);
    until("it goes with its last reader", || !file.exists() && leaving(&nodes) == 0);

    // A restart forgets pins, and ends what was begun.
    let done = register(&nodes.shard(1), "late", b"late");
    assert!(replica.wait_installed(done.index, PATIENCE).wait().is_ok());
    let held = pollster::block_on(replica.pin_segment(at("late"))).expect("it stands here");
    assert!(nodes.shard(1).delete("late", "compacted", patient(Durability::Committed)).wait().is_ok());
    until("node 2 has applied it", || leaving(&nodes) == 1);
    nodes.stop(2);
    assert!(held.file.exists());
    nodes.open(2);
    until("it goes", || !held.file.exists());
}

#[test]
fn p8_a_path_that_is_written_anew_within_the_grace_time_of_its_deletion_keeps_the_new_content() {
    let nodes = nodes();
    register(&nodes.shard(1), "path", b"before");
    let deleted = nodes.shard(1).delete("path", "rewritten", patient(Durability::Landed(2))).wait();
    assert!(deleted.is_ok(), "{deleted:?}");
    let done = register(&nodes.shard(1), "path", b"behind");
    assert!(nodes.shard(2).wait_installed(done.index, PATIENCE).wait().is_ok());
    std::thread::sleep(GRACE + Duration::from_millis(500));
    for node in 1..=2 {
        let file = nodes.shard(node).directory().join("path");
        assert_eq!(fs::read(file).expect("it stands"), b"behind", "node {node}");
        assert_eq!(nodes.engine(node).status().wait().expect("it runs").shards[0].leaving, 0);
    }
}

#[test]
fn p8_a_grace_time_of_more_than_an_hour_is_refused() {
    let config = Nodes::unfounded(1, 1).config(1);
    let transfer = TransferConfig { delete_grace: Nanos::from_secs(3601), ..config.transfer };
    let refused = NodeConfig { transfer, ..config }.check();
    assert!(
        matches!(refused, Err(ConfigError::OutOfBounds { name: "delete_grace_millis", .. })),
        "{refused:?}"
    );
}
