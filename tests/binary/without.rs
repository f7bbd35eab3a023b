//! Hosts that lack something: what a thread of a test, or a child process, gives up before it begins.

#![allow(dead_code, reason = "each test binary takes what it needs of this toolbox")]
#![expect(unsafe_code, reason = "only the kernel can take something away")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// CAP_NET_ADMIN (capabilities(7)).
pub const NET_ADMIN: i32 = 12;
/// CAP_IPC_LOCK.
pub const IPC_LOCK: i32 = 14;
/// io_uring_register's operation for buffers, its second argument (io_uring_register(2)).
pub const REGISTER_BUFFERS: (u32, u32) = (1, 0);

/// A system call that fails.
#[derive(Clone, Copy)]
pub struct Forbidden {
    pub call: libc::c_long,
    pub errno: i32,
    /// Only with these arguments: place, from 0, and value.
    pub with: &'static [(u32, u32)],
}

impl Forbidden {
    pub const fn always(call: libc::c_long, errno: i32) -> Self {
        Self { call, errno, with: &[] }
    }

    /// setsockopt(2) of TCP_CONGESTION.
    pub const fn congestion(errno: i32) -> Self {
        const OPTION: &[(u32, u32)] = &[(1, libc::IPPROTO_TCP as u32), (2, libc::TCP_CONGESTION as u32)];
        Self { call: libc::SYS_setsockopt, errno, with: OPTION }
    }

    /// A seccomp filter (seccomp(2)): the call's number stands at 0 of its data, the arguments from 16.
    fn filter(self) -> Vec<libc::sock_filter> {
        let compared = [(0, self.call as u32)].into_iter();
        let compared: Vec<_> =
            compared.chain(self.with.iter().map(|(at, value)| (16 + 8 * at, *value))).collect();
        let mut filter = Vec::new();
        for (at, value) in &compared {
            // To the last line, which allows.
            let to_end = u8::try_from(2 * compared.len() - filter.len()).expect("a few");
            filter.push(libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: *at });
            filter.push(libc::sock_filter { code: 0x15, jt: 0, jf: to_end - 1, k: *value });
        }
        let errno = libc::SECCOMP_RET_ERRNO | self.errno as u32;
        filter.push(libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: errno });
        filter.push(libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
        filter
    }

    /// Makes it fail on this thread from now on.
    pub fn here(self) {
        install(&self.filter()).expect("filters are part of every kernel with io_uring");
    }

    /// Makes it fail in the child, and in its children.
    pub fn of(self, command: &mut Command) {
        let filter = self.filter();
        // SAFETY: two prctl(2), which a child may call behind fork(2); the filter was made before.
        unsafe { command.pre_exec(move || install(&filter)) };
    }
}

fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: takes no memory; a right that everybody may give up.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` and its filter live through the call, which copies them.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The child, and its children, do not get this capability. Who may not take it away has not got it either.
pub fn without_capability(command: &mut Command, capability: i32) {
    let take = move || {
        // SAFETY: takes no memory.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        Ok(())
    };
    // SAFETY: one prctl(2), which a child may call behind fork(2).
    unsafe { command.pre_exec(take) };
}

/// The child, and its children, may lock so much memory and no more.
pub fn with_memlock(command: &mut Command, bytes: u64) {
    without_capability(command, IPC_LOCK);
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: `limit` is a live rlimit.
        match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: one setrlimit(2), which a child may call behind fork(2).
    unsafe { command.pre_exec(limit) };
}

#[repr(C)]
struct Header {
    version: u32,
    process: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Rights {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up all capabilities of this thread (capset(2), version 3).
pub fn give_up_rights() {
    let header = Header { version: 0x2008_0522, process: 0 };
    let none = [Rights { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures are laid out as capset(2) says and live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(result, 0, "everybody may give rights up");
}

/// How much memory this process may lock.
pub fn memlock() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    assert_eq!(result, 0);
    limit.rlim_cur
}
