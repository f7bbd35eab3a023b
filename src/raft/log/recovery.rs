//! Opening a log: read all files, refuse damage, cut the torn tail, and make durable what is there before it is
//! trusted.

use crate::ids::GroupId;
use crate::limits::LOG_FILE_BYTES;
use crate::uring::{Buffer, Dir, Errno, File};

use super::error::LogOpenError;
use super::files::{self, Access, Active};
use super::replay::{Found, Replay};

/// A file with less room than this is not written on.
const ROOM_BYTES_MIN: u64 = LOG_FILE_BYTES / 8;
/// Bytes of one read.
const READ_BYTES: usize = 1024 * 1024;

fn disk(doing: &'static str, file: &str) -> impl FnOnce(Errno) -> LogOpenError {
    let file = file.to_owned();
    move |errno| LogOpenError::Disk { doing, file, errno }
}

/// Reads a log; changes nothing.
pub(super) async fn read(dir: &Dir, group: GroupId) -> Result<Replay, LogOpenError> {
    let names = dir.list().await.map_err(disk("list", "its directory"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| files::number(&name.bytes)).collect();
    numbers.sort_unstable();
    let mut replay = Replay::new();
    for number in numbers {
        let name = files::name(number);
        // Past the page cache: after a failed flush it holds what the disk does not.
        let file = files::open(dir, &name, Access::Read).await.map_err(disk("open", &name))?;
        let bytes = read_all(&file).await.map_err(disk("read", &name))?;
        replay.file(group, number, &name, &bytes)?;
    }
    replay.finish()
}

async fn read_all(file: &File) -> Result<Vec<u8>, Errno> {
    let bytes = usize::try_from(file.stat().await?.bytes).map_err(|_| Errno::INVALID)?;
    let mut all = Vec::with_capacity(bytes);
    let mut buffer = Buffer::heap(READ_BYTES);
    while all.len() < bytes {
        let (count, back) = file.read_at(buffer, 0..READ_BYTES, all.len() as u64).await;
        buffer = back;
        match count? {
            0 => break,
            count => all.extend_from_slice(&buffer.memory()[..count]),
        }
    }
    Ok(all)
}

/// Makes the files what the replay says they are. The last file, if it has room, is the one to write on.
pub(super) async fn repair(dir: &Dir, replay: &Replay) -> Result<Option<Active>, LogOpenError> {
    let Some((last, sealed)) = replay.files.split_last() else { return Ok(None) };
    if let Some(before) = sealed.last() {
        // Rotation seals after the new file has its name.
        seal(dir, *before).await?;
    }
    let name = files::name(last.number);
    if last.torn > 0 {
        let (file, offset, bytes) = (name.as_str(), last.end, last.torn);
        tracing::warn!(
            file,
            offset,
            bytes,
            "the last write was never finished; what there is of it is cut off"
        );
    }
    let file = files::open(dir, &name, Access::Write).await.map_err(disk("open", &name))?;
    file.truncate(last.end).await.map_err(disk("cut", &name))?;
    write_again(&file, last.last_batch, last.end).await.map_err(disk("write", &name))?;
    let has_room = last.end + ROOM_BYTES_MIN <= LOG_FILE_BYTES;
    if has_room {
        files::allocate(&file, last.end).await.map_err(disk("allocate", &name))?;
    }
    file.sync_data().await.map_err(disk("flush", &name))?;
    dir.sync().await.map_err(disk("flush", "its directory"))?;
    let active = Active { file, number: last.number, salt: last.salt, offset: last.end };
    Ok(has_room.then_some(active))
}

/// Writes the last batch again, the same bytes: if its flush had failed, nothing else brings it to the disk.
async fn write_again(file: &File, start: u64, end: u64) -> Result<(), Errno> {
    let bytes = usize::try_from(end - start).map_err(|_| Errno::INVALID)?;
    if bytes == 0 {
        return Ok(());
    }
    let (count, buffer) = file.read_at(Buffer::heap(bytes), 0..bytes, start).await;
    if count? != bytes {
        return Err(Errno::IO);
    }
    file.write_at(buffer, 0..bytes, start).await.0
}

async fn seal(dir: &Dir, found: Found) -> Result<(), LogOpenError> {
    if found.bytes <= found.end {
        return Ok(());
    }
    let name = files::name(found.number);
    let file = files::open(dir, &name, Access::Write).await.map_err(disk("open", &name))?;
    file.truncate(found.end).await.map_err(disk("cut", &name))?;
    file.sync_data().await.map_err(disk("flush", &name))
}
