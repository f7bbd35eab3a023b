//! What a core can ask of the outside, and what comes back. The kernel and the simulator both answer exactly this.

use std::ffi::CString;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::ids::UnixNanos;

use super::buffer::{Buffer, Span};
use super::errno::Errno;
use super::handle::Handle;
use super::map::Mapping;

/// How a file is opened below a directory (openat2(2), always RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
/// RESOLVE_NO_MAGICLINKS and O_CLOEXEC).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// For writing too.
    pub write: bool,
    /// Create it, mode 0600, if it is absent.
    pub create: bool,
    /// With `create`: it must be absent (O_EXCL).
    pub exclusive: bool,
    /// O_DIRECT: offsets, lengths and memory aligned to `IO_ALIGNMENT`. EINVAL where the file system refuses it.
    pub direct: bool,
    /// It must be a directory.
    pub directory: bool,
}

/// One request. Those that name a file hold its handle, so that it stays open until the completion.
#[derive(Debug)]
pub enum Op {
    /// Opens a directory by absolute path, following links: the configured roots only. -> `Opened`
    OpenRoot { path: CString },
    /// Opens below `dir`. -> `Opened`
    Open { dir: Rc<Handle>, path: CString, options: OpenOptions },
    /// Makes a file, mode 0600, for reading and writing, where nothing has its name; with blocks for `room` bytes,
    /// which become its size, if the file system preallocates. What fails leaves no name. -> `Opened`
    Create { dir: Rc<Handle>, name: CString, direct: bool, room: u64 },
    /// Closes a descriptor; nothing else refers to it. `aside`: on a thread of the kernel's, as it may take long.
    /// -> `Done`
    Close { raw: i32, aside: bool },
    /// Reads into `buffer[span]` at `offset`; short at the end of the file. -> `Count`, buffer
    Read { file: Rc<Handle>, buffer: Buffer, span: Span, offset: u64 },
    /// Writes `buffer[span]` at `offset`; may be short. -> `Count`, buffer
    Write { file: Rc<Handle>, buffer: Buffer, span: Span, offset: u64 },
    /// fdatasync (`data_only`) or fsync; of a directory too. -> `Done`
    Sync { file: Rc<Handle>, data_only: bool },
    /// Allocates blocks and extends the size (fallocate(2) mode 0). -> `Done`
    Allocate { file: Rc<Handle>, offset: u64, bytes: u64 },
    /// Sets the size. -> `Done`
    Truncate { file: Rc<Handle>, bytes: u64 },
    /// Facts about an open file. -> `Stat`
    Stat { file: Rc<Handle> },
    /// Facts about a name in a directory, links not followed. -> `Stat`
    StatName { dir: Rc<Handle>, name: CString },
    /// The same about many names, in their order: a ring would hand each to a worker. May block. -> `Stats`
    StatNames { dir: Rc<Handle>, names: Arc<[CString]> },
    /// Renames one component to another. -> `Done`; `Errno::INVALID` where the file system has only `Taken::Replaced`
    Rename { from_dir: Rc<Handle>, from: CString, to_dir: Rc<Handle>, to: CString, taken: Taken },
    /// Makes a second name for a file; `Errno::EXISTS` if the name is taken. -> `Done`
    Link { from_dir: Rc<Handle>, from: CString, to_dir: Rc<Handle>, to: CString },
    /// Removes a name of a file. -> `Done`
    Unlink { dir: Rc<Handle>, name: CString },
    /// Removes an empty directory. -> `Done`
    RemoveDir { dir: Rc<Handle>, name: CString },
    /// Makes a directory, mode 0700. -> `Done`
    MakeDir { dir: Rc<Handle>, name: CString },
    /// Names in a directory, sorted, without `.` and `..`. May block: runs beside the ring. -> `Names`
    List { dir: Rc<Handle> },
    /// Room on the file system. May block. -> `Space`
    Space { dir: Rc<Handle> },
    /// Takes the exclusive advisory lock of an open file without waiting; `Errno::AGAIN` if another has it. ->
    /// `Done`
    Lock { file: Rc<Handle> },
    /// Bytes of the range that are in the page cache (cachestat(2)). -> `Count`; `Errno::NOT_SUPPORTED` without it
    Resident { file: Rc<Handle>, offset: u64, bytes: u64 },
    /// Maps the whole of a sealed file for reading, its pages read in first. May block. -> `Mapped`
    Map { file: Rc<Handle>, bytes: u64 },
    /// Shares the content of `from` with the empty file `to` (FICLONE). -> `Done`; `NOT_SUPPORTED` or `CROSSES`
    /// else
    Reflink { from: Rc<Handle>, to: Rc<Handle> },
    /// Listens on an address, with address reuse; connections that are taken inherit the options. -> `Listening`
    Listen { address: SocketAddr, backlog: u32, options: SocketOptions },
    /// Takes one connection. -> `Accepted`
    Accept { listener: Rc<Handle> },
    /// Opens a connection, Nagle's delay off. -> `Opened`
    Connect { address: SocketAddr, options: SocketOptions },
    /// Receives into `buffer[span]`: some bytes, or with `all` the whole span unless the peer ends. 0 at the end.
    /// -> `Count`, buffer
    Receive { socket: Rc<Handle>, buffer: Buffer, span: Span, all: bool },
    /// Sends the whole of `buffer[span]` unless the connection breaks. -> `Count`, buffer
    Send { socket: Rc<Handle>, buffer: Buffer, span: Span, more: bool },
    /// The same from a registered buffer without copying. -> `Count` (`more`), then the buffer with `Notified`
    SendZeroCopy { socket: Rc<Handle>, buffer: Buffer, span: Span },
    /// Sends from a file's pages in the page cache without copying them (sendfile(2)), and never waits: some bytes, 0
    /// at the end of the file, `Errno::AGAIN` if the connection has no room. Pages that are not in the cache are read
    /// first, which may block: for ranges that are `Resident`. -> `Count`
    SendFile { socket: Rc<Handle>, file: Rc<Handle>, offset: u64, bytes: usize },
    /// Waits until a connection has room for more, or is over. -> `Done`
    Room { socket: Rc<Handle> },
    /// Ends a connection in both directions; waiting receives complete. -> `Done`
    Shutdown { socket: Rc<Handle> },
}

/// What becomes of what has the new name of a rename.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is replaced.
    Replaced,
    /// It stays, and the rename is refused with `Errno::EXISTS`.
    Kept,
    /// It gets the old name; `Errno::NOT_FOUND` if there is none.
    Exchanged,
}

/// Options of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// Congestion control by name of the kernel's list; the system's default without it.
    pub congestion: Option<Congestion>,
}

/// Congestion controls that can be asked for (tcp(7), TCP_CONGESTION).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Congestion {
    /// Loss-based; for local networks.
    Cubic,
    /// Model-based; it paces, on loopback too.
    Bbr,
}

impl Congestion {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cubic, Self::Bbr];

    /// The kernel's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|congestion| congestion.name() == name)
    }
}

/// The value of a successful operation.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing but success.
    Done,
    /// Bytes read, written, received, sent or resident.
    Count(usize),
    /// A new descriptor.
    Opened(i32),
    /// A listening descriptor and the address it got.
    Listening(i32, SocketAddr),
    /// A connection and where it comes from.
    Accepted(i32, SocketAddr),
    /// Facts about a file.
    Stat(Stat),
    /// Facts about names, or why there are none.
    Stats(Vec<Result<Stat, Errno>>),
    /// Names in a directory.
    Names(Vec<Name>),
    /// Room on a file system.
    Space(Space),
    /// A mapping.
    Mapped(Mapping),
    /// A zero-copy send, whole: made of its `Count` and its `Notified` by the core, never by a ring.
    Sent {
        /// Bytes sent.
        bytes: usize,
        /// The kernel copied after all.
        copied: bool,
    },
    /// A zero-copy send gave its buffer back; `copied` if the kernel copied after all.
    Notified {
        /// The kernel's usage report.
        copied: bool,
    },
}

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// Facts about a file (statx(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// Device of the file system: major << 32 | minor.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Last change of the content.
    pub modified: UnixNanos,
    /// Names of the file.
    pub links: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name {
    /// Its bytes; any but NUL and `/`.
    pub bytes: Vec<u8>,
    /// What it stands for, links not followed.
    pub is_dir: bool,
    /// Neither a regular file nor a directory.
    pub is_special: bool,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// For us.
    pub available: u64,
}

/// The answer to an operation; one that sends without copying has two.
pub struct Completion {
    /// Names the operation; chosen by the core.
    pub token: u64,
    /// What came of it.
    pub result: Result<Outcome, Errno>,
    /// The operation's buffer, when the kernel is through with it.
    pub buffer: Option<Buffer>,
    /// Another completion of the same operation follows.
    pub more: bool,
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completion({}: {:?}{})", self.token, self.result, if self.more { ", more" } else { "" })
    }
}

impl Op {
    /// May stay pending for ever by itself, so that giving it up has to cancel it.
    #[must_use]
    pub fn waits_for_a_peer(&self) -> bool {
        matches!(
            self,
            Self::Accept { .. }
                | Self::Connect { .. }
                | Self::Receive { .. }
                | Self::Send { .. }
                | Self::SendZeroCopy { .. }
                | Self::Room { .. }
        )
    }

    /// The operation's buffer, if it has one; the rest of it is dropped.
    #[must_use]
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::Read { buffer, .. }
            | Self::Write { buffer, .. }
            | Self::Receive { buffer, .. }
            | Self::Send { buffer, .. }
            | Self::SendZeroCopy { buffer, .. } => Some(buffer),
            Self::OpenRoot { .. }
            | Self::Open { .. }
            | Self::Create { .. }
            | Self::Close { .. }
            | Self::Sync { .. }
            | Self::Allocate { .. }
            | Self::Truncate { .. }
            | Self::Stat { .. }
            | Self::StatName { .. }
            | Self::StatNames { .. }
            | Self::Rename { .. }
            | Self::Link { .. }
            | Self::Unlink { .. }
            | Self::RemoveDir { .. }
            | Self::MakeDir { .. }
            | Self::List { .. }
            | Self::Space { .. }
            | Self::Lock { .. }
            | Self::Resident { .. }
            | Self::Map { .. }
            | Self::Reflink { .. }
            | Self::Listen { .. }
            | Self::Accept { .. }
            | Self::Connect { .. }
            | Self::SendFile { .. }
            | Self::Room { .. }
            | Self::Shutdown { .. } => None,
        }
    }
}
