//! A disk that is full: said at once, nothing lost, and gone on from when there is room.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Place, admin, alone, same_on_every_node};
use crate::binary::{content, errors, files, json, pull, run, same, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{Logged, cluster, finish, refused, within};

const MIB: usize = 1 << 20;

/// Files of 2 MiB.
fn fill(dir: &Path, count: u64) {
    for index in 0..count {
        write(dir, &format!("dir {}/{index}", index % 3), &content(index, 2 * MIB));
    }
}

/// Whatever has a final name is whole.
fn only_whole(source: &Path, dest: &Path) -> usize {
    let (expected, found) = (files(source), files(dest));
    let ours: Vec<_> = found.iter().filter(|(path, _)| path.starts_with("dir ")).collect();
    for (path, bytes) in &ours {
        assert!(expected.get(*path) == Some(*bytes), "{path} has its final name and is not whole");
    }
    ours.len()
}

#[test]
fn a_pull_onto_a_full_disk_ends_at_once_with_5_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let Some(disk) = Disk::mount(&dest, 96) else { return };
    fill(&source, 20);
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let again = |more: &[&str]| finish(&mut pull(address, &dest, &secret, more), Duration::from_secs(30));
    disk.fill_but(16);
    let begun = Instant::now();
    refused(&again(&[]), 5, "the disk is full");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let whole = only_whole(&source, &dest);
    assert!(whole < 20, "it did not fit");
    disk.make_room();
    let full = again(&[]);
    assert!(full.status.success(), "{}", errors(&full));
    let report = json(&full);
    assert!(report["bytes_reused"].as_u64() >= Some((whole * 2 * MIB) as u64), "{report}");
    fs::remove_dir(dest.join("lost+found")).expect("ext4's own");
    same(&source, &dest);

    // Not even room for our own state, from the very first byte.
    let empty = dir.path().join("empty");
    let Some(disk) = Disk::mount(&empty, 8) else { return };
    disk.fill_to_the_last_block();
    let none = finish(&mut pull(address, &empty, &secret, &[]), Duration::from_secs(30));
    refused(&none, 5, "full");
}

#[test]
fn a_pull_that_waits_for_space_says_so_and_ends_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let Some(disk) = Disk::mount(&dest, 96) else { return };
    fill(&source, 20);
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    disk.fill_but(16);
    let command = pull(address, &dest, &secret, &["--wait-for-space"]);
    let mut waiting = Logged::start(command, &dir.path().join("log"));
    waiting.says("the disk is full; waiting for room");
    only_whole(&source, &dest);
    disk.make_room();
    assert_eq!(waiting.running.wait().code(), Some(0), "{}", waiting.log());
    fs::remove_dir(dest.join("lost+found")).expect("ext4's own");
    same(&source, &dest);
}

/// What the third node says of itself, if it answers.
fn status(root: &Path) -> Value {
    let output = run(&["status", "--endpoint", &admin(root, 3), "-o", "json"]);
    if output.status.success() { json(&output) } else { Value::Null }
}

#[track_caller]
fn synced(cluster: &mut Logged) {
    let report: Value = serde_json::from_str(&cluster.running.first_line()).expect("a report");
    assert_eq!(report["synced"], true, "{report}");
}

#[test]
fn a_node_whose_disk_fills_pauses_says_so_and_catches_up_when_there_is_room() {
    let Place { source, root, .. } = &alone();
    let Some(disk) = Disk::mount(&root.join("node-3"), 160) else { return };
    fill(source, 24);
    // Room for two logs, and for some of the segments.
    disk.fill_but(60);
    let mut cluster = cluster(root, source, &[]);
    cluster.says("the disk is full; fetching resumes when there is room");
    let status = || status(root);
    let paused = || status()["shards"][0]["paused"].as_str().is_some_and(|why| why.contains("full"));
    within(Duration::from_secs(20), "status names the pause", paused, || status().to_string());
    assert_eq!(status()["ready"], false);
    assert_eq!(status()["groups"][1]["role"], "follower", "its log goes on: {}", status());
    disk.make_room();
    synced(&mut cluster);
    assert!(status()["shards"][0]["paused"].is_null(), "{}", status());
    cluster.stop();
    same_on_every_node(root, 3, 1, source);
}

#[test]
fn a_node_without_room_for_its_log_says_so_at_once_and_takes_part_when_there_is_room() {
    let Place { source, root, .. } = &alone();
    let Some(disk) = Disk::mount(&root.join("node-3"), 160) else { return };
    fill(source, 4);
    // Less than one file of a log.
    disk.fill_but(10);
    let mut cluster = cluster(root, source, &[]);
    let config = root.join("node-3/node.toml");
    within(Duration::from_secs(30), "it is configured", || config.is_file(), || cluster.log());
    let status = || status(root);
    let waits = || status()["not_ready"].to_string().contains("its log goes on when there is room");
    let seen = || format!("{} {}", status(), cluster.log());
    within(Duration::from_secs(30), "status names the log", waits, seen);
    disk.make_room();
    synced(&mut cluster);
    assert_eq!(status()["ready"], true, "{}", status());
    cluster.stop();
    same_on_every_node(root, 3, 1, source);
}
