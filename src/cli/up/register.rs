//! Telling the manifest of what was placed in node 1: in batches, through node 1's admin endpoint. Everything
//! here may be asked again after a failure: a registration that happened is found to be there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::copy::Placed;
use super::import::Item;
use super::plan::Plan;
use crate::cli::ask::{Endpoint, PAGE, Trouble, token};
use crate::cli::exit::{Exit, Failure};
use crate::daemon::ChangeBody;

/// Files of a batch.
const BATCH_FILES: usize = 1000;
/// Bytes after which a batch ends: while the next one is hashed, this one is on its way to the other nodes.
const BATCH_BYTES: u64 = 64 << 20;
/// Batches under way at a time.
const WORKERS: usize = 4;
/// How long one batch may take: this and the time to hash its bytes on a slow disk.
const CHANGE_MILLIS: u64 = 30_000;
const SLOW_BYTES_A_MILLI: u64 = 20_000;
/// How long no batch may come through before the command gives up.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

struct Job {
    shard: u32,
    kind: &'static str,
    paths: Vec<String>,
    bytes: u64,
}

/// Registers the files that the manifest does not have, and all that are pending.
pub(super) fn register(
    plan: &Plan,
    items: &[Item],
    pending: &BTreeSet<Placed>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let worker = Worker { plan, token: token(&plan.secret_file)?, stop };
    let jobs = Mutex::new(worker.jobs(items, pending)?);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        let endpoint = endpoint(plan);
        while let Some(job) = next() {
            if let Err(failure) = worker.settle(&endpoint, &job) {
                // Nobody needs to begin another.
                jobs.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Err(failure);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => Err(Failure::failed("a registering thread has ended badly")),
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn endpoint(plan: &Plan) -> Endpoint {
    // A batch says itself how long it may take.
    Endpoint::new(plan.seats[0].admin, Duration::from_secs(24 * 3600))
}

struct Worker<'a> {
    plan: &'a Plan,
    token: String,
    stop: &'a AtomicBool,
}

impl Worker<'_> {
    /// What is to be done: new paths are registered, placed ones that the manifest has are updated.
    fn jobs(&self, items: &[Item], pending: &BTreeSet<Placed>) -> Result<VecDeque<Job>, Failure> {
        let endpoint = endpoint(self.plan);
        let sizes: BTreeMap<(u32, &str), u64> =
            items.iter().map(|item| ((item.shard, item.path.as_str()), item.bytes)).collect();
        let mut wanted: BTreeSet<(u32, &str)> = sizes.keys().copied().collect();
        wanted.extend(pending.iter().map(|placed| (placed.shard, placed.path.as_str())));
        let mut jobs = VecDeque::new();
        for shard in 0..self.plan.shards {
            let known = self.known(&endpoint, shard)?;
            let (mut new, mut changed) = (Vec::new(), Vec::new());
            for &(_, path) in wanted.range((shard, "")..(shard + 1, "")) {
                let is_pending = pending.contains(&Placed { shard, path: path.to_owned() });
                if is_pending && !self.plan.segments(shard).join(path).is_file() {
                    tracing::warn!(path, shard, "its copy was interrupted; import it again");
                    continue;
                }
                let file = (path.to_owned(), sizes.get(&(shard, path)).copied().unwrap_or_default());
                match known.contains(path) {
                    false => new.push(file),
                    true if is_pending => changed.push(file),
                    true => {}
                }
            }
            jobs.extend(batches(shard, "register", new));
            jobs.extend(batches(shard, "update", changed));
        }
        Ok(jobs)
    }

    /// The paths of a shard's manifest.
    fn known(&self, endpoint: &Endpoint, shard: u32) -> Result<BTreeSet<String>, Failure> {
        let mut known = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.insist(|| endpoint.segments(shard, after.as_deref(), PAGE))?;
            known.extend(page.segments.into_iter().map(|segment| segment.path));
            after = page.next;
            if after.is_none() {
                return Ok(known);
            }
        }
    }

    /// Performs a batch. One that the manifest refuses is done file by file, each in the way that the manifest has it.
    fn settle(&self, endpoint: &Endpoint, job: &Job) -> Result<(), Failure> {
        let refused = match self.attempt(endpoint, job, job.kind)? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        if let [_] = job.paths.as_slice() {
            let other = if job.kind == "register" { "update" } else { "register" };
            return match self.attempt(endpoint, job, other)? {
                Ok(()) => Ok(()),
                Err(_) => Err(Failure::from(refused)),
            };
        }
        job.paths.iter().try_for_each(|path| {
            let one = Job { shard: job.shard, kind: job.kind, paths: vec![path.clone()], bytes: job.bytes };
            self.settle(endpoint, &one)
        })
    }

    /// The inner error is the manifest's.
    fn attempt(&self, endpoint: &Endpoint, job: &Job, kind: &str) -> Result<Result<(), Trouble>, Failure> {
        let body = ChangeBody {
            shard: job.shard,
            kind: kind.to_owned(),
            paths: job.paths.clone(),
            reason: String::new(),
            durability: "committed".to_owned(),
            timeout_millis: CHANGE_MILLIS + job.bytes / SLOW_BYTES_A_MILLI,
        };
        self.insist(|| match endpoint.change(&self.token, &body) {
            Ok(_) => Ok(Ok(())),
            Err(trouble) if trouble.is_conflict() => Ok(Err(trouble)),
            Err(trouble) => Err(trouble),
        })
    }

    /// Asks again while the trouble is of the passing kind.
    fn insist<T>(&self, ask: impl Fn() -> Result<T, Trouble>) -> Result<T, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::new(Exit::Interrupted, "interrupted"));
            }
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(trouble) if trouble.is_passing() && Instant::now() < until => thread::sleep(PAUSE),
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }
}

/// Cuts the files of a shard into batches.
fn batches(shard: u32, kind: &'static str, files: Vec<(String, u64)>) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (path, bytes) in files {
        match jobs.last_mut() {
            Some(job) if job.paths.len() < BATCH_FILES && job.bytes + bytes <= BATCH_BYTES => {
                job.bytes += bytes;
                job.paths.push(path);
            }
            _ => jobs.push(Job { shard, kind, paths: vec![path], bytes }),
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_before_it_has_too_many_files_or_bytes() {
        let files = |count: usize, bytes| (0..count).map(|index| (index.to_string(), bytes)).collect();
        let sizes = |jobs: &[Job]| jobs.iter().map(|job| job.paths.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&batches(0, "register", files(2001, 1))), [1000, 1000, 1]);
        assert_eq!(sizes(&batches(0, "register", files(3, BATCH_BYTES + 1))), [1, 1, 1]);
        assert_eq!(sizes(&batches(0, "register", files(5, BATCH_BYTES / 2))), [2, 2, 1]);
        assert!(batches(0, "register", files(0, 1)).is_empty());
    }
}
