//! Walking an engine's directory: the regular files that a manifest can name, and what was left out and why.

use std::fmt;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::manifest::{RESERVED_COMPONENT, SafePath};

/// Nesting at which a walk gives up: deeper than any path that a manifest takes (4096 bytes, two a level).
const DEPTH_MAX: usize = 2048;

/// A regular file with a path that a manifest takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Relative to the walk's root, `/` between components.
    pub path: String,
    /// What tells whether it changed.
    pub facts: Facts,
}

/// What tells whether a file changed, without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Size in bytes.
    pub bytes: u64,
    /// Inode number.
    pub inode: u64,
    /// Last change of the content, in nanoseconds since the Unix epoch.
    pub modified: i128,
}

/// Something that is not carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Its path, what cannot be printed escaped.
    pub path: String,
    /// Why.
    pub why: SkipReason,
}

/// Why something is not carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SkipReason {
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
    /// A name that no manifest takes: not UTF-8, or with control characters.
    Name,
}

/// What a walk saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Walk {
    /// Files, sorted by path.
    pub files: Vec<Found>,
    /// The rest but directories and our own `.ringway`, in the order of the walk.
    pub skipped: Vec<Skipped>,
}

/// Walks all of `root`. Links are not followed; `.ringway` at the root is left out unsaid; a file that goes
/// away during the walk was never there.
///
/// # Errors
/// A directory cannot be read.
pub fn walk(root: &Path) -> io::Result<Walk> {
    let mut walk = Walk::default();
    descend(root, "", 0, &mut walk)?;
    walk.files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk)
}

fn descend(dir: &Path, prefix: &str, depth: usize, walk: &mut Walk) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: nested too deeply", dir.display()),
        ));
    }
    let mut entries: Vec<DirEntry> = match fs::read_dir(dir).and_then(Iterator::collect) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return Ok(()),
        Err(error) => return Err(at(dir, &error)),
    };
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        visit(&entry, prefix, depth, walk)?;
    }
    Ok(())
}

fn visit(entry: &DirEntry, prefix: &str, depth: usize, walk: &mut Walk) -> io::Result<()> {
    let name = entry.file_name();
    if depth == 0 && name == RESERVED_COMPONENT {
        return Ok(());
    }
    let shown = || format!("{prefix}{}", name.as_encoded_bytes().escape_ascii());
    let mut skip = |why| walk.skipped.push(Skipped { path: shown(), why });
    let facts = match entry.metadata() {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&entry.path(), &error)),
    };
    let kind = facts.file_type();
    if kind.is_symlink() {
        skip(SkipReason::Symlink);
    } else if !kind.is_file() && !kind.is_dir() {
        skip(SkipReason::Special);
    } else {
        let path =
            name.to_str().map(|name| format!("{prefix}{name}")).filter(|path| SafePath::parse(path).is_ok());
        match path {
            None => skip(SkipReason::Name),
            Some(path) if kind.is_dir() => descend(&entry.path(), &format!("{path}/"), depth + 1, walk)?,
            Some(path) => walk.files.push(Found { path, facts: Facts::of(&facts) }),
        }
    }
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Facts {
    /// From the file system's.
    #[must_use]
    pub fn of(facts: &fs::Metadata) -> Self {
        let modified = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
        Self { bytes: facts.size(), inode: facts.ino(), modified }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symlink => "a symbolic link",
            Self::Special => "neither a regular file nor a directory",
            Self::Name => "a name that a manifest does not take",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn it_finds_files_in_order_and_says_what_it_leaves_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        fs::create_dir_all(root.join("b/c")).expect("made");
        fs::create_dir_all(root.join(".ringway")).expect("made");
        for name in ["a", "b/z", "b/c/d", ".ringway/state"] {
            fs::write(root.join(name), name).expect("written");
        }
        symlink("a", root.join("link")).expect("made");
        fs::write(root.join("new\nline"), "x").expect("written");
        fs::write(root.join(OsStr::from_bytes(b"not-utf8-\xff")), "x").expect("written");
        let walk = walk(root).expect("readable");
        let paths: Vec<_> = walk.files.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["a", "b/c/d", "b/z"]);
        let skipped: Vec<_> =
            walk.skipped.iter().map(|skipped| (skipped.path.as_str(), skipped.why)).collect();
        let expected = [
            ("link", SkipReason::Symlink),
            ("new\\nline", SkipReason::Name),
            ("not-utf8-\\xff", SkipReason::Name),
        ];
        assert_eq!(skipped, expected);
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error_with_its_name() {
        let error = walk(Path::new("/nonexistent/root")).expect_err("not there");
        assert!(error.to_string().contains("/nonexistent/root"), "{error}");
    }
}
