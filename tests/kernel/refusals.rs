//! Hosts that refuse: io_uring behind seccomp, too little memory to lock.

#![expect(unsafe_code, reason = "drops rights of one test thread, which only the kernel can do")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ringway::engine::{
    self, Ask, Builder, Damage, Damaged, Engine, OpenError, PullError, PullOptions, RejoinError, Sealed,
    ServeError, ServeOptions, verify_segments,
};
use ringway::ids::{ClusterId, NodeId};
use ringway::uring::{Core, Errno, KernelOptions, KernelRing, OpenOptions, RingError};

use super::{drive, open, scratch, skip};

/// Makes `call` fail with `errno` on this thread from now on.
fn forbid(call: u32, errno: u32) {
    let filter = [
        // Load the number of the call; if it is this one, answer the error; else allow.
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: call },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | errno },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
    // SAFETY: takes no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0, "a right that everybody may give up");
    // SAFETY: `program` and its filter live through the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "seccomp filters are part of every kernel with io_uring");
}

#[test]
fn a_seccomp_filter_gives_an_error_that_says_what_to_allow() {
    let thread = std::thread::spawn(|| {
        forbid(libc::SYS_io_uring_setup as u32, libc::EPERM as u32);
        KernelRing::open(KernelOptions::default()).map(|_| ())
    });
    let error = thread.join().expect("it ends").expect_err("it was forbidden");
    assert!(matches!(error, RingError::Refused { errno: Errno(libc::EPERM), .. }), "{error:?}");
    let text = error.to_string();
    for word in ["seccomp", "io_uring_setup", "io_uring_enter", "io_uring_register", "memlock"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

#[test]
fn a_kernel_without_io_uring_gives_the_same_kind_of_error() {
    let thread = std::thread::spawn(|| {
        forbid(libc::SYS_io_uring_setup as u32, libc::ENOSYS as u32);
        KernelRing::open(KernelOptions::default()).map(|_| ())
    });
    let error = thread.join().expect("it ends").expect_err("it was forbidden");
    assert!(matches!(error, RingError::Refused { errno: Errno(libc::ENOSYS), .. }), "{error:?}");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn node(root: &Path) -> Builder {
    let any = "127.0.0.1:0".parse().expect("an address");
    Engine::builder().cluster(ClusterId([7; 16])).node(NodeId(1), any).root(root).secret(SECRET)
}

#[test]
fn whatever_needs_a_ring_says_that_it_has_none_and_what_to_allow() {
    let folder = scratch();
    let (dir, root) = (folder.path().to_owned(), folder.path().join("node"));
    let engine = node(&root).open().expect("this machine has io_uring");
    let config = engine.config().clone();
    engine.shut_down();
    fs::create_dir(dir.join("source")).expect("made");
    let thread = std::thread::spawn(move || {
        forbid(libc::SYS_io_uring_setup as u32, libc::EPERM as u32);
        let (stop, any) = (AtomicBool::new(false), "127.0.0.1:0".parse().expect("an address"));
        let serve = ServeOptions { dir: dir.join("source"), listen: any, cache: Some(dir.join("cache")) };
        let served = engine::serve(&serve, SECRET, &stop, &|_| {}, |_| {});
        let pull = PullOptions { address: any, dest: dir.join("dest"), delete: false, wait_for_space: false };
        let pulled = engine::pull(pull, SECRET, &stop, |_| {});
        let rejoined = engine::rejoin(config, Vec::new());
        (served, pulled, rejoined, node(&root).open().map(drop))
    });
    let whys = match thread.join().expect("it ends") {
        (
            Err(ServeError::Ring { why: serve }),
            Err(PullError::Ring { why: pull }),
            Err(RejoinError::Ring { why: rejoin }),
            Err(OpenError::Core { why: open }),
        ) => [serve, pull, rejoin, open],
        other => panic!("{other:?}"),
    };
    for why in whys {
        assert!(why.contains("seccomp") && why.contains("io_uring_setup"), "{why}");
    }
}

#[test]
fn a_segment_that_may_not_be_read_is_told_as_that_and_as_no_other_damage() {
    let folder = scratch();
    let engine = node(&folder.path().join("node")).open().expect("this machine has io_uring");
    engine.bootstrap().wait().expect("founded");
    let shard = engine.shards().next().expect("one");
    for name in ["a", "b"] {
        fs::write(shard.directory().join(name), b"content").expect("room");
        let ask = Ask::default().within(Duration::from_secs(30));
        let done = shard.register(Sealed::at(name), ask).wait().expect("committed");
        shard.wait_installed(done.index, Duration::from_secs(30)).wait().expect("here");
    }
    engine.shut_down();
    let segments = shard.directory().to_owned();
    let verified = |segments: &Path| {
        let segments = segments.to_owned();
        let thread = std::thread::spawn(move || {
            // Else root reads it all the same.
            give_up_rights();
            verify_segments(&segments, |_| ())
        });
        let verified = thread.join().expect("it ends").expect("the inventory can be read");
        assert_eq!((verified.segments, verified.inventory_cut), (2, None));
        verified.damaged
    };
    fs::set_permissions(segments.join("a"), Permissions::from_mode(0o000)).expect("ours");
    let damaged = verified(&segments);
    let [Damaged { path, why: Damage::Unreadable { why } }] = &damaged[..] else { panic!("{damaged:?}") };
    assert!(path == "a" && why.contains("denied"), "{damaged:?}");
    fs::set_permissions(segments.join("a"), Permissions::from_mode(0o600)).expect("ours");
    assert!(verified(&segments).is_empty());
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
fn give_up_rights() {
    let header = Header { version: 0x2008_0522, process: 0 };
    let none = [Rights { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures are laid out as capset(2) says and live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(result, 0, "everybody may give rights up");
}

fn memlock() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    assert_eq!(result, 0);
    limit.rlim_cur
}

#[test]
fn too_little_memory_to_lock_is_told_with_figures_and_plain_io_does_the_work() {
    let limit = memlock();
    if limit > 256 << 20 {
        return skip(&format!("memlock limit of {limit} bytes cannot be passed by a test's slab"));
    }
    let folder = scratch();
    let thread = std::thread::spawn(move || {
        give_up_rights();
        let ring = match KernelRing::open(KernelOptions::default()) {
            Ok(ring) => ring,
            Err(error) => return skip(&format!("a ring without rights: {error}")),
        };
        let bytes = 1 << 20;
        let count = u16::try_from(limit / bytes + 8).expect("below 256 MiB");
        let core = Core::new(Box::new(ring), count, bytes as usize);
        let probe = core.probe();
        assert!(!probe.uses("registered buffers"), "{probe}");
        let text = probe.to_string();
        let wanted = u64::from(count) * bytes;
        for word in [&wanted.to_string(), &limit.to_string(), "RLIMIT_MEMLOCK", "CAP_IPC_LOCK", "at most"] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
        let inner = core.clone();
        drive(&core, async move {
            let dir = open(&folder).await;
            let new = OpenOptions { write: true, create: true, ..OpenOptions::default() };
            let file = dir.open("f", new).await.expect("room");
            let mut buffer = inner.slab().take().await;
            buffer.memory_mut()[..3].copy_from_slice(b"abc");
            let (written, buffer) = file.write_at(buffer, 0..3, 0).await;
            written.expect("room");
            let (count, buffer) = file.read_at(buffer, 10..20, 0).await;
            assert_eq!((count, &buffer.memory()[10..13]), (Ok(3), &b"abc"[..]));
        });
        core.shut_down();
    });
    thread.join().expect("it ends");
}

#[test]
fn the_probe_says_what_is_in_use_and_what_stands_in_for_the_rest() {
    let ring = KernelRing::open(KernelOptions::default()).expect("this machine has io_uring");
    let core = Core::new(Box::new(ring), 32, 1 << 20);
    let probe = core.probe();
    println!("{probe}");
    assert_eq!(probe.backend, "io_uring");
    assert!(probe.kernel.starts_with(|c: char| c.is_ascii_digit()), "{}", probe.kernel);
    for name in
        ["deferred task work", "registered buffers", "zero-copy send", "truncate in the ring", "cachestat"]
    {
        let finding = probe.findings.iter().find(|finding| finding.name == name).expect(name);
        assert!(finding.in_use || !finding.note.is_empty(), "{name} is not in use and nothing says why");
    }
}
