//! Driving the built binary: processes that end with their test, trees of files with known content.

#![allow(dead_code, reason = "each test binary takes what it needs of this toolbox")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A command of the binary under test.
pub fn ringway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.env("NO_COLOR", "1");
    command
}

/// Runs a command to its end.
pub fn run(args: &[&str]) -> Output {
    ringway().args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

/// What a command wrote to standard output, as JSON.
pub fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error} in {text:?}; standard error: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// What a command wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that is killed when the test lets go of it.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a command with its standard output piped.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        Self { child }
    }

    /// SIGKILL, and waits for it.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// The first line of standard output.
    pub fn first_line(&mut self) -> String {
        let mut line = String::new();
        let out = self.child.stdout.as_mut().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it can be read");
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// `ringway serve` on a free port of loopback, ready.
pub fn serve(dir: &Path, secret: &Path, cache: &Path) -> (Running, SocketAddr) {
    let mut command = ringway();
    command
        .arg("serve")
        .arg(dir)
        .args(["--listen", "127.0.0.1:0", "-o", "json", "-q", "--secret-file"])
        .arg(secret);
    command.arg("--cache").arg(cache);
    let mut running = Running::start(command);
    let line = running.first_line();
    let ready: serde_json::Value =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
    let address = ready["listening"].as_str().expect("an address").parse().expect("an address");
    (running, address)
}

/// `ringway pull`, its report as JSON.
pub fn pull(address: SocketAddr, dest: &Path, secret: &Path, more: &[&str]) -> Command {
    let mut command = ringway();
    command.arg("pull").arg(address.to_string()).arg(dest).arg("--secret-file").arg(secret);
    command.args(["-o", "json"]).args(more).stdin(Stdio::null());
    command
}

/// A secret's file of the right mode.
pub fn secret(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let made = run(&["secret", "new", path.to_str().expect("utf-8")]);
    assert!(made.status.success(), "{}", errors(&made));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    path
}

/// Bytes that differ from place to place and from seed to seed.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Writes a file below `dir`, with its parents.
pub fn write(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
}

/// A tree with the sizes and names that go wrong first.
pub fn awkward_tree(dir: &Path, small_files: usize) {
    const MIB: usize = 1 << 20;
    let sizes = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB + 12345];
    for (seed, bytes) in sizes.into_iter().enumerate() {
        write(dir, &format!("size-{bytes}"), &content(seed as u64 + 1, bytes));
    }
    let deep: String = (0..20).map(|level| format!("level {level}/")).collect();
    write(dir, &format!("{deep}file"), &content(100, 70_000));
    write(dir, "with space/ü ñ 漢字.seg", &content(101, 5000));
    for index in 0..small_files {
        write(
            dir,
            &format!("small/{:02}/{index}", index % 100),
            &content(1000 + index as u64, 10 + index % 3000),
        );
    }
}

/// All regular files below `dir` but `.ringway`, by relative path.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("readable").map(|entry| entry.expect("readable")) {
            let path = entry.path();
            if path == dir.join(".ringway") {
                continue;
            }
            let kind = entry.file_type().expect("known");
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let relative = path.strip_prefix(dir).expect("below").to_str().expect("utf-8").to_owned();
                found.insert(relative, fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

/// Asserts that two directories hold the same files with the same content.
pub fn same(one: &Path, other: &Path) {
    let (one, other) = (files(one), files(other));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other));
    for (path, bytes) in &one {
        assert!(other[path] == *bytes, "{path} differs");
    }
}
