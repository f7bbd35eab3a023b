//! What a node that joins costs those who write meanwhile: how long registrations take before, while a fourth node is
//! added to three and brought up to date, and after.
//!
//! `cargo bench --bench join [-- --dir DIR] [--mib 1024] [--clients 4] [--seconds 5]`. Four engines of one core each in
//! one process, on loopback, their roots side by side under DIR (a temporary directory). The cluster holds segments of
//! 16 MiB, as many as make MIB; each client registers sealed files of 4 KiB, one after the other, at a node of its own
//! turn. Ends with an error if one is refused, or lacks on the new node in the end.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway::engine::{Ask, Change, Engine, MemberRole, Sealed, Shard};
use ringway::ids::{Nanos, NodeId, ShardId};

#[path = "cluster/mod.rs"]
mod cluster;
#[path = "machine/mod.rs"]
mod machine;
#[path = "quantile/mod.rs"]
mod quantile;

type Failure = Box<dyn Error + Send + Sync>;

const FILE_BYTES: usize = 4096;
const BULK_FILE_BYTES: usize = 16 << 20;
const MEMBERS: usize = 3;
const PATIENCE: Nanos = Nanos::from_secs(300);

struct Options {
    dir: PathBuf,
    mib: usize,
    clients: usize,
    seconds: u64,
}

/// When a registration was asked for, and how long it took.
type Sample = (Instant, Duration);

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let mut options = Options { dir: temporary.path().to_owned(), mib: 1024, clients: 4, seconds: 5 };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--dir" => options.dir = PathBuf::from(value()?),
            "--mib" => options.mib = value()?.parse()?,
            "--clients" => options.clients = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            // `cargo bench` adds `--bench`; `cargo test` runs benches without it, to see that they build.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    machine::print();
    let addresses = cluster::addresses(MEMBERS + 1)?;
    let first = &addresses[..MEMBERS];
    let engines: Vec<Engine> =
        (1..=MEMBERS).map(|node| cluster::open(&options.dir, node, first)).collect::<Result<_, _>>()?;
    engines[0].bootstrap().wait()?;
    let bulk = fill(&engines[0].shard(ShardId(0))?, options.mib)?;

    let stop = AtomicBool::new(false);
    let rest = Duration::from_secs(options.seconds);
    let (samples, began, ended, joined) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|client| {
                let (engine, stop) = (&engines[client % MEMBERS], &stop);
                scope.spawn(move || write(&engine.shard(ShardId(0))?, client, stop))
            })
            .collect();
        std::thread::sleep(rest);
        let began = Instant::now();
        let joined = join(&options.dir, &engines[0], &addresses);
        let ended = Instant::now();
        std::thread::sleep(rest);
        stop.store(true, Ordering::Relaxed);
        let samples: Result<Vec<Vec<Sample>>, Failure> =
            clients.into_iter().map(|client| client.join().expect("it does not panic")).collect();
        (samples, began, ended, joined)
    });
    let (samples, joined): (Vec<Sample>, Engine) = (samples?.concat(), joined?);
    println!("joined and votes after {:.1} s, {bulk} segments of 16 MiB", (ended - began).as_secs_f64());
    let phase = |asked: Instant| usize::from(asked >= began) + usize::from(asked >= ended);
    for (number, name) in ["before", "while it joins", "after"].into_iter().enumerate() {
        print(name, samples.iter().filter(|(asked, _)| phase(*asked) == number).copied().collect());
    }
    let shard = joined.shard(ShardId(0))?;
    let synced = shard.sync(PATIENCE).wait()?;
    let there = joined.status().wait()?.shards[0].segments;
    let expected = (samples.len() + bulk) as u64;
    println!(
        "none refused; {there} of {expected} segments stand on the new node, up to entry {}",
        synced.due
    );
    if there != expected {
        return Err("segments lack".into());
    }
    joined.shut_down();
    engines.into_iter().for_each(Engine::shut_down);
    Ok(())
}

/// Registers the bulk, and waits until it stands on every member. How many segments it has.
fn fill(shard: &Shard, mib: usize) -> Result<usize, Failure> {
    let count = (mib << 20).div_ceil(BULK_FILE_BYTES);
    let folder = shard.directory().join("bulk");
    std::fs::create_dir_all(&folder)?;
    for number in 0..count {
        let content = cluster::noise(number as u64 + 1, BULK_FILE_BYTES);
        std::fs::write(folder.join(number.to_string()), content)?;
    }
    for number in 0..count {
        let ask =
            Ask { timeout: PATIENCE, ..Ask::durable(ringway::engine::Durability::Landed(MEMBERS as u32)) };
        shard.batch(vec![Change::register(format!("bulk/{number}"))], ask).wait()?;
    }
    Ok(count)
}

/// Adds the fourth node, and waits until it votes in every group.
fn join(dir: &Path, member: &Engine, addresses: &[SocketAddr]) -> Result<Engine, Failure> {
    let node = addresses.len();
    let joining = cluster::open(dir, node, addresses)?;
    member.add_member(NodeId(node as u64), addresses[node - 1], MemberRole::Voter, PATIENCE).wait()?;
    loop {
        let members = member.members().wait()?;
        let seats =
            members.iter().find(|of| of.node == node as u64).map(|of| &of.seats[..]).unwrap_or_default();
        if seats.len() == 2 && seats.iter().all(|seat| seat.voter) {
            return Ok(joining);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One client, until it is told to stop.
fn write(shard: &Shard, client: usize, stop: &AtomicBool) -> Result<Vec<Sample>, Failure> {
    let folder = shard.directory().join(format!("client-{client}"));
    std::fs::create_dir_all(&folder)?;
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = samples.len();
        let content: Vec<u8> = (0..FILE_BYTES).map(|at| (at ^ number ^ client) as u8).collect();
        std::fs::write(folder.join(number.to_string()), content)?;
        let asked = Instant::now();
        shard.register(Sealed::at(format!("client-{client}/{number}")), Ask::default()).wait()?;
        samples.push((asked, asked.elapsed()));
    }
    Ok(samples)
}

fn print(name: &str, samples: Vec<Sample>) {
    let mut took: Vec<Duration> = samples.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    let first = samples.iter().map(|(asked, _)| *asked).min();
    let last = samples.iter().map(|(asked, took)| *asked + *took).max();
    let seconds = first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    let at = |share| quantile::millis(&took, share);
    println!(
        "{name}: {} registrations, {:.0} in a second; p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        took.len(),
        took.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
