//! System calls that io_uring lacks, would give to its workers, or that never block, each one safe to call from above.

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, size_of_val};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::ids::Nanos;
use crate::uring::errno::Errno;
use crate::uring::op::{Congestion, SocketOptions, Space};

use super::address::Address;

/// Longest name of a congestion control (TCP_CA_NAME_MAX).
const CONGESTION_BYTES_MAX: usize = 16;

fn last() -> Errno {
    Errno::from(io::Error::last_os_error())
}

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(super) fn monotonic() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "the monotonic clock is always there");
    // Both are non-negative for this clock.
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

pub(super) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: takes no memory.
    let raw = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Whether reads of an eventfd wait for a signal, for everybody who holds it.
pub(super) fn set_waiting(raw: i32, reads_wait: bool) -> Result<(), Errno> {
    let flags = if reads_wait { 0 } else { libc::O_NONBLOCK };
    // SAFETY: takes no memory.
    check(unsafe { libc::fcntl(raw, libc::F_SETFL, flags) }).map(|_| ())
}

/// Closes a descriptor that nothing refers to any more. Linux frees the number whatever it answers (close(2)).
pub(super) fn close(raw: i32) {
    // SAFETY: takes no memory; the caller is the number's one owner.
    let _number_is_free_either_way = unsafe { libc::close(raw) };
}

/// A TCP socket, Nagle's delay off, its congestion control set if the system has the one that is asked for.
pub(super) fn tcp_socket(address: SocketAddr, options: SocketOptions) -> Result<i32, Errno> {
    let raw = socket(address)?;
    set_nodelay(raw);
    if let Some(congestion) = options.congestion {
        let _default_stays_and_the_probe_says_so = set_congestion(raw, congestion);
    }
    Ok(raw)
}

fn socket(address: SocketAddr) -> Result<i32, Errno> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no memory.
    check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

/// A listening socket, its address free to be taken again at once after a restart, and the address that it got.
pub(super) fn listen(
    address: SocketAddr,
    backlog: u32,
    options: SocketOptions,
) -> Result<(i32, SocketAddr), Errno> {
    let raw = tcp_socket(address, options)?;
    let bound = bind_and_listen(raw, address, backlog);
    if bound.is_err() {
        close(raw);
    }
    bound.map(|address| (raw, address))
}

fn bind_and_listen(raw: i32, address: SocketAddr, backlog: u32) -> Result<SocketAddr, Errno> {
    set_flag(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    let wanted = Address::of(address);
    // SAFETY: pointer and length describe `wanted`, which lives through the call.
    check(unsafe { libc::bind(raw, wanted.pointer(), wanted.bytes()) })?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: takes no memory.
    check(unsafe { libc::listen(raw, backlog) })?;
    let mut got = Address::empty();
    let (pointer, length) = got.pointers_mut();
    // SAFETY: both point into `got`, which has room for either family and lives through the call.
    check(unsafe { libc::getsockname(raw, pointer, length) })?;
    got.socket().ok_or(Errno::INVALID)
}

fn set_option(raw: i32, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    let bytes = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVALID)?;
    // SAFETY: pointer and length describe `value`, which lives through the call.
    check(unsafe { libc::setsockopt(raw, level, name, value.as_ptr().cast(), bytes) }).map(|_| ())
}

fn set_flag(raw: i32, level: i32, name: i32) -> Result<(), Errno> {
    set_option(raw, level, name, &1_i32.to_ne_bytes())
}

/// Switches Nagle's delay off. A socket that refuses is broken already, and its next operation says so.
pub(super) fn set_nodelay(raw: i32) {
    let _next_operation_says_so = set_flag(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY);
}

fn set_congestion(raw: i32, congestion: Congestion) -> Result<(), Errno> {
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_CONGESTION, congestion.name().as_bytes())
}

/// The congestion control in force on a connection.
pub(super) fn congestion(raw: i32) -> Result<String, Errno> {
    let mut name = [0_u8; CONGESTION_BYTES_MAX];
    let mut bytes = CONGESTION_BYTES_MAX as libc::socklen_t;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
    // SAFETY: `name` and `bytes` live through the call and say each other's size.
    check(unsafe { libc::getsockopt(raw, level, option, name.as_mut_ptr().cast(), &raw mut bytes) })?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// Whether connections of this process may use a congestion control.
pub(super) fn try_congestion(congestion: Congestion) -> Result<(), Errno> {
    let raw = socket(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let result = set_congestion(raw, congestion);
    close(raw);
    result
}

/// Sets a file's status flags: O_DIRECT or nothing. Ends the O_NONBLOCK under which it was opened.
pub(super) fn set_status(raw: i32, direct: bool) -> Result<(), Errno> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    // SAFETY: takes no memory.
    check(unsafe { libc::fcntl(raw, libc::F_SETFL, flags) }).map(|_| ())
}

/// RLIMIT_MEMLOCK in bytes.
pub(super) fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if result == 0 { limit.rlim_cur } else { 0 }
}

/// Takes the exclusive advisory lock without waiting.
pub(super) fn lock(raw: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check(unsafe { libc::flock(raw, libc::LOCK_EX | libc::LOCK_NB) }).map(|_| ())
}

/// Makes a file, mode 0600, for reading and writing, where nothing has the name.
pub(super) fn create(dir: i32, name: &CStr, direct: bool) -> Result<i32, Errno> {
    let direct = if direct { libc::O_DIRECT } else { 0 };
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC | direct;
    let mode: libc::mode_t = 0o600;
    // SAFETY: the name is a C string.
    check(unsafe { libc::openat(dir, name.as_ptr(), flags, mode) })
}

/// Takes blocks for so many bytes, which become the size.
pub(super) fn allocate(raw: i32, bytes: u64) -> Result<(), Errno> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| Errno(libc::EFBIG))?;
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: takes no memory.
    check(unsafe { libc::fallocate(raw, 0, 0, bytes) }).map(|_| ())
}

/// Gives a file another name that is free.
pub(super) fn rename_new(from: (i32, &CStr), to: (i32, &CStr)) -> Result<(), Errno> {
    let (flags, from_name, to_name) = (libc::RENAME_NOREPLACE, from.1.as_ptr(), to.1.as_ptr());
    // SAFETY: both names are C strings.
    check(unsafe { libc::renameat2(from.0, from_name, to.0, to_name, flags) }).map(|_| ())
}

/// Gives a file a second name; a link is not followed.
pub(super) fn link(from: (i32, &CStr), to: (i32, &CStr)) -> Result<(), Errno> {
    // SAFETY: both names are C strings.
    check(unsafe { libc::linkat(from.0, from.1.as_ptr(), to.0, to.1.as_ptr(), 0) }).map(|_| ())
}

/// Keeps all signals from the calling thread: what one interrupts would have to be done again.
pub(super) fn block_signals() {
    // SAFETY: all of a sigset_t is integers, for which zeroes are valid.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a live signal set.
    let filled = unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: `all` is a live signal set; the old mask is not asked for.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) };
    assert_eq!((filled, blocked), (0, 0), "neither has a reason to fail");
}

/// Removes a name of a file.
pub(super) fn unlink(dir: i32, name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name is a C string.
    check(unsafe { libc::unlinkat(dir, name.as_ptr(), 0) }).map(|_| ())
}

pub(super) fn truncate(raw: i32, bytes: u64) -> Result<(), Errno> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| Errno(libc::EFBIG))?;
    // SAFETY: takes no memory.
    check(unsafe { libc::ftruncate(raw, bytes) }).map(|_| ())
}

pub(super) fn space(raw: i32) -> Result<Space, Errno> {
    // SAFETY: all of a statvfs is integers, for which zeroes are valid.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `facts` is a live statvfs.
    check(unsafe { libc::fstatvfs(raw, &raw mut facts) })?;
    let unit = facts.f_frsize;
    Ok(Space { total: facts.f_blocks.saturating_mul(unit), available: facts.f_bavail.saturating_mul(unit) })
}

/// FICLONE of linux/fs.h: _IOW(0x94, 9, int).
const FICLONE: libc::Ioctl = 0x4004_9409;

/// Shares the content of one file with another, copy on write.
pub(super) fn reflink(from: i32, to: i32) -> Result<(), Errno> {
    // SAFETY: the argument of FICLONE is a descriptor, not memory.
    match check(unsafe { libc::ioctl(to, FICLONE, from) }) {
        Ok(_) => Ok(()),
        // File systems without it answer either.
        Err(Errno(libc::ENOTTY) | Errno::INVALID) => Err(Errno::NOT_SUPPORTED),
        Err(errno) => Err(errno),
    }
}

/// cachestat(2), 6.5: the number is the same on all architectures.
const CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct CacheRange {
    offset: u64,
    bytes: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheFacts {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Bytes of a range that are in the page cache, in whole pages; `NOT_SUPPORTED` where the kernel does not say.
pub(super) fn resident(raw: i32, offset: u64, bytes: u64) -> Result<usize, Errno> {
    let range = CacheRange { offset, bytes };
    let mut facts = CacheFacts::default();
    // SAFETY: both structures are live and laid out as cachestat(2) says.
    let result = unsafe { libc::syscall(CACHESTAT, raw, &raw const range, &raw mut facts, 0_u32) };
    if result == 0 {
        let cached = facts.cached.saturating_mul(page_bytes());
        return usize::try_from(cached.min(bytes)).map_err(|_| Errno::INVALID);
    }
    match last() {
        // Since CVE-2025-21691 only those are told who may write the file.
        Errno(libc::ENOSYS | libc::EPERM) => Err(Errno::NOT_SUPPORTED),
        errno => Err(errno),
    }
}

fn page_bytes() -> u64 {
    // SAFETY: takes no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).expect("a page has a size")
}

/// Opens the directory itself again, for a reading position of its own.
pub(super) fn reopen_directory(raw: i32) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string of static life.
    let raw = check(unsafe { libc::openat(raw, c".".as_ptr(), flags) })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Fills `out` with directory records (getdents64(2)); 0 at the end.
pub(super) fn read_directory(raw: i32, out: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: pointer and length describe `out`, which lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_getdents64, raw, out.as_mut_ptr(), out.len()) };
    usize::try_from(result).map_err(|_| last())
}

/// The facts of an open file.
pub(super) fn facts(file: i32) -> Result<libc::statx, Errno> {
    // SAFETY: all of a statx is integers, for which zeroes are valid.
    let mut facts: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_BASIC_STATS);
    // SAFETY: the name is a C string and `facts` a live statx.
    check(unsafe { libc::statx(file, c"".as_ptr(), flags, mask, &raw mut facts) })?;
    Ok(facts)
}

/// The facts of a name in a directory, links not followed.
pub(super) fn facts_of(dir: i32, name: &CStr) -> Result<libc::statx, Errno> {
    // SAFETY: all of a statx is integers, for which zeroes are valid.
    let mut facts: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the name is a C string and `facts` a live statx.
    check(unsafe { libc::statx(dir, name.as_ptr(), flags, libc::STATX_BASIC_STATS, &raw mut facts) })?;
    Ok(facts)
}

/// The same if the kernel has the name in memory; `AGAIN` if it would have to ask the disk, `INVALID` before 5.12.
pub(super) fn facts_in_memory(dir: i32, name: &CStr) -> Result<libc::statx, Errno> {
    // SAFETY: all of an open_how is integers, for which zeroes are valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_CACHED;
    let bytes = size_of::<libc::open_how>();
    // SAFETY: the name is a C string, and pointer and length describe `how`.
    let raw = unsafe { libc::syscall(libc::SYS_openat2, dir, name.as_ptr(), &raw const how, bytes) };
    let raw = i32::try_from(raw).ok().filter(|raw| *raw >= 0).ok_or_else(last)?;
    let facts = facts(raw);
    close(raw);
    facts
}

/// The mode of a name in a directory, links not followed.
pub(super) fn mode_of(dir: i32, name: &CStr) -> Result<u32, Errno> {
    // SAFETY: all of a stat is integers, for which zeroes are valid.
    let mut facts: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the name is a C string and `facts` a live stat.
    check(unsafe { libc::fstatat(dir, name.as_ptr(), &raw mut facts, libc::AT_SYMLINK_NOFOLLOW) })?;
    Ok(facts.st_mode)
}

/// Lets the calling thread run wherever the process's first one may: it was started by one that is bound. Where the
/// first one is bound itself, it stays with that.
pub(super) fn run_where_the_process_may() -> Result<(), Errno> {
    let mut allowed = [0_u64; CPU_WORDS];
    // SAFETY: takes no memory.
    let first = unsafe { libc::getpid() };
    // SAFETY: pointer and length describe `allowed`.
    check(unsafe { libc::sched_getaffinity(first, size_of_val(&allowed), allowed.as_mut_ptr().cast()) })?;
    // SAFETY: pointer and length describe `allowed`; 0 means the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&allowed), allowed.as_ptr().cast()) }).map(|_| ())
}

/// Words of 64 CPUs each.
const CPU_WORDS: usize = 128;

/// Binds the calling thread to one of the CPUs that it may run on, by its place among them, from 0.
pub(crate) fn run_on_cpu(place: usize) -> Result<(), Errno> {
    const WORD_BITS: usize = u64::BITS as usize;
    const _: () = assert!(size_of::<libc::cpu_set_t>() <= CPU_WORDS * size_of::<u64>());
    let mut allowed = [0_u64; CPU_WORDS];
    // SAFETY: pointer and length describe `allowed`; 0 means the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), allowed.as_mut_ptr().cast()) })?;
    let is_allowed = |cpu: &usize| allowed[cpu / WORD_BITS] & (1 << (cpu % WORD_BITS)) != 0;
    let cpu = (0..allowed.len() * WORD_BITS).filter(is_allowed).nth(place).ok_or(Errno::INVALID)?;
    let mut set = [0_u64; CPU_WORDS];
    set[cpu / WORD_BITS] = 1 << (cpu % WORD_BITS);
    // SAFETY: pointer and length describe `set`; 0 means the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    #[test]
    fn connections_that_are_taken_inherit_the_listeners_congestion_control() {
        for wanted in Congestion::ALL {
            if try_congestion(wanted).is_err() {
                println!("skipped: {}", wanted.name());
                continue;
            }
            let options = SocketOptions { congestion: Some(wanted) };
            let (raw, address) = listen(([127, 0, 0, 1], 0).into(), 4, options).expect("loopback");
            // SAFETY: the descriptor is new and ours alone.
            let listener = unsafe { TcpListener::from_raw_fd(raw) };
            let _dialled = TcpStream::connect(address).expect("somebody listens");
            let (taken, _) = listener.accept().expect("somebody dialled");
            assert_eq!(congestion(taken.as_raw_fd()), Ok(wanted.name().to_owned()));
        }
    }

    /// Core 0 went to CPU 0 even where the process may not run on it, as in a container, and no node opened.
    #[test]
    fn a_thread_is_bound_by_place_among_the_cpus_that_it_may_run_on() {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let bound = std::thread::spawn(move || {
            let last = run_on_cpu(count - 1);
            (last, run_on_cpu(0), run_on_cpu(1))
        });
        let bound = bound.join().expect("it ends");
        assert_eq!(bound, (Ok(()), Ok(()), Err(Errno::INVALID)), "one is left, of place 0");
    }

    #[test]
    fn a_page_has_a_size() {
        assert!(page_bytes() >= 4096);
    }
}
