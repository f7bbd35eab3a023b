//! What the commands print and refuse where no cluster runs.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::binary::{errors, json, ringway, run, secret, serve, write};

/// Longer than any of these takes, shorter than for ever.
const SOON: Duration = Duration::from_secs(20);

/// Runs to the end, which comes soon.
#[track_caller]
fn finished(command: &mut Command) -> Output {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
    let until = Instant::now() + SOON;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() >= until {
            let _ended_already = child.kill();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("it has ended")
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", errors(output));
    assert!(errors(output).contains(words), "{words:?} is not in: {}", errors(output));
    assert!(!errors(output).contains("panicked"), "{}", errors(output));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("utf-8")
}

/// It was logged, and the command had gone well.
#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_a_reader_that_is_gone_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "file", b"content");
    let file = dir.path().join("file");
    for args in
        [&["digest", text(&file)][..], &["digest", "-o", "json", text(&file)], &["completions", "bash"]]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        refused(&finished(ringway().args(args).stdout(full)), 1, "standard output");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let gone = finished(ringway().args(args).stdout(writer));
        assert!(gone.status.success() && errors(&gone).is_empty(), "{args:?}: {}", errors(&gone));
    }
}

#[test]
fn digest_goes_on_after_what_is_no_file_or_not_there() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "good", b"content");
    let [good, fifo, missing] = ["good", "fifo", "missing"].map(|name| dir.path().join(name));
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("it runs").success());
    for flat in [&[][..], &["--flat"]] {
        let mut command = ringway();
        command
            .arg("digest")
            .args(flat)
            .args([&fifo, &missing, &good])
            .arg("/dev/zero")
            .stdout(Stdio::piped());
        let output = finished(&mut command);
        refused(&output, 1, "fifo: not a regular file");
        refused(&output, 1, "missing: ");
        refused(&output, 1, "/dev/zero: not a regular file");
        assert!(String::from_utf8_lossy(&output.stdout).contains("/good\n"));
    }
    write(dir.path(), "a\\b\nc", b"content");
    let odd = dir.path().join("a\\b\nc");
    let theirs = Command::new("sha256sum").arg(&odd).output().expect("it runs");
    assert_eq!(run(&["digest", "--flat", text(&odd)]).stdout, theirs.stdout);
}

#[test]
fn names_are_looked_up_and_an_address_that_is_taken_is_refused_before_the_digesting() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write(&source, "file", b"content");
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let name = format!("localhost:{}", address.port());
    let pulled = run(&["pull", &name, text(&dest), "--secret-file", text(&secret), "-o", "json"]);
    assert!(pulled.status.success(), "{}", errors(&pulled));
    assert_eq!(json(&pulled)["segments"], 1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("free");
    let listen = taken.local_addr().expect("bound").to_string();
    let cache = dir.path().join("none");
    let mut command = ringway();
    command.args(["serve", text(&source), "--listen", &listen, "--secret-file", text(&secret)]);
    refused(&finished(command.arg("--cache").arg(&cache)), 1, "cannot listen on");
    assert!(!cache.exists(), "nothing was digested");
    refused(&run(&["status", "--endpoint", "nowhere"]), 2, "not an address");
    refused(&run(&["segments", "--endpoint", "127.0.0.1:1", "--limit", "0"]), 2, "--limit");
}

#[test]
fn an_import_that_cannot_be_leaves_no_root() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    write(&source, "file", b"content");
    let (beside, inside) = (dir.path().join("root"), source.join("root"));
    refused(&run(&["up", "--root", text(&beside), "--import", "/nonexistent/source"]), 1, "/nonexistent");
    refused(&run(&["up", "--root", text(&inside), "--import", text(&source)]), 2, "imported");
    assert!(!beside.exists() && !inside.exists());
}

#[test]
fn config_check_and_secret_new_say_that_it_went_well_and_a_short_secret_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("secret");
    let made = run(&["secret", "new", text(&path), "-o", "json"]);
    assert_eq!(json(&made), serde_json::json!({"version": 1, "secret_file": text(&path)}));
    let config = dir.path().join("node.toml");
    let lines = "cluster = \"000102030405060708090a0b0c0d0e0f\"\nnode = 1\nroot = \"data\"\n\
        listen = \"127.0.0.1:7001\"\nsecret_file = \"secret\"\nshards = 2\n[members]\n1 = \"127.0.0.1:7001\"\n";
    fs::write(&config, lines).expect("written");
    let check = ["config", "check", "--config", text(&config)];
    let said = String::from_utf8(run(&check).stdout).expect("utf-8");
    assert!(said.ends_with("node 1 of 1 member, 2 shards; it can be used\n"), "{said:?}");
    let document = json(&run(&[&check[..], &["-o", "json"]].concat()));
    assert_eq!((&document["version"], &document["shards"]), (&1.into(), &2.into()));
    File::create(&path).expect("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    refused(&run(&check), 3, text(&path));
}

#[test]
fn serve_without_a_home_keeps_no_digests_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, log) = (dir.path().join("source"), dir.path().join("log"));
    write(&source, "file", b"content");
    let secret = secret(dir.path(), "secret");
    let mut command = ringway();
    command.args(["serve", text(&source), "--listen", "localhost:0", "--secret-file", text(&secret)]);
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env("TMPDIR", dir.path());
    command.stderr(File::create(&log).expect("made"));
    let mut running = crate::binary::Running::start(command);
    assert!(running.first_line().starts_with("listening on "));
    let said = fs::read_to_string(&log).expect("there");
    assert_eq!(said.matches("--cache").count(), 1, "{said}");
    assert!(!dir.path().join("ringway").exists());
    running.signal(2);
    assert_eq!(running.wait().code(), Some(0));
}
