//! How long each of many requests took, and what all of them took from the machine: the same for a benchmark of ours
//! and for its rival, so that scripts can lay their figures side by side.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, future, stream};

use crate::quantile;

/// Asks for one after the other of `all`, so many at a time, until `time` is over; how long each took.
pub async fn each<T, A, E>(
    all: impl Iterator<Item = T>,
    in_flight: usize,
    time: Duration,
    ask: impl Fn(T) -> A,
) -> Result<Vec<Duration>, E>
where
    A: Future<Output = Result<(), E>>,
{
    let begun = Instant::now();
    let timed = |one| {
        let (begun, asked) = (Instant::now(), ask(one));
        async move { asked.await.map(|()| begun.elapsed()) }
    };
    let in_time = stream::iter(all).take_while(|_| future::ready(begun.elapsed() < time));
    in_time.map(timed).buffer_unordered(in_flight).try_collect().await
}

/// Runs while a benchmark does.
pub struct Meter {
    begun: Instant,
    busy_ticks: u64,
    flushes: u64,
    disk: String,
}

impl Meter {
    /// Begins, for what stands on the disk of `dir`.
    pub fn begin(dir: &Path) -> std::io::Result<Self> {
        let device = dir.metadata()?.dev();
        let disk = format!("/sys/dev/block/{}:{}/stat", libc::major(device), libc::minor(device));
        Ok(Self { begun: Instant::now(), busy_ticks: busy_ticks(), flushes: flushes(&disk), disk })
    }

    /// Ends, and prints a line of figures: requests, requests a second, p50 and p99 in milliseconds, CPU seconds of
    /// the whole machine per 10,000, and flushes of the disk per 100.
    pub fn end(self, mut each: Vec<Duration>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cpu = (busy_ticks() - self.busy_ticks) as f64 / 100.0;
        let flushes = (flushes(&self.disk) - self.flushes) as f64;
        each.sort_unstable();
        let at = |share| quantile::millis(&each, share);
        let count = each.len() as f64;
        let (rate, cpu, flushes) = (count / seconds, cpu / count * 1e4, flushes / count * 1e2);
        println!("figures {count} {rate:.0} {:.3} {:.3} {cpu:.2} {flushes:.1}", at(0.5), at(0.99));
    }
}

/// Ticks, of which Linux tells 100 in a second, in which the processors were neither idle nor waiting for a disk.
fn busy_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks = first.split_whitespace().skip(1).map(|ticks| ticks.parse::<u64>().unwrap_or_default());
    (0..8).zip(ticks).filter(|(place, _)| ![3, 4].contains(place)).map(|(_, ticks)| ticks).sum()
}

/// Flushes that a disk has done; none where it does not tell.
fn flushes(disk: &str) -> u64 {
    let stat = std::fs::read_to_string(disk).unwrap_or_default();
    stat.split_whitespace().nth(15).and_then(|flushes| flushes.parse().ok()).unwrap_or_default()
}
