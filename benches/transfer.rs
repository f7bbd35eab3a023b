//! Whole transfers over loopback, by the library: a served directory is pulled, every byte verified, data and folders
//! durable; by shapes, by the cores of one pull, and by pulls: so many directories at once, each with a serving and a
//! pulling core of its own.
//!
//! `cargo bench --bench transfer`. The baseline is a copy by std of the same files with an fsync each, which verifies
//! nothing. Both ends share the machine's cores, and all the disk of the build's directory.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use ringway::engine::{PullOptions, ServeOptions, pull, serve};
use tempfile::TempDir;

#[path = "machine/mod.rs"]
mod machine;

const SECRET: &str = "3f1c9a7e5b2d486098f7e6d5c4b3a2910f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// Files, and bytes of each.
const SHAPES: [(usize, usize); 3] = [(2, 64 << 20), (16, 8 << 20), (512, 64 << 10)];

/// A directory that is served by a core of its own.
struct Source {
    dir: TempDir,
    files: usize,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
    pulls: u64,
}

impl Source {
    fn new(files: usize, bytes: usize) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's own directory");
        let source = dir.path().join("source");
        fs::create_dir(&source).expect("made");
        for file in 0..files as u64 {
            let word = |place: u64| (place + (file << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            let content: Vec<u8> = (0..bytes as u64 / 8).flat_map(word).collect();
            fs::write(source.join(format!("segment-{file}")), content).expect("written");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, told) = mpsc::channel();
        let theirs = Arc::clone(&stop);
        let serving = thread::spawn(move || {
            let listen = "127.0.0.1:0".parse().expect("an address");
            let options = ServeOptions { dir: source, listen, cache: None };
            let tell = move |address| ready.send(address).expect("somebody waits");
            serve(&options, SECRET, &theirs, &|_| {}, tell).expect("served");
        });
        let address = told.recv().expect("it listens");
        Self { dir, files, address, stop, serving: Some(serving), pulls: 0 }
    }

    fn next_target(&mut self) -> PathBuf {
        self.pulls += 1;
        self.dir.path().join(format!("target-{}", self.pulls))
    }

    fn pulled(&self, dest: PathBuf, cores: Option<NonZeroU16>) {
        let options =
            PullOptions { address: self.address, dest, delete: false, wait_for_space: false, cores };
        let report = pull(options, SECRET, &AtomicBool::new(false), |_| {}).expect("pulled");
        assert_eq!(report.segments, self.files as u64);
    }

    fn timed_pull(&mut self, cores: Option<NonZeroU16>) -> Duration {
        let target = self.next_target();
        let begun = Instant::now();
        self.pulled(target.clone(), cores);
        let took = begun.elapsed();
        fs::remove_dir_all(target).expect("it was made");
        took
    }

    fn timed_copy(&mut self) -> Duration {
        let target = self.next_target();
        let begun = Instant::now();
        copy(&self.dir.path().join("source"), &target).expect("copied");
        let took = begun.elapsed();
        fs::remove_dir_all(target).expect("it was made");
        took
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            serving.join().expect("it ends");
        }
    }
}

fn copy(source: &Path, target: &Path) -> std::io::Result<()> {
    fs::create_dir(target)?;
    for file in fs::read_dir(source)? {
        let file = file?;
        let place = target.join(file.file_name());
        fs::copy(file.path(), &place)?;
        fs::File::open(place)?.sync_all()?;
    }
    fs::File::open(target)?.sync_all()
}

fn shapes(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole transfer");
    group.sample_size(10);
    for (files, bytes) in SHAPES {
        let mut source = Source::new(files, bytes);
        let shape = format!("{files} of {} KiB", bytes >> 10);
        group.throughput(Throughput::Bytes((files * bytes) as u64));
        group.bench_function(BenchmarkId::new("baseline copy", &shape), |b| {
            b.iter_custom(|count| (0..count).map(|_| source.timed_copy()).sum());
        });
        group.bench_function(BenchmarkId::new("pull", &shape), |b| {
            b.iter_custom(|count| (0..count).map(|_| source.timed_pull(None)).sum());
        });
    }
    group.finish();
}

/// So many directories pulled at once.
fn timed_together(sources: &mut [Source]) -> Duration {
    let targets: Vec<_> = sources.iter_mut().map(Source::next_target).collect();
    let begun = Instant::now();
    thread::scope(|scope| {
        for (source, target) in sources.iter().zip(&targets) {
            scope.spawn(|| source.pulled(target.clone(), NonZeroU16::new(1)));
        }
    });
    let took = begun.elapsed();
    targets.iter().for_each(|target| fs::remove_dir_all(target).expect("it was made"));
    took
}

/// 1, 2, 4 and so on.
fn powers(most: usize) -> impl Iterator<Item = u16> {
    (0..u16::BITS).map(|power| 1 << power).take_while(move |count| usize::from(*count) <= most)
}

fn usable() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

fn cores(c: &mut Criterion) {
    const BYTES: usize = 128 << 20;
    let mut group = c.benchmark_group("one transfer by cores of the pull");
    group.sample_size(10);
    let mut source = Source::new(4, BYTES);
    group.throughput(Throughput::Bytes(4 * BYTES as u64));
    for count in powers(usable().max(2)) {
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let cores = NonZeroU16::new(count);
            b.iter_custom(|times| (0..times).map(|_| source.timed_pull(cores)).sum());
        });
    }
    group.finish();
}

fn pulls(c: &mut Criterion) {
    const BYTES: usize = 64 << 20;
    let mut group = c.benchmark_group("transfers at once, two cores each");
    group.sample_size(10);
    for count in powers(usable().div_ceil(2).max(2)) {
        let mut sources: Vec<_> = (0..count).map(|_| Source::new(2, BYTES)).collect();
        group.throughput(Throughput::Bytes(u64::from(count) * 2 * BYTES as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_custom(|times| (0..times).map(|_| timed_together(&mut sources)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, shapes, cores, pulls);

fn main() {
    machine::print();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
