//! What goes into node 1: the files of a directory, or the sample; and to which shard.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ring::digest::{SHA256, digest};
use ringway::engine::{Found, walk};

use super::sample::Sample;
use crate::cli::exit::{Exit, Failure};

/// A file to bring into node 1.
pub(super) struct Item {
    pub(super) shard: u32,
    /// Relative to the imported directory, and to the shard's.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    pub(super) from: From,
}

/// Where its content comes from.
pub(super) enum From {
    /// What was found below that directory.
    File(Arc<Path>, Found),
    Sample(Sample),
}

/// The shard of a path: the first eight bytes of the path's SHA-256, big-endian, modulo the number of shards.
/// Part of what a root holds: it never changes.
pub(super) fn shard_of(path: &str, shards: u32) -> u32 {
    let hash = digest(&SHA256, path.as_bytes());
    let first = hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    u32::try_from(first % u64::from(shards)).expect("below the number of shards")
}

/// Refuses a directory that cannot be imported into that root, before the root is made.
pub(super) fn check(dir: &Path, root: &Path) -> Result<(), Failure> {
    let at = |error| Failure::from(error).at(dir.display());
    let dir = fs::canonicalize(dir).map_err(at)?;
    fs::read_dir(&dir).map_err(at)?;
    outside(&dir, &settled(root)?)
}

fn outside(dir: &Path, root: &Path) -> Result<(), Failure> {
    if !root.starts_with(dir) {
        return Ok(());
    }
    let why = format!("the root {} stands in {}, which is to be imported", root.display(), dir.display());
    Err(Failure::new(Exit::Usage, why))
}

/// Where a path leads that need not be there yet: what is there of it without links, the rest as it is.
fn settled(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path).map_err(|error| Failure::from(error).at(path.display()))?;
    let found = path.ancestors().find_map(|part| Some((fs::canonicalize(part).ok()?, part)));
    let (there, part) = found.unwrap_or((PathBuf::from("/"), Path::new("/")));
    Ok(path.strip_prefix(part).map_or_else(|_| there.clone(), |rest| there.join(rest)))
}

/// The files of a directory, and how many others it has, each of them named in the log.
pub(super) fn directory(dir: &Path, root: &Path, shards: u32) -> Result<(Vec<Item>, usize), Failure> {
    let dir = fs::canonicalize(dir).map_err(|error| Failure::from(error).at(dir.display()))?;
    outside(&dir, root)?;
    let found = walk(&dir)?;
    for skipped in &found.skipped {
        tracing::warn!(path = skipped.path, why = %skipped.why, "not imported");
    }
    let dir: Arc<Path> = dir.into();
    let item = |found: Found| Item {
        shard: shard_of(&found.path, shards),
        path: found.path.clone(),
        bytes: found.facts.bytes,
        modified: found.facts.modified_at(),
        from: From::File(Arc::clone(&dir), found),
    };
    Ok((found.files.into_iter().map(item).collect(), found.skipped.len()))
}

/// The sample's files.
pub(super) fn sample(shards: u32) -> Vec<Item> {
    let item = |sample: Sample| Item {
        shard: shard_of(&sample.path(), shards),
        path: sample.path(),
        bytes: sample.bytes(),
        modified: sample.modified(),
        from: From::Sample(sample),
    };
    Sample::all().map(item).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_root_that_is_not_made_yet_is_seen_to_stand_in_what_is_imported() {
        let dir = tempfile::tempdir().expect("a directory");
        let (source, link) = (dir.path().join("source"), dir.path().join("link"));
        fs::create_dir(&source).expect("made");
        symlink(&source, &link).expect("made");
        for inside in ["new", "new/deeper", ""] {
            for way in [&source, &link] {
                let failure = check(&source, &way.join(inside)).expect_err("inside");
                assert_eq!(failure.exit, Exit::Usage, "{failure:?}");
            }
        }
        check(&source, &dir.path().join("source-too")).expect("beside it");
        let failure = check(&dir.path().join("none"), &dir.path().join("root")).expect_err("not there");
        assert!(failure.message.contains("none"), "{failure:?}");
    }

    #[test]
    fn a_path_keeps_its_shard_for_ever_and_every_shard_gets_its_part() {
        // printf a/b | sha256sum begins c14cddc033f64b9d.
        assert_eq!(
            shard_of("a/b", u32::MAX),
            u32::try_from(0xc14c_ddc0_33f6_4b9d % u64::from(u32::MAX)).expect("below")
        );
        let mut counts = [0; 4];
        for index in 0..1000 {
            counts[usize::try_from(shard_of(&format!("small/{index}"), 4)).expect("small")] += 1;
        }
        assert!(counts.iter().all(|count| (200..300).contains(count)), "{counts:?}");
    }
}
