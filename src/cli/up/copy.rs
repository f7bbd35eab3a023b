//! The durable copy of files into node 1: written beside, synced, renamed. A file is never linked: what the source
//! does to its own later must not reach a sealed segment. Where the file system shares extents (XFS, btrfs),
//! copy_file_range(2) under `io::copy` does so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::import::{From, Item};
use super::plan::Plan;
use super::root::{sync_dir, write_durably};
use crate::cli::exit::{Exit, Failure};

/// Copies at a time: the waits for the disk overlap.
const WORKERS: usize = 4;

/// A file of node 1 whose registration is not known to be done.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Placed {
    pub(super) shard: u32,
    pub(super) path: String,
}

impl Placed {
    pub(super) fn of(item: &Item) -> Self {
        Self { shard: item.shard, path: item.path.clone() }
    }
}

/// The list of them, kept on disk: it is written before the first file is touched and goes when all are
/// registered. Without it, a start that is killed in between would leave content that nobody tells the manifest of.
pub(super) struct Pending {
    file: PathBuf,
    pub(super) all: BTreeSet<Placed>,
}

impl Pending {
    pub(super) fn load(plan: &Plan) -> Result<Self, Failure> {
        let file = plan.root.join("pending.json");
        let all = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(
                    Exit::Config,
                    format!("{} is damaged ({error}); remove it and import again", file.display()),
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(Failure::from(error).at(file.display())),
        };
        Ok(Self { file, all })
    }

    fn add(&mut self, more: impl Iterator<Item = Placed>) -> Result<(), Failure> {
        self.all.extend(more);
        write_durably(&self.file, &serde_json::to_vec(&self.all).map_err(Failure::failed)?)
    }

    /// All are registered.
    pub(super) fn clear(self) -> Result<(), Failure> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::from(error).at(self.file.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Copies what node 1 does not have as it is in the source.
pub(super) fn place(
    plan: &Plan,
    items: &[Item],
    pending: &mut Pending,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    for item in items {
        let to = plan.segments(item.shard).join(&item.path);
        if !stands(item, &to).map_err(|error| Failure::from(error).at(to.display()))? {
            wanted.push((item, to));
        }
        check(stop)?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    pending.add(wanted.iter().map(|(item, _)| Placed::of(item)))?;
    bar.set_message("copying");
    bar.set_length(wanted.iter().map(|(item, _)| item.bytes).sum());
    let staging = plan.seats[0].dir.join("import");
    fs::create_dir_all(&staging)?;
    copy_all(&wanted, &staging, bar, stop)?;
    sync_folders(plan, &wanted)
}

fn check(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) { Err(Failure::new(Exit::Interrupted, "interrupted")) } else { Ok(()) }
}

/// Whether the file stands there already: size and time of change agree, as a copy has them; or else the content does.
fn stands(item: &Item, to: &Path) -> io::Result<bool> {
    let facts = match fs::symlink_metadata(to) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !facts.is_file() || facts.len() != item.bytes {
        return Ok(false);
    }
    match &item.from {
        _ if facts.modified()? == item.modified => Ok(true),
        From::Sample(_) => Ok(false),
        From::File(dir, found) => match found.open(dir)? {
            Some(file) => same_content(file, File::open(to)?),
            None => Ok(false),
        },
    }
}

fn same_content(one: File, other: File) -> io::Result<bool> {
    const BLOCK: usize = 1 << 20;
    let [mut one, mut other] = [one, other].map(|file| BufReader::with_capacity(BLOCK, file));
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        match other.read_exact(&mut right[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

fn copy_all(
    wanted: &[(&Item, PathBuf)],
    staging: &Path,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = |worker: usize| {
        let new = staging.join(worker.to_string());
        while !failed.load(Ordering::Relaxed) {
            let Some((item, to)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let copied =
                check(stop).and_then(|()| copy(item, &new, to).map_err(|error| error.at(&item.path)));
            if copied.is_err() {
                failed.store(true, Ordering::Relaxed);
                return copied;
            }
            bar.inc(item.bytes);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        let ended = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => Err(Failure::failed("a copying thread has ended badly")),
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Writes the file under another name, makes it durable, and gives it its own.
fn copy(item: &Item, new: &Path, to: &Path) -> Result<(), Failure> {
    let mut file = File::create(new)?;
    let written = match &item.from {
        From::Sample(sample) => sample.write(&mut file).map(|()| item.bytes)?,
        From::File(dir, found) => {
            let changed = || Failure::failed("changed while it was imported; import files that are sealed");
            let source = found.open(dir)?.ok_or_else(changed)?;
            // One byte more than there should be: what grows has no end.
            let written = io::copy(&mut (&source).take(item.bytes.saturating_add(1)), &mut file)?;
            if !found.is(&source.metadata()?) {
                return Err(changed());
            }
            written
        }
    };
    if written != item.bytes {
        return Err(Failure::failed(format!("{written} bytes were read of {}", item.bytes)));
    }
    file.set_modified(item.modified)?;
    file.sync_all()?;
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    Ok(fs::rename(new, to)?)
}

/// Makes all names durable, those of new folders too.
fn sync_folders(plan: &Plan, wanted: &[(&Item, PathBuf)]) -> Result<(), Failure> {
    let mut folders = BTreeSet::new();
    for (item, to) in wanted {
        let segments = plan.segments(item.shard);
        let above = to.ancestors().skip(1).take_while(|folder| folder.starts_with(&segments));
        folders.extend(above.map(Path::to_owned));
        folders.extend(segments.parent().map(Path::to_owned));
    }
    folders.insert(plan.seats[0].dir.clone());
    // From the innermost outwards.
    folders
        .iter()
        .rev()
        .try_for_each(|folder| sync_dir(folder).map_err(|error| Failure::from(error).at(folder.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::cli::up::import::directory;

    /// Once a FIFO in a file's place kept an import for ever, and a link led it out of the directory.
    #[test]
    fn what_is_swapped_in_after_the_walk_is_not_imported() {
        let dir = tempfile::tempdir().expect("a directory");
        let (source, outside) = (dir.path().join("source"), dir.path().join("outside"));
        fs::create_dir(&source).expect("made");
        for name in ["fifo", "link", "longer", "same"] {
            fs::write(source.join(name), name).expect("written");
        }
        let (items, _) = directory(&source, Path::new("/nonexistent"), 1).expect("readable");
        fs::rename(source.join("link"), &outside).expect("moved");
        symlink(&outside, source.join("link")).expect("made");
        fs::remove_file(source.join("fifo")).expect("removed");
        assert!(Command::new("mkfifo").arg(source.join("fifo")).status().expect("it runs").success());
        fs::write(source.join("longer"), "longer than it was").expect("written");
        let imported = items.iter().filter(|item| {
            let to = dir.path().join("dest").join(&item.path);
            copy(item, &dir.path().join("new"), &to).is_ok()
        });
        assert_eq!(imported.map(|item| item.path.as_str()).collect::<Vec<_>>(), ["same"]);
    }
}
