//! Files and directories. A directory handle is the only way to a file: names are single components or paths that
//! the kernel resolves beneath the directory, links refused (kernel-notes/openat2.md).

#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind is a bug of the ring")]

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::buffer::{Buffer, Span};
use super::core::Core;
use super::errno::Errno;
use super::handle::Handle;
use super::map::Mapping;
use super::op::{FileKind, Name, Op, OpenOptions, Outcome, Space, Stat, Taken};
use super::operation::Operation;

/// An open regular file. Clones share the descriptor.
#[derive(Clone)]
pub struct File(Rc<Handle>);

/// An open directory. Clones share the descriptor.
#[derive(Clone)]
pub struct Dir(Rc<Handle>);

pub(crate) fn submit(op: Op) -> Operation {
    Core::current().submit(op)
}

fn c_string(name: &str) -> Result<CString, Errno> {
    CString::new(name).map_err(|_| Errno::INVALID)
}

/// One component, as rename, link and unlink take it.
fn component(name: &str) -> Result<CString, Errno> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(Errno::INVALID);
    }
    c_string(name)
}

async fn done(op: Op) -> Result<(), Errno> {
    submit(op).await.0.map(|_| ())
}

async fn opened(op: Op) -> Result<Rc<Handle>, Errno> {
    match submit(op).await.0? {
        Outcome::Opened(raw) => Ok(Rc::new(Handle::new(&Core::current(), raw))),
        other => unreachable!("an open completed with {other:?}"),
    }
}

async fn stat(op: Op) -> Result<Stat, Errno> {
    match submit(op).await.0? {
        Outcome::Stat(stat) => Ok(stat),
        other => unreachable!("a stat completed with {other:?}"),
    }
}

pub(crate) async fn counted(op: Op) -> (Result<usize, Errno>, Buffer) {
    let (result, buffer) = submit(op).await;
    let buffer = buffer.expect("the ring gives the buffer back with the last completion");
    let count = result.map(|outcome| match outcome {
        Outcome::Count(count) => count,
        other => unreachable!("a transfer completed with {other:?}"),
    });
    (count, buffer)
}

/// A range of a file.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file.
    pub file: File,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: usize,
}

impl File {
    /// The range, if all of it is in the page cache and so can be sent from there.
    pub async fn cached(&self, offset: u64, bytes: usize) -> Option<Extent> {
        let resident = self.resident(offset, bytes as u64).await.ok()?;
        (resident >= bytes as u64).then(|| Extent { file: self.clone(), offset, bytes })
    }

    pub(super) fn handle(&self) -> &Rc<Handle> {
        &self.0
    }

    /// Its last close is not this core's to wait for: of a file without a name the kernel takes back the page cache
    /// and the blocks then (kernel-notes/cancellation.md).
    pub fn close_aside(&self) {
        self.0.close_aside();
    }

    /// Reads into `buffer[span]` at `offset`; fewer bytes only at the end of the file. The content is not declared.
    pub async fn read_at(
        &self,
        mut buffer: Buffer,
        span: Span,
        offset: u64,
    ) -> (Result<usize, Errno>, Buffer) {
        let mut count = 0;
        while count < span.len() {
            let rest = span.start + count..span.end;
            let op = Op::Read { file: Rc::clone(&self.0), buffer, span: rest, offset: offset + count as u64 };
            let (result, back) = counted(op).await;
            buffer = back;
            match result {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(count), buffer)
    }

    /// Writes the whole of `buffer[span]` at `offset`.
    pub async fn write_at(&self, mut buffer: Buffer, span: Span, offset: u64) -> (Result<(), Errno>, Buffer) {
        let mut count = 0;
        while count < span.len() {
            let rest = span.start + count..span.end;
            let op =
                Op::Write { file: Rc::clone(&self.0), buffer, span: rest, offset: offset + count as u64 };
            let (result, back) = counted(op).await;
            buffer = back;
            match result {
                Ok(0) => return (Err(Errno::IO), buffer),
                Ok(more) => count += more,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Makes the content durable (fdatasync). After an error the file is not trusted again.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn sync_data(&self) -> Result<(), Errno> {
        done(Op::Sync { file: Rc::clone(&self.0), data_only: true }).await
    }

    /// Allocates blocks for `bytes` from the start and extends the size to it. Where there are not enough the file may
    /// keep those that there were (`take_room` gives them back).
    ///
    /// # Errors
    /// `Errno::NO_SPACE` if the disk is full; `NOT_SUPPORTED` where the file system cannot.
    pub async fn allocate(&self, bytes: u64) -> Result<(), Errno> {
        done(Op::Allocate { file: Rc::clone(&self.0), offset: 0, bytes }).await
    }

    /// The same, all or nothing: a file of `before` bytes that has to wait for room takes none from the others. See
    /// kernel-notes/direct-io.md.
    ///
    /// # Errors
    /// As `allocate`; or what was taken cannot be given back.
    pub async fn take_room(&self, bytes: u64, before: u64) -> Result<(), Errno> {
        let taken = self.allocate(bytes).await;
        if taken.is_err_and(Errno::is_disk_full) {
            self.truncate(before).await?;
        }
        taken
    }

    /// Sets the size.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn truncate(&self, bytes: u64) -> Result<(), Errno> {
        done(Op::Truncate { file: Rc::clone(&self.0), bytes }).await
    }

    /// Facts about the file.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn stat(&self) -> Result<Stat, Errno> {
        stat(Op::Stat { file: Rc::clone(&self.0) }).await
    }

    /// Takes the exclusive advisory lock without waiting.
    ///
    /// # Errors
    /// `Errno::AGAIN` if another process has it.
    pub async fn lock(&self) -> Result<(), Errno> {
        done(Op::Lock { file: Rc::clone(&self.0) }).await
    }

    /// Bytes of the range that are in the page cache.
    ///
    /// # Errors
    /// `Errno::NOT_SUPPORTED` where the kernel cannot tell.
    pub async fn resident(&self, offset: u64, bytes: u64) -> Result<u64, Errno> {
        match submit(Op::Resident { file: Rc::clone(&self.0), offset, bytes }).await.0? {
            Outcome::Count(count) => Ok(count as u64),
            other => unreachable!("a residency query completed with {other:?}"),
        }
    }

    /// Maps the whole of a sealed file.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn map(&self) -> Result<Mapping, Errno> {
        let bytes = self.stat().await?.bytes;
        match submit(Op::Map { file: Rc::clone(&self.0), bytes }).await.0? {
            Outcome::Mapped(mapping) => Ok(mapping),
            other => unreachable!("a mapping completed with {other:?}"),
        }
    }

    /// Shares the content of `self` with the empty file `to`, copy on write.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` where the file system cannot, `CROSSES` between file systems.
    pub async fn reflink_to(&self, to: &Self) -> Result<(), Errno> {
        done(Op::Reflink { from: Rc::clone(&self.0), to: Rc::clone(&to.0) }).await
    }
}

impl Dir {
    /// Opens a configured root by absolute path.
    ///
    /// # Errors
    /// The kernel's; `NOT_A_DIRECTORY` for a file.
    pub async fn open_root(path: &str) -> Result<Self, Errno> {
        opened(Op::OpenRoot { path: c_string(path)? }).await.map(Self)
    }

    /// Opens a file beneath this directory by relative path.
    ///
    /// # Errors
    /// `CROSSES` or `LOOP` for a path that leaves or is linked; else the kernel's. A FIFO, device or directory is
    /// `INVALID`.
    pub async fn open(&self, path: &str, options: OpenOptions) -> Result<File, Errno> {
        let op = Op::Open { dir: Rc::clone(&self.0), path: c_string(path)?, options };
        let file = File(opened(op).await?);
        if file.stat().await?.kind != FileKind::Regular {
            return Err(Errno::INVALID);
        }
        Ok(file)
    }

    /// Makes a file of one component where there is none, open for reading and writing; with blocks for `room` bytes,
    /// which become its size, where the file system preallocates. With `direct`, for direct I/O. Not durable before
    /// `sync`.
    ///
    /// # Errors
    /// `EXISTS`; `NO_SPACE` if there are not so many blocks; `INVALID` where direct I/O is refused; else the kernel's.
    /// On every error but `EXISTS` the name is removed again, unless the disk refuses that too.
    pub async fn create(&self, name: &str, direct: bool, room: u64) -> Result<File, Errno> {
        opened(Op::Create { dir: Rc::clone(&self.0), name: component(name)?, direct, room }).await.map(File)
    }

    /// Opens a directory beneath this one by relative path.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_dir(&self, path: &str) -> Result<Self, Errno> {
        let options = OpenOptions { directory: true, ..OpenOptions::default() };
        opened(Op::Open { dir: Rc::clone(&self.0), path: c_string(path)?, options }).await.map(Self)
    }

    /// Makes a directory of one component; one that exists already is opened. Not durable before `sync`.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn make_dir(&self, name: &str) -> Result<Self, Errno> {
        match done(Op::MakeDir { dir: Rc::clone(&self.0), name: component(name)? }).await {
            Ok(()) | Err(Errno::EXISTS) => self.open_dir(name).await,
            Err(errno) => Err(errno),
        }
    }

    /// Makes the names in the directory durable (fsync).
    ///
    /// # Errors
    /// The kernel's.
    pub async fn sync(&self) -> Result<(), Errno> {
        done(Op::Sync { file: Rc::clone(&self.0), data_only: false }).await
    }

    /// Renames one component to another below `to_dir`, replacing a file there. Not durable before both are synced.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn rename(&self, from: &str, to_dir: &Self, to: &str) -> Result<(), Errno> {
        self.rename_as(from, to_dir, to, Taken::Replaced).await
    }

    /// The same where nothing has the new name.
    ///
    /// # Errors
    /// `EXISTS`; `INVALID` where the file system does not know how; or the kernel's.
    pub async fn rename_new(&self, from: &str, to_dir: &Self, to: &str) -> Result<(), Errno> {
        self.rename_as(from, to_dir, to, Taken::Kept).await
    }

    /// Lets two names change their files.
    ///
    /// # Errors
    /// `NOT_FOUND` if either is not there; `INVALID` where the file system does not know how; or the kernel's.
    pub async fn exchange(&self, one: &str, other_dir: &Self, other: &str) -> Result<(), Errno> {
        self.rename_as(one, other_dir, other, Taken::Exchanged).await
    }

    async fn rename_as(&self, from: &str, to_dir: &Self, to: &str, taken: Taken) -> Result<(), Errno> {
        let (from, to) = (component(from)?, component(to)?);
        done(Op::Rename { from_dir: Rc::clone(&self.0), from, to_dir: Rc::clone(&to_dir.0), to, taken }).await
    }

    /// Makes a second name for a file.
    ///
    /// # Errors
    /// `EXISTS`, `CROSSES`, `TOO_MANY_LINKS`, or the kernel's.
    pub async fn link(&self, from: &str, to_dir: &Self, to: &str) -> Result<(), Errno> {
        let (from, to) = (component(from)?, component(to)?);
        done(Op::Link { from_dir: Rc::clone(&self.0), from, to_dir: Rc::clone(&to_dir.0), to }).await
    }

    /// Removes a name of a file.
    ///
    /// # Errors
    /// `NOT_FOUND`, or the kernel's.
    pub async fn unlink(&self, name: &str) -> Result<(), Errno> {
        done(Op::Unlink { dir: Rc::clone(&self.0), name: component(name)? }).await
    }

    /// Removes a name of a file; one that is not there is removed already.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn remove(&self, name: &str) -> Result<(), Errno> {
        match self.unlink(name).await {
            Err(Errno::NOT_FOUND) => Ok(()),
            done => done,
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn remove_dir(&self, name: &str) -> Result<(), Errno> {
        done(Op::RemoveDir { dir: Rc::clone(&self.0), name: component(name)? }).await
    }

    /// Facts about a name, links not followed.
    ///
    /// # Errors
    /// `NOT_FOUND`, or the kernel's.
    pub async fn stat_name(&self, name: &str) -> Result<Stat, Errno> {
        stat(Op::StatName { dir: Rc::clone(&self.0), name: component(name)? }).await
    }

    /// Facts about many names, in their order, links not followed.
    ///
    /// # Errors
    /// The operation did not take place; each name has its own answer, as `stat_name` gives it.
    pub async fn stat_names(&self, names: &[&str]) -> Result<Vec<Result<Stat, Errno>>, Errno> {
        let names = names.iter().map(|name| component(name)).collect::<Result<_, _>>()?;
        match submit(Op::StatNames { dir: Rc::clone(&self.0), names }).await.0? {
            Outcome::Stats(stats) => Ok(stats),
            other => unreachable!("stats completed with {other:?}"),
        }
    }

    /// Facts about the directory.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn stat(&self) -> Result<Stat, Errno> {
        stat(Op::Stat { file: Rc::clone(&self.0) }).await
    }

    /// All names in the directory, sorted by their bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn list(&self) -> Result<Vec<Name>, Errno> {
        match submit(Op::List { dir: Rc::clone(&self.0) }).await.0? {
            Outcome::Names(names) => Ok(names),
            other => unreachable!("a listing completed with {other:?}"),
        }
    }

    /// Room on the file system.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn space(&self) -> Result<Space, Errno> {
        match submit(Op::Space { dir: Rc::clone(&self.0) }).await.0? {
            Outcome::Space(space) => Ok(space),
            other => unreachable!("a space query completed with {other:?}"),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?})", self.0)
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dir({:?})", self.0)
    }
}
