//! What may block: runs on a helper thread of the ring, never on the core.

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use crate::uring::errno::Errno;
use crate::uring::map::Mapping;
use crate::uring::op::{Name, Outcome, Space, Stat};

use super::finish::stat;
use super::sys;

/// A call for a helper thread. It names descriptors by number: the operation that holds them stays with the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Job {
    Create {
        dir: i32,
        name: CString,
        direct: bool,
        room: u64,
    },
    RenameNew {
        from: (i32, CString),
        to: (i32, CString),
    },
    Link {
        from: (i32, CString),
        to: (i32, CString),
    },
    Stats {
        dir: i32,
        names: Arc<[CString]>,
    },
    List {
        dir: i32,
    },
    Space {
        dir: i32,
    },
    Lock {
        file: i32,
    },
    Map {
        file: i32,
        bytes: u64,
    },
    Reflink {
        from: i32,
        to: i32,
    },
    /// Only where the kernel has no IORING_OP_FTRUNCATE.
    Truncate {
        file: i32,
        bytes: u64,
    },
}

/// What came of a job, in a form that may cross threads.
pub(super) enum Reply {
    Done,
    Opened(i32),
    Stats(Vec<Result<Stat, Errno>>),
    Names(Vec<Name>),
    Space(Space),
    Mapped(Option<memmap2::Mmap>),
}

impl Job {
    /// It gives a file a free name, as landing and registering do for each.
    pub(super) fn gives_a_name(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::RenameNew { .. } | Self::Link { .. })
    }

    pub(super) fn run(self) -> Result<Reply, Errno> {
        match self {
            Self::Create { dir, name, direct, room } => create(dir, &name, direct, room).map(Reply::Opened),
            Self::RenameNew { from, to } => {
                sys::rename_new((from.0, &from.1), (to.0, &to.1)).map(|()| Reply::Done)
            }
            Self::Link { from, to } => sys::link((from.0, &from.1), (to.0, &to.1)).map(|()| Reply::Done),
            Self::Stats { dir, names } => Ok(Reply::Stats(stats(dir, &names))),
            Self::List { dir } => list(dir).map(Reply::Names),
            Self::Space { dir } => sys::space(dir).map(Reply::Space),
            Self::Lock { file } => sys::lock(file).map(|()| Reply::Done),
            Self::Map { file, bytes } => map(file, bytes).map(Reply::Mapped),
            Self::Reflink { from, to } => sys::reflink(from, to).map(|()| Reply::Done),
            Self::Truncate { file, bytes } => sys::truncate(file, bytes).map(|()| Reply::Done),
        }
    }
}

impl Reply {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Opened(raw) => Outcome::Opened(raw),
            Self::Stats(stats) => Outcome::Stats(stats),
            Self::Names(names) => Outcome::Names(names),
            Self::Space(space) => Outcome::Space(space),
            Self::Mapped(Some(map)) => Outcome::Mapped(Mapping::mapped(map)),
            Self::Mapped(None) => Outcome::Mapped(Mapping::owned(Box::default())),
        }
    }
}

/// A new file with its room, or none.
fn create(dir: i32, name: &CStr, direct: bool, room: u64) -> Result<i32, Errno> {
    let made = match sys::create(dir, name, direct) {
        Ok(raw) => with_room(raw, room),
        // The refused attempt may have made the name (open(2), O_DIRECT).
        Err(Errno::INVALID) => Err(Errno::INVALID),
        Err(errno) => return Err(errno),
    };
    if made.is_err() {
        let _stays_if_the_disk_fails = sys::unlink(dir, name);
    }
    made
}

fn with_room(raw: i32, room: u64) -> Result<i32, Errno> {
    match sys::allocate(raw, room) {
        // INVALID would read as a refusal of direct I/O.
        Ok(()) | Err(Errno::NOT_SUPPORTED | Errno::INVALID) => Ok(raw),
        Err(errno) => {
            sys::close(raw);
            Err(errno)
        }
    }
}

/// Maps a sealed file and reads its pages in. MAP_POPULATE would hide a page that cannot be read until it is
/// touched (SIGBUS); MADV_POPULATE_READ says so now. See kernel-notes/mappings.md.
fn map(file: i32, bytes: u64) -> Result<Option<memmap2::Mmap>, Errno> {
    let bytes = usize::try_from(bytes).map_err(|_| Errno::NO_MEMORY)?;
    if bytes == 0 {
        return Ok(None);
    }
    let mut options = memmap2::MmapOptions::new();
    options.len(bytes);
    // SAFETY: the caller maps sealed files only: nobody writes or truncates one while it is mapped (op.rs,
    // `Op::Map`).
    let map = unsafe { options.map(file) }?;
    match map.advise(memmap2::Advice::PopulateRead).map_err(Errno::from) {
        Ok(()) => Ok(Some(map)),
        // A page could not be read, or the file is shorter than it was.
        Err(Errno(libc::EFAULT | libc::EHWPOISON)) => Err(Errno::IO),
        Err(errno) => Err(errno),
    }
}

/// Bytes of directory records read in one call.
const RECORDS_BYTES: usize = 64 * 1024;
/// Names from which on a second thread is worth its start: a look is 2 us, a start 20.
const STATS_SHARED_MIN: usize = 256;

/// A folder may have a million names: they are sorted by what stands together in memory, and made in that order.
fn list(dir: i32) -> Result<Vec<Name>, Errno> {
    let own = sys::reopen_directory(dir)?;
    let (mut listed, mut text) = (Vec::new(), Vec::new());
    let mut records = vec![0; RECORDS_BYTES];
    loop {
        let filled = sys::read_directory(own.as_raw_fd(), &mut records)?;
        if filled == 0 {
            break;
        }
        let mut rest = &records[..filled];
        while !rest.is_empty() {
            let (record, after) = split_record(rest).ok_or(Errno::IO)?;
            rest = after;
            if record.name != c"." && record.name != c".." {
                listed.push(Listed::new(own.as_raw_fd(), &record, &mut text)?);
            }
        }
    }
    let key = |listed: &Listed| (listed.beginning, &text[listed.place.clone()]);
    listed.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
    let name =
        |of: Listed| Name { bytes: text[of.place].to_vec(), is_dir: of.is_dir, is_special: of.is_special };
    Ok(listed.into_iter().map(name).collect())
}

/// A name that was read.
struct Listed {
    /// Its first bytes, zeroes behind its end: no name has one.
    beginning: [u8; 32],
    /// Where all of it stands.
    place: Range<usize>,
    is_dir: bool,
    is_special: bool,
}

impl Listed {
    fn new(dir: i32, record: &Record<'_>, text: &mut Vec<u8>) -> Result<Self, Errno> {
        let (is_dir, is_regular) = kind(dir, record)?;
        let (bytes, start) = (record.name.to_bytes(), text.len());
        text.extend_from_slice(bytes);
        let mut beginning = [0; 32];
        let some = bytes.len().min(beginning.len());
        beginning[..some].copy_from_slice(&bytes[..some]);
        Ok(Self { beginning, place: start..text.len(), is_dir, is_special: !is_dir && !is_regular })
    }
}

/// Whether it is a directory, or a regular file.
fn kind(dir: i32, record: &Record<'_>) -> Result<(bool, bool), Errno> {
    Ok(match record.kind {
        libc::DT_DIR => (true, false),
        libc::DT_REG => (false, true),
        // Some file systems do not say.
        libc::DT_UNKNOWN => {
            let mode = sys::mode_of(dir, record.name)? & libc::S_IFMT;
            (mode == libc::S_IFDIR, mode == libc::S_IFREG)
        }
        _ => (false, false),
    })
}

/// Looks at each of the names; of many a second thread takes half.
fn stats(dir: i32, names: &[CString]) -> Vec<Result<Stat, Errno>> {
    let stats_of = |names: &[CString]| -> Vec<_> {
        names.iter().map(|name| sys::facts_of(dir, name).map(|facts| stat(&facts))).collect()
    };
    if names.len() < STATS_SHARED_MIN {
        return stats_of(names);
    }
    let (here, beside) = names.split_at(names.len() / 2);
    thread::scope(|scope| {
        let named = thread::Builder::new().name("ringway-helper".to_owned());
        let looking = named.spawn_scoped(scope, || stats_of(beside));
        let mut stats = stats_of(here);
        let looked = looking.ok().and_then(|looking| looking.join().ok());
        stats.extend(looked.unwrap_or_else(|| stats_of(beside)));
        stats
    })
}

struct Record<'a> {
    kind: u8,
    name: &'a CStr,
}

/// Layout of linux_dirent64 (getdents64(2)): inode and offset, 8 bytes each, the record's length, its kind, its
/// name.
const LENGTH_AT: usize = 16;
const KIND_AT: usize = 18;
const NAME_AT: usize = 19;

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let length = bytes.get(LENGTH_AT..KIND_AT)?;
    let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
    let (record, rest) = bytes.split_at_checked(length)?;
    let name = CStr::from_bytes_until_nul(record.get(NAME_AT..)?).ok()?;
    Some((Record { kind: *record.get(KIND_AT)?, name }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_does_not_fit_its_buffer_is_refused() {
        let mut bytes = vec![0; 24];
        bytes[LENGTH_AT] = 24;
        bytes[KIND_AT] = libc::DT_REG;
        bytes[NAME_AT] = b'a';
        let (record, rest) = split_record(&bytes).expect("a whole record");
        assert_eq!((record.kind, record.name, rest.len()), (libc::DT_REG, c"a", 0));
        bytes[LENGTH_AT] = 25;
        assert!(split_record(&bytes).is_none(), "longer than the buffer");
        bytes[LENGTH_AT] = 20;
        assert!(split_record(&bytes).is_none(), "its name does not end");
        bytes[LENGTH_AT] = 0;
        assert!(split_record(&bytes).is_none(), "an empty record would be read for ever");
    }
}
