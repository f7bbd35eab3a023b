//! The log of a Raft group on a disk: how long one entry takes to be durable and applied, and how many share a flush.
//!
//! `cargo bench --features sim --bench log`; `RINGWAY_BENCH_DIR` chooses the directory, hence the disk. A group of one
//! on the kernel's ring: append, write, fdatasync, commit and apply, and no network. The baseline in the same run is a
//! plain file that takes a write and an fdatasync for each entry. The machine stands in the first line.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use ringway::ids::Nanos;
use ringway::limits::{CHUNK_BYTES, RING_ENTRIES};
use ringway::manifest::State;
use ringway::raft::{CommandBytes, Group, GroupConfig, GroupRole};
use ringway::uring::{Core, KernelOptions, KernelRing, Priority};

#[path = "group/mod.rs"]
mod group;
#[path = "machine/mod.rs"]
mod machine;

const PATIENCE: Nanos = Nanos::from_secs(30);
/// Proposals that are on their way at a time.
const DEPTHS: [u64; 4] = [1, 8, 64, 512];
/// An entry of one segment, and one of a small batch.
const SIZES: [usize; 2] = [256, 4096];

/// Runs a future on a core of this thread.
fn on<T: 'static>(core: &Core, work: impl Future<Output = T> + 'static) -> T {
    group::on(core, work, Core::turn)
}

/// A founded group of one that leads.
async fn lead(folder: PathBuf) -> Group<State> {
    let group = group::open(&folder, GroupConfig::default()).await;
    let leads = || (group.watermarks().role == GroupRole::Leader).then_some(());
    group.changed().until(leads).await;
    group
}

/// Proposes `count` entries, at most `depth` of them at a time; the time that it took.
async fn propose(group: Group<State>, count: u64, depth: u64, bytes: usize) -> Duration {
    // What is no command is logged, committed, and refused by the state: what is measured is the log.
    let entry = vec![7; bytes];
    let start = Instant::now();
    let lanes = (0..depth.min(count)).map(|lane| {
        let share = count / depth + u64::from(lane < count % depth);
        let (group, entry) = (group.clone(), entry.clone());
        Core::current().spawn(Priority::Urgent, async move {
            for _ in 0..share {
                group.propose(CommandBytes::copy_of(&entry), PATIENCE).await.expect("it leads");
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await;
    }
    start.elapsed()
}

fn group_commit(criterion: &mut Criterion, folder: &Path) {
    let ring = KernelRing::open(KernelOptions { entries: RING_ENTRIES, ..KernelOptions::default() });
    let core = Core::new(Box::new(ring.expect("io_uring")), 4, CHUNK_BYTES);
    let group = on(&core, lead(folder.to_owned()));
    for bytes in SIZES {
        let mut benches = criterion.benchmark_group(format!("log, entries of {bytes} bytes"));
        benches.sample_size(10).measurement_time(Duration::from_secs(3)).throughput(Throughput::Elements(1));
        for depth in DEPTHS {
            let before = group.figures().log;
            benches.bench_function(BenchmarkId::new("committed and applied, at a time", depth), |bench| {
                bench.iter_custom(|count| on(&core, propose(group.clone(), count, depth, bytes)));
            });
            let after = group.figures().log;
            let (records, flushes) = (after.records - before.records, after.batches - before.batches);
            let longest = after.flush_longest.0 / 1000;
            println!("  {records} records in {flushes} flushes; longest flush so far {longest} us");
        }
    }
    on(&core, async move { group.shut_down().await.expect("the log is sound") });
    core.shut_down();
}

fn plain_file(criterion: &mut Criterion, folder: &Path) {
    let path = folder.join("plain");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("made");
    for bytes in SIZES {
        let entry = vec![7; bytes];
        let mut benches = criterion.benchmark_group(format!("plain file, entries of {bytes} bytes"));
        benches.sample_size(10).measurement_time(Duration::from_secs(3)).throughput(Throughput::Elements(1));
        benches.bench_function("write and fdatasync", |bench| {
            bench.iter(|| {
                file.write_all(&entry).expect("room");
                file.sync_data().expect("a sound disk");
            });
        });
    }
}

fn main() {
    machine::print();
    let above = std::env::var_os("RINGWAY_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(&above).expect("a directory");
    println!("directory: {}", above.display());
    let mut criterion = Criterion::default().configure_from_args();
    plain_file(&mut criterion, folder.path());
    let group = folder.path().join("group");
    std::fs::create_dir(&group).expect("made");
    group_commit(&mut criterion, &group);
    criterion.final_summary();
}
