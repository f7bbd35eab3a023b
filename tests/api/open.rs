//! Opening segments: what is read is what was verified, whatever happens to names.

use std::fs;
use std::io::Read;

use ringway::engine::{Ask, Durability, LocateError, Locator, Sealed, Segment, WaitError, block_on};
use ringway::ids::{LogIndex, SegmentId};

use crate::nodes::{Nodes, PATIENCE, patient, register, seal, seal_in, until};

fn content(mut segment: Segment) -> String {
    let mut text = String::new();
    segment.file.read_to_string(&mut text).expect("readable");
    assert_eq!(segment.bytes, text.len() as u64);
    text
}

fn at(path: &str) -> Locator {
    Locator::Path(path.to_owned())
}

#[test]
fn a_segment_opens_by_path_and_by_id_on_every_node() {
    let nodes = Nodes::new(3);
    let done = register(&nodes.shard(2), "deep/er/a", b"hello");
    for node in 1..=3 {
        let shard = nodes.shard(node);
        shard.wait_installed(done.index, PATIENCE).wait().expect("it lands");
        for which in [at("deep/er/a"), Locator::Id(done.segments[0])] {
            let segment = block_on(shard.open_segment(which)).expect("it is here");
            assert_eq!((segment.id, segment.path.as_str()), (done.segments[0], "deep/er/a"));
            assert_eq!(content(segment), "hello");
        }
    }
}

#[test]
fn an_open_segment_outlives_its_update_and_its_delete() {
    let nodes = Nodes::new(3);
    let (origin, replica) = (nodes.shard(1), nodes.shard(3));
    let first = register(&origin, "a", b"first");
    replica.wait_installed(first.index, PATIENCE).wait().expect("it lands");
    let reader = block_on(replica.open_segment(at("a"))).expect("it is here");
    seal(&origin, "a", b"second");
    let second = origin.update(Sealed::at("a"), patient(Durability::Landed(3))).wait().expect("committed");
    assert!(second.reached);
    let newer = block_on(replica.open_segment(at("a"))).expect("it is here");
    assert_eq!(newer.id, second.segments[0]);
    origin.delete("a", "done", Ask::default()).wait().expect("committed");
    until("the replica removes its copy", || !replica.directory().join("a").exists());
    assert_eq!((content(reader), content(newer)), ("first".to_owned(), "second".to_owned()));
    assert_eq!(block_on(replica.open_segment(at("a"))).expect_err("deleted"), LocateError::NotFound);
    let old = Locator::Id(first.segments[0]);
    assert_eq!(block_on(replica.open_segment(old)).expect_err("superseded"), LocateError::NotFound);
    let never = Locator::Id(SegmentId { index: LogIndex(9999), ordinal: 3 });
    assert_eq!(block_on(replica.open_segment(never)).expect_err("there was none"), LocateError::NotFound);
}

/// An engine puts new content under a name before it says so, and deletes a file that the manifest still has.
#[test]
fn d16_the_origin_opens_what_was_registered_and_not_what_the_name_has_become() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    for path in ["replaced", "deleted"] {
        let done = register(&shard, path, b"registered");
        shard.wait_installed(done.index, PATIENCE).wait().expect("it is pinned");
    }
    seal(&shard, "replaced", b"not yet registered");
    fs::remove_file(shard.directory().join("deleted")).expect("it is the engine's own");
    for path in ["replaced", "deleted"] {
        assert_eq!(content(block_on(shard.open_segment(at(path))).expect("pinned")), "registered");
    }
}

#[test]
fn a_replica_s_file_that_somebody_has_changed_is_not_opened_as_the_segment() {
    let nodes = Nodes::new(3);
    let done = register(&nodes.shard(1), "a", b"verified");
    let replica = nodes.shard(2);
    replica.wait_installed(done.index, PATIENCE).wait().expect("it lands");
    seal_in(replica.directory(), "a", b"tampered");
    let error = block_on(replica.open_segment(at("a"))).expect_err("not what was verified");
    assert!(matches!(&error, LocateError::File { why } if why.contains("verified was")), "{error}");
}

/// Once the open waited for somebody to write to it.
#[test]
fn a_fifo_under_a_replica_s_name_holds_nobody_up() {
    let nodes = Nodes::new(3);
    let done = register(&nodes.shard(1), "a", b"verified");
    let replica = nodes.shard(2);
    replica.wait_installed(done.index, PATIENCE).wait().expect("it lands");
    let name = replica.directory().join("a");
    fs::remove_file(&name).expect("there");
    let made = std::process::Command::new("mkfifo").arg(&name).status().expect("coreutils");
    assert!(made.success());
    let error = block_on(replica.open_segment(at("a"))).expect_err("not what was verified");
    assert!(matches!(&error, LocateError::File { why } if why.contains("verified was")), "{error}");
}

#[test]
fn a_segment_that_has_not_landed_says_when_to_ask_again() {
    let nodes = Nodes::new(3);
    let replica = nodes.shard(2);
    // What stands in the way of the file's name on this node alone keeps it from landing: folders alone would give way.
    fs::create_dir_all(replica.directory().join("a")).expect("made");
    fs::write(replica.directory().join("a/stranger"), b"nobody knows it").expect("written");
    let done = register(&nodes.shard(1), "a", b"content");
    let applied = || replica.segments(None, 1).wait().expect("a page").segments.len() == 1;
    until("the entry reaches the replica", applied);
    let error = block_on(replica.open_segment(at("a"))).expect_err("not here");
    assert!(matches!(error, LocateError::NotHere { retry_after_millis: 1.. }), "{error:?}");
    let short = std::time::Duration::from_millis(50);
    let late = replica.wait_installed(done.index, short).wait().expect_err("not here");
    assert!(matches!(late, WaitError::TimedOut { installed } if installed < done.index), "{late:?}");
}
