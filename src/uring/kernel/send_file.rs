//! sendfile(2) onto a connection, without waiting and without a signal. See kernel-notes/sendfile.md.

use std::mem::MaybeUninit;
use std::ptr;

use crate::uring::errno::Errno;

fn last() -> Errno {
    std::io::Error::last_os_error().into()
}

fn only_broken_pipe() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the call above has initialised the set.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGPIPE) };
    set
}

/// A SIGPIPE waits for this thread to let it in.
fn is_pending() -> bool {
    let mut pending = only_broken_pipe();
    // SAFETY: the set lives through the call.
    unsafe { libc::sigpending(&raw mut pending) };
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigismember(&raw const pending, libc::SIGPIPE) == 1 }
}

/// Runs `send` so that a connection that is over raises no SIGPIPE in this thread: sendfile(2) takes no MSG_NOSIGNAL,
/// and whoever embeds us may not have the signal ignored.
fn without_signal(send: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let (pipe, mut before) = (only_broken_pipe(), only_broken_pipe());
    // SAFETY: both sets live through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before) };
    let was_pending = is_pending();
    let result = send();
    if result == Err(Errno::BROKEN_PIPE) && !was_pending {
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: set and time live through the call, and no facts are asked for.
        unsafe { libc::sigtimedwait(&raw const pipe, ptr::null_mut(), &raw const no_time) };
    }
    // SAFETY: the set lives through the call, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    result
}

/// Sets a connection's status flags: O_NONBLOCK or nothing.
fn set_waiting(socket: i32, waits: bool) -> Result<(), Errno> {
    let flags = if waits { 0 } else { libc::O_NONBLOCK };
    // SAFETY: takes no memory.
    if unsafe { libc::fcntl(socket, libc::F_SETFL, flags) } == 0 { Ok(()) } else { Err(last()) }
}

/// Sends some of `bytes` at `offset` of a file; `AGAIN` if the connection has no room at all.
///
/// io_uring waits for room or data only on a connection in blocking mode, so ours are; this one is in the other mode
/// for the time of the call. No request sees that: all requests of a connection are issued by the thread that is here.
pub(super) fn send_file(socket: i32, file: i32, offset: u64, bytes: usize) -> Result<usize, Errno> {
    let mut offset = libc::off64_t::try_from(offset).map_err(|_| Errno::INVALID)?;
    set_waiting(socket, false)?;
    let sent = without_signal(|| {
        // SAFETY: the offset lives through the call; all else are numbers.
        let sent = unsafe { libc::sendfile64(socket, file, &raw mut offset, bytes) };
        usize::try_from(sent).map_err(|_| last())
    });
    set_waiting(socket, true)?;
    sent
}
