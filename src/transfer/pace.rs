//! Limits of bytes per second: whoever receives or serves a chunk waits here until it may pass.
//!
//! The cores of a node share its limits, as its gate (ARCHITECTURE.md, D18). Nobody wakes anybody: each asks again at
//! the time that it was told, on its core's clock.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broken::{self, Broken};
use crate::config::{Direction, Rates, Work, WorkShares};
use crate::ids::{Nanos, ShardId};
use crate::uring::{Core, sleep_until};

use super::bucket::{Bucket, Passed};

/// One limit, of a node or of a shard, in one direction. Clones are the same, on any core.
#[derive(Clone)]
struct Meter(Arc<Inner>);

struct Inner {
    /// Told apart from the bucket: what is not limited takes no lock.
    is_limited: AtomicBool,
    bucket: Mutex<Bucket>,
}

/// A place in the queue of a limit.
struct Queued<'a> {
    meter: &'a Meter,
    work: Work,
    ticket: Option<u64>,
}

impl Meter {
    fn new(rate: Option<u64>, shares: WorkShares) -> Self {
        let (is_limited, bucket) = (AtomicBool::new(rate.is_some()), Mutex::new(Bucket::new(rate, shares)));
        Self(Arc::new(Inner { is_limited, bucket }))
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_limited(&self) -> bool {
        self.0.is_limited.load(Ordering::Relaxed)
    }

    fn set(&self, rate: Option<u64>, shares: WorkShares) {
        self.lock().set(rate, shares);
        self.0.is_limited.store(rate.is_some(), Ordering::Relaxed);
    }

    async fn pass(&self, work: Work, bytes: u64) {
        let core = Core::current();
        let mut queued = Queued { meter: self, work, ticket: None };
        while let Err(again) = queued.take(bytes, core.now()) {
            sleep_until(again).await;
        }
    }
}

impl Queued<'_> {
    fn take(&mut self, bytes: u64, now: Nanos) -> Result<(), Nanos> {
        self.meter.lock().take(self.work, bytes, &mut self.ticket, now)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.meter.lock().leave(self.work, &mut self.ticket);
        }
    }
}

/// The limits that hold for a shard in one direction: its own and its node's. By default there are none.
#[derive(Clone, Default)]
pub struct Pacer(Vec<Meter>);

/// The same for one kind of work.
#[derive(Clone, Debug)]
pub struct Pace {
    pacer: Pacer,
    work: Work,
}

impl Pacer {
    /// For this kind of work.
    #[must_use]
    pub fn of(&self, work: Work) -> Pace {
        Pace { pacer: self.clone(), work }
    }
}

impl Pace {
    /// There is no limit now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.pacer.0.iter().any(Meter::is_limited)
    }

    /// Waits until so many bytes may pass, a chunk at most. The shard's limit is waited for first: what it holds back
    /// takes nothing from the node's.
    pub async fn pass(&self, bytes: usize) {
        if broken::is(Broken::LimitPassedBy) {
            return;
        }
        for meter in self.pacer.0.iter().filter(|meter| meter.is_limited()) {
            meter.pass(self.work, bytes as u64).await;
        }
    }
}

/// The limits of a node and of its shards. Clones are the same.
#[derive(Clone)]
pub struct Limits(Arc<All>);

struct All {
    node: [Meter; 2],
    shards: Vec<[Meter; 2]>,
}

/// What one limit is, and what has passed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitFigures {
    /// The shard's; none for the node's.
    pub shard: Option<ShardId>,
    /// Which way.
    pub direction: Direction,
    /// Bytes a second; none without a limit.
    pub rate: Option<u64>,
    /// How it is divided.
    pub shares: WorkShares,
    /// Of each kind of work, what has passed while there was a limit.
    pub passed: [Passed; 3],
}

impl Limits {
    /// Those of a node with so many shards.
    #[must_use]
    pub fn new(rates: &Rates, shards: u32) -> Self {
        let node = Direction::ALL.map(|direction| Meter::new(rates.of_node(direction), rates.shares));
        let shard = |_| Direction::ALL.map(|direction| Meter::new(rates.of_shard(direction), rates.shares));
        Self(Arc::new(All { node, shards: (0..shards).map(shard).collect() }))
    }

    /// From now on there are others.
    pub fn set(&self, rates: &Rates) {
        for direction in Direction::ALL {
            self.0.node[direction.place()].set(rates.of_node(direction), rates.shares);
            for shard in &self.0.shards {
                shard[direction.place()].set(rates.of_shard(direction), rates.shares);
            }
        }
    }

    /// Those that hold for a shard.
    #[must_use]
    pub fn pacer(&self, shard: ShardId, direction: Direction) -> Pacer {
        let own = self.0.shards.get(shard.0 as usize).map(|of| of[direction.place()].clone());
        Pacer(own.into_iter().chain([self.0.node[direction.place()].clone()]).collect())
    }

    /// The node's, whether there are limits or not, then those of shards that have one.
    #[must_use]
    pub fn figures(&self) -> Vec<LimitFigures> {
        let figures = |shard: Option<ShardId>, meters: &[Meter; 2]| {
            Direction::ALL.map(|direction| {
                let bucket = meters[direction.place()].lock();
                let (rate, shares, passed) = (bucket.rate(), bucket.shares(), bucket.passed());
                LimitFigures { shard, direction, rate, shares, passed }
            })
        };
        let of_shards = (0..).map(ShardId).zip(&self.0.shards);
        let of_shards = of_shards.flat_map(|(id, meters)| figures(Some(id), meters));
        let node = figures(None, &self.0.node);
        node.into_iter().chain(of_shards.filter(|figures| figures.rate.is_some())).collect()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({:?} bytes a second)", self.lock().rate())
    }
}

impl fmt::Debug for Pacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.figures()).finish()
    }
}
