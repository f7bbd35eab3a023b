//! Ctrl-C and SIGTERM before the work is done: exit code 130, a line that says so, and what came is kept.

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::bench::{Place, alone, up_command};
use crate::binary::{content, errors, pull, same, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{Logged, finish};

const SOON: Duration = Duration::from_secs(20);

/// Sends the signal: it ends in time, with 130 and these words.
#[track_caller]
fn interrupted(logged: &mut Logged, signal: i32, words: &str) {
    let began = Instant::now();
    logged.running.signal(signal);
    assert_eq!(logged.running.wait().code(), Some(130), "{}", logged.log());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(logged.log().contains(words) && !logged.log().contains("panicked"), "{}", logged.log());
}

#[test]
fn a_pull_that_waits_for_its_source_ends_with_130_at_ctrl_c_and_at_sigterm() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret");
    // Whoever is accepted here waits for an answer that does not come.
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
    let address = silent.local_addr().expect("bound");
    for signal in [2, 15] {
        let command = pull(address, &dir.path().join("dest"), &secret, &[]);
        let mut waiting = Logged::start(command, &dir.path().join("log"));
        let (mut stream, _) = silent.accept().expect("it dials");
        stream.set_read_timeout(Some(SOON)).expect("it can be set");
        stream.read_exact(&mut [0]).expect("it speaks first");
        interrupted(&mut waiting, signal, "interrupted; what came is kept");
    }
}

#[test]
fn a_pull_that_is_interrupted_in_the_middle_keeps_what_came_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let Some(disk) = Disk::in_memory(&dest, 64 << 10, 1000) else { return };
    for index in 0..8 {
        write(&source, &format!("{index}"), &content(index, 2 << 20));
    }
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    disk.fill_but(9);
    let command = pull(address, &dest, &secret, &["--wait-for-space"]);
    let mut waiting = Logged::start(command, &dir.path().join("log"));
    waiting.says("the disk is full; waiting for room");
    interrupted(&mut waiting, 2, "interrupted; what came is kept");
    disk.make_room();
    let rest = finish(&mut pull(address, &dest, &secret, &[]), Duration::from_secs(30));
    assert!(rest.status.success(), "{}", errors(&rest));
    assert!(crate::binary::json(&rest)["bytes_reused"].as_u64() > Some(0), "{}", crate::binary::json(&rest));
    same(&source, &dest);
}

#[test]
fn a_cluster_that_is_interrupted_before_every_node_has_everything_says_so_and_the_next_start_goes_on() {
    let Place { source, root, .. } = &alone();
    // Copies of zeros, many of them: there is no disk on which that takes no time.
    fs::create_dir_all(source).expect("made");
    for index in 0..400 {
        File::create(source.join(index.to_string())).and_then(|file| file.set_len(4 << 20)).expect("sparse");
    }
    let mut command = up_command(root, &["--shards", "1", "--import"]);
    command.arg(source);
    let mut up = Logged::start(command, &root.with_extension("log"));
    crate::bench::wait_until("it copies", || root.join("node-1/import").exists());
    interrupted(&mut up, 2, "interrupted");
    assert!(crate::bench::pids_of(root).is_empty(), "its nodes have ended with it");
    for index in 4..400 {
        fs::remove_file(source.join(index.to_string())).expect("ours");
    }
    let again = crate::bench::up(root, &["--shards", "1", "--import", source.to_str().expect("utf-8")]);
    assert!(again.status.success(), "{}", errors(&again));
}
