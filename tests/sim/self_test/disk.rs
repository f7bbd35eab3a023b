//! The simulated disk keeps what is synced and may lose the rest.

use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::uring::{Buffer, Core, Dir, Errno, File, OpenOptions};

use crate::sim::{
    Chance, Crash, DiskOptions, Fault, How, Loss, OpKind, Rule, Sim, SimOptions, each_seed, twice,
};

const NEW: OpenOptions =
    OpenOptions { write: true, create: true, exclusive: false, direct: false, directory: false };
const OLD: OpenOptions =
    OpenOptions { write: true, create: false, exclusive: false, direct: false, directory: false };

async fn write(file: &File, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    file.write_at(Buffer::from_bytes(bytes), 0..bytes.len(), offset).await.0
}

async fn read(file: &File, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let (count, buffer) = file.read_at(Buffer::heap(len), 0..len, offset).await;
    Ok(buffer.memory()[..count?].to_vec())
}

async fn root() -> Dir {
    Dir::open_root("/data").await.expect("every node has it")
}

/// Makes a file of a name, its content and its name durable.
async fn make(name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let root = root().await;
    let file = root.open(name, NEW).await?;
    write(&file, 0, bytes).await?;
    file.sync_data().await?;
    root.sync().await
}

fn one_node(seed: u64) -> (Sim, ringway::ids::NodeId, Core) {
    let mut sim = Sim::new(seed, SimOptions::small());
    let node = sim.node(1);
    let core = sim.core(node, 0);
    (sim, node, core)
}

/// A little of everything; the digest of its event log.
fn medley(seed: u64) -> u64 {
    let (mut sim, node, core) = one_node(seed);
    let done = sim.block_on(&core, async {
        make("first", &[7; 9000]).await?;
        let root = root().await;
        let dir = root.make_dir("below").await?;
        root.rename("first", &dir, "second").await?;
        let file = dir.open("second", OLD).await?;
        file.truncate(5000).await?;
        let bytes = read(&file, 4000, 4096).await?;
        let names = dir.list().await?;
        Ok::<_, Errno>((bytes.len(), names.len()))
    });
    assert_eq!(done, Ok((1000, 1)));
    sim.power_cut(node);
    sim.restart(node);
    let core = sim.core(node, 0);
    let names = sim.block_on(&core, async { root().await.list().await }).map(|names| names.len() as u64);
    sim.note(node, "names", &[names.expect("a root can be listed")]);
    sim.digest()
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let mut digests: Vec<u64> = (1..=20).map(|seed| twice(seed, medley)).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 20, "every seed has its own run");
}

#[test]
fn what_is_synced_survives_every_power_cut() {
    each_seed(50, |seed| {
        let (mut sim, node, core) = one_node(seed);
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
        let theirs = bytes.clone();
        sim.block_on(&core, async move { make("kept", &theirs).await }).expect("nothing is broken");
        sim.power_cut_with(node, if seed % 2 == 0 { Loss::All } else { Loss::Drawn });
        assert_eq!(sim.host(node).disk.file("/data/kept"), Some(bytes));
    });
}

#[test]
fn what_is_not_synced_is_kept_lost_or_torn() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    each_seed(60, |seed| {
        let (mut sim, node, core) = one_node(seed);
        // In two parts, a write may well end within a sector.
        sim.host(node).disk.options().short = Chance::NEVER;
        let write = async {
            make("file", &[1; 8192]).await?;
            let file = root().await.open("file", OLD).await?;
            write(&file, 0, &[2; 8192]).await
        };
        sim.block_on(&core, write).expect("nothing is broken");
        sim.power_cut(node);
        let bytes = sim.host(node).disk.file("/data/file").expect("its name was synced");
        assert_eq!(bytes.len(), 8192);
        let whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(bytes.chunks(512).all(whole), "a sector is written whole");
        match bytes.iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            8192 => kept += 1,
            _ => torn += 1,
        }
    });
    if std::env::var_os("SEED").is_none() {
        assert!(kept > 5 && lost > 5 && torn > 5, "{kept} kept, {lost} lost, {torn} torn");
    }
}

#[test]
fn a_kept_size_over_lost_blocks_shows_zeros() {
    let mut seen = 0;
    for seed in 1..=60 {
        let (mut sim, node, core) = one_node(seed);
        let append = async {
            make("log", b"").await?;
            write(&root().await.open("log", OLD).await?, 0, &[9; 6000]).await
        };
        sim.block_on(&core, append).expect("nothing is broken");
        sim.power_cut(node);
        let bytes = sim.host(node).disk.file("/data/log").expect("its name was synced");
        seen += u32::from(bytes.len() == 6000 && bytes[..512] == [0; 512]);
    }
    assert!(seen > 0, "a torn tail comes up in sixty power cuts");
}

#[test]
fn a_name_without_its_directory_synced_may_be_lost_and_with_it_never() {
    let (mut there, mut gone) = (0, 0);
    for seed in 1..=60 {
        let (mut sim, node, core) = one_node(seed);
        let land = async {
            make("staged", b"content").await?;
            let root = root().await;
            root.rename("staged", &root, "final").await
        };
        sim.block_on(&core, land).expect("nothing is broken");
        sim.power_cut(node);
        let disk = &sim.host(node).disk;
        let names = (disk.file("/data/staged").is_some(), disk.file("/data/final").is_some());
        match names {
            (true, false) => gone += 1,
            (false, true) => there += 1,
            both => panic!("a rename within a directory is atomic: {both:?}"),
        }
    }
    assert!(there > 5 && gone > 5, "{there} renamed, {gone} not");
    let (mut sim, node, core) = one_node(1);
    let land = async {
        make("staged", b"content").await?;
        let root = root().await;
        root.rename("staged", &root, "final").await?;
        root.sync().await
    };
    sim.block_on(&core, land).expect("nothing is broken");
    sim.power_cut_with(node, Loss::All);
    assert_eq!(sim.host(node).disk.paths("/data"), ["/data/final"]);
}

#[test]
fn a_rename_between_directories_never_loses_the_file() {
    let mut both = 0;
    for seed in 1..=80 {
        let (mut sim, node, core) = one_node(seed);
        let land = async move {
            let root = root().await;
            let (from, to) = (root.make_dir("from").await?, root.make_dir("to").await?);
            root.sync().await?;
            write(&from.open("a", NEW).await?, 0, b"x").await?;
            from.sync().await?;
            from.rename("a", &to, "b").await?;
            if seed % 2 == 0 { from.sync().await } else { Ok(()) }
        };
        sim.block_on(&core, land).expect("nothing is broken");
        sim.power_cut(node);
        let disk = &sim.host(node).disk;
        let names = [disk.file("/data/from/a"), disk.file("/data/to/b")];
        assert!(names.iter().any(Option::is_some), "seed {seed} lost the file");
        both += u32::from(names.iter().all(Option::is_some));
    }
    assert!(both > 0, "the halves of a rename may part");
}

#[test]
fn a_failing_sync_loses_data_and_the_next_one_says_nothing() {
    let mut lost = 0;
    for seed in 1..=20 {
        let (mut sim, node, core) = one_node(seed);
        sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("file"));
        let syncs = sim.block_on(&core, async {
            let root = root().await;
            let file = root.open("file", NEW).await?;
            root.sync().await?;
            write(&file, 0, &[5; 4096]).await?;
            let syncs = (file.sync_data().await, file.sync_data().await);
            assert_eq!(read(&file, 0, 4096).await?, [5; 4096], "the cache still has it");
            Ok::<_, Errno>(syncs)
        });
        assert_eq!(syncs, Ok((Err(Errno::IO), Ok(()))));
        sim.power_cut_with(node, Loss::Nothing);
        lost += u32::from(sim.host(node).disk.file("/data/file") != Some(vec![5; 4096]));
    }
    assert!(lost > 5, "the retried sync had nothing left to write");
}

#[test]
fn a_lying_device_loses_or_misplaces_a_synced_write() {
    for (fault, there) in [(Fault::Lose, vec![1; 4096]), (Fault::Misdirect, vec![2; 4096])] {
        let (mut wrong, mut told) = (0, 0);
        for seed in 1..=20 {
            let (mut sim, node, core) = one_node(seed);
            sim.block_on(&core, make("file", &[1; 16_384])).expect("nothing is broken");
            sim.fault(node, Rule::new(fault).on(OpKind::Write));
            let done = sim.block_on(&core, async {
                let file = root().await.open("file", OLD).await?;
                write(&file, 4096, &[2; 4096]).await?;
                file.sync_data().await
            });
            told += u32::from(done.is_err());
            sim.power_cut_with(node, Loss::All);
            let bytes = sim.host(node).disk.file("/data/file").expect("it was synced before");
            wrong += u32::from(bytes[4096..8192] != [2; 4096]);
            if fault == Fault::Misdirect {
                assert!(bytes.chunks(4096).any(|block| block == there), "it landed somewhere");
            }
        }
        assert!(told == 0 && wrong > 10, "{fault:?}: {wrong} of 20 wrong, {told} told");
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let (mut sim, node, core) = one_node(3);
    sim.host(node).disk.set_capacity("/data", 64 * 1024);
    let full = sim.block_on(&core, async {
        let root = root().await;
        let file = root.open("big", NEW).await?;
        write(&file, 0, &[1; 48 * 1024]).await?;
        assert_eq!(file.allocate(128 * 1024).await, Err(Errno::NO_SPACE));
        assert_eq!((file.stat().await?.bytes, root.space().await?.available), (64 * 1024, 0), "as on ext4");
        file.truncate(48 * 1024).await?;
        assert_eq!(file.take_room(128 * 1024, 48 * 1024).await, Err(Errno::NO_SPACE));
        assert_eq!((file.stat().await?.bytes, root.space().await?.available), (48 * 1024, 16 * 1024));
        let other = root.open("other", NEW).await?;
        let refused = write(&other, 0, &[2; 32 * 1024]).await;
        root.unlink("big").await?;
        let still = write(&other, 0, &[2; 32 * 1024]).await;
        drop(file);
        Ok::<_, Errno>((refused, still))
    });
    assert_eq!(
        full,
        Ok((Err(Errno::NO_SPACE), Err(Errno::NO_SPACE))),
        "the descriptor still holds the blocks"
    );
    let freed = async { write(&root().await.open("other", OLD).await?, 0, &[2; 32 * 1024]).await };
    assert_eq!(sim.block_on(&core, freed), Ok(()));
    sim.host(node).disk.set_capacity("/data", 1 << 20);
    assert_eq!(sim.block_on(&core, make("third", &[3; 256 * 1024])), Ok(()));
}

#[test]
fn paths_stay_beneath_and_links_are_refused() {
    let (mut sim, node, core) = one_node(4);
    {
        let disk = &mut sim.host(node).disk;
        disk.plant_dir("/outside");
        disk.plant_file("/outside/secret", b"s");
        disk.plant_symlink("/data/link", "/outside");
        disk.plant_fifo("/data/fifo");
        disk.plant_dir("/data/sub");
        disk.plant_file("/data/sub/file", b"f");
    }
    let found = sim.block_on(&core, async {
        let root = root().await;
        let read_only = OpenOptions::default();
        let open = async |path: &str| root.open(path, read_only).await.map(|_| ());
        let results =
            [open("../outside/secret").await, open("/outside/secret").await, open("link/secret").await];
        let others = [open("fifo").await, open("sub").await, open("sub/../sub/./file").await];
        (results, others, open("sub/file/x").await, open("absent").await)
    });
    assert_eq!(found.0, [Err(Errno::CROSSES), Err(Errno::CROSSES), Err(Errno::LOOP)]);
    assert_eq!(found.1, [Err(Errno::INVALID), Err(Errno::INVALID), Ok(())]);
    assert_eq!((found.2, found.3), (Err(Errno::NOT_A_DIRECTORY), Err(Errno::NOT_FOUND)));
}

#[test]
fn direct_io_wants_alignment_and_sees_the_medium() {
    let (mut sim, node, core) = one_node(5);
    let direct = OpenOptions { direct: true, ..OLD };
    let seen = sim.block_on(&core, async move {
        make("file", &[1; 8192]).await?;
        let file = root().await.open("file", direct).await?;
        assert_eq!(write(&file, 512, &[2; 4096]).await, Err(Errno::INVALID));
        assert_eq!(file.read_at(Buffer::heap(8192), 1..4097, 0).await.0, Err(Errno::INVALID));
        read(&file, 0, 8192).await
    });
    assert_eq!(seen, Ok(vec![1; 8192]));
    assert!(sim.host(node).disk.rot("/data/file", 5000, 0x10));
    let rotten = sim.block_on(&core, async move {
        let root = root().await;
        let cached = read(&root.open("file", OLD).await?, 5000, 1).await?;
        let direct = read(&root.open("file", direct).await?, 4096, 4096).await?;
        Ok::<_, Errno>((cached, direct[904]))
    });
    assert_eq!(rotten, Ok((vec![1], 0x11)), "rot under a cached page shows when the medium is read");
    sim.host(node).disk.evict();
    let again = sim.block_on(&core, async { read(&root().await.open("file", OLD).await?, 5000, 1).await });
    assert_eq!(again, Ok(vec![0x11]));
    sim.host(node).disk.evict();
    sim.host(node).disk.make_unreadable("/data/file", 0);
    let bad = sim.block_on(&core, async { read(&root().await.open("file", OLD).await?, 0, 1).await });
    assert_eq!(bad, Err(Errno::IO));
}

#[test]
fn a_lock_is_free_soon_after_its_holder_was_killed() {
    each_seed(20, |seed| {
        let (mut sim, node, core) = one_node(seed);
        let lock = || async {
            let file = root().await.open("lock", NEW).await?;
            let locked = file.lock().await;
            Ok::<_, Errno>((file, locked))
        };
        let held = Rc::new(std::cell::RefCell::new(None));
        let theirs = Rc::clone(&held);
        let first = sim.block_on(&core, async move {
            let (file, locked) = lock().await?;
            theirs.replace(Some(file));
            let (_, other) = lock().await?;
            Ok::<_, Errno>((locked, other))
        });
        assert_eq!(first, Ok((Ok(()), Err(Errno::AGAIN))));
        sim.kill(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let taken = sim.block_on(&core, async move {
            for _ in 0..10 {
                if lock().await?.1.is_ok() {
                    return Ok(true);
                }
                ringway::uring::sleep(Nanos::MILLISECOND).await;
            }
            Ok::<_, Errno>(false)
        });
        assert_eq!(taken, Ok(true));
    });
}

#[test]
fn every_durable_step_can_be_the_last_one() {
    let mut states = Vec::new();
    for after in [false, true] {
        for step in 0.. {
            let mut options = SimOptions::small();
            options.disk = DiskOptions { short: Chance::NEVER, ..options.disk };
            let mut sim = Sim::new(step, options);
            let node = sim.node(1);
            let core = sim.core(node, 0);
            let crash = Fault::Crash(Crash { how: How::PowerCut, after });
            let rule = sim.fault(node, Rule::new(crash).on_durable_steps().skip(step));
            let done = sim.try_block_on(&core, make("file", b"whole"));
            if sim.hits(node, rule) == 0 {
                assert_eq!(done, Some(Ok(())));
                break;
            }
            assert_eq!(done, None, "the node is down");
            assert!(!sim.is_up(node));
            states.push((after, sim.host(node).disk.file("/data/file")));
            sim.restart(node);
            let core = sim.core(node, 0);
            assert_eq!(sim.block_on(&core, make("file", b"whole")), Ok(()));
        }
    }
    assert_eq!(states.len(), 8, "open, write, sync and sync of the directory, before and after");
    assert_eq!(states[4..].last(), Some(&(true, Some(b"whole".to_vec()))), "the last step makes it whole");
    assert_eq!(states[0], (false, None), "before the first step there is nothing");
}

#[test]
fn a_hung_disk_goes_on_when_it_thaws() {
    let (mut sim, node, core) = one_node(6);
    sim.freeze(node);
    sim.later(Nanos::from_secs(2), move |sim| sim.thaw(node));
    assert_eq!(sim.block_on(&core, make("late", b"x")), Ok(()));
    assert!(sim.now() >= Nanos::from_secs(2));
}
