//! Bringing shards up to date on demand, and what a disk says of how far one is.

use std::fs;
use std::time::{Duration, Instant};

use ringway::config::{NodeConfig, RaftConfig};
use ringway::engine::{
    Behind, Change, Durability, OnDisk, OnDiskError, SyncError, block_on, last_applied_on_disk,
};
use ringway::ids::{LogIndex, NodeId, ShardId};

use super::nodes::{Nodes, PATIENCE, patient, register, seal_in, until};

fn config(nodes: &Nodes, node: usize) -> NodeConfig {
    NodeConfig { raft: RaftConfig { snapshot_entries: 16, ..RaftConfig::default() }, ..nodes.config(node) }
}

/// Three nodes that write a snapshot after every sixteenth entry.
fn snapshotting() -> Nodes {
    let mut nodes = Nodes::unfounded(3, 1);
    for node in 1..=3 {
        let config = config(&nodes, node);
        nodes.open_as(node, |builder| builder.config(config));
    }
    assert_eq!(nodes.engine(1).bootstrap().wait(), Ok(()));
    nodes
}

#[test]
fn s3_weak_22_a_shard_comes_by_the_log_or_by_a_snapshot_and_says_which_while_writes_go_on() {
    let mut nodes = snapshotting();
    let first = register(&nodes.shard(1), "first", b"first");
    let synced = nodes.shard(3).sync(PATIENCE).wait().expect("the leader answers");
    assert!(synced.due >= first.index && synced.snapshot.is_none(), "{synced:?}");
    nodes.stop(3);
    // Entries enough that the log lets go of those that node 3 lacks.
    (0..60).for_each(|index| drop(register(&nodes.shard(1), &format!("meanwhile/{index}"), &[index; 3000])));
    let shard = nodes.shard(2);
    let of = |node, millis| shard.sync_member(NodeId(node), Duration::from_millis(millis)).wait();
    assert!(of(1, 10_000).is_ok_and(|due| due > first.index));
    let late = of(3, 300);
    assert!(matches!(late, Err(SyncError::Late(Behind { missing: None, .. }))), "it does not run: {late:?}");
    assert_eq!(of(9, 300), Err(SyncError::NotAMember { node: NodeId(9) }));
    let config = config(&nodes, 3);
    nodes.open_as(3, |builder| builder.config(config));
    let waiting = nodes.shard(3).sync(PATIENCE);
    let beside = register(&nodes.shard(2), "beside", b"not refused");
    let synced = waiting.wait().expect("it comes");
    assert!(synced.snapshot.is_some(), "{synced:?}");
    assert!(synced.landed >= 60 && synced.bytes_fetched >= 60 * 3000, "{synced:?}");
    assert!(of(3, 10_000).is_ok_and(|due| due >= synced.due), "node 2 hears of it");
    let again = nodes.shard(3).sync(PATIENCE).wait().expect("nothing is missing");
    assert!(again.due >= beside.index && again.snapshot.is_none(), "{again:?}");
}

/// Catch-up in Arc runs once in a process, and a snapshot that is installed tells nobody of its
/// files: they came with the next walk, or never.
#[test]
fn weak_07_files_of_a_snapshot_that_is_taken_in_come_without_another_start() {
    let mut nodes = snapshotting();
    register(&nodes.shard(1), "first", b"first");
    nodes.stop(3);
    (0..40).for_each(|index| drop(register(&nodes.shard(1), &format!("{index}"), &[index; 100])));
    let config = config(&nodes, 3);
    nodes.open_as(3, |builder| builder.config(config));
    until("it has all of it", || {
        let status = nodes.engine(3).status().wait().expect("it runs");
        status.ready && status.shards[0].segments == 41 && status.shards[0].missing == 0
    });
    assert!(fs::read(nodes.shard(3).directory().join("39")).is_ok_and(|bytes| bytes == [39; 100]));
}

#[test]
fn s4_a_shard_without_its_source_fails_alone_and_comes_when_it_is_asked_for_again() {
    let mut nodes = Nodes::with_shards(3, 2);
    let shard = |nodes: &Nodes, node: usize, id| nodes.engine(node).shard(ShardId(id)).expect("there is one");
    until("all are ready", || (1..=3).all(|node| nodes.engine(node).status().wait().expect("runs").ready));
    nodes.stop(3);
    for (id, origin) in [(0, 1), (1, 2)] {
        let of = shard(&nodes, origin, id);
        seal_in(of.directory(), "file", &[7 + id as u8; 50_000]);
        // Of the second shard's, node 1 does not keep its copy.
        let done = of.batch(vec![Change::register("file")], patient(Durability::Landed(2))).wait();
        assert!(done.expect("committed").reached);
    }
    nodes.stop(1);
    let copy = nodes.root(1).join("shard-0001/segments/file");
    fs::remove_file(&copy).expect("it landed");
    // Nobody who holds the file answers for the second shard, but a quorum does.
    let engine_two = nodes.root(2).join("shard-0001/segments/file");
    nodes.stop(2);
    let kept = fs::read(&engine_two).expect("its own");
    fs::remove_file(&engine_two).expect("removed");
    let pins = nodes.root(2).join("shard-0001/.ringway/pins");
    fs::read_dir(&pins).expect("there").for_each(|pin| {
        fs::remove_file(pin.expect("read").path()).expect("removed");
    });
    (1..=3).for_each(|node| drop(nodes.open(node).clone()));
    let all = block_on(nodes.engine(3).sync_all(Duration::from_secs(10)));
    let synced: Vec<ShardId> = all.synced.iter().map(|(id, _)| *id).collect();
    assert_eq!(synced, [ShardId(0)], "{all:?}");
    let [(ShardId(1), SyncError::Late(Behind { missing: Some(1), due, installed, .. }))] = &all.failed[..]
    else {
        panic!("{all:?}")
    };
    assert!(installed < due);
    seal_in(shard(&nodes, 2, 1).directory(), "file", &kept);
    let origin = block_on(nodes.engine(2).sync_all(PATIENCE));
    assert!(origin.failed.is_empty(), "it finds its file again: {origin:?}");
    let asked = Instant::now();
    let all = block_on(nodes.engine(3).sync_all(PATIENCE));
    assert!(all.failed.is_empty() && all.synced.len() == 2, "{all:?}");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "what rests as no source could serve it is asked for at once"
    );
}

#[test]
fn s2_missing_fresh_applied_and_damaged_are_four_answers() {
    let mut nodes = Nodes::unfounded(3, 1);
    let of = config(&nodes, 1);
    assert_eq!(last_applied_on_disk(&of, ShardId(0)), Ok(OnDisk::Missing));
    assert!(matches!(last_applied_on_disk(&of, ShardId(1)), Err(OnDiskError::NoShard(_))));
    (1..=3).for_each(|node| drop(nodes.open(node).clone()));
    nodes.stop(1);
    assert_eq!(last_applied_on_disk(&of, ShardId(0)), Ok(OnDisk::Fresh), "no cluster was founded");
    nodes.open(1);
    assert_eq!(nodes.engine(1).bootstrap().wait(), Ok(()));
    let done = register(&nodes.shard(1), "file", b"content");
    until("it is applied", || nodes.shard(1).wait_installed(done.index, PATIENCE).wait().is_ok());
    (1..=3).for_each(|node| nodes.stop(node));
    let applied = match last_applied_on_disk(&of, ShardId(0)) {
        Ok(OnDisk::Applied(index)) if index >= LogIndex(1) => index,
        other => panic!("{other:?}"),
    };
    (1..=3).for_each(|node| drop(nodes.open(node).clone()));
    until("it goes on from there", || {
        nodes.engine(1).status().wait().expect("it runs").shards[0].applied >= applied.0
    });
    (1..=3).for_each(|node| nodes.stop(node));
    let raft = nodes.root(1).join("shard-0000/raft");
    let logs = fs::read_dir(&raft).expect("there").map(|entry| entry.expect("read").path());
    let log = logs.filter(|path| path.is_file()).max_by_key(|path| fs::metadata(path).expect("there").len());
    let log = log.expect("a log");
    let mut bytes = fs::read(&log).expect("read");
    // In the first batch, behind the file's own block.
    bytes[4096 + 20] ^= 1;
    fs::write(&log, bytes).expect("written");
    let damaged = last_applied_on_disk(&of, ShardId(0));
    assert!(matches!(damaged, Err(OnDiskError::Damaged { .. })), "{damaged:?}");
}
