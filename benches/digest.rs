//! The digests: chunk, small segments together, chunks by cores, tree, tree and flat in one pass, root, sidecar; beside
//! `ring`'s flat SHA-256 of the same bytes.
//!
//! `cargo bench --features sim --bench digest`. Memory only. The baseline is the cost that no one-stream kernel can
//! go below: what a tree adds to it is one block for each leaf, and the digests above.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use ringway::digest::{
    ChunkList, Kernel, TreeAndFlat, TreeHasher, chunk_digest, chunk_digests, root_digest, sidecar_decode,
    sidecar_encode,
};
use ringway::ids::{Digest, Nanos};
use ringway::limits::{CHUNK_BYTES, LEAF_BYTES};

#[path = "machine/mod.rs"]
mod machine;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn flat(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk");
    for len in [4096, LEAF_BYTES, CHUNK_BYTES] {
        let bytes = content(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("baseline flat", len), &bytes, |b, bytes| {
            b.iter(|| flat(black_box(bytes)));
        });
        for kernel in Kernel::present() {
            group.bench_with_input(BenchmarkId::new(kernel.name(), len), &bytes, |b, bytes| {
                b.iter(|| chunk_digest(kernel, black_box(bytes)));
            });
        }
    }
    group.finish();
}

/// Sixteen segments of one leaf, each by itself and all together.
fn small_segments(c: &mut Criterion) {
    let bytes = content(16 * LEAF_BYTES);
    let segments: Vec<&[u8]> = bytes.chunks(LEAF_BYTES).collect();
    let mut group = c.benchmark_group("16 segments of 64 KiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for kernel in Kernel::present() {
        let mut digests = [Digest::default(); 16];
        group.bench_function(BenchmarkId::new(kernel.name(), "one by one"), |b| {
            b.iter(|| {
                for (digest, segment) in digests.iter_mut().zip(&segments) {
                    *digest = chunk_digest(kernel, black_box(segment));
                }
            });
        });
        group.bench_function(BenchmarkId::new(kernel.name(), "together"), |b| {
            b.iter(|| chunk_digests(kernel, black_box(&segments), &mut digests));
        });
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    let bytes = content(16 * CHUNK_BYTES);
    let mut group = c.benchmark_group("segment of 16 MiB");
    group.sample_size(20).throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("baseline flat", |b| b.iter(|| flat(black_box(&bytes))));
    for kernel in Kernel::present() {
        for piece in [32 * 1024, CHUNK_BYTES] {
            let id = BenchmarkId::new(format!("tree, {kernel}, pieces of"), piece);
            group.bench_function(id, |b| {
                b.iter(|| {
                    let mut hasher = TreeHasher::new(kernel);
                    bytes.chunks(piece).for_each(|piece| hasher.update(black_box(piece)));
                    hasher.finish()
                });
            });
        }
        group.bench_function(BenchmarkId::new("tree and flat", kernel), |b| {
            b.iter(|| {
                let mut hasher = TreeAndFlat::new(kernel);
                hasher.update(black_box(&bytes));
                hasher.finish()
            });
        });
    }
    group.finish();
}

/// Chunks of as many cores at once, each with memory of its own: what a segment gains that other cores help with.
fn cores(c: &mut Criterion) {
    const CHUNKS: usize = 4;
    let begun = Instant::now();
    let clock = || Nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let kernel = Kernel::fastest(clock);
    let usable = thread::available_parallelism().map_or(1, |cores| cores.get());
    let contents: Vec<Vec<u8>> = (0..usable).map(|_| content(CHUNKS * CHUNK_BYTES)).collect();
    let digest = |bytes: &[u8]| {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            black_box(chunk_digest(kernel, black_box(chunk)));
        }
    };
    let mut group = c.benchmark_group("chunks by cores");
    for count in (0..).map(|power| 1 << power).take_while(|count| *count <= usable) {
        let contents = &contents[..count];
        group.throughput(Throughput::Bytes((count * CHUNKS * CHUNK_BYTES) as u64));
        group.bench_function(BenchmarkId::new(kernel.name(), count), |b| {
            b.iter_custom(|times| {
                let barrier = Barrier::new(count);
                let work = |bytes: &[u8]| {
                    digest(bytes); // in the caches that it is to be in
                    barrier.wait();
                    let begun = Instant::now();
                    (0..times).for_each(|_| digest(bytes));
                    begun.elapsed()
                };
                thread::scope(|scope| {
                    let running: Vec<_> = contents.iter().map(|bytes| scope.spawn(|| work(bytes))).collect();
                    running.into_iter().map(|one| one.join().expect("it ends")).max().expect("one at least")
                })
            });
        });
    }
    group.finish();
}

/// A list of 65536 chunks: a segment of 64 GiB.
fn lists(c: &mut Criterion) {
    let count = 65_536_u32;
    let chunks: Vec<Digest> = (0..count).map(|i| chunk_digest(Kernel::Ring, &i.to_le_bytes())).collect();
    let len = u64::from(count) * CHUNK_BYTES as u64;
    let root = root_digest(len, &chunks);
    let verified = ChunkList { len, chunks: chunks.clone() }.verify(root).expect("the root is the list's");
    let sidecar = sidecar_encode(&verified);
    let mut group = c.benchmark_group("list of 65536 chunks");
    group.sample_size(20).throughput(Throughput::Bytes(sidecar.len() as u64));
    group.bench_function("root", |b| b.iter(|| root_digest(len, black_box(&chunks))));
    group.bench_function("sidecar encode", |b| b.iter(|| sidecar_encode(black_box(&verified))));
    group.bench_function("sidecar decode", |b| b.iter(|| sidecar_decode(black_box(&sidecar), root)));
    group.finish();
}

criterion_group!(benches, chunks, small_segments, segments, cores, lists);

fn main() {
    machine::print();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
