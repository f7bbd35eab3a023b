//! Processes with their standard error in a file, and what all tests of bad input ask of them.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{self, PullError, PullOptions, PullReport};

use crate::bench::up_command;
use crate::binary::{Running, errors, ringway};

/// A process that tells its log to a file.
pub struct Logged {
    pub running: Running,
    log: PathBuf,
}

impl Logged {
    pub fn start(mut command: Command, log: &Path) -> Self {
        command.stderr(File::create(log).expect("a log"));
        Self { running: Running::start(command), log: log.to_owned() }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ctrl-C, which is a clean end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.running.signal(2);
        assert_eq!(self.running.wait().code(), Some(0), "{}", self.log());
    }

    /// Waits until its log has these words.
    #[track_caller]
    pub fn says(&self, words: &str) {
        within(Duration::from_secs(30), words, || self.log().contains(words), || self.log());
    }
}

#[track_caller]
pub fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let until = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < until, "not within {limit:?}: {what}; seen: {}", seen());
        thread::sleep(Duration::from_millis(20));
    }
}

/// SIGTERM, which ends the process in time; its parent need not have taken note of it yet.
#[track_caller]
pub fn terminated(pid: u32, limit: Duration) {
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let began = Instant::now();
    assert!(Command::new("kill").arg(pid.to_string()).status().expect("kill runs").success());
    let is_gone = || state().rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
    within(limit, "SIGTERM ends it", is_gone, state);
    println!("ended {:?} after SIGTERM", began.elapsed());
}

/// A cluster of one shard that stays up, with the source's files; its log stands beside its root.
pub fn cluster(root: &Path, source: &Path, more: &[&str]) -> Logged {
    let mut command = up_command(root, &["--shards", "1", "--import"]);
    command.arg(source).args(more);
    Logged::start(command, &root.with_extension("log"))
}

/// `ringway node`.
pub fn node(config: &Path) -> Command {
    let mut command = ringway();
    command.arg("node").arg("--config").arg(config);
    command
}

/// A pull in this process, as an embedder has it done.
pub fn pulled(address: SocketAddr, dest: &Path, secret: &Path) -> Result<PullReport, PullError> {
    let text = fs::read_to_string(secret).expect("ours");
    let options =
        PullOptions { address, dest: dest.to_owned(), delete: false, wait_for_space: false, cores: None };
    engine::pull(options, &text, &AtomicBool::new(false), |_| {})
}

/// Runs to the end, with a time at which the test has failed.
#[track_caller]
pub fn finish(command: &mut Command, limit: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let until = Instant::now() + limit;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() >= until {
            let _ended_already = child.kill();
            let output = child.wait_with_output().expect("it has ended");
            panic!("{command:?} did not end within {limit:?}: {}", errors(&output));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("it has ended")
}

/// It failed with this code and said these words, and did not panic.
#[track_caller]
pub fn refused(output: &Output, code: i32, words: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", errors(output));
    assert!(errors(output).contains(words), "{words:?} is not in: {}", errors(output));
    assert!(!errors(output).contains("panicked"), "{}", errors(output));
}
