//! What the file system under a directory does, tried with a file.

use std::path::Path;

use crate::ids::Nanos;
use crate::limits::CHUNK_BYTES;
use crate::uring::{Buffer, Core, Dir, Errno, File, OpenOptions};

use super::check::{Check, Standing};

/// The file that is written.
const TRIAL_BYTES: u64 = 64 << 20;
/// Durable writes that are timed, one after the other.
const SYNCS: usize = 16;
/// Room that a node should not run below.
const ROOM_MIN: u64 = 10 << 30;
const NAME: &str = ".ringway-doctor";
const COPY: &str = ".ringway-doctor-copy";

const PLAIN: OpenOptions =
    OpenOptions { write: true, create: true, exclusive: false, direct: false, directory: false };

/// The checks of the file system that `dir` stands on. What was written is removed, whatever came of it.
pub(super) async fn checks(dir: &Path) -> Result<Vec<Check>, Errno> {
    let dir = Dir::open_root(dir.to_str().ok_or(Errno::INVALID)?).await?;
    let tried = tried(&dir).await;
    for name in [NAME, COPY] {
        let _never_made = dir.unlink(name).await;
    }
    tried
}

async fn tried(dir: &Dir) -> Result<Vec<Check>, Errno> {
    let plain = dir.open(NAME, PLAIN).await?;
    let allocated = plain.allocate(TRIAL_BYTES).await;
    let direct = dir.open(NAME, OpenOptions { direct: true, ..PLAIN }).await;
    let is_direct = direct.is_ok();
    let rate = write(direct.as_ref().unwrap_or(&plain)).await?;
    let mut checks = vec![room(dir).await?, preallocation(allocated), path(is_direct, rate)];
    checks.push(syncs(&plain).await?);
    checks.push(residency(&plain).await);
    let copy = dir.open(COPY, PLAIN).await?;
    checks.push(reflink(plain.reflink_to(&copy).await));
    Ok(checks)
}

async fn room(dir: &Dir) -> Result<Check, Errno> {
    let space = dir.space().await?;
    let found = format!("{:.1} of {:.1} GB free", space.available as f64 / 1e9, space.total as f64 / 1e9);
    if space.available >= ROOM_MIN {
        return Ok(Check::good("disk space", found));
    }
    Ok(Check::new("disk space", Standing::Slower, found)
        .change("make room: a node whose disk is full waits, and answers for no new segment"))
}

fn preallocation(allocated: Result<(), Errno>) -> Check {
    let name = "preallocation";
    match allocated {
        Ok(()) => Check::good(name, "in use"),
        Err(errno) => Check::new(name, Standing::Slower, errno.to_string()).change(
            "ext4, XFS, btrfs and tmpfs preallocate: a write into allocated blocks stays on the fast path",
        ),
    }
}

/// Writes the trial, two chunks at a time, and makes it durable: bytes a second.
async fn write(file: &File) -> Result<u64, Errno> {
    let core = Core::current();
    let (mut one, mut two) = (Buffer::heap(CHUNK_BYTES), Buffer::heap(CHUNK_BYTES));
    for buffer in [&mut one, &mut two] {
        buffer.append(&vec![0x5a; CHUNK_BYTES]);
    }
    let begun = core.now();
    for offset in (0..TRIAL_BYTES).step_by(2 * CHUNK_BYTES) {
        let writes = (
            file.write_at(one, 0..CHUNK_BYTES, offset),
            file.write_at(two, 0..CHUNK_BYTES, offset + CHUNK_BYTES as u64),
        );
        let ((first, back), (second, other)) = futures_util::future::join(writes.0, writes.1).await;
        (one, two) = (back, other);
        first?;
        second?;
    }
    file.sync_data().await?;
    let nanos = core.now().0.saturating_sub(begun.0).max(1);
    Ok(TRIAL_BYTES.saturating_mul(Nanos::SECOND.0) / nanos)
}

fn path(is_direct: bool, rate: u64) -> Check {
    let found = format!("{:.2} GB/s written and durable", rate as f64 / 1e9);
    if is_direct {
        return Check::good("direct I/O", found);
    }
    Check::new("direct I/O", Standing::Slower, format!("refused; {found} by way of the page cache"))
        .change("ext4 and XFS take O_DIRECT: bytes are copied once less and never wait for the flusher")
}

/// One block, then fdatasync: what every commit of the log waits for.
async fn syncs(file: &File) -> Result<Check, Errno> {
    let core = Core::current();
    let mut buffer = Buffer::heap(4096);
    buffer.append(&[1; 4096]);
    let mut times = Vec::with_capacity(SYNCS);
    for at in 0..SYNCS as u64 {
        let begun = core.now();
        let (written, back) = file.write_at(buffer, 0..4096, at * 4096).await;
        buffer = back;
        written?;
        file.sync_data().await?;
        times.push(core.now().0.saturating_sub(begun.0));
    }
    times.sort_unstable();
    let (middle, slowest) = (times[SYNCS / 2] as f64 / 1e6, times[SYNCS - 1] as f64 / 1e6);
    let check = Check::good("durable write", format!("4 KiB in {middle:.2} ms, at most {slowest:.2} ms"));
    if middle < 10.0 {
        return Ok(check);
    }
    Ok(Check { standing: Standing::Slower, ..check }.change(
        "put the log on a disk with a write cache that survives a power cut: each commit waits for it",
    ))
}

async fn residency(file: &File) -> Check {
    let name = "residency of a file";
    match file.resident(0, 4096).await {
        Ok(_) => Check::good(name, "told by cachestat: what is cached is sent out of the page cache"),
        Err(errno) => Check::new(name, Standing::Slower, errno.to_string()).change(
            "Linux 6.5 and later tell it: segments that are in the page cache are sent without a read",
        ),
    }
}

fn reflink(shared: Result<(), Errno>) -> Check {
    let name = "copy on write";
    match shared {
        Ok(()) => Check::good(name, "blocks are shared (FICLONE)"),
        Err(_) => Check::good(name, "none here: imports copy, and pins are hard links"),
    }
}
