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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("somebody listens");
        (dialled, listener.accept().expect("somebody dialled").0)
    }

    /// The test binary itself: a file that is there, and in the page cache.
    fn file() -> std::fs::File {
        std::fs::File::open(std::env::current_exe().expect("it runs")).expect("it is there")
    }

    fn flags(socket: &TcpStream) -> i32 {
        // SAFETY: takes no memory.
        unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) }
    }

    #[test]
    fn a_connection_that_is_over_is_an_error_and_no_signal() {
        let (one, _two) = pair();
        one.shutdown(Shutdown::Write).expect("connected");
        // SAFETY: a signal's default is no handler of ours; sockets of other tests send with MSG_NOSIGNAL.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let sent = send_file(one.as_raw_fd(), file().as_raw_fd(), 0, 4096);
        let pending = is_pending();
        // SAFETY: puts back what was there.
        unsafe { libc::signal(libc::SIGPIPE, before) };
        assert_eq!(sent, Err(Errno::BROKEN_PIPE));
        assert!(!pending, "the signal was taken back");
    }

    #[test]
    fn a_connection_without_room_says_so_and_is_left_as_it_was() {
        let (one, mut two) = pair();
        let (file, before) = (file(), flags(&one));
        let mut sent = 0;
        let refused = loop {
            match send_file(one.as_raw_fd(), file.as_raw_fd(), 0, 100_000) {
                Ok(count) => sent += count,
                Err(errno) => break errno,
            }
        };
        assert_eq!((refused, flags(&one)), (Errno::AGAIN, before));
        drop(one);
        let mut got = Vec::new();
        two.read_to_end(&mut got).expect("an orderly end");
        assert_eq!(got.len(), sent);
    }
}
