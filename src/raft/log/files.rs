//! Names of a log's files, and how a new one comes to be.

use crate::ids::{GroupId, LogIndex, Term};
use crate::limits::LOG_FILE_BYTES;
use crate::uring::{Buffer, Core, Dir, Errno, File, OpenOptions};

use super::record::{BLOCK_BYTES, Kind, Record, Stamp, head_payload};

/// What a file is named before it has its head.
pub(super) const NEW: &str = "log.new";

/// A file's name. Files are numbered, not named by their first entry: after a truncation two of them begin with the
/// same.
pub(super) fn name(number: u64) -> String {
    format!("log-{number:016x}.ring")
}

/// The number of a log file; nothing for a name of something else.
pub(super) fn number(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name).ok()?;
    let digits = text.strip_prefix("log-")?.strip_suffix(".ring")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (self::name(number) == text).then_some(number)
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) salt: u32,
    /// Where the next batch begins.
    pub(super) offset: u64,
}

/// The steps by which a new file comes to be. A file that has its name has its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateStep {
    /// Takes away what an earlier attempt left.
    Discard,
    /// Makes the file under a name that recovery discards.
    Make,
    /// Takes its blocks, so that appending changes no size.
    Allocate,
    /// Writes the head.
    WriteHead,
    /// Makes the head durable.
    SyncHead,
    /// Gives it its name.
    Rename,
    /// Makes the name durable.
    SyncDirectory,
}

/// The recipe.
pub const CREATE: [CreateStep; 7] = [
    CreateStep::Discard,
    CreateStep::Make,
    CreateStep::Allocate,
    CreateStep::WriteHead,
    CreateStep::SyncHead,
    CreateStep::Rename,
    CreateStep::SyncDirectory,
];

impl CreateStep {
    /// What has failed at this step can be tried again from the beginning: no flush has failed.
    pub(super) fn leaves_nothing(self) -> bool {
        match self {
            Self::Discard | Self::Make | Self::Allocate | Self::WriteHead | Self::Rename => true,
            Self::SyncHead | Self::SyncDirectory => false,
        }
    }

    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Make => "make",
            Self::Allocate => "allocate",
            Self::WriteHead => "write the head of",
            Self::SyncHead => "flush the head of",
            Self::Rename => "name",
            Self::SyncDirectory => "flush the name of",
        }
    }
}

/// Makes file `number`, whose first batch will be `first_batch`.
pub(super) async fn create(
    dir: &Dir,
    group: GroupId,
    number: u64,
    first_batch: u64,
) -> Result<Active, (CreateStep, Errno)> {
    let salt = u32::from_le_bytes(Core::current().random());
    let mut file = None;
    for step in CREATE {
        let made = file.as_ref();
        let done = match (step, made) {
            (CreateStep::Discard, _) => dir.remove(NEW).await,
            (CreateStep::Make, _) => open(dir, NEW, Access::Make).await.map(|made| file = Some(made)),
            (CreateStep::Allocate, Some(made)) => allocate(made, 0).await,
            (CreateStep::WriteHead, Some(made)) => write_head(made, group, number, salt, first_batch).await,
            (CreateStep::SyncHead, Some(made)) => made.sync_data().await,
            (CreateStep::Rename, _) => dir.rename(NEW, dir, &name(number)).await,
            (CreateStep::SyncDirectory, _) => dir.sync().await,
            (CreateStep::Allocate | CreateStep::WriteHead | CreateStep::SyncHead, None) => {
                unreachable!("the recipe makes the file first")
            }
        };
        done.map_err(|errno| (step, errno))?;
    }
    let file = file.expect("the recipe has made it");
    Ok(Active { file, number, salt, offset: BLOCK_BYTES as u64 })
}

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
    /// It must not be there yet.
    Make,
}

/// Opens a file past the page cache, where the file system can.
pub(super) async fn open(dir: &Dir, name: &str, access: Access) -> Result<File, Errno> {
    let (write, new) = (access != Access::Read, access == Access::Make);
    let options = OpenOptions { write, create: new, exclusive: new, direct: true, ..OpenOptions::default() };
    match dir.open(name, options).await {
        Err(Errno::INVALID) => {
            // A file system that refuses O_DIRECT may have made the file already.
            dir.open(name, OpenOptions { direct: false, exclusive: false, ..options }).await
        }
        other => other,
    }
}

/// Takes the blocks of a whole file, which has `before` bytes, where the file system can.
pub(super) async fn allocate(file: &File, before: u64) -> Result<(), Errno> {
    match file.take_room(LOG_FILE_BYTES, before).await {
        Err(Errno::NOT_SUPPORTED) => Ok(()),
        other => other,
    }
}

async fn write_head(
    file: &File,
    group: GroupId,
    number: u64,
    salt: u32,
    first_batch: u64,
) -> Result<(), Errno> {
    let mut buffer = Buffer::heap(BLOCK_BYTES);
    let payload = head_payload(salt, first_batch);
    let head = Record { kind: Kind::Head, term: Term(0), index: LogIndex(number), payload: &payload };
    head.encode(Stamp { group, salt: 0 }, buffer.memory_mut());
    file.write_at(buffer, 0..BLOCK_BYTES, 0).await.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_others_are_refused() {
        for n in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(number(name(n).as_bytes()), Some(n));
        }
        for other in
            ["log-1.ring", "log.new", "log-000000000000000G.ring", "log-00000000000000AB.ring", "vote"]
        {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
    }
}
