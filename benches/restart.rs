//! A shard's group at size, on a disk: how long it takes to open again, and what a snapshot costs those who commit
//! meanwhile.
//!
//! `cargo bench --features sim --bench restart [-- --entries 1000000] [--dir DIR] [--seconds 5]`. A group of one on the
//! kernel's ring registers so many segments, a thousand in a log entry. It is opened again out of its log alone and out
//! of a snapshot; then one client registers one segment after the other, first in peace and then while one snapshot
//! after the other is written. A turn ends here behind an urgent and a bulk task: what a core does without a look at
//! anything else. The longest is the pause.

use std::cell::RefCell;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringway::ids::{Nanos, SessionId, UnixNanos};
use ringway::limits::{CHUNK_BYTES, RING_ENTRIES};
use ringway::manifest::{Batch, Command, Operation, State, difference};
use ringway::raft::{Group, GroupConfig, GroupRole};
use ringway::uring::{Core, KernelOptions, KernelRing};

#[path = "group/mod.rs"]
mod group;
#[path = "machine/mod.rs"]
mod machine;
#[path = "quantile/mod.rs"]
mod quantile;
#[path = "segments/mod.rs"]
mod segments;

type Failure = Box<dyn Error + Send + Sync>;

const PATIENCE: Nanos = Nanos::from_secs(60);
const SESSION: SessionId = SessionId([7; 16]);
const BATCH: u64 = 1000;

/// Snapshots whenever something was applied since the last, or none at all.
const ALWAYS: u64 = 1;
const NEVER: u64 = u64::MAX;

/// The longest that something took.
#[derive(Default)]
struct Longest(Duration);

impl Longest {
    fn see(&mut self, took: Duration) {
        self.0 = self.0.max(took);
    }
}

struct Bench {
    core: Core,
    folder: PathBuf,
    longest_turn: RefCell<Longest>,
}

impl Bench {
    /// Runs a future on the core of this thread, and notes the longest turn.
    fn on<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        group::on(&self.core, work, |core| {
            let begun = Instant::now();
            let turn = core.turn_until(Nanos(0));
            self.longest_turn.borrow_mut().see(begun.elapsed());
            turn
        })
    }

    /// Opens the group; how long until it is open, and until it leads and has applied all.
    fn open(&self, snapshot_log_entries: u64) -> (Group<State>, [Duration; 2]) {
        let folder = self.folder.clone();
        self.on(async move {
            let begun = Instant::now();
            let config =
                GroupConfig { snapshot_log_entries, snapshot_log_bytes: u64::MAX, ..GroupConfig::default() };
            let group = group::open(&folder, config).await;
            let opened = begun.elapsed();
            let leads = || {
                let figures = group.figures();
                let marks = figures.watermarks;
                (marks.role == GroupRole::Leader && marks.applied >= figures.last.index).then_some(())
            };
            group.changed().until(leads).await;
            (group.clone(), [opened, begun.elapsed()])
        })
    }

    fn close(&self, group: Group<State>) {
        self.on(async move { group.shut_down().await.expect("the log is sound") });
    }

    /// Opens it again and says how long that took.
    fn restart(&self, what: &str, snapshot_log_entries: u64) -> Group<State> {
        let (group, [opened, led]) = self.open(snapshot_log_entries);
        let entries = group.machine().borrow().len();
        let (snapshot, log) =
            (group.figures().snapshot.map_or(0, |(_, bytes)| bytes), group.figures().log_bytes);
        println!(
            "{what}: {entries} entries, a snapshot of {} MiB, a log of {} MiB; open after {:.3} s, leads after {:.3} s",
            snapshot >> 20,
            log >> 20,
            opened.as_secs_f64(),
            led.as_secs_f64()
        );
        group
    }

    /// One registration after the other; how long each took, and the longest turn.
    fn commits(&self, what: &str, group: &Group<State>, first: u64, time: Duration) -> u64 {
        self.longest_turn.replace(Longest::default());
        let theirs = group.clone();
        let before = group.figures();
        let mut each = self.on(async move {
            let (mut each, begun) = (Vec::new(), Instant::now());
            while begun.elapsed() < time {
                let asked = Instant::now();
                let number = first + each.len() as u64;
                propose(&theirs, number, vec![Operation::Register(segments::registration(number))]).await;
                each.push(asked.elapsed());
            }
            each
        });
        each.sort_unstable();
        let at = |share| quantile::millis(&each, share);
        let snapshot_of = |figures: &ringway::raft::GroupFigures| figures.snapshot.map(|(point, _)| point);
        println!(
            "{what}: {} registrations, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; longest turn {:.2} ms; \
             snapshot of entry {:?}, then {:?}",
            each.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.longest_turn.borrow().0.as_secs_f64() * 1e3,
            snapshot_of(&before).map(|point| point.index.0),
            snapshot_of(&group.figures()).map(|point| point.index.0),
        );
        first + each.len() as u64
    }
}

async fn propose(group: &Group<State>, number: u64, operations: Vec<Operation>) {
    let batch =
        Batch { session: SESSION, number, low_water: number, proposed_at: UnixNanos(number), operations };
    let bytes = Command::Batch(batch).encode();
    group.propose(bytes, PATIENCE).await.expect("it leads");
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut entries, mut seconds, mut above) = (100_000, 2, std::env::temp_dir());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--entries" => entries = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--dir" => above = PathBuf::from(value()?),
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    machine::print();
    let folder = tempfile::tempdir_in(&above)?;
    let ring = KernelRing::open(KernelOptions { entries: RING_ENTRIES, ..KernelOptions::default() })?;
    let core = Core::new(Box::new(ring), 4, CHUNK_BYTES);
    let bench = Bench { core, folder: folder.path().to_owned(), longest_turn: RefCell::default() };
    let time = Duration::from_secs(seconds);

    let (group, _empty) = bench.open(NEVER);
    let filled = group.clone();
    let begun = Instant::now();
    bench.on(async move {
        let open = Command::OpenSession { session: SESSION }.encode();
        filled.propose(open, PATIENCE).await.expect("it leads");
        for number in 0..entries / BATCH {
            let of = number * BATCH..(number + 1) * BATCH;
            propose(&filled, number, of.map(|at| Operation::Register(segments::registration(at))).collect())
                .await;
        }
    });
    let taken = begun.elapsed().as_secs_f64();
    println!("{entries} entries registered by the thousand in {taken:.1} s");
    bench.close(group);

    let group = bench.restart("out of the log", NEVER);
    let next = bench.commits("no snapshot", &group, entries, time);
    bench.close(group);

    let group = bench.restart("out of the log, with more", ALWAYS);
    let next = bench.commits("beside snapshots", &group, next, time);
    assert!(group.figures().snapshot.is_some(), "no snapshot was written within {seconds} s");
    bench.close(group);

    let group = bench.restart("out of a snapshot", NEVER);
    let machine = group.machine();
    let missing = |state: &State| {
        // All of it is here but the last.
        let last = state.entries(None).last().map(|entry| entry.id);
        let here =
            state.entries(None).map(|entry| (entry.id, entry.root)).filter(|(id, _)| Some(*id) != last);
        let here: Vec<_> = here.collect();
        let begun = Instant::now();
        let found = difference(state, None, here).count();
        (found, begun.elapsed())
    };
    let (found, taken) = missing(&machine.borrow());
    println!("difference: {found} missing of {}, found in {:.1} ms", next, taken.as_secs_f64() * 1e3);
    assert_eq!((found, machine.borrow().len() as u64), (1, next));
    drop(machine);
    bench.close(group);
    bench.core.shut_down();
    Ok(())
}
