//! Hosts that refuse: io_uring behind seccomp, too little memory to lock. The binary on such hosts stands in
//! `tests/bad_input/hosts.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ringway::engine::{
    self, Ask, Builder, Damage, Damaged, Engine, OpenError, PullError, PullOptions, RejoinError, RootError,
    Sealed, ServeError, ServeOptions, verify_segments,
};
use ringway::ids::{ClusterId, NodeId};
use ringway::uring::{Core, Errno, KernelOptions, KernelRing, OpenOptions, REGISTERED_BUFFERS, RingError};

use super::without::{Forbidden, REGISTER_BUFFERS, give_up_rights, memlock};
use super::{drive, open, scratch, skip};

const SETUP: Forbidden = Forbidden::always(libc::SYS_io_uring_setup, libc::EPERM);

#[test]
fn a_seccomp_filter_gives_an_error_that_says_what_to_allow() {
    let thread = std::thread::spawn(|| {
        SETUP.here();
        KernelRing::open(KernelOptions::default()).map(|_| ())
    });
    let error = thread.join().expect("it ends").expect_err("it was forbidden");
    assert!(matches!(error, RingError::Refused { errno: Errno(libc::EPERM), .. }), "{error:?}");
    let text = error.to_string();
    for word in ["seccomp", "io_uring_setup", "io_uring_enter", "io_uring_register", "memlock"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

/// With io_uring_setup allowed and another call not, the first one failed without saying what to allow, and a core
/// ended its process at its first turn.
#[test]
fn a_filter_that_forbids_only_one_of_the_three_calls_is_told_as_such() {
    for (call, name) in
        [(libc::SYS_io_uring_enter, "io_uring_enter"), (libc::SYS_io_uring_register, "io_uring_register")]
    {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let thread = std::thread::spawn(move || {
                Forbidden::always(call, errno).here();
                KernelRing::open(KernelOptions::default()).map(drop)
            });
            let error = thread.join().expect("it ends").expect_err("it was forbidden");
            let is_it = matches!(error, RingError::Refused { call, errno: found, .. }
                if call == name && found == Errno(errno));
            assert!(is_it && error.to_string().contains("seccomp"), "{error:?}");
        }
    }
}

#[test]
fn buffers_that_may_not_be_registered_are_told_with_what_to_allow_and_plain_io_does_the_work() {
    for (errno, words) in [
        (libc::EPERM, "allow io_uring_register with all of its operations"),
        (libc::ENOMEM, "RLIMIT_MEMLOCK"),
        (libc::EINVAL, "Invalid argument"),
    ] {
        let thread = std::thread::spawn(move || {
            Forbidden { call: libc::SYS_io_uring_register, errno, with: &[REGISTER_BUFFERS] }.here();
            let ring = KernelRing::open(KernelOptions::default()).expect("all else is allowed");
            let core = Core::new(Box::new(ring), 8, 1 << 20);
            let finding =
                core.probe().findings.into_iter().find(|finding| finding.name == REGISTERED_BUFFERS);
            let finding = finding.expect("it was looked for");
            assert!(!finding.in_use && finding.note.contains(words), "{finding:?}");
            writes_and_reads(&core);
        });
        thread.join().expect("it ends");
    }
}

/// Writes out of a buffer of the slab, and reads it back.
fn writes_and_reads(core: &Core) {
    let (folder, inner) = (scratch(), core.clone());
    drive(core, async move {
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
}

#[test]
fn a_kernel_without_io_uring_gives_the_same_kind_of_error() {
    let thread = std::thread::spawn(|| {
        Forbidden { errno: libc::ENOSYS, ..SETUP }.here();
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
        SETUP.here();
        let (stop, any) = (AtomicBool::new(false), "127.0.0.1:0".parse().expect("an address"));
        let serve = ServeOptions { dir: dir.join("source"), listen: any, cache: Some(dir.join("cache")) };
        let served = engine::serve(&serve, SECRET, &stop, &|_| {}, |_| {});
        let pull = PullOptions {
            address: any,
            dest: dir.join("dest"),
            delete: false,
            wait_for_space: false,
            cores: None,
        };
        let pulled = engine::pull(pull, SECRET, &stop, |_| {});
        let rejoined = engine::rejoin(config, Vec::new());
        (served, pulled, rejoined, node(&root).open().map(drop))
    });
    let whys = match thread.join().expect("it ends") {
        (
            Err(ServeError::Ring { why: serve }),
            Err(PullError::Ring { why: pull }),
            Err(RejoinError::Root(RootError::Ring { why: rejoin })),
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

#[test]
fn too_little_memory_to_lock_is_told_with_figures_and_plain_io_does_the_work() {
    let limit = memlock();
    if limit > 256 << 20 {
        return skip(&format!("memlock limit of {limit} bytes cannot be passed by a test's slab"));
    }
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
        writes_and_reads(&core);
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
