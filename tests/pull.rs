//! `ringway serve` and `ringway pull`, from outside: a verified, resumable, durable copy of a directory.
#![cfg(feature = "daemon")]

mod binary;
#[path = "pull/cores.rs"]
mod cores;
#[path = "pull/plain.rs"]
mod plain;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use binary::{awkward_tree, content, errors, json, pull, run, same, secret, serve, write};

/// `ringway pull`, to its end.
fn pulled(address: SocketAddr, dest: &Path, secret: &Path, more: &[&str]) -> Output {
    pull(address, dest, secret, more).arg("-q").output().expect("the binary runs")
}

#[test]
fn a_tree_of_awkward_sizes_and_names_arrives_and_a_second_pull_moves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    awkward_tree(&source, 500);
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let first = pulled(address, &dest, &secret, &[]);
    assert!(first.status.success(), "{}", errors(&first));
    same(&source, &dest);
    let report = json(&first);
    assert_eq!(report["version"], 1);
    assert_eq!(report["segments"], 511);
    assert_eq!(report["bytes"], report["bytes_fetched"]);
    let second = json(&pulled(address, &dest, &secret, &[]));
    assert_eq!((&second["bytes_fetched"], &second["bytes_reused"]), (&0.into(), &report["bytes"]));
    let names: Vec<_> =
        fs::read_dir(&dest).expect("readable").map(|e| e.expect("readable").file_name()).collect();
    assert!(names.iter().any(|name| name == ".ringway"), "its state is in one place: {names:?}");
}

#[test]
fn changes_are_taken_over_and_what_is_gone_goes_only_when_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    for name in ["kept", "changed", "gone"] {
        write(&source, name, &content(1, 3_000_000));
    }
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    let (mut server, address) = serve(&source, &secret, &cache);
    assert!(pulled(address, &dest, &secret, &[]).status.success());
    write(&dest, "mine", b"not from any pull");
    server.kill();
    // The same size, so that size alone tells nothing.
    write(&source, "changed", &content(2, 3_000_000));
    fs::remove_file(source.join("gone")).expect("removed");
    let (_server, address) = serve(&source, &secret, &cache);
    let report = json(&pulled(address, &dest, &secret, &[]));
    assert_eq!(report["bytes_fetched"], 3_000_000);
    assert_eq!(fs::read(dest.join("changed")).expect("there"), content(2, 3_000_000));
    assert!(dest.join("gone").exists(), "nothing is removed unasked");
    assert!(pulled(address, &dest, &secret, &["--delete"]).status.success());
    assert!(!dest.join("gone").exists());
    assert!(dest.join("mine").exists(), "what no pull brought is not its to remove");
}

/// Each kept the other away for ever: what was in the way went only after all had come.
#[test]
fn a_file_that_became_a_folder_and_a_folder_that_became_a_file_are_taken_over_with_delete() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    write(&source, "one/deep/file", b"a folder");
    write(&source, "two", b"a file");
    let (mut server, address) = serve(&source, &secret, &cache);
    assert!(pulled(address, &dest, &secret, &[]).status.success());
    write(&dest, "one/empty/folder", b"goes");
    fs::remove_file(dest.join("one/empty/folder")).expect("removed");
    server.kill();
    fs::remove_dir_all(&source).expect("removed");
    write(&source, "one", b"a file");
    write(&source, "two/deep/file", b"a folder");
    let (_server, address) = serve(&source, &secret, &cache);
    let kept = pulled(address, &dest, &secret, &[]);
    assert_eq!(kept.status.code(), Some(1), "{}", errors(&kept));
    assert!(errors(&kept).contains("2 files could not be had"), "{}", errors(&kept));
    assert!(dest.join("one/deep/file").is_file() && dest.join("two").is_file(), "nothing is removed unasked");
    let report = pulled(address, &dest, &secret, &["--delete"]);
    assert!(report.status.success(), "{}", errors(&report));
    assert_eq!(json(&report)["removed"], 2);
    same(&source, &dest);
}

/// A kill between two steps of an update leaves the old version under the new one's name in staging. A file that had
/// the same content was then told as done, and never made.
#[test]
fn what_a_kill_has_left_in_staging_of_a_file_that_stands_stands_for_no_other_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    write(&source, "x", b"the same");
    let (mut server, address) = serve(&source, &secret, &cache);
    assert!(pulled(address, &dest, &secret, &[]).status.success());
    server.kill();
    let digest = run(&["digest", "-o", "json", source.join("x").to_str().expect("utf-8")]);
    let root = json(&digest)["digests"][0]["digest"].as_str().expect("it has one").to_owned();
    write(&dest.join(".ringway/staging"), &format!("{:016x}-{:08x}-{root}", 1, 0), b"an older version");
    write(&source, "y", b"the same");
    let (_server, address) = serve(&source, &secret, &cache);
    let report = pulled(address, &dest, &secret, &[]);
    assert!(report.status.success(), "{}", errors(&report));
    same(&source, &dest);
}

/// With more than one plan of files that could not be had a pull asked for them for ever.
#[test]
fn more_files_that_changed_than_a_plan_holds_end_a_pull_and_keep_none_of_the_others_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let changed = |number| format!("changed-{number:04}");
    (0..1100).for_each(|number| write(&source, &changed(number), format!("{number}, as it was").as_bytes()));
    write(&source, "sound", b"behind them all");
    let secret = secret(dir.path(), "secret");
    let (_server, address) = serve(&source, &secret, &dir.path().join("cache"));
    (0..1100).for_each(|number| write(&source, &changed(number), b"changed since"));
    let ended = pulled(address, &dest, &secret, &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", errors(&ended));
    assert!(errors(&ended).contains("1100 files could not be had"), "{}", errors(&ended));
    assert_eq!(fs::read(dest.join("sound")).expect("it came"), b"behind them all");
}

#[test]
fn p4_a_pull_killed_in_the_middle_resumes_from_its_verified_chunks() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let bytes = 192 << 20;
    write(&source, "large", &content(7, bytes));
    let secret = secret(dir.path(), "secret");
    let (_server, address) = serve(&source, &secret, &dir.path().join("cache"));
    let command = pull(address, &dest, &secret, &["-q"]);
    let mut running = binary::Running::start(command);
    thread::sleep(Duration::from_millis(80));
    running.kill();
    assert!(!dest.join("large").exists(), "nothing unfinished has a final name");
    let report = json(&pulled(address, &dest, &secret, &[]));
    same(&source, &dest);
    let (fetched, reused) = (&report["bytes_fetched"], &report["bytes_reused"]);
    assert_eq!(fetched.as_u64().expect("a count") + reused.as_u64().expect("a count"), bytes as u64);
}

/// Once what was staged kept its id and its place: the content could not come back over what had come meanwhile, in
/// this pull and in all that followed.
#[test]
fn what_an_interrupted_pull_left_of_content_that_went_and_came_back_is_in_nobodys_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    let large = content(7, 192 << 20);
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    let staging = |dest: &Path| {
        let names = fs::read_dir(dest.join(".ringway/staging")).map(|names| names.count());
        names.unwrap_or_default()
    };
    write(&source, "file", &large);
    let (mut server, address) = serve(&source, &secret, &cache);
    let interrupted = (1..=12).map(|try_number| {
        let dest = dir.path().join(format!("dest-{try_number}"));
        let mut running = binary::Running::start(pull(address, &dest, &secret, &["-q"]));
        thread::sleep(Duration::from_millis(15 * try_number));
        running.kill();
        dest
    });
    let dest = interrupted.into_iter().find(|dest| staging(dest) > 0 && !dest.join("file").exists());
    let dest = dest.expect("one of them was in the middle");
    for bytes in [&content(8, 1000), &large] {
        server.kill();
        write(&source, "file", bytes);
        let address;
        (server, address) = serve(&source, &secret, &cache);
        let done = pulled(address, &dest, &secret, &[]);
        assert!(done.status.success(), "{} bytes: {}", bytes.len(), errors(&done));
        same(&source, &dest);
        assert_eq!(staging(&dest), 0, "nothing is left of what nobody wants");
    }
}

#[test]
fn what_cannot_be_carried_is_counted_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write(&source, "file", b"carried");
    write(&source, "bad\nname", b"a control character");
    write(&source, ".ringway/state", b"ours");
    symlink("/etc/passwd", source.join("link")).expect("made");
    let secret = secret(dir.path(), "secret");
    let (_server, address) = serve(&source, &secret, &dir.path().join("cache"));
    let output = pulled(address, &dest, &secret, &[]);
    let report = json(&output);
    assert_eq!((&report["segments"], &report["skipped"]), (&1.into(), &2.into()));
    assert!(!dest.join("link").exists() && !dest.join("bad\nname").exists());
}

#[test]
fn bad_input_gets_its_exit_code_and_a_clear_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write(&source, "file", b"content");
    let good = secret(dir.path(), "secret");
    let (_server, address) = serve(&source, &good, &dir.path().join("cache"));
    let other = secret(dir.path(), "other");
    let refused = pulled(address, &dest, &other, &[]);
    assert_eq!(refused.status.code(), Some(4), "{}", errors(&refused));
    assert!(errors(&refused).contains("authentication"), "{}", errors(&refused));
    fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).expect("changed");
    let readable = pulled(address, &dest, &other, &[]);
    assert_eq!(readable.status.code(), Some(3), "{}", errors(&readable));
    assert!(errors(&readable).contains("0640"), "{}", errors(&readable));
    let missing = pulled(address, &dest, &dir.path().join("none"), &[]);
    assert_eq!(missing.status.code(), Some(3), "{}", errors(&missing));
    write(dir.path(), "plain", b"a file");
    let file = pulled(address, &dir.path().join("plain"), &good, &[]);
    assert!(!file.status.success() && errors(&file).contains("plain"), "{}", errors(&file));
    let nobody = pulled(SocketAddr::from(([127, 0, 0, 1], 1)), &dest, &good, &[]);
    assert_eq!(nobody.status.code(), Some(6), "{}", errors(&nobody));
    let usage = run(&["pull"]);
    assert_eq!(usage.status.code(), Some(2));
    let secret_text = fs::read_to_string(&good).expect("ours");
    for output in [&refused, &readable, &missing, &file, &nobody] {
        assert!(!errors(output).contains(secret_text.trim()), "no secret in any message");
    }
}

#[test]
fn a_secret_is_never_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = secret(dir.path(), "secret");
    let before = fs::read(&path).expect("there");
    let again = run(&["secret", "new", path.to_str().expect("utf-8")]);
    assert!(!again.status.success());
    assert_eq!(fs::read(&path).expect("there"), before);
}
