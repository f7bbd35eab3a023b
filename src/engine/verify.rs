//! Reading landed segments again and comparing them with their digests. Reads only and takes no lock, so a node may run
//! on the same root meanwhile; what it deletes or replaces in between is not taken for damage.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::Digest;
use crate::segment::{Ownership, PRIVATE_FOLDER, Record, Stem, records_in};

use super::digests::tree_digest;
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
    /// The inventory itself ends in the middle; files behind that place were not looked at. The node hashes
    /// them again when it starts.
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
    /// The file cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// Reads every segment that the inventory beside `segments` says has landed. `tell` hears of the bytes of each as it is
/// done.
///
/// # Errors
/// The inventory cannot be read.
pub fn verify_segments(segments: &Path, mut tell: impl FnMut(u64)) -> io::Result<Verified> {
    let private = beside(segments).join(PRIVATE_FOLDER);
    let (records, cut) = inventory(&private)?;
    let mut verified = Verified { inventory_cut: cut, ..Verified::default() };
    for record in records {
        let found = look(segments, &private, &record);
        if let Some(why) = found.filter(|_| is_still_held(&private, &record)) {
            verified.damaged.push(Damaged { path: record.path.as_str().to_owned(), why });
        }
        verified.segments += 1;
        verified.bytes += record.len;
        tell(record.len);
    }
    Ok(verified)
}

fn inventory(private: &Path) -> io::Result<(Vec<Record>, Option<String>)> {
    let path = private.join("inventory");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    };
    let (records, cut) = records_in(&bytes);
    Ok((records, cut.map(|cut| cut.to_string())))
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
            Self::Unreadable { why } => f.write_str(why),
        }
    }
}
