//! What has to hold on every host.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};
use ringway::engine::{Builder, Engine, GuestCore, GuestError, NoAnswer, OpenError};

use crate::executors::Executor;
use crate::rig::{PATIENCE, Places, alone, found, register, until, verify};

/// Something that another thread says once.
#[derive(Clone, Default)]
struct Word(Arc<Mutex<(bool, Option<Waker>)>>);

impl Word {
    fn say(&self) {
        let mut state = self.0.lock().expect("nobody panics with it");
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    async fn said(self) {
        poll_fn(|context| {
            let mut state = self.0.lock().expect("nobody panics with it");
            state.1 = Some(context.waker().clone());
            if state.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A node whose cores live in one executor, on a thread that has nothing else.
struct Running {
    engine: Engine,
    kill: Word,
    thread: JoinHandle<Option<Vec<Result<(), GuestError>>>>,
}

/// Runs all cores in this task; `None` if they were dropped.
async fn all<H: Executor>(
    cores: Vec<GuestCore>,
    until: impl Future<Output = ()>,
) -> Option<Vec<Result<(), GuestError>>> {
    let cores = join_all(cores.into_iter().map(H::run));
    match select(pin!(cores), pin!(until)).await {
        Either::Left((ended, _)) => Some(ended),
        Either::Right(_) => None,
    }
}

impl Running {
    fn open<H: Executor>(builder: Builder) -> Self {
        let node = builder.open_guest().expect("it can be prepared");
        let kill = Word::default();
        let (cores, killed) = (node.cores, kill.clone());
        let thread = thread::spawn(move || H::block_on(all::<H>(cores, killed.said())));
        Self { engine: node.engine.wait().expect("it opens"), kill, thread }
    }

    fn shard(&self) -> ringway::engine::Shard {
        self.engine.shards().next().expect("two")
    }

    /// Its futures are dropped where they stand.
    fn kill(self) {
        self.kill.say();
        assert!(self.thread.join().expect("no panic").is_none());
    }

    fn stop(self) {
        self.engine.shut_down();
        let ended = self.thread.join().expect("no panic").expect("not killed");
        assert!(ended.len() == 2 && ended.iter().all(Result::is_ok), "{ended:?}");
    }
}

pub fn three_nodes<H: Executor>() {
    const BYTES: usize = 3_000_000;
    let _alone = alone();
    let places = Places::new(3);
    let mut nodes: Vec<Running> = (1..=3).map(|node| Running::open::<H>(places.builder(node))).collect();
    found(&nodes[0].engine);
    let status = nodes[2].engine.status().wait().expect("it runs");
    assert_eq!(status.cores.iter().map(|core| core.host.as_str()).collect::<Vec<_>>(), [H::NAME; 2]);
    let third = nodes.pop().expect("three");
    let first = register(&nodes[0].shard(), 0..8, BYTES);
    verify(&nodes[1].shard(), first, 0..8, BYTES);
    // In the middle of what follows.
    let origin = nodes[0].shard();
    let rest = thread::spawn(move || register(&origin, 8..24, BYTES));
    let fetched = || {
        third
            .engine
            .status()
            .wait()
            .expect("it runs")
            .shards
            .iter()
            .map(|shard| shard.bytes_fetched)
            .sum::<u64>()
    };
    until("the third fetches", || fetched() > 8 * BYTES as u64);
    third.kill();
    let last = rest.join().expect("no panic");
    nodes.push(Running::open::<H>(places.builder(3)));
    nodes.iter().for_each(|node| verify(&node.shard(), last, 0..24, BYTES));
    until("the third is ready", || nodes[2].engine.status().wait().expect("it runs").ready);
    nodes.into_iter().for_each(Running::stop);
}

/// Time that this thread has had a processor, as the scheduler counts it: by its ticks, a few milliseconds apart.
fn run_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the scheduler counts");
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds come first"))
}

/// A task that sleeps for 5 ms at a time, beside cores that digest and register as fast as they can. What counts is
/// how long the thread itself worked between two of its runs: what else the machine does delays both.
pub fn ticks<H: Executor>() {
    const TICK: Duration = Duration::from_millis(5);
    let _alone = alone();
    let places = Places::new(1);
    let node = places.builder(1).open_guest().expect("it can be prepared");
    let (cores, over) = (node.cores, Word::default());
    let until_over = over.clone();
    let thread = thread::spawn(move || {
        H::block_on(async move {
            let ticks = Rc::<RefCell<Vec<(Instant, Duration)>>>::default();
            let ticked = Rc::clone(&ticks);
            H::spawn(async move {
                loop {
                    let before = (Instant::now(), run_time());
                    H::sleep(TICK).await;
                    ticked.borrow_mut().push((before.0, run_time() - before.1));
                }
            });
            drop(all::<H>(cores, until_over.said()).await);
            ticks.take()
        })
    });
    let engine = node.engine.wait().expect("it opens");
    found(&engine);
    let shard = engine.shards().next().expect("two");
    let began = Instant::now();
    register(&shard, 0..64, 4 << 20);
    let took = began.elapsed();
    over.say();
    let ticks = thread.join().expect("no panic");
    let at_work = |at: &Instant| (began..began + took).contains(at);
    let mut worked: Vec<_> =
        ticks.into_iter().filter(|(at, _)| at_work(at)).map(|(_, worked)| worked).collect();
    worked.sort_unstable();
    let (count, last) = (worked.len(), worked.last().copied().unwrap_or_default());
    let most = worked.get(count * 9 / 10).copied().unwrap_or(PATIENCE);
    println!("{}: {count} ticks in {took:?}; work between two at most {most:?}, once {last:?}", H::NAME);
    assert!(worked.iter().sum::<Duration>() > took / 10, "the cores were at work");
    // The sleep itself, a slice and its longest step of each core, the scheduler's tick.
    assert!(most < Duration::from_millis(40), "nine ticks in ten had up to {most:?} of work before them");
    assert!(last < Duration::from_millis(250), "one tick had {last:?} of work before it");
}

pub fn shut_down<H: Executor>() {
    let _alone = alone();
    let places = Places::new(1);
    let node = places.builder(1).open_guest().expect("it can be prepared");
    // All of it on the executor's own thread: nothing of it may block.
    H::block_on(async move {
        let ended = Rc::new(Cell::new(0));
        for core in node.cores {
            let ended = Rc::clone(&ended);
            H::spawn(async move {
                H::run(core).await.expect("the signal is waited for");
                ended.set(ended.get() + 1);
            });
        }
        let engine = node.engine.await.expect("it opens");
        engine.bootstrap().await.expect("founded");
        let shard = engine.shards().next().expect("two");
        let waiting = shard.events(shard.events_now().await.expect("it runs"));
        engine.clone().shut_down();
        assert!(waiting.await.is_err(), "stopped");
        let began = Instant::now();
        while ended.get() < 2 {
            H::sleep(Duration::from_millis(1)).await;
            assert!(began.elapsed() < PATIENCE, "the futures do not end");
        }
        assert_eq!(engine.status().await, Err(NoAnswer::Stopped));
    });
    // Dropping the last engine says the same.
    let running = Running::open::<H>(places.builder(1));
    let Running { engine, thread, .. } = running;
    drop(engine);
    assert!(thread.join().expect("no panic").is_some_and(|ended| ended.iter().all(Result::is_ok)));
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc").count()
}

pub fn dropped<H: Executor>() {
    let _alone = alone();
    let places = Places::new(1);
    // glommio 0.9 leaves descriptors of its own behind, with guests or without.
    let empty = descriptors();
    H::block_on(H::sleep(Duration::from_millis(1)));
    let before = descriptors();
    let executors = 5;
    let of_executors = executors * (before - empty);
    for _ in 0..3 {
        let running = Running::open::<H>(places.builder(1));
        found(&running.engine);
        let engine = running.engine.clone();
        let shard = running.shard();
        let busy = thread::spawn(move || {
            let directory = shard.directory().join("one");
            fs::write(directory, vec![5; 64 << 20]).expect("written");
            shard.register(ringway::engine::Sealed::at("one"), ringway::engine::Ask::default()).wait()
        });
        thread::sleep(Duration::from_millis(30));
        running.kill();
        let _either_way = busy.join().expect("an answer, of whichever kind");
        assert_eq!(engine.status().wait(), Err(NoAnswer::Stopped));
    }
    // A future that is never run, and one of two that is dropped.
    let node = places.builder(1).open_guest().expect("it can be prepared");
    drop(node.cores);
    assert!(matches!(node.engine.wait(), Err(OpenError::Core { .. })), "nobody runs it");
    let node = places.builder(1).open_guest().expect("it can be prepared");
    H::block_on(async move {
        let mut cores = node.cores;
        let second = cores.pop().expect("two");
        let leave = Word::default();
        let left = leave.clone();
        H::spawn(async move {
            drop(all::<H>(vec![second], left.said()).await);
        });
        let first = cores.pop().expect("two");
        let first = async move { H::run(first).await.expect("the signal is waited for") };
        let engine = async move {
            let engine = node.engine.await.expect("it opens");
            leave.say();
            engine
        };
        let both = futures_util::future::join(first, engine);
        let ((), engine) = both.await;
        assert_eq!(engine.status().await, Err(NoAnswer::Stopped), "one core alone is no node");
    });
    let last = Running::open::<H>(places.builder(1));
    last.stop();
    assert_eq!(descriptors() - before, of_executors, "descriptors");
}

/// Only where an executor that goes drops its tasks.
#[cfg(feature = "tokio-uring")]
pub fn executor_gone<H: Executor>() {
    let _alone = alone();
    let places = Places::new(1);
    let node = places.builder(1).open_guest().expect("it can be prepared");
    let engine = H::block_on(async move {
        for core in node.cores {
            H::spawn(async move { drop(H::run(core).await) });
        }
        node.engine.await.expect("it opens")
    });
    assert_eq!(engine.status().wait(), Err(NoAnswer::Stopped));
    Running::open::<H>(places.builder(1)).stop();
}

pub fn refused<H: Executor>() {
    let _alone = alone();
    let places = Places::new(2);
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound");
    // Whatever the core's other tasks get of its last turn.
    for slice in [Duration::from_nanos(1), Duration::from_millis(1)] {
        let builder = places.builder(1).node(ringway::ids::NodeId(1), address);
        let node = builder.open_guest().expect("it can be prepared");
        let cores = node.cores.into_iter().map(|core| core.slice(slice)).collect();
        let ended = H::block_on(all::<H>(cores, std::future::pending()));
        assert!(ended.is_some_and(|ended| ended.iter().all(Result::is_ok)), "both have ended");
        let told = node.engine.wait();
        assert!(matches!(told, Err(OpenError::Listen { .. })), "{told:?}");
    }
    assert!(places.builder(1).shards(0).open_guest().is_err(), "what can be known beforehand is");
}
