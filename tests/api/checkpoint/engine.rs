//! An engine for the tests of checkpoints: files of the test's choice, and how often it was frozen and thawed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ringway::engine::{
    ActiveFile, ActiveFiles, CheckpointError, Checkpointing, Durability, Frozen, How, Shard,
};
use tempfile::TempDir;

use crate::nodes::{Nodes, PATIENCE, patient, until};

/// Long enough for what is quick.
pub const LEASE: Duration = Duration::from_secs(20);
/// More than is ever copied in a test.
pub const ENDLESS: u64 = 8 << 30;

type Freeze = Box<dyn Fn() -> Result<Frozen, String> + Send + Sync>;

/// What its hooks do, and what was called when.
pub struct Engine {
    freeze: Freeze,
    calls: Mutex<Calls>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Calls {
    pub frozen: u32,
    pub thawed: u32,
    began: Option<Instant>,
    /// From the last call of `freeze` to that of `thaw`.
    pub took: Duration,
}

impl Engine {
    pub fn new(freeze: impl Fn() -> Result<Frozen, String> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { freeze: Box::new(freeze), calls: Mutex::default(), changed: Condvar::new() })
    }

    /// One that always has the same files.
    pub fn of(files: Vec<ActiveFile>) -> Arc<Self> {
        Self::new(move || Ok(files.clone().into()))
    }

    pub fn calls(&self) -> Calls {
        *self.calls.lock().expect("nobody panics with it")
    }

    /// Waits for a state of the calls.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Calls) -> bool) -> Calls {
        let calls = self.calls.lock().expect("nobody panics with it");
        let waited = self.changed.wait_timeout_while(calls, PATIENCE, |calls| !is_so(calls));
        let (calls, waited) = waited.expect("nobody panics with it");
        assert!(!waited.timed_out(), "not in time: {what}: {calls:?}");
        *calls
    }
}

impl ActiveFiles for Engine {
    fn freeze(&self) -> Result<Frozen, String> {
        {
            let mut calls = self.calls.lock().expect("nobody panics with it");
            calls.frozen += 1;
            calls.began = Some(Instant::now());
        }
        self.changed.notify_all();
        (self.freeze)()
    }

    fn thaw(&self) {
        {
            let mut calls = self.calls.lock().expect("nobody panics with it");
            calls.thawed += 1;
            calls.took = calls.began.expect("it was frozen before").elapsed();
        }
        self.changed.notify_all();
    }
}

/// A checkpoint of an engine, with time enough.
pub fn ask(shard: &Shard, engine: &Arc<Engine>) -> Checkpointing {
    shard.checkpoint(Arc::clone(engine) as Arc<dyn ActiveFiles>, LEASE, patient(Durability::Committed))
}

/// The same with another lease, waited for.
pub fn within(shard: &Shard, engine: &Arc<Engine>, lease: Duration) -> CheckpointError {
    let asked =
        shard.checkpoint(Arc::clone(engine) as Arc<dyn ActiveFiles>, lease, patient(Durability::Committed));
    asked.wait().expect_err("there is none")
}

/// A file whose copy takes longer than any lease: its blocks cannot be shared, as it stands in memory.
pub fn endless() -> (TempDir, ActiveFile) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let file = dir.path().join("endless");
    fs::File::create(&file).and_then(|file| file.set_len(ENDLESS)).expect("sparse");
    (dir, ActiveFile::new(file, "endless", How::Copy { bytes: ENDLESS }))
}

fn names(folder: &Path) -> Vec<String> {
    let list = fs::read_dir(folder).expect("it is there");
    list.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

/// Nothing is left of a checkpoint: neither what was captured, nor what was taken, nor a segment.
#[track_caller]
pub fn nothing_left(nodes: &Nodes, node: usize) {
    let private = nodes.shard(node).directory().parent().expect("below its shard").join(".ringway");
    let of = |folder: &str| names(&private.join(folder));
    until("what was captured is gone", || of("checkpoints").is_empty());
    assert_eq!(of("pins"), [""; 0]);
    assert_eq!(names(nodes.shard(node).directory()), [""; 0]);
    assert!(nodes.shard(node).segments(None, 10).wait().expect("a page").segments.is_empty());
}
