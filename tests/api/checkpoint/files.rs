//! What stands where after a checkpoint: links, copies, what is the same as before, what goes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ringway::engine::{ActiveFile, Durability, Frozen, How};

use super::engine::{Engine, LEASE, ask};
use crate::nodes::{Nodes, PATIENCE, patient, until};

/// A file of the engine's.
fn file(nodes: &Nodes, name: &str, content: &[u8]) -> PathBuf {
    let dir = nodes.root(1).join("engine");
    fs::create_dir_all(&dir).expect("made");
    fs::write(dir.join(name), content).expect("written");
    dir.join(name)
}

#[test]
fn s6_a_link_is_the_file_itself_and_a_copy_its_first_bytes() {
    let nodes = Nodes::new(2);
    let shard = nodes.shard(1);
    let (sealed, grows) = (file(&nodes, "sealed", b"nobody writes"), file(&nodes, "grows", b"as it is"));
    let engine = Engine::of(vec![
        ActiveFile::new(&sealed, "db/sealed", How::Link),
        ActiveFile::new(&grows, "db/grows", How::Copy { bytes: 5 }),
        ActiveFile::new(&grows, "db/empty", How::Copy { bytes: 0 }),
    ]);
    let hooks = std::sync::Arc::clone(&engine) as std::sync::Arc<dyn ringway::engine::ActiveFiles>;
    let done = shard.checkpoint(hooks, LEASE, patient(Durability::Landed(2))).wait().expect("registered");
    assert_eq!((done.files, done.linked, done.bytes_copied), (3, 1, 5));
    assert_eq!((done.committed.segments.len(), done.committed.landed), (3, 2));
    let calls = engine.calls();
    assert_eq!((calls.frozen, calls.thawed), (1, 1));
    for node in 1..=2 {
        nodes.shard(node).wait_installed(done.committed.index, PATIENCE).wait().expect("it lands");
        let content = |path: &str| fs::read(nodes.shard(node).directory().join(path)).expect("it stands");
        assert_eq!(content("db/sealed"), b"nobody writes");
        assert_eq!(content("db/grows"), b"as it");
        assert_eq!(content("db/empty"), b"");
    }
    let inode = |path: PathBuf| fs::metadata(path).expect("there").ino();
    let ours = |path: &str| inode(shard.directory().join(path));
    assert_eq!(ours("db/sealed"), inode(sealed.clone()));
    assert_ne!(ours("db/grows"), inode(grows));
    fs::remove_file(sealed).expect("the engine's own");
    assert_eq!(fs::read(shard.directory().join("db/sealed")).expect("it stays"), b"nobody writes");
}

#[test]
fn s6_a_later_checkpoint_updates_what_changed_keeps_what_did_not_and_deletes_what_is_gone() {
    let mut nodes = Nodes::new(2);
    let kept = file(&nodes, "kept", b"the same");
    let (log, old) = (file(&nodes, "log", b"one"), file(&nodes, "old", b"old"));
    let first = [("kept", &kept, 8), ("log", &log, 3), ("old", &old, 3)];
    let copies = |files: &[(&str, &PathBuf, u64)]| -> Vec<ActiveFile> {
        let copy = |(path, file, bytes): &(&str, &PathBuf, u64)| {
            ActiveFile::new(*file, *path, How::Copy { bytes: *bytes })
        };
        files.iter().map(copy).collect()
    };
    let one = ask(&nodes.shard(1), &Engine::of(copies(&first))).wait().expect("registered");
    fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .and_then(|mut log| log.write_all(b" two"))
        .expect("appended");
    let files = copies(&[("kept", &kept, 8), ("log", &log, 7)]);
    let next = Engine::new(move || Ok(Frozen { files: files.clone(), deleted: vec!["old".to_owned()] }));
    // The second one by a process that knows of the first only what is on its disk and in its log.
    nodes.stop(1);
    nodes.open(1);
    let two = ask(&nodes.shard(1), &next).wait().expect("registered");
    assert_eq!(two.committed.segments[0], one.committed.segments[0], "the same content is the same segment");
    for node in 1..=2 {
        let shard = nodes.shard(node);
        shard.wait_installed(two.committed.index, PATIENCE).wait().expect("it lands");
        let page = shard.segments(None, 10).wait().expect("a page").segments;
        let known: Vec<_> = page.iter().map(|of| (of.path.as_str(), of.version, of.here)).collect();
        assert_eq!(known, [("kept", 1, true), ("log", 2, true)]);
        assert_eq!(fs::read(shard.directory().join("log")).expect("it stands"), b"one two");
        until("what was deleted goes, at its origin too", || !shard.directory().join("old").exists());
    }
    assert!(old.exists(), "the engine's own file is the engine's own to remove");
    let three = ask(&nodes.shard(1), &Engine::of(copies(&first[2..]))).wait().expect("registered again");
    nodes.shard(2).wait_installed(three.committed.index, PATIENCE).wait().expect("it lands");
    assert_eq!(fs::read(nodes.shard(2).directory().join("old")).expect("it stands"), b"old");
}

/// The other node's files are Ringway's here, and it is the origin then.
#[test]
fn s6_a_checkpoint_of_another_node_takes_the_path_over() {
    let nodes = Nodes::new(2);
    for (node, content) in [(1, b"first"), (2, b"later"), (1, b"again")] {
        let file = file(&nodes, "active", content);
        let engine = Engine::of(vec![ActiveFile::new(file, "db/active", How::Copy { bytes: 5 })]);
        let shard = nodes.shard(node);
        let done = ask(&shard, &engine).wait().unwrap_or_else(|error| panic!("node {node}: {error}"));
        for other in 1..=2 {
            nodes.shard(other).wait_installed(done.committed.index, PATIENCE).wait().expect("it lands");
            let stands = nodes.shard(other).directory().join("db/active");
            assert_eq!(fs::read(stands).expect("it stands"), content, "of node {node} on {other}");
        }
    }
}
