//! Each reason for which there is no checkpoint. The engine is thawed, nothing is left, and nothing is registered.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ringway::engine::{ActiveFile, ActiveFiles, Ask, ChangeError, CheckpointError, Durability, Frozen, How};

use super::engine::{Engine, LEASE, ask, endless, nothing_left, within};
use crate::nodes::{Nodes, patient, register, seal};

#[track_caller]
fn refused(nodes: &Nodes, frozen: Frozen) -> CheckpointError {
    let engine = Engine::new(move || Ok(frozen.clone()));
    let error = within(&nodes.shard(1), &engine, LEASE);
    assert_eq!((engine.calls().frozen, engine.calls().thawed), (1, 1), "{error}");
    error
}

#[test]
fn s6_paths_that_no_manifest_takes_or_that_come_twice_are_refused() {
    let nodes = Nodes::new(1);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    let named = |paths: &[&str]| -> Vec<ActiveFile> {
        paths.iter().map(|path| ActiveFile::new(&file, *path, How::Link)).collect()
    };
    let path_of = |frozen| {
        let error = refused(&nodes, frozen);
        let CheckpointError::Path { path, .. } = error else { panic!("{error:?}") };
        path
    };
    for bad in ["", "/etc/passwd", "../out", "a/../../out", ".ringway/lock", "a//b"] {
        assert_eq!(path_of(named(&["good", bad]).into()), bad);
        assert_eq!(path_of(Frozen { files: named(&["good"]), deleted: vec![bad.to_owned()] }), bad);
    }
    assert_eq!(path_of(named(&["a", "b", "a"]).into()), "a");
    assert_eq!(path_of(Frozen { files: named(&["a"]), deleted: vec!["a".to_owned()] }), "a");
    assert_eq!(path_of(named(&["new\nline"]).into()), "new\\nline");
    assert!(matches!(refused(&nodes, Frozen::default()), CheckpointError::Count { count: 0, .. }));
    let many: Vec<String> = (0..10_001).map(|number| format!("{number}")).collect();
    let many = Frozen { files: Vec::new(), deleted: many };
    assert_eq!(refused(&nodes, many), CheckpointError::Count { count: 10_001, most: 10_000 });
    nothing_left(&nodes, 1);
}

#[test]
fn s6_files_that_cannot_be_captured_are_refused_by_name() {
    let nodes = Nodes::new(1);
    let dir = nodes.root(1).join("engine");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("file"), b"four").expect("written");
    symlink("file", dir.join("symlink")).expect("made");
    fs::create_dir(dir.join("folder")).expect("made");
    assert!(Command::new("mkfifo").arg(dir.join("fifo")).status().expect("it runs").success());
    let (_memory, elsewhere) = endless();
    let copy = How::Copy { bytes: 1 };
    for (file, how, expected) in [
        (dir.join("missing"), How::Link, "No such file"),
        (dir.join("missing"), copy, "No such file"),
        (dir.join("symlink"), How::Link, "it is a symbolic link"),
        (dir.join("symlink"), copy, "it is a symbolic link"),
        (dir.join("fifo"), How::Link, "it is not a regular file"),
        (dir.join("fifo"), copy, "it is not a regular file"),
        (dir.join("folder"), How::Link, "Operation not permitted"),
        (dir.join("folder"), copy, "it is not a regular file"),
        (dir.join("file"), How::Copy { bytes: 5 }, "it has 4 bytes, fewer than the 5 told"),
        (elsewhere.file, How::Link, "ask for a copy"),
    ] {
        let good = ActiveFile::new(dir.join("file"), "good", How::Link);
        let bad = ActiveFile::new(&file, "bad", how);
        let error = refused(&nodes, vec![good, bad].into());
        let CheckpointError::File { path, why } = error else { panic!("{}: {error:?}", file.display()) };
        assert_eq!(Path::new(&path), file);
        assert!(why.contains(expected), "{}: {why}", file.display());
    }
    nothing_left(&nodes, 1);
}

#[test]
fn s6_what_the_engine_has_under_a_path_is_not_replaced() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    register(&shard, "registered", b"registered");
    seal(&shard, "unknown", b"unknown");
    fs::create_dir(shard.directory().join("folder")).expect("made");
    symlink("unknown", shard.directory().join("symlink")).expect("made");
    for path in ["registered", "unknown", "folder", "symlink"] {
        let good = ActiveFile::new(&file, "good", How::Copy { bytes: 6 });
        let bad = ActiveFile::new(&file, path, How::Copy { bytes: 6 });
        let error = refused(&nodes, vec![good, bad].into());
        let CheckpointError::File { path: named, why } = error else { panic!("{path}: {error:?}") };
        assert_eq!((named.as_str(), why.contains("is not Ringway's")), (path, true), "{why}");
    }
    for path in ["registered", "unknown"] {
        assert_eq!(fs::read(shard.directory().join(path)).expect("it stays"), path.as_bytes());
    }
    let page = shard.segments(None, 10).wait().expect("a page").segments;
    assert_eq!(page.len(), 1, "nothing but what was registered: {page:?}");
    assert!(!shard.directory().join("good").exists());
}

#[test]
fn s6_a_disk_that_takes_no_copy_is_an_error_of_its_own() {
    let nodes = Nodes::new(1);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    let private = nodes.shard(1).directory().parent().expect("below its shard").join(".ringway");
    fs::remove_dir(private.join("checkpoints")).expect("empty");
    let active = ActiveFile::new(&file, "active", How::Copy { bytes: 6 });
    let error = refused(&nodes, vec![active].into());
    let CheckpointError::Disk { why } = error else { panic!("{error:?}") };
    assert!(why.contains("No such file"), "{why}");
}

#[test]
fn s6_there_is_one_checkpoint_of_a_shard_at_a_time() {
    let nodes = Nodes::with_shards(1, 2);
    let (_memory, active) = endless();
    let first = Engine::of(vec![active]);
    let under_way = ask(&nodes.shard(1), &first);
    first.until("frozen", |calls| calls.frozen == 1);
    let second = Engine::of(Vec::new());
    assert_eq!(within(&nodes.shard(1), &second, LEASE), CheckpointError::Busy);
    assert_eq!(second.calls().frozen, 0, "it was not even asked to hold still");
    let other = nodes.engine(1).shard(ringway::ids::ShardId(1)).expect("there are two");
    assert!(matches!(within(&other, &second, LEASE), CheckpointError::Count { .. }), "of another shard");
    drop(under_way);
    first.until("thawed", |calls| calls.thawed == 1);
}

#[test]
fn s6_without_a_quorum_nothing_is_registered_and_a_stopped_node_freezes_nobody() {
    let mut nodes = Nodes::new(3);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    nodes.leader();
    (2..=3).for_each(|node| nodes.stop(node));
    let engine = Engine::of(vec![ActiveFile::new(&file, "active", How::Copy { bytes: 6 })]);
    let shard = nodes.shard(1);
    let asked = |durability: Ask| {
        let hooks = Arc::clone(&engine) as Arc<dyn ActiveFiles>;
        shard.checkpoint(hooks, LEASE, durability).wait()
    };
    let refused = asked(Ask::default().within(Duration::from_millis(700))).expect_err("nobody leads");
    assert!(matches!(refused, CheckpointError::Change(ChangeError::NoLeader { .. })), "{refused:?}");
    assert!(refused.is_retryable());
    assert_eq!(engine.calls().thawed, 1);
    nothing_left(&nodes, 1);
    (2..=3).for_each(|node| drop(nodes.open(node).clone()));
    nodes.leader();
    let done = asked(patient(Durability::Landed(3))).expect("the same again");
    assert_eq!(done.committed.landed, 3);
    nodes.stop(1);
    assert_eq!(asked(Ask::default()), Err(CheckpointError::Stopped));
    assert_eq!(engine.calls().frozen, 2);
}
