//! Digesting a directory before it is served, on as many threads as there are processors.

use std::fs;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::digest::{ChunkList, Tree, TreeHasher, VerifiedChunks};
use crate::ids::UnixNanos;
use crate::transfer::Served;

use super::cache::Cache;
use super::digests::{each_chunk_of, kernel};
use super::listing::Listed;
use super::serve::{Digested, ServeError};
use super::tree::{Found, walk};

/// How far the digesting is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DigestProgress {
    /// Files in all.
    pub segments: u64,
    /// Of them, digested or known from before.
    pub segments_done: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Of them, digested or known from before.
    pub bytes_done: u64,
}

/// Digests all of `root`, taking from `cache` what has not changed, and keeps the result there.
pub(crate) fn digest_directory(
    root: &Path,
    cache_path: Option<&Path>,
    stop: &AtomicBool,
    tell: &(dyn Fn(DigestProgress) + Sync),
) -> Result<Option<Digested>, ServeError> {
    let bad = |why: io::Error| ServeError::Directory { why: format!("{}: {why}", root.display()) };
    let root: PathBuf = fs::canonicalize(root).map_err(bad)?;
    let walk = walk(&root).map_err(bad)?;
    for skipped in &walk.skipped {
        tracing::warn!(path = %skipped.path, why = %skipped.why, "skipped");
    }
    let old = Mutex::new(cache_path.map(Cache::load).unwrap_or_default());
    let done = Mutex::new((Cache::default(), Vec::with_capacity(walk.files.len()), progress(&walk.files)));
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(found) = walk.files.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let known = lock(&old).take(&found.path, found.facts);
            let chunks = match known.map_or_else(|| digest(&root, found), |chunks| Ok(Some(chunks))) {
                Ok(Some(chunks)) => chunks,
                Ok(None) => continue,
                Err(error) => {
                    lock(&failed).get_or_insert((found.path.clone(), error));
                    return;
                }
            };
            let mut done = lock(&done);
            done.2.segments_done += 1;
            done.2.bytes_done += found.facts.bytes;
            done.0.put(&found.path, found.facts, chunks.clone());
            done.1.push(entry(found, chunks));
            tell(done.2);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    if let Some((path, error)) = lock(&failed).take() {
        return Err(ServeError::Directory { why: format!("{path}: {error}") });
    }
    let (cache, mut files, _) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = cache_path
        && let Err(error) = cache.save(path)
    {
        tracing::warn!(%error, path = %path.display(), "the digests cannot be kept for the next start");
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    files.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
    Ok(Some(Digested { root, files, skipped: walk.skipped.len() as u64 }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(files: &[Found]) -> DigestProgress {
    let bytes = files.iter().map(|found| found.facts.bytes).sum();
    DigestProgress { segments: files.len() as u64, bytes, ..DigestProgress::default() }
}

/// `None` for a file that is not the one that was found any more, changes while it is read, or is gone: it is not
/// sealed, and found again at the next start.
fn digest(root: &Path, found: &Found) -> io::Result<Option<VerifiedChunks>> {
    let Some(file) = found.open(root)? else {
        tracing::warn!(path = %found.path, "not the file that was found any more; it is not served");
        return Ok(None);
    };
    let tree = hash(&file, found.facts.bytes)?;
    let after = fs::symlink_metadata(root.join(&found.path));
    if !after.is_ok_and(|facts| found.is(&facts)) || tree.len != found.facts.bytes {
        tracing::warn!(path = %found.path, "changed while it was read; it is not served");
        return Ok(None);
    }
    let root = tree.root;
    Ok(ChunkList::from(tree).verify(root).ok())
}

/// Hashes what should be so many bytes, and at most one more: a file that grows has no end.
fn hash(content: impl Read, bytes: u64) -> io::Result<Tree> {
    let mut hasher = TreeHasher::new(kernel());
    each_chunk_of(&mut content.take(bytes.saturating_add(1)), |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

fn entry(found: &Found, chunks: VerifiedChunks) -> (Listed, Served) {
    let path: String = found.path.clone();
    let listed = Listed { path: path.clone(), bytes: chunks.len(), root: chunks.root() };
    let served = Served {
        path,
        inode: found.facts.inode,
        modified: UnixNanos(u64::try_from(found.facts.modified).unwrap_or_default()),
        chunks,
    };
    (listed, served)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// Once a file that grew as fast as it was read was read for ever.
    #[test]
    fn a_file_that_grows_without_end_is_read_to_one_byte_behind_its_size() {
        assert_eq!(hash(io::repeat(7), 100_000).expect("no disk").len, 100_001);
    }

    #[test]
    fn what_is_swapped_in_after_the_walk_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        for name in ["fifo", "link", "other", "same"] {
            fs::write(root.join(name), name).expect("written");
        }
        let files = walk(root).expect("readable").files;
        for name in ["fifo", "link", "other"] {
            fs::rename(root.join(name), root.join(format!("{name}-old"))).expect("moved");
        }
        assert!(Command::new("mkfifo").arg(root.join("fifo")).status().expect("it runs").success());
        symlink(root.join("link-old"), root.join("link")).expect("made");
        fs::write(root.join("other"), "OTHER").expect("written");
        let served: Vec<_> = files
            .iter()
            .filter(|found| digest(root, found).expect("no error of the disk").is_some())
            .map(|found| found.path.as_str())
            .collect();
        assert_eq!(served, ["same"]);
    }
}
