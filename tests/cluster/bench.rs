//! Clusters for the tests: one at a time, found and asked from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binary::{Running, errors, files, json, ringway, run};

/// Where a test has its cluster: neither the files to import nor the root are there yet.
pub struct Place {
    pub dir: TempDir,
    pub source: PathBuf,
    pub root: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// One cluster at a time: a machine of two cores that runs many of them elects instead of working.
pub fn alone() -> Place {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a directory");
    let (source, root) = (dir.path().join("source"), dir.path().join("root"));
    Place { dir, source, root, _alone }
}

/// `ringway up`, its report as JSON.
pub fn up_command(root: &Path, more: &[&str]) -> Command {
    let mut command = ringway();
    command.arg("up").arg("--root").arg(root).args(["-o", "json"]).args(more).stdin(Stdio::null());
    command
}

/// `ringway up` until all is everywhere.
pub fn up(root: &Path, more: &[&str]) -> Output {
    up_command(root, more).args(["--exit-when-synced", "-q"]).output().expect("the binary runs")
}

/// A cluster that stays up.
pub struct Cluster(Running);

impl Cluster {
    pub fn start(root: &Path, more: &[&str]) -> Self {
        let mut command = up_command(root, more);
        command.arg("-q");
        Self(Running::start(command))
    }

    /// What it says when all is everywhere.
    pub fn report(&mut self) -> serde_json::Value {
        let line = self.0.first_line();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no report: {line:?}"))
    }

    /// Ctrl-C.
    pub fn stop(&mut self) -> ExitStatus {
        self.0.signal(2);
        self.0.wait()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Payload bytes that a node has received, if it answers.
    pub fn fetched_by(&self, root: &Path, node: u64) -> Option<u64> {
        let output = run(&["status", "--endpoint", &admin(root, node), "-o", "json"]);
        let status = output.status.success().then(|| json(&output))?;
        status["shards"].as_array()?.iter().map(|shard| shard["bytes_fetched"].as_u64()).sum()
    }
}

/// A value of a node's configuration file.
pub fn setting(root: &Path, node: u64, key: &str) -> String {
    let text = fs::read_to_string(root.join(format!("node-{node}/node.toml"))).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).expect("it is set");
    line.trim_matches('"').to_owned()
}

/// A node's admin address.
pub fn admin(root: &Path, node: u64) -> String {
    setting(root, node, "admin")
}

/// A command about a running node that has to go well, as JSON.
#[track_caller]
pub fn ask(args: &[&str]) -> serde_json::Value {
    let output = run(&[args, &["-o", "json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", errors(&output));
    json(&output)
}

#[track_caller]
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    wait_or_tell(what, done, String::new);
}

/// The same; if it does not come to that, `why` adds what there is to know.
#[track_caller]
pub fn wait_or_tell(what: &str, mut done: impl FnMut() -> bool, why: impl FnOnce() -> String) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        if Instant::now() > until {
            panic!("not in time: {what}\n{}", why());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// `ringway node` that is expected to end by itself; it is killed if it does not.
pub fn node(config: &Path) -> Output {
    let mut command = ringway();
    command.arg("node").arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().expect("the binary runs");
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until && child.try_wait().expect("it can be asked").is_none() {
        thread::sleep(Duration::from_millis(20));
    }
    let _ended_already = child.kill();
    child.wait_with_output().expect("it has ended")
}

/// Processes with the path in their command line.
pub fn pids_of(path: &Path) -> Vec<u32> {
    let path = path.to_str().expect("utf-8");
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(path)
    })
    .collect()
}

/// All segments of a node, whatever their shard.
pub fn segments_of(root: &Path, node: u64, shards: u32) -> BTreeMap<String, Vec<u8>> {
    let dir = |shard| root.join(format!("node-{node}/shard-{shard:04}/segments"));
    let mut all = BTreeMap::new();
    for (path, bytes) in (0..shards).flat_map(|shard| files(&dir(shard))) {
        assert!(all.insert(path.clone(), bytes).is_none(), "{path} stands in two shards");
    }
    all
}

/// Asserts that every node has the directory's files, and no others.
#[track_caller]
pub fn same_on_every_node(root: &Path, nodes: u64, shards: u32, source: &Path) {
    let expected = files(source);
    for node in 1..=nodes {
        let found = segments_of(root, node, shards);
        assert!(found.keys().eq(expected.keys()), "node {node}: {:?}", found.keys());
        for (path, bytes) in &expected {
            assert!(found[path] == *bytes, "{path} differs on node {node}");
        }
        let shards_used = (0..shards)
            .filter(|shard| !files(&root.join(format!("node-{node}/shard-{shard:04}/segments"))).is_empty());
        assert!(expected.len() < 10 || shards_used.count() == usize::try_from(shards).expect("few"));
    }
}
