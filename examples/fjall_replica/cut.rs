//! A consistent cut of a fjall 3 database that goes on running: the same directory again, of hard links and small
//! copies, that fjall opens like the original.
//!
//! Which files may be linked is fjall's and lsm-tree's to say (read in fjall 3.1 and lsm-tree 3.1):
//!
//! - `keyspaces/N/tables/ID` and `keyspaces/N/blobs/ID` are written once, under an id that is never used again, and
//!   from then on only read and unlinked: lsm-tree opens no file for writing that is there already. **Linked.** The
//!   link keeps a table alive when a compaction unlinks it.
//! - `keyspaces/N/current` is replaced by rename. It names the version in force, whose list of tables is
//!   `keyspaces/N/vV`; that one is made with `File::create`, which writes over what a failed attempt left there.
//!   `version` is written once. All are small. **Copied.**
//! - `J.jnl`, the journal, is appended to, and shortened in place when a database is opened. **Copied**, without the
//!   zeros behind its last record: fjall makes it 64 MiB at once and cuts them off itself when it opens one. It has to
//!   be there, were it empty: without one, fjall begins to count its sequence numbers from zero.
//! - `lock` is empty and locked while a database is open. **Copied**: fjall opens none without it.
//!
//! The caller pauses its writers. fjall's own threads may still flush and compact, and no counter says for sure that
//! nothing is queued; so a cut counts only if the directory was the same before and after it, file by file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, PersistMode};

/// How long a cut waits in all for fjall's threads to come to rest.
const REST_MAX: Duration = Duration::from_secs(20);
/// Looks in a row at which the threads have to be at rest.
const REST_LOOKS: u32 = 3;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What is read at a time when a file is copied.
const COPY_BYTES: usize = 1 << 20;

/// What a cut is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Files that are links to the database's own.
    pub linked: usize,
    /// Files that are copies.
    pub copied: usize,
    /// Attempts that fjall's threads have spoilt.
    pub spoilt: usize,
}

/// No cut could be taken.
#[derive(Debug)]
pub enum TakeError {
    /// The database refused.
    Database(fjall::Error),
    /// A file could not be read, linked or copied.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The database did not come to rest: somebody writes.
    Restless,
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "the database: {error}"),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Restless => write!(f, "the database was not at rest within {} s", REST_MAX.as_secs()),
        }
    }
}

impl std::error::Error for TakeError {}

impl From<fjall::Error> for TakeError {
    fn from(error: fjall::Error) -> Self {
        Self::Database(error)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TakeError + '_ {
    move |error| TakeError::File { path: path.to_owned(), error }
}

/// What tells whether a file is still the one it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

type Stamps = BTreeMap<PathBuf, Stamp>;

/// Makes `to` a cut of the open database at `from`. Nobody may write to the database until this returns. `to` has to be
/// on the same file system; it is there in whole or not at all.
///
/// # Errors
/// The database refuses, a file does, or the database does not come to rest.
pub fn take_cut(db: &Database, keyspaces: &[Keyspace], from: &Path, to: &Path) -> Result<Taken, TakeError> {
    let deadline = Instant::now() + REST_MAX;
    // What is in memory becomes tables, so that a replica has nothing to replay; were any left, the journal has it.
    for keyspace in keyspaces {
        keyspace.rotate_memtable()?;
    }
    db.persist(PersistMode::SyncAll)?;
    let staging = from.with_extension("cut");
    let mut taken = Taken::default();
    loop {
        let compactions = rest(db, keyspaces, deadline)?;
        let before = stamps(from)?;
        remove(&staging)?;
        let whole = copy_all(from, &staging, &before, &mut taken)?;
        let compactions_after = rest(db, keyspaces, deadline)?;
        if whole && compactions == compactions_after && before == stamps(from)? {
            break;
        }
        taken = Taken { spoilt: taken.spoilt + 1, ..Taken::default() };
    }
    publish(&staging, to)?;
    Ok(taken)
}

/// Makes `to` a cut of a database that is closed.
///
/// # Errors
/// A file cannot be read, linked or copied.
pub fn cut_closed(from: &Path, to: &Path) -> Result<Taken, TakeError> {
    let staging = from.with_extension("cut");
    let mut taken = Taken::default();
    remove(&staging)?;
    if !copy_all(from, &staging, &stamps(from)?, &mut taken)? {
        return Err(TakeError::Restless);
    }
    publish(&staging, to)?;
    Ok(taken)
}

/// Copies a cut, to be opened: fjall writes to what it opens, and a replica's files are not its own. Not made durable.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy_to_open(from: &Path, to: &Path) -> Result<(), TakeError> {
    for path in stamps(from)?.keys() {
        let (source, target) = (from.join(path), to.join(path));
        make_parent(&target)?;
        fs::copy(&source, &target).map_err(at(&source))?;
    }
    Ok(())
}

fn publish(staging: &Path, to: &Path) -> Result<(), TakeError> {
    make_parent(to)?;
    fs::rename(staging, to).map_err(at(to))?;
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

/// Removes a directory with all that is in it, if it is there.
///
/// # Errors
/// It cannot be removed.
pub fn remove(directory: &Path) -> Result<(), TakeError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(directory)(error)),
        _ => Ok(()),
    }
}

/// Waits until fjall's threads seem to have nothing to do. Answers with the compactions completed until then.
fn rest(db: &Database, keyspaces: &[Keyspace], deadline: Instant) -> Result<usize, TakeError> {
    let mut seen = (db.compactions_completed(), 0);
    while seen.1 < REST_LOOKS {
        if Instant::now() > deadline {
            return Err(TakeError::Restless);
        }
        thread::sleep(LOOK_EVERY);
        let flushed = keyspaces.iter().all(|keyspace| keyspace.sealed_memtable_count() == 0);
        let idle = flushed && db.outstanding_flushes() == 0 && db.active_compactions() == 0;
        let completed = db.compactions_completed();
        seen = (completed, if idle && completed == seen.0 { seen.1 + 1 } else { 0 });
    }
    Ok(seen.0)
}

/// Every file below `root`.
fn stamps(root: &Path) -> Result<Stamps, TakeError> {
    let mut found = Stamps::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let here = root.join(&directory);
        for entry in fs::read_dir(&here).map_err(at(&here))? {
            let entry = entry.map_err(at(&here))?;
            let path = directory.join(entry.file_name());
            // Gone since the directory was read: a stamp less, which the comparison will tell.
            let Ok(facts) = entry.metadata() else { continue };
            if facts.is_dir() {
                directories.push(path);
            } else {
                let modified = (facts.mtime(), facts.mtime_nsec());
                found.insert(path, Stamp { inode: facts.ino(), bytes: facts.len(), modified });
            }
        }
    }
    Ok(found)
}

/// Makes `to` from what was seen. False if one of the files is gone: a compaction was faster.
fn copy_all(from: &Path, to: &Path, seen: &Stamps, taken: &mut Taken) -> Result<bool, TakeError> {
    let mut directories = vec![to.to_owned()];
    for path in seen.keys() {
        let (source, target) = (from.join(path), to.join(path));
        directories.extend(target.parent().map(Path::to_owned));
        let done = if is_immutable(path) { link(&source, &target) } else { copy(&source, &target) };
        match done {
            Ok(()) if is_immutable(path) => taken.linked += 1,
            Ok(()) => taken.copied += 1,
            Err(TakeError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    directories.sort();
    directories.dedup();
    directories.iter().try_for_each(|directory| sync_directory(directory))?;
    Ok(true)
}

/// Nobody writes to it once it is there: `keyspaces/N/tables/ID` and `keyspaces/N/blobs/ID`.
fn is_immutable(path: &Path) -> bool {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    parts.next() == Some("keyspaces") && matches!(parts.nth(1), Some("tables" | "blobs"))
}

fn link(source: &Path, target: &Path) -> Result<(), TakeError> {
    make_parent(target)?;
    fs::hard_link(source, target).map_err(at(source))
}

/// Copies a file to a new one and makes it durable.
fn copy(source: &Path, target: &Path) -> Result<(), TakeError> {
    make_parent(target)?;
    let mut input = File::open(source).map_err(at(source))?;
    let mut output = File::create_new(target).map_err(at(target))?;
    if source.extension().is_some_and(|extension| extension == "jnl") {
        copy_journal(&mut input, &mut output).map_err(at(source))?;
    } else {
        io::copy(&mut input, &mut output).map_err(at(source))?;
    }
    output.sync_all().map_err(at(target))
}

/// Copies up to the last byte that is not zero: every record of a journal ends with one.
fn copy_journal(input: &mut File, output: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut zeros = 0_u64;
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let end = buffer[..read].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end > 0 {
            output.seek(SeekFrom::Current(zeros.cast_signed()))?;
            output.write_all(&buffer[..end])?;
            zeros = 0;
        }
        zeros += (read - end) as u64;
    }
}

fn make_parent(target: &Path) -> Result<(), TakeError> {
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at(parent))
}

fn sync_directory(directory: &Path) -> Result<(), TakeError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(at(directory))
}
