//! An operation on its way through the simulated world: what was asked, by whom, with which buffer.

use std::net::SocketAddr;
use std::rc::Rc;

use ringway::ids::NodeId;
use ringway::uring::{Buffer, Handle, Op, OpenOptions, Span, Taken};

use super::disk::SyncPoint;
use super::disk::names::ChangeId;

/// One life of one core of a node. A restart begins another life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CoreKey {
    /// Its node.
    pub node: NodeId,
    /// Its number on the node, from 0.
    pub core: u16,
    /// Which process of the node it belongs to.
    pub life: u32,
}

/// A name or path as the kernel gets it.
pub type Path = Vec<u8>;

/// What was asked, its handles as numbers.
#[derive(Debug)]
pub enum Ask {
    OpenRoot { path: Path },
    Open { dir: i32, path: Path, options: OpenOptions, room: u64 },
    Close { raw: i32 },
    Read { file: i32, offset: u64 },
    Write { file: i32, offset: u64 },
    Sync { file: i32, promise: Option<Promise> },
    Allocate { file: i32, offset: u64, bytes: u64 },
    Truncate { file: i32, bytes: u64 },
    Stat { file: i32 },
    StatName { dir: i32, name: Path },
    StatNames { dir: i32, names: Vec<Path> },
    Rename { from_dir: i32, from: Path, to_dir: i32, to: Path, taken: Taken },
    Link { from_dir: i32, from: Path, to_dir: i32, to: Path },
    Unlink { dir: i32, name: Path },
    RemoveDir { dir: i32, name: Path },
    MakeDir { dir: i32, name: Path },
    List { dir: i32 },
    Space { dir: i32 },
    Lock { file: i32 },
    Resident { file: i32, offset: u64, bytes: u64 },
    Map { file: i32, bytes: u64 },
    Reflink { from: i32, to: i32 },
    Listen { address: SocketAddr, backlog: u32 },
    Accept { listener: i32 },
    Connect { address: SocketAddr },
    Receive { socket: i32, all: bool },
    Send { socket: i32 },
    SendZeroCopy { socket: i32, loopback: bool },
    SendFile { socket: i32, file: i32, offset: u64, bytes: usize },
    Room { socket: i32 },
    Shutdown { socket: i32 },
}

/// What a sync covers: what was there when it was asked for.
#[derive(Debug)]
pub enum Promise {
    /// A file's content.
    Content(SyncPoint),
    /// A directory's changes up to this one.
    Names(Option<ChangeId>),
}

/// The kinds of operations, for fault plans.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OpKind {
    OpenRoot,
    Open,
    Close,
    Read,
    Write,
    Sync,
    Allocate,
    Truncate,
    Stat,
    StatName,
    StatNames,
    Rename,
    Link,
    Unlink,
    RemoveDir,
    MakeDir,
    List,
    Space,
    Lock,
    Resident,
    Map,
    Reflink,
    Listen,
    Accept,
    Connect,
    Receive,
    Send,
    SendZeroCopy,
    SendFile,
    Room,
    Shutdown,
}

impl OpKind {
    /// It concerns a disk.
    #[must_use]
    pub fn is_disk(self) -> bool {
        self < Self::Listen
    }

    /// It can change what a disk holds or promises to hold: the points before and after it are crash points.
    #[must_use]
    pub fn is_durable_step(self) -> bool {
        use OpKind::{
            Allocate, Link, MakeDir, Open, Reflink, RemoveDir, Rename, Sync, Truncate, Unlink, Write,
        };
        let steps =
            [Open, Write, Sync, Allocate, Truncate, Rename, Link, Unlink, RemoveDir, MakeDir, Reflink];
        steps.contains(&self)
    }
}

/// An operation in the world's hands.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub key: CoreKey,
    /// The core's name for it.
    pub token: u64,
    /// What.
    pub ask: Ask,
    /// Its kind.
    pub kind: OpKind,
    /// Keeps the files open; dropped outside of the world, since that may close them.
    pub handles: Vec<Rc<Handle>>,
    /// Its buffer.
    pub buffer: Option<Buffer>,
    /// Where in the buffer.
    pub span: Span,
    /// Bytes of a transfer done so far.
    pub moved: usize,
    /// Digest of a sent buffer when it was handed over.
    pub sum: u64,
    /// Asked for by a process that a fault plan has ended: it never happens.
    pub swallowed: bool,
}

type Parts = (OpKind, Ask, Vec<Rc<Handle>>, Option<(Buffer, Span)>);

fn names(op: Op) -> Parts {
    let bytes = std::ffi::CString::into_bytes;
    match op {
        Op::Rename { from_dir, from, to_dir, to, taken } => {
            let (from, to) = (bytes(from), bytes(to));
            let ask = Ask::Rename { from_dir: from_dir.raw(), from, to_dir: to_dir.raw(), to, taken };
            (OpKind::Rename, ask, vec![from_dir, to_dir], None)
        }
        Op::Link { from_dir, from, to_dir, to } => {
            let (from, to) = (bytes(from), bytes(to));
            let ask = Ask::Link { from_dir: from_dir.raw(), from, to_dir: to_dir.raw(), to };
            (OpKind::Link, ask, vec![from_dir, to_dir], None)
        }
        Op::OpenRoot { path } => (OpKind::OpenRoot, Ask::OpenRoot { path: bytes(path) }, vec![], None),
        Op::Open { dir, path, options } => {
            let ask = Ask::Open { dir: dir.raw(), path: bytes(path), options, room: 0 };
            (OpKind::Open, ask, vec![dir], None)
        }
        Op::Create { dir, name, direct, room } => {
            let options =
                OpenOptions { write: true, create: true, exclusive: true, direct, ..OpenOptions::default() };
            let ask = Ask::Open { dir: dir.raw(), path: bytes(name), options, room };
            (OpKind::Open, ask, vec![dir], None)
        }
        Op::StatName { dir, name } => {
            (OpKind::StatName, Ask::StatName { dir: dir.raw(), name: bytes(name) }, vec![dir], None)
        }
        Op::StatNames { dir, names } => {
            let names = names.iter().cloned().map(bytes).collect();
            (OpKind::StatNames, Ask::StatNames { dir: dir.raw(), names }, vec![dir], None)
        }
        Op::Unlink { dir, name } => {
            (OpKind::Unlink, Ask::Unlink { dir: dir.raw(), name: bytes(name) }, vec![dir], None)
        }
        Op::RemoveDir { dir, name } => {
            (OpKind::RemoveDir, Ask::RemoveDir { dir: dir.raw(), name: bytes(name) }, vec![dir], None)
        }
        Op::MakeDir { dir, name } => {
            (OpKind::MakeDir, Ask::MakeDir { dir: dir.raw(), name: bytes(name) }, vec![dir], None)
        }
        other => files(other),
    }
}

fn files(op: Op) -> Parts {
    match op {
        Op::Close { raw, .. } => (OpKind::Close, Ask::Close { raw }, vec![], None),
        Op::Read { file, buffer, span, offset } => {
            (OpKind::Read, Ask::Read { file: file.raw(), offset }, vec![file], Some((buffer, span)))
        }
        Op::Write { file, buffer, span, offset } => {
            (OpKind::Write, Ask::Write { file: file.raw(), offset }, vec![file], Some((buffer, span)))
        }
        Op::Sync { file, data_only: _ } => {
            (OpKind::Sync, Ask::Sync { file: file.raw(), promise: None }, vec![file], None)
        }
        Op::Allocate { file, offset, bytes } => {
            (OpKind::Allocate, Ask::Allocate { file: file.raw(), offset, bytes }, vec![file], None)
        }
        Op::Truncate { file, bytes } => {
            (OpKind::Truncate, Ask::Truncate { file: file.raw(), bytes }, vec![file], None)
        }
        Op::Stat { file } => (OpKind::Stat, Ask::Stat { file: file.raw() }, vec![file], None),
        Op::List { dir } => (OpKind::List, Ask::List { dir: dir.raw() }, vec![dir], None),
        Op::Space { dir } => (OpKind::Space, Ask::Space { dir: dir.raw() }, vec![dir], None),
        Op::Lock { file } => (OpKind::Lock, Ask::Lock { file: file.raw() }, vec![file], None),
        Op::Resident { file, offset, bytes } => {
            (OpKind::Resident, Ask::Resident { file: file.raw(), offset, bytes }, vec![file], None)
        }
        Op::Map { file, bytes } => (OpKind::Map, Ask::Map { file: file.raw(), bytes }, vec![file], None),
        Op::Reflink { from, to } => {
            (OpKind::Reflink, Ask::Reflink { from: from.raw(), to: to.raw() }, vec![from, to], None)
        }
        other => sockets(other),
    }
}

fn sockets(op: Op) -> Parts {
    match op {
        Op::Listen { address, backlog, .. } => {
            (OpKind::Listen, Ask::Listen { address, backlog }, vec![], None)
        }
        Op::Accept { listener } => {
            (OpKind::Accept, Ask::Accept { listener: listener.raw() }, vec![listener], None)
        }
        Op::Connect { address, options: _ } => (OpKind::Connect, Ask::Connect { address }, vec![], None),
        Op::Receive { socket, buffer, span, all } => {
            (OpKind::Receive, Ask::Receive { socket: socket.raw(), all }, vec![socket], Some((buffer, span)))
        }
        Op::Send { socket, buffer, span, more: _ } => {
            (OpKind::Send, Ask::Send { socket: socket.raw() }, vec![socket], Some((buffer, span)))
        }
        Op::SendZeroCopy { socket, buffer, span } => {
            let ask = Ask::SendZeroCopy { socket: socket.raw(), loopback: false };
            (OpKind::SendZeroCopy, ask, vec![socket], Some((buffer, span)))
        }
        Op::SendFile { socket, file, offset, bytes } => {
            let ask = Ask::SendFile { socket: socket.raw(), file: file.raw(), offset, bytes };
            (OpKind::SendFile, ask, vec![socket, file], None)
        }
        Op::Room { socket } => (OpKind::Room, Ask::Room { socket: socket.raw() }, vec![socket], None),
        Op::Shutdown { socket } => {
            (OpKind::Shutdown, Ask::Shutdown { socket: socket.raw() }, vec![socket], None)
        }
        other => unreachable!("an operation that the simulator does not know: {other:?}"),
    }
}

impl Job {
    /// Takes an operation apart.
    ///
    /// # Panics
    /// If its span lies outside of its buffer.
    #[must_use]
    pub fn new(key: CoreKey, token: u64, op: Op) -> Self {
        let (kind, ask, handles, transfer) = names(op);
        let (buffer, span) = transfer.map_or((None, 0..0), |(buffer, span)| (Some(buffer), span));
        if let Some(buffer) = &buffer {
            let fits = span.start <= span.end && span.end <= buffer.capacity();
            assert!(fits, "{kind:?} of {span:?} in a buffer of {} bytes", buffer.capacity());
        }
        Self { key, token, ask, kind, handles, buffer, span, moved: 0, sum: 0, swallowed: false }
    }

    /// The part of the buffer that is not transferred yet.
    #[must_use]
    pub fn rest(&self) -> Span {
        self.span.start + self.moved..self.span.end
    }

    /// The bytes to be sent or written.
    ///
    /// # Panics
    /// If the operation has no buffer.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let buffer = self.buffer.as_ref().expect("a transfer has a buffer");
        &buffer.memory()[self.rest()]
    }

    /// Where bytes are to be put.
    ///
    /// # Panics
    /// If the operation has no buffer.
    pub fn space(&mut self) -> &mut [u8] {
        let rest = self.rest();
        &mut self.buffer.as_mut().expect("a transfer has a buffer").memory_mut()[rest]
    }
}
