//! Files that change, or go away, while they are digested, served, pulled or registered.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::bench::{Place, admin, alone, wait_until};
use crate::binary::{content, errors, json, pull, run, secret, serve, write};
use crate::tools::{cluster, finish, refused};

const SOON: Duration = Duration::from_secs(40);
const BYTES: usize = 24 << 20;

/// Writes over the file in place, as long as `work` takes.
fn while_written<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut file = File::options().write(true).open(path).expect("there");
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let at = round.wrapping_mul(0x9e37_79b9) % (BYTES as u64 - 4096);
                file.seek(SeekFrom::Start(at)).expect("in the file");
                file.write_all(&content(round, 4096)).expect("written");
                thread::sleep(Duration::from_micros(200));
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("it wrote");
        done
    })
}

#[test]
fn a_file_that_changed_or_went_away_since_it_was_digested_is_named_and_the_rest_arrives() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    for name in ["changed", "gone", "kept", "shorter"] {
        write(&source, name, &content(1, 3_000_000));
        write(&source, &format!("{name}-2"), &content(name.len() as u64, 5000));
    }
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    let (mut server, address) = serve(&source, &secret, &cache);
    write(&source, "changed", &content(2, 3_000_000));
    write(&source, "shorter", &content(2, 10));
    fs::remove_file(source.join("gone")).expect("removed");
    let output = finish(&mut pull(address, &dest, &secret, &[]), SOON);
    // Its content stands under another name too: only what nobody has is missing.
    assert_eq!(fs::read(dest.join("kept")).ok(), Some(content(1, 3_000_000)), "{}", errors(&output));
    assert_eq!(output.status.code(), Some(0), "another file has the content: {}", errors(&output));

    write(&source, "kept", &content(3, 3_000_000));
    let dest = dir.path().join("second");
    let output = finish(&mut pull(address, &dest, &secret, &[]), SOON);
    refused(&output, 1, "4 files could not be had, changed among them: changed at the source");
    for name in ["changed-2", "gone-2", "kept-2", "shorter-2"] {
        assert!(dest.join(name).exists(), "what could be had is there");
    }
    for name in ["changed", "gone", "kept", "shorter"] {
        assert!(!dest.join(name).exists(), "{name} is not what was asked for");
    }

    server.kill();
    let (_server, address) = serve(&source, &secret, &cache);
    let output = finish(&mut pull(address, &dest, &secret, &[]), SOON);
    assert!(output.status.success(), "the next start finds them as they are: {}", errors(&output));
    crate::binary::same(&source, &dest);
}

#[test]
fn a_file_that_is_written_to_while_it_is_pulled_never_arrives_as_a_mixture() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write(&source, "large", &content(1, BYTES));
    let secret = secret(dir.path(), "secret");
    let (_server, address) = serve(&source, &secret, &dir.path().join("cache"));
    let asked = || finish(&mut pull(address, &dest, &secret, &[]), SOON);
    let output = while_written(&source.join("large"), asked);
    match fs::read(dest.join("large")) {
        Ok(bytes) => assert!(bytes == content(1, BYTES), "it was faster than the writer, or it is a mixture"),
        Err(_) => refused(&output, 1, "large"),
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_registered_is_refused_and_one_that_is_not_there_is_named() {
    let Place { source, root, .. } = &alone();
    write(source, "first", b"of them");
    let mut cluster = cluster(root, source, &["--nodes", "2"]);
    cluster.running.first_line();
    let segments = root.join("node-1/shard-0000/segments");
    write(&segments, "busy", &content(5, BYTES));
    let secret = root.join("secret");
    let register = |path: &str| {
        let endpoint = admin(root, 1);
        let place = ["register", "--endpoint", &endpoint, "--secret-file", secret.to_str().expect("utf-8")];
        run(&[&place[..], &["--durability", "all", "-o", "json", path]].concat())
    };
    refused(&register("not/there"), 1, "not/there");
    refused(&register("../identity"), 1, "../identity");
    refused(&register("/etc/passwd"), 1, "/etc/passwd");
    let busy = while_written(&segments.join("busy"), || register("busy"));
    refused(&busy, 1, "chang");

    // Left alone, it is registered as it is; and when it changes after that, its replica keeps what was agreed.
    let quiet = register("busy");
    assert!(quiet.status.success(), "{}", errors(&quiet));
    assert_eq!(json(&quiet)["landed"], 2);
    let agreed = fs::read(segments.join("busy")).expect("there");
    let mut file = File::options().write(true).open(segments.join("busy")).expect("there");
    file.write_all(b"something else").expect("written");
    let copy = root.join("node-2/shard-0000/segments/busy");
    assert!(fs::read(&copy).expect("there") == agreed);
    cluster.stop();
    let damaged = run(&["verify", "--root", root.to_str().expect("utf-8")]);
    assert_eq!(damaged.status.code(), Some(1), "the origin's own file is what changed: {}", errors(&damaged));
    wait_until("the replica has it", || fs::read(&copy).is_ok_and(|bytes| bytes == agreed));
}
