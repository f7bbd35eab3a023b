//! A disk that is full: said at once, nothing lost, and gone on from when there is room.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::PullError;
use serde_json::Value;

use crate::bench::{Place, admin, alone, same_on_every_node, up};
use crate::binary::{content, errors, files, json, pull, ringway, run, same, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{Logged, cluster, finish, pulled, refused, within};

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
    assert_eq!(pulled(address, &dest, &secret), Err(PullError::DiskFull));
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
    assert_eq!(pulled(address, &empty, &secret), Err(PullError::DiskFull));
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

/// What a node says of itself, if it answers.
fn status(root: &Path, node: u64) -> Value {
    let output = run(&["status", "--endpoint", &admin(root, node), "-o", "json"]);
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
    let status = || status(root, 3);
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
    let status = || status(root, 3);
    let seen = || format!("{} {}", status(), cluster.log());
    within(Duration::from_secs(30), "status names the log", || waits_for_room(&status()), seen);
    // What it waits for it does not take meanwhile: ext4 keeps what a failed allocation got.
    within(Duration::from_secs(5), "others have the rest", || disk.free_mib() >= 8, seen);
    disk.make_room();
    synced(&mut cluster);
    assert_eq!(status()["ready"], true, "{}", status());
    cluster.stop();
    same_on_every_node(root, 3, 1, source);
}

fn waits_for_room(status: &Value) -> bool {
    status["not_ready"].to_string().contains("its log goes on when there is room")
}

/// Deletes paths that nobody has: an entry of about a MiB in the log.
fn large_entry(root: &Path, number: usize) -> std::process::Output {
    let (endpoint, secret) = (admin(root, 1), root.join("secret"));
    let deep = "d".repeat(200);
    let path = |place: usize| format!("{}{number}-{place}", format!("{deep}/").repeat(19));
    let paths: Vec<String> = (0..270).map(path).collect();
    let mut command = ringway();
    command.args(["delete", "--endpoint", &endpoint, "--secret-file"]).arg(secret).args(&paths);
    finish(&mut command, Duration::from_secs(60))
}

/// Entries that fill a file of a log, and some of the next.
const LARGE_ENTRIES: usize = 20;

#[test]
fn a_log_that_needs_its_next_file_on_a_full_disk_says_so_at_once_and_goes_on_when_there_is_room() {
    let Place { source, root, .. } = &alone();
    let Some(disk) = Disk::in_memory(&root.join("node-3"), 64 << 10, 10_000) else { return };
    write(source, "first", b"of them");
    let mut cluster = cluster(root, source, &[]);
    synced(&mut cluster);
    let group = |node: u64| status(root, node)["groups"][1].clone();
    if group(1)["leader"] == 3 {
        let (endpoint, secret) = (admin(root, 3), root.join("secret"));
        let to = ["transfer-leader", "--endpoint", &endpoint, "--group", "1", "--to", "1", "--secret-file"];
        let moved = run(&[&to[..], &[secret.to_str().expect("utf-8")]].concat());
        assert!(moved.status.success(), "{}", errors(&moved));
    }
    // Less than a file of a log.
    disk.fill_but(8);
    for number in 0..LARGE_ENTRIES {
        let done = large_entry(root, number);
        assert!(done.status.success(), "two of three are enough: {}", errors(&done));
    }
    let seen = || format!("{} {}", status(root, 3), cluster.log());
    within(Duration::from_secs(10), "status names the log", || waits_for_room(&status(root, 3)), seen);
    assert!(cluster.log().contains("the disk is full; the log waits for room"), "{}", cluster.log());
    assert!(large_entry(root, LARGE_ENTRIES).status.success(), "the others go on");
    assert!(waits_for_room(&status(root, 3)), "{}", status(root, 3));
    disk.make_room();
    let applied = |node: u64| group(node)["applied"].as_u64();
    let whole = || status(root, 3)["ready"] == true && applied(3) == applied(1);
    within(Duration::from_secs(30), "it has all", whole, seen);
    assert!(cluster.log().contains("there is room again; the log goes on"), "{}", cluster.log());
    cluster.stop();
    let again = up(root, &[]);
    assert!(again.status.success(), "{}", errors(&again));
    same_on_every_node(root, 3, 1, source);
}

#[test]
fn a_node_alone_with_a_full_disk_keeps_who_asks_waiting_and_answers_when_there_is_room() {
    let Place { source, root, .. } = &alone();
    let Some(disk) = Disk::in_memory(&root.join("node-1"), 64 << 10, 10_000) else { return };
    write(source, "first", b"of them");
    let mut cluster = cluster(root, source, &["--nodes", "1"]);
    synced(&mut cluster);
    disk.fill_but(8);
    thread::scope(|scope| {
        let asking = scope.spawn(|| (0..LARGE_ENTRIES).map(|number| large_entry(root, number)).collect());
        let seen = || format!("{} {}", status(root, 1), cluster.log());
        within(Duration::from_secs(20), "status names the log", || waits_for_room(&status(root, 1)), seen);
        disk.make_room();
        let answered: Vec<_> = asking.join().expect("it has asked");
        for done in answered {
            assert!(done.status.success(), "{}", errors(&done));
        }
    });
    assert!(!waits_for_room(&status(root, 1)), "{}", status(root, 1));
    cluster.stop();
    same_on_every_node(root, 1, 1, source);
}
