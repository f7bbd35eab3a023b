//! From the kernel's answer to an operation's outcome.

use crate::ids::UnixNanos;
use crate::uring::errno::Errno;
use crate::uring::op::{FileKind, Op, Outcome, Stat};

use super::flight::{Flight, Kept};
use super::sys;

/// The notification of a zero-copy send says that the kernel copied (IORING_NOTIF_USAGE_ZC_COPIED).
const COPIED: u32 = 1 << 31;

/// The kernel's number: negative is an error.
fn value(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno(-result))
}

/// The first of a zero-copy send's two answers.
pub(super) fn sent(result: i32) -> Result<Outcome, Errno> {
    value(result).map(|bytes| Outcome::Count(bytes as usize))
}

/// The outcome of a flight's last answer.
pub(super) fn outcome(flight: &Flight, result: i32, is_notification: bool) -> Result<Outcome, Errno> {
    match &flight.op {
        Op::SendZeroCopy { .. } if is_notification => {
            // Not an error number: the bits of a report.
            Ok(Outcome::Notified { copied: result.cast_unsigned() & COPIED != 0 })
        }
        Op::Read { .. }
        | Op::Write { .. }
        | Op::Receive { .. }
        | Op::Send { .. }
        | Op::SendZeroCopy { .. } => sent(result),
        Op::OpenRoot { .. } => value(result).map(|_| Outcome::Opened(result)),
        Op::Open { options, .. } => {
            value(result)?;
            if let Err(errno) = sys::set_status(result, options.direct) {
                sys::close(result);
                return Err(errno);
            }
            Ok(Outcome::Opened(result))
        }
        Op::Accept { .. } => accepted(flight, result),
        Op::Connect { .. } => connected(flight, result),
        Op::StatName { .. } => {
            value(result)?;
            let Kept::Facts(facts) = &flight.kept else { unreachable!("a stat keeps its facts") };
            Ok(Outcome::Stat(stat(facts)))
        }
        Op::Close { .. }
        | Op::Sync { .. }
        | Op::Allocate { .. }
        | Op::Truncate { .. }
        | Op::Rename { .. }
        | Op::Link { .. }
        | Op::Unlink { .. }
        | Op::RemoveDir { .. }
        | Op::MakeDir { .. }
        | Op::Room { .. }
        | Op::Shutdown { .. } => value(result).map(|_| Outcome::Done),
        Op::Create { .. }
        | Op::StatNames { .. }
        | Op::List { .. }
        | Op::Stat { .. }
        | Op::Space { .. }
        | Op::Lock { .. }
        | Op::Resident { .. }
        | Op::Map { .. }
        | Op::Reflink { .. }
        | Op::SendFile { .. }
        | Op::Listen { .. } => unreachable!("{:?} does not go to the ring", flight.op),
    }
}

fn accepted(flight: &Flight, result: i32) -> Result<Outcome, Errno> {
    value(result)?;
    let Kept::From(from) = &flight.kept else { unreachable!("an accept keeps its address") };
    let Some(from) = from.socket() else {
        sys::close(result);
        return Err(Errno::INVALID);
    };
    sys::set_nodelay(result);
    Ok(Outcome::Accepted(result, from))
}

fn connected(flight: &Flight, result: i32) -> Result<Outcome, Errno> {
    let Kept::To(raw, _) = &flight.kept else { unreachable!("a connect keeps its socket") };
    match value(result) {
        Ok(_) => Ok(Outcome::Opened(*raw)),
        Err(errno) => {
            sys::close(*raw);
            Err(errno)
        }
    }
}

/// Facts as the rest of the crate has them.
pub(super) fn stat(facts: &libc::statx) -> Stat {
    let kind = match u32::from(facts.stx_mode) & libc::S_IFMT {
        libc::S_IFREG => FileKind::Regular,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let seconds = u64::try_from(facts.stx_mtime.tv_sec).unwrap_or(0);
    let nanos = u64::from(facts.stx_mtime.tv_nsec);
    Stat {
        kind,
        bytes: facts.stx_size,
        device: u64::from(facts.stx_dev_major) << 32 | u64::from(facts.stx_dev_minor),
        inode: facts.stx_ino,
        modified: UnixNanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
        links: facts.stx_nlink,
        mode: u32::from(facts.stx_mode) & 0o7777,
        owner: facts.stx_uid,
    }
}
