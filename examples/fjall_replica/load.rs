//! A fjall database under load, beside a model of it: every write goes to both under one lock, which pauses the writer
//! while a cut is taken.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

/// What a database holds: keyspace, key, value.
pub type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Small memtables and files: a few megabytes make many flushes and compactions.
const MEMTABLE_BYTES: u64 = 128 * 1024;
const BLOB_FILE_BYTES: u64 = 256 * 1024;
/// Keys in each keyspace; later writes overwrite and remove, so that compactions have something to drop.
const KEYS: u64 = 3000;
/// Between two batches, so that whoever waits for the lock gets it.
const PAUSE: Duration = Duration::from_micros(300);

/// A database with its writer and its model.
pub struct Load {
    db: Database,
    keyspaces: [Keyspace; 2],
    model: Mutex<Model>,
    batches: AtomicU64,
    stopped: AtomicBool,
}

impl Load {
    /// Makes a new database with two keyspaces, small values in the one, and in the other large ones that fjall keeps
    /// in blob files.
    ///
    /// # Errors
    /// fjall's.
    pub fn new(directory: &Path) -> fjall::Result<Self> {
        let db = Database::builder(directory).worker_threads(2).open()?;
        let plain = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let blobs =
            KvSeparationOptions::default().separation_threshold(1024).file_target_size(BLOB_FILE_BYTES);
        let accounts = db.keyspace("accounts", plain)?;
        let documents = db.keyspace("documents", || plain().with_kv_separation(Some(blobs)))?;
        let model = ["accounts", "documents"].map(|name| (name.to_owned(), BTreeMap::new())).into();
        Ok(Self {
            db,
            keyspaces: [accounts, documents],
            model: Mutex::new(model),
            batches: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// The database.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// Its keyspaces.
    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    /// Batches written until now.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Does something while another thread writes without end.
    ///
    /// # Errors
    /// fjall's, of a write.
    pub fn while_writing<T>(&self, work: impl FnOnce() -> T) -> fjall::Result<T> {
        thread::scope(|scope| {
            let writer = scope.spawn(|| self.write());
            // Also if the work panics: the scope waits for the writer.
            let stop = Stop(&self.stopped);
            let done = work();
            drop(stop);
            match writer.join() {
                Ok(ended) => ended.map(|()| done),
                Err(panic) => resume_unwind(panic),
            }
        })
    }

    fn write(&self) -> fjall::Result<()> {
        let mut random = Random(0x5EED);
        while !self.stopped.load(Ordering::Relaxed) {
            self.paused(|model| self.write_batch(&mut random, model))?;
            self.batches.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Does something while nobody writes.
    pub fn paused<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        work(&mut self.model.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the database. Answers with what it holds.
    pub fn close(self) -> Model {
        self.model.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes of both keyspaces that only ever go together.
    fn write_batch(&self, random: &mut Random, model: &mut Model) -> fjall::Result<()> {
        let mut batch = self.db.batch();
        for keyspace in &self.keyspaces {
            let largest = if keyspace.is_kv_separated() { 4096 } else { 200 };
            let rows = model.entry(keyspace.name().to_string()).or_default();
            for _ in 0..6 {
                let key = format!("key-{:06}", random.below(KEYS)).into_bytes();
                if random.below(6) == 0 {
                    batch.remove(keyspace, key.as_slice());
                    rows.remove(&key);
                } else {
                    let value = random.bytes(largest);
                    batch.insert(keyspace, key.as_slice(), value.as_slice());
                    rows.insert(key, value);
                }
            }
        }
        batch.commit()
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens the database in `directory`, which it may change, and reads every key and value.
///
/// # Errors
/// fjall's.
pub fn read_all(directory: &Path) -> fjall::Result<Model> {
    let db = Database::builder(directory).worker_threads(1).open()?;
    let mut model = Model::new();
    for name in db.list_keyspace_names() {
        let keyspace = db.keyspace(&name, KeyspaceCreateOptions::default)?;
        let rows = model.entry(name.to_string()).or_default();
        for row in keyspace.iter() {
            let (key, value) = row.into_inner()?;
            // The same key by another way: through filters and indexes.
            assert_eq!(keyspace.get(&key)?.as_ref(), Some(&value), "a scan and a look-up differ");
            rows.insert(key.to_vec(), value.to_vec());
        }
    }
    Ok(model)
}

/// The first difference between two models, in words.
pub fn difference(expected: &Model, found: &Model) -> Option<String> {
    let names = || expected.keys().chain(found.keys());
    for name in names() {
        let (Some(expected), Some(found)) = (expected.get(name), found.get(name)) else {
            return Some(format!("the keyspace {name} is in only one of them"));
        };
        for key in expected.keys().chain(found.keys()) {
            if expected.get(key) != found.get(key) {
                let shown = String::from_utf8_lossy(key);
                let sizes = [expected, found].map(|rows| rows.get(key).map(Vec::len));
                return Some(format!("{name}/{shown}: {:?} bytes expected, {:?} found", sizes[0], sizes[1]));
            }
        }
    }
    None
}

/// SplitMix64: the same writes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most) as usize;
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }
}
