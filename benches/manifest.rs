//! The manifest at size: apply, page, difference, snapshot, install, and memory for each entry.
//!
//! `cargo bench --features sim --bench manifest`; 100,000 entries, and a million too with
//! `RINGWAY_BENCH_MILLION=1`. Entries look like Arc's: a path of about 70 bytes, three labels, a flat digest.
//! The machine stands in the first line.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ringway::ids::{Digest, LogIndex, SegmentId, SessionId, UnixNanos};
use ringway::manifest::{Batch, Command, Installer, Operation, State, difference};

use segments::registration;

#[path = "machine/mod.rs"]
mod machine;
#[path = "segments/mod.rs"]
mod segments;

const SESSION: SessionId = SessionId([7; 16]);
const BATCH: u64 = 1000;

fn batch(number: u64, operations: Vec<Operation>) -> Vec<u8> {
    let batch =
        Batch { session: SESSION, number, low_water: number, proposed_at: UnixNanos(number), operations };
    Command::Batch(batch).encode().to_vec()
}

/// A manifest of `count` entries, and the time that applying their batches took.
fn filled(count: u64) -> (State, Duration) {
    let mut state = State::new();
    state.apply(LogIndex(1), &Command::OpenSession { session: SESSION }.encode());
    let mut spent = Duration::ZERO;
    for number in 0..count / BATCH {
        let operations =
            (0..BATCH).map(|at| Operation::Register(registration(number * BATCH + at))).collect();
        let bytes = batch(number, operations);
        let start = Instant::now();
        black_box(state.apply(LogIndex(2 + number), &bytes));
        spent += start.elapsed();
    }
    assert_eq!(state.len() as u64, count);
    (state, spent)
}

fn parts(state: &mut State) -> Vec<Vec<u8>> {
    let mut writer = state.freeze();
    std::iter::from_fn(|| writer.next_part(state).expect("the same state"))
        .map(|part| part.to_vec())
        .collect()
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split_whitespace().nth(1).expect("a second field");
    pages.parse::<u64>().expect("a number") * 4096
}

fn figures(count: u64) -> State {
    let before = resident_bytes();
    let (state, spent) = filled(count);
    let bytes = (resident_bytes() - before) / count;
    let nanos = spent.as_nanos() / u128::from(count);
    println!("{count} entries: {bytes} resident bytes an entry, filled at {nanos} ns an entry");
    state
}

fn worst_steps(count: u64, state: &mut State) {
    let mut writer = state.freeze();
    let mut longest = Duration::ZERO;
    let (mut start, mut bytes) = (Instant::now(), 0);
    let mut written = vec![];
    while let Some(part) = writer.next_part(state).expect("the same state") {
        longest = longest.max(start.elapsed());
        bytes += part.len();
        written.push(part);
        start = Instant::now();
    }
    println!(
        "{count} entries: snapshot of {bytes} bytes in {} parts, longest slice {longest:?}",
        written.len()
    );
    let mut installer = Installer::new();
    let mut longest = Duration::ZERO;
    for part in &written {
        let start = Instant::now();
        installer = installer.push(part).expect("our own");
        longest = longest.max(start.elapsed());
    }
    let start = Instant::now();
    let installed = installer.finish().expect("our own");
    println!("{count} entries: install: longest slice {longest:?}, the last step {:?}", start.elapsed());
    drop(installed);
}

fn measure(criterion: &mut Criterion, count: u64) {
    let mut state = figures(count);
    worst_steps(count, &mut state);
    let mut group = criterion.benchmark_group("manifest");
    group.sample_size(10);
    let mut index = state.applied().0;
    let mut number = count;
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("apply: register one and delete it", count), |bench| {
        bench.iter_batched(
            || {
                number += 1;
                let said = registration(number);
                let delete = Operation::Delete { path: said.path.clone(), reason: String::new() };
                [batch(2 * number, vec![Operation::Register(said)]), batch(2 * number + 1, vec![delete])]
            },
            |commands| {
                for bytes in commands {
                    index += 1;
                    black_box(state.apply(LogIndex(index), &bytes));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function(BenchmarkId::new("page of 1000 from the middle", count), |bench| {
        bench.iter(|| black_box(state.page(Some("metrics/cpu_25"), 1000)));
    });
    group.bench_function(BenchmarkId::new("page of 1000 by label", count), |bench| {
        bench.iter(|| black_box(state.by_label("measurement", "cpu_25", None, 1000)));
    });
    group.throughput(Throughput::Elements(count));
    let inventory: Vec<(SegmentId, Digest)> =
        state.entries(None).map(|entry| (entry.id, entry.root)).collect();
    group.bench_function(BenchmarkId::new("difference to the same", count), |bench| {
        bench.iter(|| assert_eq!(difference(&state, None, inventory.iter().copied()).count(), 0));
    });
    group.bench_function(BenchmarkId::new("snapshot", count), |bench| {
        bench.iter(|| {
            let mut writer = state.freeze();
            while let Some(part) = writer.next_part(&state).expect("the same state") {
                black_box(part);
            }
        });
    });
    let written = parts(&mut state);
    group.bench_function(BenchmarkId::new("install (restart)", count), |bench| {
        bench.iter_with_large_drop(|| State::install(written.iter().map(Vec::as_slice)).expect("our own"));
    });
    group.finish();
}

fn main() {
    machine::print();
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion, 100_000);
    if std::env::var_os("RINGWAY_BENCH_MILLION").is_some() {
        measure(&mut criterion, 1_000_000);
    }
    criterion.final_summary();
}
