//! Registrations of a cluster of three on this machine: how many in a second by one client and with 256 in flight, and
//! how long one takes alone, beside a busy thread for each processor, and beside a bulk transfer to both followers.
//!
//! And through the registrar, of one node and of three: how long a change takes until it is queued durably, and how
//! many are registered in a second when they come so, one at a time and 256.
//!
//! `cargo bench --bench commits [-- --dir DIR] [--seconds 5] [--bulk-mib 2048] [--queued-only]`; one case alone, for
//! `scripts/bench-manifest.sh`, by `--case register|queue|delete --nodes 1 --in-flight 256`. Three engines of one core
//! each in one process, on loopback, their roots side by side under DIR (a temporary directory): logs and bulk share
//! one disk, as in a real node. A registration is a sealed file of 4 KiB, hashed and pinned by its origin, which leads
//! the group; it counts when its entry is committed: in two logs, synced.

use std::collections::VecDeque;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway::engine::{Ask, Change, Engine, Sealed, SegmentStatus, Shard, block_on};
use ringway::ids::{Nanos, NodeId, ShardId};

#[path = "cluster/mod.rs"]
mod cluster;
#[path = "machine/mod.rs"]
mod machine;
#[path = "quantile/mod.rs"]
mod quantile;
#[path = "taken/mod.rs"]
mod taken;

type Failure = Box<dyn Error + Send + Sync>;

const IN_FLIGHT: usize = 256;
const FILE_BYTES: usize = 4096;
const BULK_FILE_BYTES: usize = 64 << 20;

struct Options {
    dir: PathBuf,
    seconds: u64,
    bulk_mib: usize,
    queued_only: bool,
    case: Option<String>,
    nodes: usize,
    in_flight: usize,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let mut options = Options {
        dir: temporary.path().to_owned(),
        seconds: 5,
        bulk_mib: 2048,
        queued_only: false,
        case: None,
        nodes: 1,
        in_flight: IN_FLIGHT,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--dir" => options.dir = PathBuf::from(value()?),
            "--seconds" => options.seconds = value()?.parse()?,
            "--bulk-mib" => options.bulk_mib = value()?.parse()?,
            "--queued-only" => options.queued_only = true,
            "--case" => options.case = Some(value()?),
            "--nodes" => options.nodes = value()?.parse()?,
            "--in-flight" => options.in_flight = value()?.parse()?,
            // `cargo bench` adds `--bench`; `cargo test` runs benches without it, to see that they build.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    machine::print();
    if let Some(way) = &options.case {
        return case(&options, way);
    }
    for nodes in [1, 3] {
        queued(&options, nodes)?;
    }
    if options.queued_only {
        return Ok(());
    }
    let engines = open(&options.dir, 3)?;
    let origin = engines[0].shard(ShardId(0))?;
    let time = Duration::from_secs(options.seconds);
    let mut files = Files { shard: &origin, made: 0 };

    files.make(64)?;
    let _warm = one_client(&mut files, Duration::from_millis(500))?;
    let alone = one_client(&mut files, time)?;
    alone.print("one client");
    in_flight(&mut files, time)?;
    let busy = beside_busy_threads(|| one_client(&mut files, time))?;
    busy.print("one client beside a busy thread for each processor");

    let bulk = Bulk { origin: &origin, followers: &engines[1..], mib: options.bulk_mib };
    bulk.register("alone")?;
    bulk.wait("alone", || {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    })?;
    bulk.register("beside")?;
    let mut beside = Sample::default();
    bulk.wait("beside", || {
        beside.0.extend(one_client(&mut files, Duration::from_millis(500))?.0);
        Ok(())
    })?;
    beside.print("one client beside the bulk");
    engines.into_iter().for_each(Engine::shut_down);
    Ok(())
}

/// Nodes with one shard, led by the first.
fn open(dir: &Path, nodes: usize) -> Result<Vec<Engine>, Failure> {
    let addresses = cluster::addresses(nodes)?;
    let engines: Vec<Engine> =
        (1..=nodes).map(|node| cluster::open(dir, node, &addresses)).collect::<Result<_, _>>()?;
    engines[0].bootstrap().wait()?;
    let group = ShardId(0).group();
    loop {
        let status = engines[0].status().wait()?;
        let leader = status.groups.iter().find(|other| other.group == group.0).and_then(|group| group.leader);
        match leader {
            Some(1) => return Ok(engines),
            Some(other) => {
                let leader = &engines[usize::try_from(other - 1)?];
                let _it_may_have_moved = leader.transfer_leader(group, NodeId(1)).wait();
            }
            None => {}
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sealed files at the origin, each for one registration.
struct Files<'a> {
    shard: &'a Shard,
    made: usize,
}

impl Files<'_> {
    /// Makes the next ones, and their names.
    fn make(&mut self, count: usize) -> Result<Vec<String>, Failure> {
        let dir = self.shard.directory();
        let range = self.made..self.made + count;
        self.made += count;
        range
            .map(|number| {
                let path = format!("small/{:03}/{number}", number / 1000);
                let file = dir.join(&path);
                if let Some(folder) = file.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let content: Vec<u8> =
                    (0..FILE_BYTES).map(|at| (at ^ number ^ (number >> 8)) as u8).collect();
                std::fs::write(file, content)?;
                Ok(path)
            })
            .collect()
    }
}

/// How long each registration took.
#[derive(Default)]
struct Sample(Vec<Duration>);

impl Sample {
    fn print(mut self, what: &str) {
        let time: Duration = self.0.iter().sum();
        self.0.sort_unstable();
        let at = |share| quantile::millis(&self.0, share);
        let rate = self.0.len() as f64 / time.as_secs_f64();
        println!(
            "{what}: {} registrations, {rate:.0} in a second; p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

fn one_client(files: &mut Files<'_>, time: Duration) -> Result<Sample, Failure> {
    let (mut sample, mut spent) = (Vec::new(), Duration::ZERO);
    while spent < time {
        for path in files.make(64)? {
            let begun = Instant::now();
            files.shard.register(Sealed::at(path), Ask::default()).wait()?;
            sample.push(begun.elapsed());
            spent += begun.elapsed();
        }
    }
    Ok(Sample(sample))
}

/// Does something while as many threads as there are processors compute: what waiting for a processor alone costs.
fn beside_busy_threads<T>(something: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let compute = || {
        while !over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(compute);
        }
        let done = something();
        over.store(true, Ordering::Relaxed);
        done
    })
}

fn in_flight(files: &mut Files<'_>, time: Duration) -> Result<(), Failure> {
    // Made beforehand: the clock sees registrations only.
    let paths = files.make(usize::try_from(time.as_secs())? * 8_000)?;
    let (mut waiting, mut done) = (VecDeque::new(), 0_usize);
    let begun = Instant::now();
    for path in paths {
        if waiting.len() == IN_FLIGHT
            && let Some(first) = waiting.pop_front()
        {
            settle(first)?;
            done += 1;
        }
        if begun.elapsed() >= time {
            break;
        }
        waiting.push_back(files.shard.register(Sealed::at(path), Ask::default()));
    }
    for reply in waiting {
        settle(reply)?;
        done += 1;
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    println!("{IN_FLIGHT} in flight: {done} registrations, {rate:.0} in a second");
    Ok(())
}

/// One way at one number in flight, as `taken::Meter` prints it. The files are as their engine has sealed them: synced.
fn case(options: &Options, way: &str) -> Result<(), Failure> {
    let engines = open(&options.dir, options.nodes)?;
    let origin = engines[0].shard(ShardId(0))?;
    let (time, patience) = (Duration::from_secs(options.seconds), Duration::from_secs(600));
    let mut files = Files { shard: &origin, made: 0 };
    let most = usize::try_from(options.seconds)? * if options.in_flight == 1 { 2_000 } else { 10_000 };
    let names = |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect();
    let (warm, paths) = match way {
        "delete" => (names(0..options.in_flight * 8), names(0..most * 4)),
        _ => (files.make(options.in_flight * 8)?, files.make(most)?),
    };
    let synced = std::process::Command::new("sync").arg("-f").arg(origin.directory()).status()?;
    assert!(synced.success(), "sync");
    let register = async |path| {
        let done = origin.register(Sealed::at(path), Ask::default()).await;
        done.map(|_| ()).map_err(Failure::from)
    };
    let queue = async |path| {
        let taken = origin.enqueue_waiting(Change::register(path), patience).await;
        taken.map(|_| ()).map_err(Failure::from)
    };
    // Nothing stands under the path: an entry of the log that asks for no file.
    let delete = async |path: String| {
        let done = origin.delete(path, "", Ask::default()).await;
        done.map(|_| ()).map_err(Failure::from)
    };
    let run = |paths: Vec<String>| match way {
        "delete" => block_on(taken::each(paths.into_iter(), options.in_flight, time, delete)),
        "register" => block_on(taken::each(paths.into_iter(), options.in_flight, time, register)),
        "queue" => block_on(taken::each(paths.into_iter(), options.in_flight, time, queue)),
        other => Err(format!("no way {other}").into()),
    };
    run(warm)?;
    origin.drain(patience).wait()?;
    let meter = taken::Meter::begin(&options.dir)?;
    let each = run(paths)?;
    let left = origin.drain(patience).wait()?;
    meter.end(each);
    assert_eq!(left, 0, "changes that are not registered");
    engines.into_iter().for_each(Engine::shut_down);
    Ok(())
}

/// One by one with `register` and with the registrar, and 256 at a time with the latter.
fn queued(options: &Options, nodes: usize) -> Result<(), Failure> {
    let engines = open(&options.dir.join(format!("queued-{nodes}")), nodes)?;
    let origin = engines[0].shard(ShardId(0))?;
    let (time, patience) = (Duration::from_secs(options.seconds), Duration::from_secs(600));
    let mut files = Files { shard: &origin, made: 0 };
    let _warm = one_client(&mut files, Duration::from_millis(500))?;
    one_client(&mut files, time)?.print(&format!("{nodes} nodes, registered one by one"));

    let (mut sample, begun) = (Vec::new(), Instant::now());
    let mut making = Duration::ZERO;
    while begun.elapsed() - making < time {
        let making_begun = Instant::now();
        let paths = files.make(64)?;
        making += making_begun.elapsed();
        for path in paths {
            let begun = Instant::now();
            origin.enqueue(Change::register(path)).wait()?;
            sample.push(begun.elapsed());
        }
    }
    let count = sample.len();
    Sample(sample).print(&format!("{nodes} nodes, queued one by one, until durable here"));
    let left = origin.drain(patience).wait()?;
    let rate = count as f64 / (begun.elapsed() - making).as_secs_f64();
    println!("{nodes} nodes, queued one by one: {rate:.0} registered in a second, {left} left");

    let paths = files.make(usize::try_from(time.as_secs())? * 8_000)?;
    let before = origin.registrar().wait()?;
    let (mut waiting, begun) = (VecDeque::new(), Instant::now());
    for path in paths {
        if waiting.len() == IN_FLIGHT
            && let Some(first) = waiting.pop_front()
        {
            settle_queued(first)?;
        }
        if begun.elapsed() >= time {
            break;
        }
        waiting.push_back(origin.enqueue_waiting(Change::register(path), patience));
    }
    for reply in waiting {
        settle_queued(reply)?;
    }
    let taken = begun.elapsed().as_secs_f64();
    origin.drain(patience).wait()?;
    let after = origin.registrar().wait()?;
    let count = after.applied - before.applied;
    let rate = |seconds: f64| count as f64 / seconds;
    let (queued, registered) = (rate(taken), rate(begun.elapsed().as_secs_f64()));
    println!("{nodes} nodes, {IN_FLIGHT} at a time: {count} changes, {queued:.0} queued in a second");
    println!("{nodes} nodes, {IN_FLIGHT} at a time: {registered:.0} registered in a second");
    engines.into_iter().for_each(Engine::shut_down);
    Ok(())
}

fn settle_queued(
    reply: ringway::engine::Reply<ringway::engine::Ticket, ringway::engine::EnqueueError>,
) -> Result<(), Failure> {
    reply.wait()?;
    Ok(())
}

type Registered = ringway::engine::Reply<ringway::engine::Committed, ringway::engine::ChangeError>;

fn settle(reply: Registered) -> Result<(), Failure> {
    reply.wait()?;
    Ok(())
}

/// Large segments on their way to both followers.
struct Bulk<'a> {
    origin: &'a Shard,
    followers: &'a [Engine],
    mib: usize,
}

impl Bulk<'_> {
    fn files(&self) -> usize {
        (self.mib << 20).div_ceil(BULK_FILE_BYTES)
    }

    /// Writes them and registers them, under a name of their own.
    fn register(&self, name: &str) -> Result<(), Failure> {
        let folder = self.origin.directory().join(name);
        std::fs::create_dir_all(&folder)?;
        let count = self.files();
        for number in 0..count {
            let content = cluster::noise(number as u64 + 1, BULK_FILE_BYTES);
            std::fs::write(folder.join(number.to_string()), content)?;
        }
        let begun = Instant::now();
        let changes = (0..count).map(|number| Change::register(format!("{name}/{number}"))).collect();
        self.origin.batch(changes, Ask { timeout: Nanos::from_secs(120), ..Ask::default() }).wait()?;
        println!(
            "bulk {name}: {} MiB hashed and registered in {:.1} s",
            self.mib,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Waits until they stand on both followers, doing something else meanwhile.
    fn wait(&self, name: &str, mut meanwhile: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            meanwhile()?;
            let mut there = true;
            for follower in self.followers {
                let folder = format!("{name}/");
                let page = follower.shard(ShardId(0))?.segments(Some(folder.clone()), self.files()).wait()?;
                let is_there = |segment: &&SegmentStatus| segment.path.starts_with(&folder) && segment.here;
                there &= page.segments.iter().filter(is_there).count() == self.files();
            }
            let seconds = begun.elapsed().as_secs_f64();
            if there {
                let rate = (self.mib << 20) as f64 / 1e9 / seconds;
                println!("bulk {name}: on both followers after {seconds:.1} s, {rate:.2} GB/s to each");
                return Ok(());
            }
            if seconds > 120.0 {
                return Err(format!("bulk {name}: not there after {seconds:.0} s").into());
            }
        }
    }
}
