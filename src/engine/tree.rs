//! Walking an engine's directory: the regular files that a manifest can name, and what was left out and why.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::manifest::{RESERVED_COMPONENT, SafePath};

/// Nesting at which a walk gives up: deeper than any path that a manifest takes (4096 bytes, two a level). Each level
/// has a descriptor open, so that most systems end a walk before it.
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
    let folder = File::open(root).map(Folder).map_err(|error| at(root, &error))?;
    descend(&folder, root, "", 0, &mut walk)?;
    walk.files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk)
}

/// An open directory: what it lists is its own, whatever its name leads to by now.
struct Folder(File);

impl Folder {
    /// None if no directory stands there any more; a link to one is none.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if is_swapped(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A path to it that no rename changes.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// What was looked for is gone, a link, something else than a directory, or a socket.
fn is_swapped(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR | libc::ENXIO))
}

fn descend(folder: &Folder, dir: &Path, prefix: &str, depth: usize, walk: &mut Walk) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: nested too deeply", dir.display()),
        ));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder.path()).map_err(|error| at(dir, &error))? {
        let entry = entry.map_err(|error| at(dir, &error))?;
        entries.push((entry.file_name(), entry.metadata()));
    }
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, facts) in entries {
        match facts {
            Ok(facts) => visit(folder, &dir.join(&name), (&name, &facts), prefix, depth, walk)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&dir.join(&name), &error)),
        }
    }
    Ok(())
}

fn visit(
    folder: &Folder,
    at_path: &Path,
    (name, facts): (&OsStr, &Metadata),
    prefix: &str,
    depth: usize,
    walk: &mut Walk,
) -> io::Result<()> {
    if depth == 0 && name == RESERVED_COMPONENT {
        return Ok(());
    }
    let shown = || format!("{prefix}{}", name.as_encoded_bytes().escape_ascii());
    let mut skip = |why| walk.skipped.push(Skipped { path: shown(), why });
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
            Some(path) if kind.is_dir() => {
                let inner = Folder::open(&folder.path().join(name)).map_err(|error| at(at_path, &error))?;
                if let Some(inner) = inner {
                    descend(&inner, at_path, &format!("{path}/"), depth + 1, walk)?;
                }
            }
            Some(path) => walk.files.push(Found { path, facts: Facts::of(facts) }),
        }
    }
    Ok(())
}

impl Found {
    /// Opens the file below the walk's root: none if what stands there is not what was found any more. A link is not
    /// followed, and a FIFO holds nobody up.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn open(&self, root: &Path) -> io::Result<Option<File>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(root.join(&self.path)) {
            Ok(file) => file,
            Err(error) if is_swapped(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self.is(&file.metadata()?).then_some(file))
    }

    /// Whether these are the facts of the file that was found.
    #[must_use]
    pub fn is(&self, facts: &Metadata) -> bool {
        facts.is_file() && Facts::of(facts) == self.facts
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Facts {
    /// From the file system's.
    #[must_use]
    pub fn of(facts: &Metadata) -> Self {
        let modified = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
        Self { bytes: facts.size(), inode: facts.ino(), modified }
    }

    /// When the content was last changed; the epoch if the clock cannot say it.
    #[must_use]
    pub fn modified_at(&self) -> SystemTime {
        let nanos = u64::try_from(self.modified.unsigned_abs()).map(Duration::from_nanos).unwrap_or_default();
        let at =
            if self.modified < 0 { UNIX_EPOCH.checked_sub(nanos) } else { UNIX_EPOCH.checked_add(nanos) };
        at.unwrap_or(UNIX_EPOCH)
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
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("made");
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
            ("socket", SkipReason::Special),
        ];
        assert_eq!(skipped, expected);
    }

    /// Once a link that took a directory's place while the walk was on its way led it out of the root.
    #[test]
    fn a_walk_stays_in_the_directories_that_it_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let (inner, outside) = (dir.path().join("inner"), dir.path().join("outside"));
        for (folder, name) in [(&inner, "ours"), (&outside, "theirs")] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join(name), name).expect("written");
        }
        let folder = Folder::open(&inner).expect("readable").expect("there");
        fs::rename(&inner, dir.path().join("moved")).expect("moved");
        symlink(&outside, &inner).expect("made");
        assert!(Folder::open(&inner).expect("no error").is_none(), "a link");
        let mut walk = Walk::default();
        descend(&folder, &inner, "inner/", 1, &mut walk).expect("readable");
        let paths: Vec<_> = walk.files.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["inner/ours"]);
    }

    #[test]
    fn the_time_of_change_is_the_files_own_also_before_the_epoch() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = File::create(dir.path().join("old")).expect("made");
        for seconds in [-5_i64, 0, 1_700_000_000] {
            let offset = Duration::from_secs(seconds.unsigned_abs()) + Duration::from_nanos(7);
            let at = if seconds < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset };
            file.set_modified(at).expect("ours");
            let found = walk(dir.path()).expect("readable").files.remove(0);
            assert_eq!(found.facts.modified_at(), at);
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error_with_its_name() {
        let error = walk(Path::new("/nonexistent/root")).expect_err("not there");
        assert!(error.to_string().contains("/nonexistent/root"), "{error}");
    }
}
