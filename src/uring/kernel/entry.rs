//! From an operation to the kernel's request.
//!
//! Every address in a request points into the flight that it is made from, which rests in its slot until its last
//! completion: into the buffer's pages, a C string, or a box of `Kept`. None of those moves when the table grows.

#![expect(clippy::wildcard_enum_match_arm, reason = "another operation here is a bug of `entry`")]

use std::ffi::CStr;

use io_uring::types::{Fd, FsyncFlags, OpenHow};
use io_uring::{opcode, squeue};

use crate::uring::buffer::{Buffer, Span};
use crate::uring::errno::Errno;
use crate::uring::op::{Op, OpenOptions, Outcome, Taken};

use super::address::Address;
use super::blocking::Job;
use super::finish::stat;
use super::flight::{Flight, Kept};
use super::registration::Registration;
use super::send_file::send_file;
use super::setup::Abilities;
use super::sys;

/// Where an operation runs.
pub(super) enum Route {
    /// In the kernel's ring, with what has to be kept for it.
    Ring(Kept),
    /// On a helper thread.
    Beside(Job),
    /// At once: it cannot block.
    Now(Result<Outcome, Errno>),
}

/// Reports with its notification whether a zero-copy send was copied (IORING_SEND_ZC_REPORT_USAGE, 6.2).
const REPORT_USAGE: u16 = 1 << 3;

const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Decides where `op` runs, and does what runs at once.
pub(super) fn route(op: &Op, abilities: Abilities) -> Route {
    match op {
        // To io_uring an offset of -1 is the file's own position.
        Op::Read { offset, .. } | Op::Write { offset, .. } if i64::try_from(*offset).is_err() => {
            Route::Now(Err(Errno::INVALID))
        }
        // See kernel-notes/directory-changes.md.
        Op::Create { dir, name, direct, room } => {
            Route::Beside(Job::Create { dir: dir.raw(), name: name.clone(), direct: *direct, room: *room })
        }
        Op::Rename { from_dir, from, to_dir, to, taken: Taken::Kept } => {
            let (from, to) = ((from_dir.raw(), from.clone()), (to_dir.raw(), to.clone()));
            Route::Beside(Job::RenameNew { from, to })
        }
        Op::Link { from_dir, from, to_dir, to } => {
            let (from, to) = ((from_dir.raw(), from.clone()), (to_dir.raw(), to.clone()));
            Route::Beside(Job::Link { from, to })
        }
        // See kernel-notes/many-names.md.
        Op::StatNames { dir, names } => Route::Beside(Job::Stats { dir: dir.raw(), names: names.clone() }),
        Op::List { dir } => Route::Beside(Job::List { dir: dir.raw() }),
        Op::Space { dir } => Route::Beside(Job::Space { dir: dir.raw() }),
        Op::Lock { file } => Route::Beside(Job::Lock { file: file.raw() }),
        Op::Map { file, bytes } => Route::Beside(Job::Map { file: file.raw(), bytes: *bytes }),
        Op::Reflink { from, to } => Route::Beside(Job::Reflink { from: from.raw(), to: to.raw() }),
        Op::Truncate { file, bytes } if !abilities.truncate => {
            Route::Beside(Job::Truncate { file: file.raw(), bytes: *bytes })
        }
        Op::Resident { file, offset, bytes } => {
            Route::Now(sys::resident(file.raw(), *offset, *bytes).map(Outcome::Count))
        }
        Op::SendFile { socket, file, offset, bytes } => {
            Route::Now(send_file(socket.raw(), file.raw(), *offset, *bytes).map(Outcome::Count))
        }
        Op::Listen { address, backlog, options } => {
            Route::Now(sys::listen(*address, *backlog, *options).map(|(raw, at)| Outcome::Listening(raw, at)))
        }
        Op::Connect { address, options } => match sys::tcp_socket(*address, *options) {
            Ok(raw) => Route::Ring(Kept::To(raw, Box::new(Address::of(*address)))),
            Err(errno) => Route::Now(Err(errno)),
        },
        Op::Accept { .. } => Route::Ring(Kept::From(Box::new(Address::empty()))),
        Op::Open { options, .. } => Route::Ring(Kept::How(Box::new(how(*options)))),
        // An open file's facts are in memory; the ring would hand each to a worker thread all the same.
        Op::Stat { file } => Route::Now(sys::facts(file.raw()).map(|facts| Outcome::Stat(stat(&facts)))),
        // The same for a name that is in memory.
        Op::StatName { dir, name } => match sys::facts_in_memory(dir.raw(), name) {
            Ok(facts) => Route::Now(Ok(Outcome::Stat(stat(&facts)))),
            Err(Errno::NOT_FOUND) => Route::Now(Err(Errno::NOT_FOUND)),
            // SAFETY: all of a statx is integers, for which zeroes are valid.
            Err(_) => Route::Ring(Kept::Facts(Box::new(unsafe { std::mem::zeroed() }))),
        },
        Op::OpenRoot { .. }
        | Op::Close { .. }
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::Sync { .. }
        | Op::Allocate { .. }
        | Op::Truncate { .. }
        | Op::Rename { .. }
        | Op::Unlink { .. }
        | Op::RemoveDir { .. }
        | Op::MakeDir { .. }
        | Op::Receive { .. }
        | Op::Send { .. }
        | Op::SendZeroCopy { .. }
        | Op::Room { .. }
        | Op::Shutdown { .. } => Route::Ring(Kept::Nothing),
    }
}

/// See kernel-notes/openat2.md. O_NONBLOCK, so that a planted FIFO cannot hold the open; it ends with the
/// completion.
fn how(options: OpenOptions) -> OpenHow {
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    flags |= if options.write { libc::O_RDWR } else { libc::O_RDONLY };
    for (wanted, flag) in [
        (options.create, libc::O_CREAT),
        (options.create && options.exclusive, libc::O_EXCL),
        (options.direct, libc::O_DIRECT),
        (options.directory, libc::O_DIRECTORY),
    ] {
        flags |= if wanted { flag } else { 0 };
    }
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    OpenHow::new().flags(flags as u64).mode(if options.create { 0o600 } else { 0 }).resolve(resolve)
}

fn path(text: &CStr) -> *const libc::c_char {
    text.as_ptr()
}

/// Where in memory, and how much: the request's address and length.
fn place(buffer: &mut Buffer, span: &Span) -> (*mut u8, u32) {
    let bytes = &mut buffer.memory_mut()[span.clone()];
    (bytes.as_mut_ptr(), u32::try_from(bytes.len()).expect("a buffer is smaller than 4 GiB"))
}

/// The request for a flight that goes to the ring.
pub(super) fn entry(flight: &mut Flight, registered: &Registration, abilities: Abilities) -> squeue::Entry {
    let Flight { op, kept, .. } = flight;
    match op {
        Op::Read { .. } | Op::Write { .. } | Op::Sync { .. } | Op::Allocate { .. } | Op::Truncate { .. } => {
            content(op, registered)
        }
        Op::Receive { .. } | Op::Send { .. } | Op::SendZeroCopy { .. } => stream(op, registered, abilities),
        Op::Accept { .. } | Op::Connect { .. } | Op::Room { .. } | Op::Shutdown { .. } => {
            connection(op, kept)
        }
        Op::OpenRoot { .. }
        | Op::Open { .. }
        | Op::Close { .. }
        | Op::StatName { .. }
        | Op::Rename { .. }
        | Op::Unlink { .. }
        | Op::RemoveDir { .. }
        | Op::MakeDir { .. } => names(op, kept),
        Op::Create { .. }
        | Op::Link { .. }
        | Op::StatNames { .. }
        | Op::List { .. }
        | Op::Stat { .. }
        | Op::Space { .. }
        | Op::Lock { .. }
        | Op::Resident { .. }
        | Op::Map { .. }
        | Op::Reflink { .. }
        | Op::SendFile { .. }
        | Op::Listen { .. } => unreachable!("{op:?} does not go to the ring"),
    }
}

/// What a file holds. See kernel-notes/direct-io.md and kernel-notes/fsync-and-rename.md.
fn content(op: &mut Op, registered: &Registration) -> squeue::Entry {
    match op {
        Op::Read { file, buffer, span, offset } => {
            let slot = registered.index(buffer);
            let (start, bytes) = place(buffer, span);
            match slot {
                Some(slot) => {
                    opcode::ReadFixed::new(Fd(file.raw()), start, bytes, slot).offset(*offset).build()
                }
                None => opcode::Read::new(Fd(file.raw()), start, bytes).offset(*offset).build(),
            }
        }
        Op::Write { file, buffer, span, offset } => {
            let slot = registered.index(buffer);
            let (start, bytes) = place(buffer, span);
            match slot {
                Some(slot) => {
                    opcode::WriteFixed::new(Fd(file.raw()), start, bytes, slot).offset(*offset).build()
                }
                None => opcode::Write::new(Fd(file.raw()), start, bytes).offset(*offset).build(),
            }
        }
        Op::Sync { file, data_only } => {
            let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            opcode::Fsync::new(Fd(file.raw())).flags(flags).build()
        }
        Op::Allocate { file, offset, bytes } => {
            opcode::Fallocate::new(Fd(file.raw()), *bytes).offset(*offset).build()
        }
        Op::Truncate { file, bytes } => opcode::Ftruncate::new(Fd(file.raw()), *bytes).build(),
        other => unreachable!("{other:?} is not about content"),
    }
}

/// Bytes on a connection. See kernel-notes/receive-path.md and kernel-notes/send-zerocopy.md.
fn stream(op: &mut Op, registered: &Registration, abilities: Abilities) -> squeue::Entry {
    match op {
        Op::Receive { socket, buffer, span, all } => {
            let (start, bytes) = place(buffer, span);
            let flags = if *all { libc::MSG_WAITALL } else { 0 };
            opcode::Recv::new(Fd(socket.raw()), start, bytes).flags(flags).build()
        }
        Op::Send { socket, buffer, span, more } => {
            let (start, bytes) = place(buffer, span);
            let flags = SEND_FLAGS | if *more { libc::MSG_MORE } else { 0 };
            opcode::Send::new(Fd(socket.raw()), start, bytes).flags(flags).build()
        }
        Op::SendZeroCopy { socket, buffer, span } => {
            let slot = registered.index(buffer);
            let (start, bytes) = place(buffer, span);
            if !abilities.zero_copy {
                return opcode::Send::new(Fd(socket.raw()), start, bytes).flags(SEND_FLAGS).build();
            }
            let send = opcode::SendZc::new(Fd(socket.raw()), start, bytes).buf_index(slot);
            send.flags(SEND_FLAGS).zc_flags(REPORT_USAGE).build()
        }
        other => unreachable!("{other:?} is not about a stream"),
    }
}

fn connection(op: &Op, kept: &mut Kept) -> squeue::Entry {
    match (op, kept) {
        (Op::Accept { listener }, Kept::From(from)) => {
            let (address, bytes) = from.pointers_mut();
            opcode::Accept::new(Fd(listener.raw()), address, bytes).flags(libc::SOCK_CLOEXEC).build()
        }
        (Op::Connect { .. }, Kept::To(raw, to)) => {
            opcode::Connect::new(Fd(*raw), to.pointer(), to.bytes()).build()
        }
        (Op::Room { socket }, _) => opcode::PollAdd::new(Fd(socket.raw()), libc::POLLOUT as u32).build(),
        (Op::Shutdown { socket }, _) => opcode::Shutdown::new(Fd(socket.raw()), libc::SHUT_RDWR).build(),
        (other, _) => unreachable!("{other:?} is not about a connection, or came without its address"),
    }
}

const FACTS: u32 = libc::STATX_BASIC_STATS;

fn names(op: &Op, kept: &mut Kept) -> squeue::Entry {
    match (op, kept) {
        (Op::OpenRoot { path: root }, _) => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
            opcode::OpenAt::new(Fd(libc::AT_FDCWD), path(root)).flags(flags).build()
        }
        (Op::Open { dir, path: below, .. }, Kept::How(how)) => {
            opcode::OpenAt2::new(Fd(dir.raw()), path(below), &raw const **how).build()
        }
        (Op::Close { raw, aside }, _) => {
            let close = opcode::Close::new(Fd(*raw)).build();
            if *aside { close.flags(squeue::Flags::ASYNC) } else { close }
        }
        (Op::StatName { dir, name }, Kept::Facts(facts)) => {
            let facts = (&raw mut **facts).cast();
            let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
            opcode::Statx::new(Fd(dir.raw()), path(name), facts).flags(flags).mask(FACTS).build()
        }
        (Op::Rename { from_dir, from, to_dir, to, taken }, _) => {
            let flags = match taken {
                Taken::Replaced => 0,
                Taken::Kept => libc::RENAME_NOREPLACE,
                Taken::Exchanged => libc::RENAME_EXCHANGE,
            };
            let (from_dir, to_dir) = (Fd(from_dir.raw()), Fd(to_dir.raw()));
            opcode::RenameAt::new(from_dir, path(from), to_dir, path(to)).flags(flags).build()
        }
        (Op::Unlink { dir, name }, _) => opcode::UnlinkAt::new(Fd(dir.raw()), path(name)).build(),
        (Op::RemoveDir { dir, name }, _) => {
            opcode::UnlinkAt::new(Fd(dir.raw()), path(name)).flags(libc::AT_REMOVEDIR).build()
        }
        (Op::MakeDir { dir, name }, _) => opcode::MkDirAt::new(Fd(dir.raw()), path(name)).mode(0o700).build(),
        (other, _) => unreachable!("{other:?} is not about names, or came without its memory"),
    }
}
