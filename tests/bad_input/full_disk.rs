//! A disk that is full: said at once, nothing lost, and gone on from when there is room.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::{self, alone, same_on_every_node};
use crate::binary::{content, errors, files, json, ringway, same, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{Logged, finish, pull, refused, within};

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
    let again = |more: &[&str]| {
        finish(&mut pull(&address.to_string(), &dest, &secret, more), Duration::from_secs(30))
    };
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
    let none = finish(&mut pull(&address.to_string(), &empty, &secret, &[]), Duration::from_secs(30));
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
    let command = pull(&address.to_string(), &dest, &secret, &["--wait-for-space"]);
    let mut waiting = Logged::start(command, &dir.path().join("log"));
    waiting.says("the disk is full; waiting for room");
    only_whole(&source, &dest);
    disk.make_room();
    assert_eq!(waiting.running.wait().code(), Some(0), "{}", waiting.log());
    fs::remove_dir(dest.join("lost+found")).expect("ext4's own");
    same(&source, &dest);
}

#[test]
fn a_node_whose_disk_fills_pauses_says_so_and_catches_up_when_there_is_room() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let (source, root) = (dir.path().join("source"), dir.path().join("root"));
    let Some(disk) = Disk::mount(&root.join("node-3"), 160) else { return };
    fill(&source, 24);
    // Room for two logs, and for some of the segments.
    disk.fill_but(60);
    let mut command = ringway();
    command.arg("up").arg("--root").arg(&root).args(["--shards", "1", "-o", "json", "--import"]).arg(&source);
    let mut cluster = Logged::start(command, &dir.path().join("log"));
    cluster.says("the disk is full; fetching resumes when there is room");
    let status = || {
        let output = crate::binary::run(&["status", "--endpoint", &bench::admin(&root, 3), "-o", "json"]);
        if output.status.success() { json(&output) } else { serde_json::Value::Null }
    };
    let paused = || status()["shards"][0]["paused"].as_str().is_some_and(|why| why.contains("full"));
    within(Duration::from_secs(20), "status names the pause", paused, || status().to_string());
    assert_eq!(status()["ready"], false);
    assert_eq!(status()["groups"][1]["role"], "follower", "its log goes on: {}", status());
    disk.make_room();
    let report: serde_json::Value = serde_json::from_str(&cluster.running.first_line()).expect("a report");
    assert_eq!(report["synced"], true, "{report}");
    assert!(status()["shards"][0]["paused"].is_null(), "{}", status());
    cluster.running.signal(2);
    assert_eq!(cluster.running.wait().code(), Some(0), "{}", cluster.log());
    same_on_every_node(&root, 3, 1, &source);
}

#[test]
fn a_node_without_room_for_its_log_says_so_at_once_and_takes_part_when_there_is_room() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let (source, root) = (dir.path().join("source"), dir.path().join("root"));
    let Some(disk) = Disk::mount(&root.join("node-3"), 160) else { return };
    fill(&source, 4);
    // Less than one file of a log.
    disk.fill_but(10);
    let mut command = ringway();
    command.arg("up").arg("--root").arg(&root).args(["--shards", "1", "-o", "json", "--import"]).arg(&source);
    let mut cluster = Logged::start(command, &dir.path().join("log"));
    let config = root.join("node-3/node.toml");
    within(Duration::from_secs(30), "it is configured", || config.is_file(), || cluster.log());
    let status = || {
        let output = crate::binary::run(&["status", "--endpoint", &bench::admin(&root, 3), "-o", "json"]);
        if output.status.success() { json(&output) } else { serde_json::Value::Null }
    };
    let waits = || status()["not_ready"].to_string().contains("its log goes on when there is room");
    let seen = || format!("{} {}", status(), cluster.log());
    within(Duration::from_secs(30), "status names the log", waits, seen);
    disk.make_room();
    let report: serde_json::Value = serde_json::from_str(&cluster.running.first_line()).expect("a report");
    assert_eq!(report["synced"], true, "{report}");
    assert_eq!(status()["ready"], true, "{}", status());
    cluster.running.signal(2);
    assert_eq!(cluster.running.wait().code(), Some(0), "{}", cluster.log());
    same_on_every_node(&root, 3, 1, &source);
}
