//! Frames: writing and reading the ones that move data, beside crc32 and copying alone over the same bytes.
//!
//! `cargo bench --features sim --bench frame`. A chunk's payload is not touched by the frame: what is measured for
//! it is the cost that each chunk of 1 MiB pays on each side.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use ringway::ids::{Digest, Incarnation, LogIndex, ShardId};
use ringway::limits::{CHUNK_BYTES, FRAME_DIGESTS_MAX};
use ringway::wire::{
    Announce, Body, Chunk, ChunkList, Envelope, HEADER_BYTES, Header, Kind, Ping, RaftRequest,
};

#[path = "machine/mod.rs"]
mod machine;

fn encoded(body: &Body<'_>, payload_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    Envelope::default().encode(body, payload_bytes, &mut out).expect("it is within its bounds");
    out
}

fn read(bytes: &[u8]) -> Body<'_> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().expect("a frame has a header");
    Header::decode(head).expect("it was written").decode_body(body).expect("it was written")
}

fn frame(c: &mut Criterion, name: &str, body: &Body<'_>, payload_bytes: usize) {
    let bytes = encoded(body, payload_bytes);
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("baseline crc32", |b| b.iter(|| crc32fast::hash(black_box(&bytes))));
    let mut out = Vec::with_capacity(bytes.len());
    group.bench_function("baseline copy", |b| {
        b.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&bytes));
            black_box(&out);
        });
    });
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            let header = Envelope::default().encode(black_box(body), payload_bytes, &mut out);
            black_box(&out);
            header
        });
    });
    group.bench_function("decode", |b| b.iter(|| drop(black_box(read(black_box(&bytes))))));
    group.finish();
}

fn frames(c: &mut Criterion) {
    frame(c, "ping", &Ping { id: 7 }.into(), 0);
    frame(c, "chunk", &Chunk { request: 2, chunk: 1 }.into(), CHUNK_BYTES);
    let announce = Announce {
        incarnation: Incarnation([7; 16]),
        shard: ShardId(1),
        load: 3,
        installed: LogIndex(1000),
        applied: LogIndex(1010),
        held_to: LogIndex(1008),
        exceptions: (1000..1008).collect(),
    };
    frame(c, "announce", &announce.into(), 0);
    let bytes = vec![0x5a; 64 * 1024];
    frame(c, "raft request of 64 KiB", &RaftRequest { id: 1, rpc: 2, bytes: &bytes }.into(), 0);
    let digests: Vec<Digest> = (0..FRAME_DIGESTS_MAX).map(|i| Digest([(i % 251) as u8; 32])).collect();
    let len = (FRAME_DIGESTS_MAX * CHUNK_BYTES) as u64;
    let list = ChunkList { request: 1, len, first: 0, digests: Cow::Borrowed(&digests) };
    frame(c, "chunk list of 65536 digests", &list.into(), 0);
}

fn refusals(c: &mut Criterion) {
    let mut group = c.benchmark_group("refused");
    let head = Header { kind: Kind::Ping, payload_bytes: 1, ..header() }.encode();
    group.bench_function("header", |b| b.iter(|| Header::decode(black_box(&head)).is_err()));
    group.finish();
}

fn header() -> Header {
    let bytes = encoded(&Ping { id: 7 }.into(), 0);
    Header::decode(bytes.first_chunk().expect("a frame has a header")).expect("it was written")
}

criterion_group!(benches, frames, refusals);

fn main() {
    machine::print();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
