//! One segment copied on this disk, by three runtimes on one thread each: read a chunk, digest it, write it, and at the
//! end one fdatasync. Four chunks at a time, O_DIRECT both ways, each runtime by the best that it has: of the others it
//! is tried whether one task or four drive the chunks.
//!
//! `cargo bench --features sim,tokio-uring,glommio --bench runtimes`. The baseline is the same by std, through the page
//! cache. The directory is the build's own: tmpfs has no O_DIRECT and no durability.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use futures_util::future::join_all;
use ringway::digest::{Kernel, chunk_digest};
use ringway::ids::Digest;
use ringway::limits::CHUNK_BYTES;
use ringway::uring::{Core, Dir, File, KernelOptions, KernelRing, OpenOptions, Priority, Turn};
use tempfile::TempDir;

#[path = "machine/mod.rs"]
mod machine;

const CHUNKS: usize = 64;
const BYTES: usize = CHUNKS * CHUNK_BYTES;
/// Chunks at a time.
const DEPTH: usize = 4;
/// What O_DIRECT asks of memory.
const ALIGNMENT: usize = 4096;

/// A source file, and the chunks' digests that everybody has to find.
struct Place {
    dir: TempDir,
    kernel: Kernel,
    digests: Vec<Digest>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's own directory");
        let content: Vec<u8> =
            (0..BYTES as u64).map(|place| (place.wrapping_mul(0x9e37_79b9) >> 7) as u8).collect();
        let mut file = std::fs::File::create(dir.path().join("source")).expect("made");
        file.write_all(&content).expect("written");
        file.sync_all().expect("durable");
        let kernel = Kernel::present().last().expect("one at least");
        let digests = content.chunks(CHUNK_BYTES).map(|chunk| chunk_digest(kernel, chunk)).collect();
        Self { dir, kernel, digests }
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn check(&self, found: &Found) {
        assert_eq!(found.digests.take(), self.digests, "every runtime copies the same");
        found.next.set(0);
        std::fs::remove_file(self.target()).expect("it was made");
    }
}

/// What the lanes of one copy share.
struct Found {
    kernel: Kernel,
    next: Cell<usize>,
    digests: RefCell<Vec<Digest>>,
}

impl Found {
    fn new(kernel: Kernel) -> Rc<Self> {
        Rc::new(Self { kernel, next: Cell::new(0), digests: RefCell::default() })
    }

    /// The next chunk that no lane has.
    fn take(&self) -> Option<usize> {
        let next = self.next.get();
        self.next.set(next + 1);
        (next < CHUNKS).then_some(next)
    }

    fn digest(&self, chunk: usize, bytes: &[u8]) {
        let mut digests = self.digests.borrow_mut();
        digests.resize(CHUNKS, Digest::default());
        digests[chunk] = chunk_digest(self.kernel, bytes);
    }
}

fn by_std(place: &Place) -> Duration {
    let found = Found::new(place.kernel);
    let began = Instant::now();
    let mut source = std::fs::File::open(place.source()).expect("there");
    let mut target = std::fs::File::create(place.target()).expect("made");
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Some(chunk) = found.take() {
        source.read_exact(&mut buffer).expect("read");
        found.digest(chunk, &buffer);
        target.write_all(&buffer).expect("written");
    }
    target.sync_data().expect("durable");
    let took = began.elapsed();
    place.check(&found);
    took
}

/// Runs a future on a core that has its slab registered.
fn on_our_core<T: 'static>(make: impl AsyncFnOnce() -> T + 'static) -> T {
    let ring = KernelRing::open(KernelOptions::default()).expect("this machine has io_uring");
    let core = Core::new(Box::new(ring), DEPTH as u16, CHUNK_BYTES);
    let output = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&output);
    let task = core.spawn(Priority::Urgent, async move {
        let made = make().await;
        theirs.replace(Some(made));
    });
    while !task.is_ended() {
        match core.turn() {
            Turn::Again => {}
            Turn::Park(_) if task.is_ended() => {}
            Turn::Park(deadline) => core.park(deadline),
        }
    }
    core.shut_down();
    output.take().expect("the task has ended")
}

async fn by_us(place: &Rc<Place>) -> Duration {
    const READ: OpenOptions =
        OpenOptions { write: false, create: false, exclusive: false, direct: true, directory: false };
    const WRITE: OpenOptions = OpenOptions { write: true, create: true, ..READ };
    let found = Found::new(place.kernel);
    let began = Instant::now();
    let dir = Dir::open_root(place.dir.path().to_str().expect("utf-8")).await.expect("there");
    let source = dir.open("source", READ).await.expect("there");
    let target = dir.open("target", WRITE).await.expect("made");
    target.allocate(BYTES as u64).await.expect("room");
    let lane = async |found: Rc<Found>, source: File, target: File| {
        let mut buffer = Core::current().slab().take().await;
        while let Some(chunk) = found.take() {
            let at = (chunk * CHUNK_BYTES) as u64;
            let (read, back) = source.read_at(buffer, 0..CHUNK_BYTES, at).await;
            assert_eq!(read, Ok(CHUNK_BYTES));
            found.digest(chunk, &back.memory()[..CHUNK_BYTES]);
            let (written, back) = target.write_at(back, 0..CHUNK_BYTES, at).await;
            written.expect("written");
            buffer = back;
        }
    };
    let lane = |_| {
        let lane = lane(Rc::clone(&found), source.clone(), target.clone());
        Core::current().spawn(Priority::Bulk, lane)
    };
    join_all((0..DEPTH).map(lane)).await;
    target.sync_data().await.expect("durable");
    let took = began.elapsed();
    place.check(&found);
    took
}

/// What runs the chunks that are under way at a time.
#[derive(Clone, Copy)]
enum Lanes {
    /// One task, which looks at all of them whenever one goes on.
    Joined,
    /// A task each.
    Spawned,
}

type Registry = tokio_uring::buf::fixed::FixedBufRegistry<Vec<u8>>;

async fn by_tokio_uring(place: &Place, buffers: &Registry, lanes: Lanes) -> Duration {
    use tokio_uring::buf::BoundedBuf;

    let found = Found::new(place.kernel);
    let began = Instant::now();
    let mut options = tokio_uring::fs::OpenOptions::new();
    let source = options.read(true).custom_flags(libc::O_DIRECT).open(place.source()).await.expect("there");
    let mut options = tokio_uring::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT);
    let target = options.open(place.target()).await.expect("made");
    target.fallocate(0, BYTES as u64, 0).await.expect("room");
    let (source, target) = (Rc::new(source), Rc::new(target));
    let lane = |index| {
        let (found, source, target) = (Rc::clone(&found), Rc::clone(&source), Rc::clone(&target));
        let buffers = buffers.clone();
        async move {
            let mut buffer = buffers.check_out(index).expect("a lane has a buffer");
            let start = buffer.as_ptr().align_offset(ALIGNMENT);
            while let Some(chunk) = found.take() {
                let at = (chunk * CHUNK_BYTES) as u64;
                let (read, back) = source.read_fixed_at(buffer.slice(start..start + CHUNK_BYTES), at).await;
                assert_eq!(read.expect("read"), CHUNK_BYTES);
                found.digest(chunk, &back);
                let (written, back) = target.write_fixed_all_at(back, at).await;
                written.expect("written");
                buffer = back.into_inner();
            }
        }
    };
    match lanes {
        Lanes::Joined => drop(join_all((0..DEPTH).map(lane)).await),
        Lanes::Spawned => {
            let ended = join_all((0..DEPTH).map(|index| tokio_uring::spawn(lane(index)))).await;
            ended.into_iter().for_each(|lane| lane.expect("it ends"));
        }
    }
    target.sync_data().await.expect("durable");
    let took = began.elapsed();
    place.check(&found);
    for file in [target, source] {
        Rc::into_inner(file).expect("the lanes have ended").close().await.expect("closed");
    }
    took
}

async fn by_glommio(place: &Place, lanes: Lanes) -> Duration {
    use glommio::io::DmaFile;

    let found = Found::new(place.kernel);
    let began = Instant::now();
    let source = DmaFile::open(place.source()).await.expect("there");
    let target = DmaFile::create(place.target()).await.expect("made");
    target.pre_allocate(BYTES as u64, false).await.expect("room");
    let (source, target) = (Rc::new(source), Rc::new(target));
    let lane = |_| {
        let (found, source, target) = (Rc::clone(&found), Rc::clone(&source), Rc::clone(&target));
        async move {
            while let Some(chunk) = found.take() {
                let at = (chunk * CHUNK_BYTES) as u64;
                let read = source.read_at_aligned(at, CHUNK_BYTES).await.expect("read");
                found.digest(chunk, &read);
                // What was read cannot be written: it is glommio's, and shared.
                let mut buffer = target.alloc_dma_buffer(CHUNK_BYTES);
                buffer.as_bytes_mut().copy_from_slice(&read);
                assert_eq!(target.write_at(buffer, at).await.expect("written"), CHUNK_BYTES);
            }
        }
    };
    match lanes {
        Lanes::Joined => drop(join_all((0..DEPTH).map(lane)).await),
        Lanes::Spawned => {
            drop(join_all((0..DEPTH).map(|index| glommio::spawn_local(lane(index)))).await);
        }
    }
    target.fdatasync().await.expect("durable");
    let took = began.elapsed();
    place.check(&found);
    for file in [target, source] {
        Rc::into_inner(file).expect("the lanes have ended").close().await.expect("closed");
    }
    took
}

/// The sum of so many copies.
async fn times<F: Future<Output = Duration>>(count: u64, mut copy: impl FnMut() -> F) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..count {
        sum += copy().await;
    }
    sum
}

fn on_glommio(place: Rc<Place>, count: u64, lanes: Lanes) -> Duration {
    let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
    let executor = builder.io_memory(2 * DEPTH * CHUNK_BYTES).make().expect("rings");
    executor.run(async move {
        // glommio 0.9 judges a device by the first file that it opens there, and wrongly if that is empty.
        let first: &Path = &place.source();
        glommio::io::DmaFile::open(first).await.expect("there").close().await.expect("closed");
        times(count, || by_glommio(&place, lanes)).await
    })
}

fn copies(c: &mut Criterion) {
    let place = Rc::new(Place::new());
    let mut group = c.benchmark_group("copy of a segment of 64 MiB");
    group.sample_size(20).throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("baseline std", |b| {
        b.iter_custom(|count| (0..count).map(|_| by_std(&place)).sum());
    });
    group.bench_function("ringway", |b| {
        b.iter_custom(|count| {
            let place = Rc::clone(&place);
            on_our_core(async move || times(count, || by_us(&place)).await)
        });
    });
    for (name, lanes) in [("one task", Lanes::Joined), ("a task each", Lanes::Spawned)] {
        group.bench_function(format!("tokio-uring, {name}"), |b| {
            b.iter_custom(|count| on_tokio_uring(Rc::clone(&place), count, lanes));
        });
        group.bench_function(format!("glommio, {name}"), |b| {
            b.iter_custom(|count| on_glommio(Rc::clone(&place), count, lanes));
        });
    }
    group.finish();
}

fn on_tokio_uring(place: Rc<Place>, count: u64, lanes: Lanes) -> Duration {
    tokio_uring::start(async move {
        let memory = (0..DEPTH).map(|_| vec![0; CHUNK_BYTES + ALIGNMENT]);
        let buffers = Registry::new(memory);
        buffers.register().expect("memory that may be locked");
        times(count, || by_tokio_uring(&place, &buffers, lanes)).await
    })
}

criterion_group!(benches, copies);

fn main() {
    machine::print();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
