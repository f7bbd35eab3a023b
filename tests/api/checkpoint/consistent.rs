//! A writer that never stops: each checkpoint that a replica has is a state that the engine was in.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ringway::engine::{ActiveFile, ActiveFiles, Durability, Frozen, How, Locator, Shard};
use ringway::ids::SegmentId;

use super::engine::LEASE;
use crate::nodes::{Nodes, patient, until};

const CHECKPOINTS: u64 = 40;
const TABLE_BYTES: usize = 4096;

/// Each record follows from the one before.
fn chain(before: u64, number: u64) -> u64 {
    (before ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// A log that is appended to and rotated, and a table that is overwritten in place: both of the same last record.
struct Database {
    dir: PathBuf,
    /// Taken by the writer for each record, by `freeze` until `thaw`.
    still: Mutex<Still>,
    thawed: Condvar,
    written: AtomicU64,
    ends: AtomicBool,
}

#[derive(Default)]
struct Still {
    is_frozen: bool,
    is_writing: bool,
    /// Bytes of the log that is written to.
    bytes: u64,
    /// Its number, from 0.
    log: u64,
    is_rotated: bool,
}

impl Database {
    fn log(&self, number: u64) -> PathBuf {
        self.dir.join(format!("log-{number}"))
    }

    fn write_forever(&self) {
        let open = |path: PathBuf| OpenOptions::new().create(true).append(true).open(path).expect("made");
        let mut log = open(self.log(0));
        let table = OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join("table"));
        let mut table = table.expect("made");
        let (mut last, mut at_log) = (0, 0);
        for number in 1.. {
            {
                let still = self.still.lock().expect("nobody panics with it");
                let mut still = self.thawed.wait_while(still, |still| still.is_frozen).expect("sound");
                still.is_writing = true;
                if still.log != at_log {
                    at_log = still.log;
                    log = open(self.log(at_log));
                }
            }
            last = chain(last, number);
            let record = [number.to_le_bytes(), last.to_le_bytes()].concat();
            log.write_all(&record[..8]).expect("written");
            thread::sleep(Duration::from_micros(50));
            log.write_all(&record[8..]).expect("written");
            table.seek(SeekFrom::Start(0)).expect("sought");
            // Not at once, so that who does not hold still is seen to be torn.
            for half in record.repeat(TABLE_BYTES / record.len()).chunks(TABLE_BYTES / 2) {
                table.write_all(half).expect("written");
                thread::sleep(Duration::from_micros(20));
            }
            self.written.store(number, Ordering::Relaxed);
            let mut still = self.still.lock().expect("nobody panics with it");
            still.is_writing = false;
            still.bytes += record.len() as u64;
            self.thawed.notify_all();
            drop(still);
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl ActiveFiles for Database {
    /// Every third checkpoint rotates the log: what is behind is captured by a link from then on.
    fn freeze(&self) -> Result<Frozen, String> {
        let mut still = self.still.lock().expect("nobody panics with it");
        assert!(!still.is_frozen, "frozen twice");
        still.is_frozen = true;
        let mut still = self.thawed.wait_while(still, |still| still.is_writing).expect("sound");
        let table = How::Copy { bytes: TABLE_BYTES as u64 };
        let mut files = vec![ActiveFile::new(self.dir.join("table"), "state/table", table)];
        let link = |number| ActiveFile::new(self.log(number), format!("state/log-{number:03}"), How::Link);
        files.extend((0..still.log).map(link));
        let is_rotated = still.bytes > 0 && !still.is_rotated && still.log < 10;
        let how = if is_rotated { How::Link } else { How::Copy { bytes: still.bytes } };
        let number = still.log;
        files.push(ActiveFile { how, ..link(number) });
        if is_rotated {
            (still.log, still.bytes) = (number + 1, 0);
        }
        still.is_rotated = is_rotated;
        Ok(files.into())
    }

    fn thaw(&self) {
        let mut still = self.still.lock().expect("nobody panics with it");
        assert!(still.is_frozen, "thawed twice");
        still.is_frozen = false;
        self.thawed.notify_all();
    }
}

/// The checkpoint that a shard has just now: its last record; none if another one came meanwhile.
fn state(shard: &Shard) -> Option<u64> {
    let page = shard.segments(None, 100).wait().expect("a page");
    let mut files = BTreeMap::new();
    for segment in page.segments {
        let id = SegmentId::parse(&segment.segment).expect("as it is shown");
        let mut opened = pollster::block_on(shard.open_segment(Locator::Id(id))).ok()?;
        let mut content = Vec::new();
        opened.file.read_to_end(&mut content).expect("readable");
        assert_eq!(content.len() as u64, segment.bytes);
        files.insert(segment.path, content);
    }
    let table = files.remove("state/table")?;
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight"));
    let mut last = (0, 0);
    for (path, log) in &files {
        assert_eq!(log.len() % 16, 0, "{path} has half a record");
        for record in log.chunks(16) {
            let (next, link) = (number(&record[..8]), number(&record[8..]));
            assert_eq!((next, link), (last.0 + 1, chain(last.1, next)), "{path} is not what comes next");
            last = (next, link);
        }
    }
    assert_eq!(table.len(), TABLE_BYTES);
    for copy in table.chunks(16) {
        assert_eq!(
            (number(&copy[..8]), number(&copy[8..])),
            last,
            "the table is not of the log's last record"
        );
    }
    Some(last.0)
}

fn sizes(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("readable").metadata().expect("there").len()).collect()
}

#[test]
fn s6_each_checkpoint_that_a_replica_has_is_a_state_that_the_engine_was_in() {
    let nodes = Nodes::new(3);
    let dir = nodes.root(1).join("engine");
    fs::create_dir(&dir).expect("made");
    let database = Arc::new(Database {
        dir: dir.clone(),
        still: Mutex::default(),
        thawed: Condvar::new(),
        written: AtomicU64::new(0),
        ends: AtomicBool::new(false),
    });
    let seen: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        // Whatever fails ends the writer and the readers.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _ends = Ends(&database.ends);
        scope.spawn(|| database.write_forever());
        for node in 1..=3 {
            let (shard, seen, database) = (nodes.shard(node), &seen[node - 1], &database);
            scope.spawn(move || {
                let mut newest = 0;
                while !database.ends.load(Ordering::Relaxed) {
                    if let Some(number) = state(&shard).filter(|number| *number != newest) {
                        assert!(number > newest, "node {node} has gone back");
                        newest = number;
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        until("something is written", || database.written.load(Ordering::Relaxed) > 0);
        for number in 0..CHECKPOINTS {
            let before = database.written.load(Ordering::Relaxed);
            let durability = if number % 2 == 0 { Durability::Landed(3) } else { Durability::Committed };
            let hooks = Arc::clone(&database) as Arc<dyn ActiveFiles>;
            let done = nodes.shard(1).checkpoint(hooks, LEASE, patient(durability)).wait();
            let done = done.unwrap_or_else(|error| panic!("checkpoint {number}: {error}"));
            assert!(done.files >= 2 && done.committed.reached, "{done:?}");
            until("the writer goes on", || database.written.load(Ordering::Relaxed) > before);
            if number % 5 == 4 {
                until("each node is seen with checkpoints", || {
                    seen.iter().all(|seen| seen.load(Ordering::Relaxed) > number / 5)
                });
            }
        }
    });
    for node in 1..=3 {
        let shard = nodes.shard(node);
        until("the last one stands under its paths", || {
            state(&shard).is_some() && sizes(&shard.directory().join("state")).len() == 12
        });
    }
    assert_eq!(nodes.engine(1).status().wait().expect("it runs").shards[0].checkpoints.made, CHECKPOINTS);
    assert!(File::open(dir.join("log-10")).is_ok(), "the engine's own files stay");
}
