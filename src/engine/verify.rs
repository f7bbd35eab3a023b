//! Reading landed segments again and comparing them with their digests. Reads only and takes no lock, so a node may run
//! on the same root meanwhile; what it deletes or replaces in between is not taken for damage.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::Digest;
use crate::segment::{INVENTORY, Ownership, PRIVATE_FOLDER, Record, Stem, records_in};

use super::digests::tree_digest;
use super::identity;
use super::layout::beside;

/// What was found in one shard's folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Segments that were read.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is not as it was landed.
    pub damaged: Vec<Damaged>,
    /// The inventory's last record is torn, as a crash leaves it; every file that stands there is named all the same.
    pub inventory_cut: Option<String>,
}

/// A landed segment that is not as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Its path in the shard's directory.
    pub path: String,
    /// What is wrong.
    pub why: Damage,
}

/// What is wrong with a landed segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// No regular file stands there.
    Missing,
    /// The file has another size.
    Size {
        /// The segment's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// The file has another content.
    Content {
        /// The segment's root.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// It is the inventory: gone, or unreadable from some place on. The node hashes the files when it starts.
    Inventory {
        /// What is wrong.
        why: String,
        /// Files in the directory that what is left of it does not name: nobody compared them.
        others: u64,
    },
    /// The file cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// Whether a directory is the root of a node.
#[must_use]
pub fn is_root(dir: &Path) -> bool {
    dir.join(identity::NAME).is_file()
}

/// How many shards the root of a node has, as its identity says.
///
/// # Errors
/// There is none that could be read.
pub fn shards_of(root: &Path) -> io::Result<u32> {
    let path = root.join(identity::NAME);
    let at = |why: &dyn fmt::Display| io::Error::other(format!("{}: {why}", path.display()));
    let bytes = fs::read(&path).map_err(|error| at(&error))?;
    identity::decode(&bytes).map(|(identity, _)| identity.shards).map_err(|error| at(&error))
}

/// Reads every segment that the inventory beside `segments` says has landed. `tell` hears of the bytes of each as it is
/// done.
///
/// # Errors
/// The inventory cannot be read.
pub fn verify_segments(segments: &Path, mut tell: impl FnMut(u64)) -> io::Result<Verified> {
    let private = beside(segments).join(PRIVATE_FOLDER);
    let (records, cut) = inventory(&private)?;
    let mut verified = Verified::default();
    let mut named = BTreeSet::new();
    for record in records {
        let found = look(segments, &private, &record);
        if let Some(why) = found.filter(|_| is_still_held(&private, &record)) {
            verified.damaged.push(Damaged { path: record.path.as_str().to_owned(), why });
        }
        verified.segments += 1;
        verified.bytes += record.len;
        tell(record.len);
        named.insert(PathBuf::from(record.path.as_str()));
    }
    if let Some(Cut { why, is_gone }) = cut {
        match count_others(segments, &named)? {
            0 if !is_gone => verified.inventory_cut = Some(why),
            others => {
                let path = format!("{PRIVATE_FOLDER}/{INVENTORY}");
                verified.damaged.push(Damaged { path, why: Damage::Inventory { why, others } });
            }
        }
    }
    Ok(verified)
}

/// Regular files in a directory and below it that are none of those named.
fn count_others(segments: &Path, named: &BTreeSet<PathBuf>) -> io::Result<u64> {
    let (mut count, mut folders) = (0, vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(segments.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() && !named.contains(&path) => count += 1,
                _ => {}
            }
        }
    }
    Ok(count)
}

/// An inventory that does not tell all.
struct Cut {
    why: String,
    is_gone: bool,
}

fn inventory(private: &Path) -> io::Result<(Vec<Record>, Option<Cut>)> {
    let path = private.join(INVENTORY);
    match fs::read(&path) {
        Ok(bytes) => {
            let (records, cut) = records_in(&bytes);
            Ok((records, cut.map(|cut| Cut { why: cut.to_string(), is_gone: false })))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((Vec::new(), Some(Cut { why: "the inventory is gone".to_owned(), is_gone: true })))
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// What is wrong with the file of a record, if anything is.
fn look(segments: &Path, private: &Path, record: &Record) -> Option<Damage> {
    let unreadable = |error: io::Error| Damage::Unreadable { why: error.to_string() };
    let Some(path) = file_of(segments, private, record) else { return Some(Damage::Missing) };
    match File::open(&path).and_then(|file| file.metadata()) {
        Ok(facts) if facts.len() != record.len => {
            return Some(Damage::Size { expected: record.len, found: facts.len() });
        }
        Ok(_) => {}
        Err(error) => return Some(unreadable(error)),
    }
    match tree_digest(&path) {
        Ok((root, _)) if root == record.root => None,
        Ok((root, _)) => Some(Damage::Content { expected: record.root, found: root }),
        Err(error) => Some(unreadable(error)),
    }
}

/// The regular file that holds a segment: the pin of an engine's file, which keeps what the engine has deleted;
/// else what stands under its name.
fn file_of(segments: &Path, private: &Path, record: &Record) -> Option<PathBuf> {
    let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file());
    let pin = private.join("pins").join(Stem { id: record.id, root: record.root }.to_string());
    let named = segments.join(record.path.as_str());
    let pin = Some(pin).filter(|pin| record.owner == Ownership::Engine && is_file(pin));
    pin.or(Some(named).filter(is_file))
}

/// Whether the inventory, read again, still says so.
fn is_still_held(private: &Path, record: &Record) -> bool {
    match inventory(private) {
        Ok((records, None)) => records.iter().any(|now| now.id == record.id && now.root == record.root),
        // Nobody has said that it is gone.
        Ok((_, Some(_))) | Err(_) => true,
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is gone"),
            Self::Size { expected, found } => write!(f, "{found} bytes, not {expected}"),
            Self::Content { expected, found } => write!(f, "digest {found}, not {expected}"),
            Self::Inventory { why, others } => write!(f, "{why}; files that were not compared: {others}"),
            Self::Unreadable { why } => f.write_str(why),
        }
    }
}
