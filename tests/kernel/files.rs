//! Files, directories, mappings.

use ringway::uring::{Buffer, Core, Dir, Errno, FileKind, KernelOptions, KernelRing, OpenOptions};

use super::{core_with, drive, on_core, open, scratch, skip};

const NEW: OpenOptions =
    OpenOptions { write: true, create: true, exclusive: true, direct: false, directory: false };
const PLAIN: OpenOptions =
    OpenOptions { write: false, create: false, exclusive: false, direct: false, directory: false };

async fn write_file(dir: &Dir, name: &str, bytes: &[u8]) {
    let file = dir.open(name, NEW).await.expect("a new name");
    let (result, _) = file.write_at(Buffer::from_bytes(bytes), 0..bytes.len(), 0).await;
    result.expect("the disk has room");
}

#[test]
fn bytes_written_are_synced_read_and_the_end_of_the_file_is_seen() {
    let folder = scratch();
    let path = folder.path().join("a");
    on_core(|_| async move {
        let dir = open(&folder).await;
        write_file(&dir, "a", b"hello ring").await;
        let file = dir.open("a", OpenOptions { write: true, ..PLAIN }).await.expect("just made");
        file.sync_data().await.expect("a healthy disk");
        let (count, buffer) = file.read_at(Buffer::heap(4096), 0..4096, 6).await;
        assert_eq!(count, Ok(4));
        assert_eq!(&buffer.memory()[..4], b"ring");
        let (count, _) = file.read_at(buffer, 0..4096, 100).await;
        assert_eq!(count, Ok(0));
        assert_eq!(dir.open("a", NEW).await.err(), Some(Errno::EXISTS));
        assert_eq!(dir.open("b", PLAIN).await.err(), Some(Errno::NOT_FOUND));
        let beyond = file.write_at(Buffer::heap(1), 0..1, u64::MAX).await.0;
        assert_eq!(beyond, Err(Errno::INVALID), "to io_uring -1 is the file's own position");
        assert_eq!(file.read_at(Buffer::heap(1), 0..1, u64::MAX).await.0, Err(Errno::INVALID));
        assert_eq!(std::fs::read(&path).expect("it is there"), b"hello ring");
        folder
    });
}

#[test]
fn a_file_is_made_with_its_room_or_leaves_no_name() {
    let folder = scratch();
    on_core(|_| async move {
        let dir = open(&folder).await;
        let file = match dir.create("d", true, 64 * 1024).await {
            Ok(file) => file,
            Err(Errno::INVALID) => {
                assert_eq!(dir.stat_name("d").await.err(), Some(Errno::NOT_FOUND), "not even a name");
                dir.create("d", false, 64 * 1024).await.expect("through the page cache")
            }
            Err(errno) => panic!("create: {errno}"),
        };
        let facts = file.stat().await.expect("open");
        assert_eq!((facts.kind, facts.mode, facts.links), (FileKind::Regular, 0o600, 1));
        let preallocates = file.allocate(1).await != Err(Errno::NOT_SUPPORTED);
        assert_eq!(facts.bytes, if preallocates { 64 * 1024 } else { 0 });
        write_file(&dir, "other", b"somebody's").await;
        assert_eq!(dir.create("other", false, u64::MAX / 2).await.err(), Some(Errno::EXISTS));
        assert_eq!(dir.stat_name("other").await.expect("it stays").bytes, 10);
        let refused = dir.create("vast", false, u64::MAX / 2).await.err();
        assert!(refused.is_some(), "no file is as large");
        assert_eq!(dir.stat_name("vast").await.err(), Some(Errno::NOT_FOUND), "{refused:?}");
        folder
    });
}

#[test]
fn direct_io_works_from_registered_buffers_and_from_plain_ones() {
    for registered in [true, false] {
        let folder = scratch();
        let core = core_with(KernelOptions { registered, ..KernelOptions::default() });
        if core.probe().uses("registered buffers") != registered {
            skip(&format!("registered buffers: {}", core.probe()));
        }
        let inner = core.clone();
        drive(&core, async move {
            let dir = open(&folder).await;
            let direct = OpenOptions { direct: true, ..NEW };
            let file = match dir.open("d", direct).await {
                Ok(file) => file,
                Err(Errno::INVALID) => return skip("O_DIRECT on the build's file system"),
                Err(errno) => panic!("open: {errno}"),
            };
            file.allocate(256 * 1024).await.expect("room for it");
            for index in 0..4_u8 {
                let mut buffer = inner.slab().take().await;
                buffer.memory_mut().fill(index + 1);
                let (result, _) = file.write_at(buffer, 0..64 * 1024, u64::from(index) * 64 * 1024).await;
                result.expect("aligned");
            }
            let (count, buffer) = file.read_at(inner.slab().take().await, 0..64 * 1024, 128 * 1024).await;
            assert_eq!(count, Ok(64 * 1024));
            assert!(buffer.memory().iter().all(|byte| *byte == 3));
            let (result, buffer) = file.read_at(buffer, 0..512, 1).await;
            assert_eq!(result, Err(Errno::INVALID), "an unaligned offset under O_DIRECT");
            drop(buffer);
            assert_eq!(inner.slab().free(), 8, "every buffer came home");
            file.truncate(100_000).await.expect("a file of ours");
            assert_eq!(file.stat().await.expect("open").bytes, 100_000);
        });
        core.shut_down();
    }
}

#[test]
fn parts_of_a_registered_buffer_are_written_from_and_read_into_each_by_itself() {
    const PART: usize = 64 * 1024;
    let folder = scratch();
    let ring = KernelRing::open(KernelOptions::default()).expect("this machine has io_uring");
    let core = Core::new(Box::new(ring), 4, 1 << 20);
    let inner = core.clone();
    drive(&core, async move {
        let file = open(&folder).await.open("parts", NEW).await.expect("a new name");
        let mut parts: Vec<_> =
            (0..20).map(|_| inner.slab().spare(PART).expect("sixteen parts a buffer")).collect();
        assert_eq!(inner.slab().free(), 2, "two are cut");
        assert!(parts.iter().all(|part| part.slot().is_some() && part.capacity() == PART));
        for (part, index) in parts.iter_mut().zip(0..) {
            part.memory_mut().fill(index);
        }
        for (part, index) in parts.into_iter().zip(0..) {
            assert!(part.memory().iter().all(|byte| u64::from(*byte) == index), "no part is another's");
            file.write_at(part, 0..PART, index * PART as u64).await.0.expect("room");
        }
        assert_eq!(inner.slab().free(), 4, "every part came home");
        for index in (0..20_u64).rev() {
            let part = inner.slab().spare(PART - 1).expect("a part");
            let (count, part) = file.read_at(part, 0..PART, index * PART as u64).await;
            assert_eq!(count, Ok(PART));
            assert!(part.memory().iter().all(|byte| u64::from(*byte) == index));
        }
        let whole: Vec<_> =
            (0..3).map(|_| inner.slab().spare(PART + 1).expect("more than a quarter")).collect();
        assert!(whole.iter().all(|buffer| buffer.capacity() == 1 << 20));
        assert!(inner.slab().spare(PART).is_none(), "the last quarter is not for this");
    });
    core.shut_down();
}

#[test]
fn a_whole_slab_in_flight_at_once_comes_home() {
    let folder = scratch();
    on_core(|core| async move {
        let dir = open(&folder).await;
        let file = dir.open("many", NEW).await.expect("a new name");
        let mut tasks = Vec::new();
        for index in 0..64_u64 {
            let (file, inner) = (file.clone(), core.clone());
            tasks.push(core.spawn(ringway::uring::Priority::Bulk, async move {
                let mut buffer = inner.slab().take().await;
                buffer.memory_mut().fill(index as u8);
                let (result, buffer) = file.write_at(buffer, 0..65536, index * 65536).await;
                result.expect("room");
                let (count, buffer) = file.read_at(buffer, 0..65536, index * 65536).await;
                assert_eq!(count, Ok(65536));
                assert!(buffer.memory().iter().all(|byte| *byte == index as u8));
            }));
        }
        for task in tasks {
            task.await.expect("it ran to its end");
        }
        assert_eq!(core.slab().free(), 8);
        folder
    });
}

#[test]
fn names_are_made_renamed_linked_listed_and_removed() {
    let folder = scratch();
    on_core(|_| async move {
        let dir = open(&folder).await;
        let below = dir.make_dir("below").await.expect("a new name");
        let again = dir.make_dir("below").await.expect("one that exists is opened");
        assert_eq!(again.stat().await.expect("open").kind, FileKind::Directory);
        write_file(&dir, "one", b"1").await;
        dir.rename("one", &below, "two").await.expect("one file system");
        below.link("two", &dir, "three").await.expect("one file system");
        assert_eq!(below.link("two", &dir, "three").await, Err(Errno::EXISTS));
        let stat = dir.stat_name("three").await.expect("just linked");
        assert_eq!((stat.kind, stat.links, stat.bytes, stat.mode), (FileKind::Regular, 2, 1, 0o600));
        assert_eq!(below.stat().await.expect("open").mode, 0o700);
        std::os::unix::fs::symlink("three", folder.path().join("link")).expect("a new name");
        assert_eq!(dir.stat_name("link").await.expect("it is there").kind, FileKind::Symlink);
        dir.sync().await.expect("a healthy disk");
        below.sync().await.expect("a healthy disk");
        let names = dir.list().await.expect("open");
        let names: Vec<_> =
            names.iter().map(|n| (String::from_utf8_lossy(&n.bytes), n.is_dir, n.is_special)).collect();
        let expected = [("below", true, false), ("link", false, true), ("three", false, false)]
            .map(|(n, d, s)| (n.into(), d, s));
        assert_eq!(names, expected);
        assert_eq!(dir.list().await.expect("a second reading starts at the front").len(), 3);
        assert_eq!(dir.remove_dir("below").await, Err(Errno(libc::ENOTEMPTY)));
        below.unlink("two").await.expect("it is there");
        dir.remove_dir("below").await.expect("empty now");
        assert_eq!(dir.unlink("gone").await, Err(Errno::NOT_FOUND));
        folder
    });
}

#[test]
fn a_long_directory_is_listed_whole_and_sorted() {
    let folder = scratch();
    for index in 0..3000 {
        let name = format!("{:05}-{}", (index * 7919) % 3000, "n".repeat(60));
        std::fs::write(folder.path().join(name), b"").expect("room");
    }
    on_core(|_| async move {
        let names = open(&folder).await.list().await.expect("open");
        assert_eq!(names.len(), 3000);
        assert!(names.is_sorted());
        folder
    });
}

#[test]
fn nothing_that_leaves_the_directory_or_is_no_regular_file_is_opened() {
    let folder = scratch();
    let outside = scratch();
    std::fs::write(outside.path().join("secret"), b"s").expect("room");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).expect("a new name");
    std::fs::create_dir(folder.path().join("in")).expect("a new name");
    std::os::unix::fs::symlink("in", folder.path().join("inner")).expect("a new name");
    std::fs::write(folder.path().join("in/f"), b"f").expect("room");
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is part of every system");
    on_core(|_| async move {
        let dir = open(&folder).await;
        for (path, expected) in [
            ("../x", Errno::CROSSES),
            ("/etc/passwd", Errno::CROSSES),
            ("out/secret", Errno::LOOP),
            ("inner/f", Errno::LOOP),
            ("in", Errno::INVALID),
            ("fifo", Errno::INVALID),
            ("in/f/g", Errno::NOT_A_DIRECTORY),
        ] {
            assert_eq!(dir.open(path, PLAIN).await.err(), Some(expected), "{path}");
        }
        assert_eq!(dir.open_dir("out").await.err(), Some(Errno::LOOP));
        assert_eq!(dir.open_dir("in/f").await.err(), Some(Errno::NOT_A_DIRECTORY));
        let file = dir.open("in/f", PLAIN).await.expect("a regular file below");
        // Not left non-blocking: reads wait, as they must.
        let (count, _) = file.read_at(Buffer::heap(1), 0..1, 0).await;
        assert_eq!(count, Ok(1));
        (folder, outside)
    });
}

#[test]
fn space_locks_residency_mappings_and_clones_answer_truly() {
    let folder = scratch();
    on_core(|_| async move {
        let dir = open(&folder).await;
        let space = dir.space().await.expect("open");
        assert!(space.total > 0 && space.available <= space.total);
        write_file(&dir, "m", &[7; 10_000]).await;
        let file = dir.open("m", OpenOptions { write: true, ..PLAIN }).await.expect("just made");
        file.lock().await.expect("nobody has it");
        let other = dir.open("m", PLAIN).await.expect("just made");
        assert_eq!(other.lock().await, Err(Errno::AGAIN));
        let mapping = file.map().await.expect("a sealed file");
        assert_eq!(&mapping[..], &[7; 10_000]);
        write_file(&dir, "empty", b"").await;
        let empty = dir.open("empty", OpenOptions { write: true, ..PLAIN }).await.expect("just made");
        assert!(empty.map().await.expect("nothing to map").is_empty());
        match file.resident(0, 10_000).await {
            Ok(bytes) => assert_eq!(bytes, 10_000, "just written, so in the page cache"),
            Err(Errno::NOT_SUPPORTED) => skip("cachestat"),
            Err(errno) => panic!("resident: {errno}"),
        }
        match file.reflink_to(&empty).await {
            Ok(()) => assert_eq!(empty.stat().await.expect("open").bytes, 10_000),
            Err(Errno::NOT_SUPPORTED) => skip("reflink on the build's file system"),
            Err(errno) => panic!("reflink: {errno}"),
        }
        drop((file, mapping));
        folder
    });
}
