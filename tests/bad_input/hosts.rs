//! Hosts that lack what Ringway uses: each taken away from the real binary, which works all the same and says so, or
//! says what to allow. The library on such hosts stands in `tests/kernel/refusals.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Place, admin, alone, same_on_every_node, up, up_command};
use crate::binary::{content, errors, json, pull, ringway, run, same, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{Logged, finish, node, refused};
use crate::without::{Forbidden, REGISTER_BUFFERS, with_memlock};

const SOON: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;
/// Buffers of a core of a cluster that `up` has made.
const BUFFERS: u64 = 16;
/// Memory that may be locked: enough for the queues of some rings, not for a core's buffers.
const LITTLE: u64 = 4 << 20;
/// Not enough for the queues of one.
const TOO_LITTLE: u64 = 64 << 10;

/// How often a log has these words.
fn count(log: &str, words: &str) -> usize {
    log.matches(words).count()
}

fn doctor(dir: &Path) -> Command {
    let mut command = ringway();
    command.arg("doctor").arg(dir).args(["-o", "json"]);
    command
}

/// What a doctor has found of one thing.
fn check_of(output: &Output, name: &str) -> Value {
    let report = json(output);
    let checks = report["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {report}")).clone()
}

/// A source with one file of some chunks, served, and a place to pull it to.
fn served(dir: &Path) -> (crate::binary::Running, Command) {
    let source = dir.join("source");
    write(&source, "file", &content(1, 3 * MIB + 17));
    let secret = secret(dir, "secret");
    let (running, address) = serve(&source, &secret, &dir.join("cache"));
    (running, pull(address, &dir.join("dest"), &secret, &[]))
}

#[track_caller]
fn works(command: &mut Command, dir: &Path) -> String {
    let done = finish(command, SOON);
    assert!(done.status.success(), "{}", errors(&done));
    same(&dir.join("source"), &dir.join("dest"));
    errors(&done)
}

#[test]
fn without_io_uring_whatever_needs_it_ends_with_1_and_says_what_to_allow() {
    let Place { dir, root, .. } = &alone();
    let alone = ["--nodes", "1", "--shards", "1"];
    assert!(up(root, &alone).status.success(), "while it is allowed");
    let (dir, config) = (dir.path(), root.join("node-1/node.toml"));
    let secret = secret(dir, "secret");
    write(&dir.join("source"), "file", b"content");
    let serve = || {
        let mut command = ringway();
        command.arg("serve").arg(dir.join("source")).args(["--listen", "127.0.0.1:0", "--secret-file"]);
        command.arg(&secret).arg("--cache").arg(dir.join("cache"));
        command
    };
    for (forbidden, name) in [
        (Forbidden::always(libc::SYS_io_uring_setup, libc::EPERM), "io_uring_setup: "),
        (Forbidden::always(libc::SYS_io_uring_setup, libc::ENOSYS), "io_uring_setup: "),
        (Forbidden::always(libc::SYS_io_uring_enter, libc::EPERM), "io_uring_enter: "),
        (Forbidden::always(libc::SYS_io_uring_register, libc::EPERM), "io_uring_register: "),
    ] {
        let nobody = "127.0.0.1:9".parse().expect("an address");
        let pulling = pull(nobody, &dir.join("dest"), &secret, &[]);
        for mut command in [serve(), pulling, node(&config), up_command(root, &alone), doctor(dir)] {
            forbidden.of(&mut command);
            let done = finish(&mut command, SOON);
            let is_doctor = command.get_args().next().is_some_and(|first| first == "doctor");
            if is_doctor {
                let check = check_of(&done, "io_uring");
                assert_eq!((&check["standing"], done.status.code()), (&"bad".into(), Some(1)), "{check}");
                let found = check["found"].as_str().unwrap_or_default();
                assert!(found.contains(name) && found.contains("seccomp"), "{found}");
            } else {
                refused(&done, 1, name);
                for words in ["seccomp profile", "--security-opt", "SystemCallFilter=@io-event"] {
                    refused(&done, 1, words);
                }
            }
        }
    }
    assert!(up(root, &alone).status.success(), "all of it did no harm");
}

#[test]
fn with_little_memory_to_lock_a_pull_works_and_says_once_what_to_raise() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_running, mut pulling) = served(dir.path());
    with_memlock(&mut pulling, LITTLE);
    let log = works(&mut pulling, dir.path());
    assert_eq!(count(&log, "registered buffers are not in use"), 1, "{log}");
    for words in
        ["33554432 bytes wanted", "4194304 may be locked", "RLIMIT_MEMLOCK", "ulimit -l", "CAP_IPC_LOCK"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    let mut looking = doctor(dir.path());
    with_memlock(&mut looking, LITTLE);
    let check = check_of(&finish(&mut looking, SOON), "registered buffers");
    assert_eq!(check["standing"], "slower", "{check}");
    assert!(check["change"].as_str().is_some_and(|change| change.contains("RLIMIT_MEMLOCK")), "{check}");
}

#[test]
fn with_too_little_memory_to_lock_for_a_ring_a_pull_and_a_doctor_say_how_much_there_is_and_what_to_raise() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_running, mut pulling) = served(dir.path());
    with_memlock(&mut pulling, TOO_LITTLE);
    let done = finish(&mut pulling, SOON);
    if done.status.success() {
        return println!("skipped: a kernel that counts the queues of a ring as locked memory");
    }
    for words in ["65536 bytes", "ulimit -l", "LimitMEMLOCK=", "CAP_IPC_LOCK"] {
        refused(&done, 1, words);
    }
    let mut looking = doctor(dir.path());
    with_memlock(&mut looking, TOO_LITTLE);
    let check = check_of(&finish(&mut looking, SOON), "io_uring");
    assert_eq!(check["standing"], "bad", "{check}");
    assert!(check["found"].as_str().is_some_and(|found| found.contains("65536 bytes")), "{check}");
}

#[test]
fn buffers_that_may_not_be_registered_keep_no_pull_from_its_end_and_are_told_once() {
    for (errno, words) in [
        (libc::EPERM, "allow io_uring_register with all of its operations"),
        (libc::ENOMEM, "RLIMIT_MEMLOCK"),
        (libc::EINVAL, "Invalid argument"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_running, mut pulling) = served(dir.path());
        Forbidden { call: libc::SYS_io_uring_register, errno, with: &[REGISTER_BUFFERS] }.of(&mut pulling);
        let log = works(&mut pulling, dir.path());
        assert_eq!(count(&log, "registered buffers are not in use"), 1, "{log}");
        assert!(log.contains(words), "{words}: {log}");
    }
}

/// Two nodes of one shard, with some MiB to replicate, once they have done so.
fn two_nodes(place: &Place, take_away: impl Fn(&mut Command)) -> Logged {
    let Place { source, root, .. } = place;
    write(source, "file", &content(1, 5 * MIB + 17));
    let mut command = up_command(root, &["--nodes", "2", "--shards", "1", "--import"]);
    command.arg(source);
    take_away(&mut command);
    let mut cluster = Logged::start(command, &root.with_extension("log"));
    let report: Value = serde_json::from_str(&cluster.running.first_line()).expect("a report");
    assert_eq!(report["synced"], true, "{report}");
    same_on_every_node(root, 2, 1, source);
    cluster
}

fn status(root: &Path, number: u64) -> Value {
    json(&run(&["status", "--endpoint", &admin(root, number), "-o", "json"]))
}

/// What `ringway status` prints for people.
fn told(root: &Path, number: u64) -> String {
    let output = run(&["status", "--endpoint", &admin(root, number)]);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_node_with_little_memory_to_lock_works_and_its_log_and_status_say_what_it_goes_without() {
    let place = alone();
    let root = &place.root;
    let mut cluster = two_nodes(&place, |command| with_memlock(command, LITTLE));
    for number in [1, 2] {
        let core = status(root, number)["cores"][0].clone();
        let (all, registered) = (&core["buffers"], &core["buffers_registered"]);
        assert_eq!(
            (all, registered, &core["buffer_bytes"]),
            (&BUFFERS.into(), &0.into(), &MIB.into()),
            "{core}"
        );
        let findings = core["findings"].as_array().expect("a list");
        let finding =
            findings.iter().find(|finding| finding["name"] == "registered buffers").expect("it is told");
        assert_eq!(finding["in_use"], false, "{finding}");
        assert!(told(root, number).contains("RLIMIT_MEMLOCK"), "{}", told(root, number));
    }
    cluster.stop();
    let log = cluster.log();
    assert_eq!(count(&log, "registered buffers are not in use"), 2, "once for each node: {log}");
    let mut unhindered = two_nodes(&place, |_| ());
    let core = status(root, 1)["cores"][0].clone();
    if core["buffers_registered"] == 0 {
        println!("skipped: memory for {BUFFERS} registered buffers");
    } else {
        assert_eq!(core["buffers_registered"], core["buffers"], "{core}");
        assert_eq!(count(&unhindered.log(), "not in use"), 0, "{}", unhindered.log());
    }
    unhindered.stop();
}

#[test]
fn a_congestion_control_that_the_system_does_not_give_is_warned_of_and_status_tells_the_one_in_force() {
    let default = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("Linux");
    for (errno, words) in
        [(libc::ENOENT, "modprobe tcp_cubic"), (libc::EPERM, "net.ipv4.tcp_allowed_congestion_control")]
    {
        let place = alone();
        let root = &place.root;
        let mut cluster = two_nodes(&place, |command| Forbidden::congestion(errno).of(command));
        let status = status(root, 1);
        let connections = status["connections"].as_array().expect("a list");
        assert!(!connections.is_empty());
        for connection in connections {
            assert_eq!(connection["congestion"], default.trim(), "{connection}");
        }
        cluster.stop();
        let log = cluster.log();
        assert_eq!(count(&log, "congestion control cubic is not in use"), 2, "once for each node: {log}");
        assert!(log.contains(words), "{words}: {log}");
        assert!(!log.contains("bbr is not"), "nobody asked for it: {log}");
    }
}

const REFUSED: &str = "the file system refuses O_DIRECT";

#[test]
fn where_the_file_system_has_no_direct_io_a_pull_works_and_says_so_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(_disk) = Disk::without_direct(&dir.path().join("dest")) else { return };
    let (_running, mut pulling) = served(dir.path());
    let log = works(&mut pulling, dir.path());
    assert_eq!(count(&log, REFUSED), 1, "{log}");
    let check = check_of(&finish(&mut doctor(&dir.path().join("dest")), SOON), "direct I/O");
    assert_eq!(check["standing"], "slower", "{check}");
    assert!(check["change"].as_str().is_some_and(|change| change.contains("ext4")), "{check}");
}

/// cachestat(2), the same on all architectures.
const CACHESTAT: libc::c_long = 451;

/// What is in the page cache is not read past it; here nobody tells what is.
#[test]
fn where_the_file_system_has_no_direct_io_a_source_serves_and_says_so_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    let Some(_disk) = Disk::without_direct(&source) else { return };
    for index in 0..3 {
        write(&source, &format!("file-{index}"), &content(index, 2 * MIB));
    }
    let secret = secret(dir.path(), "secret");
    let mut command = ringway();
    command.arg("serve").arg(&source).args(["--listen", "127.0.0.1:0", "-o", "json", "--secret-file"]);
    command.arg(&secret).arg("--cache").arg(dir.path().join("cache"));
    Forbidden::always(CACHESTAT, libc::ENOSYS).of(&mut command);
    let mut serving = Logged::start(command, &dir.path().join("log"));
    let ready: Value = serde_json::from_str(&serving.running.first_line()).expect("it listens");
    let address = ready["listening"].as_str().expect("an address").parse().expect("an address");
    works(&mut pull(address, &dir.path().join("dest"), &secret, &[]), dir.path());
    serving.stop();
    assert_eq!(count(&serving.log(), REFUSED), 1, "{}", serving.log());
}

#[test]
fn where_the_file_system_has_no_direct_io_a_node_works_and_its_log_and_status_say_so() {
    let place = alone();
    let root = &place.root;
    let Some(disk) = Disk::without_direct(&root.join("node-2")) else { return };
    let mut cluster = two_nodes(&place, |_| ());
    let shard = status(root, 2)["shards"][0].clone();
    assert_eq!((&shard["direct"], &shard["direct_asked"]), (&false.into(), &true.into()), "{shard}");
    assert!(told(root, 2).contains(REFUSED), "{}", told(root, 2));
    cluster.stop();
    assert_eq!(count(&cluster.log(), REFUSED), 1, "{}", cluster.log());
    drop(disk);
}
