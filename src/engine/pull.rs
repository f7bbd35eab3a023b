//! Point to point, the receiving end: a directory becomes the same as a served one, verified, resumable, durable.
//!
//! All state stands under `DEST/.ringway`. What an earlier pull brought is known there with its digest, so that
//! nothing is fetched twice; what no pull brought is never touched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::auth::SecretSet;
use crate::ids::{Digest, GroupId, LogIndex, SegmentId};
use crate::limits::{FETCH_ATTEMPTS_MAX, SOURCE_BUSY_MAX};
use crate::segment::{Ownership, Store, StoreOptions};
use crate::stats::TransferStats;
use crate::transfer::{Driver, Failure, Fetcher, Want};
use crate::transport::{Peer, Transport};
use crate::uring::{Core, Gate, Notify, Priority};

use super::digests::kernel;
use super::listing::Listed;
use super::point::{self, SOURCE};
use super::pull_parts::{PullError, PullOptions, PullProgress, PullReport};
use super::source::{Busy, list};

/// One pull at work.
struct Pull {
    options: PullOptions,
    store: Rc<Store>,
    stats: Rc<TransferStats>,
    listed: BTreeMap<SegmentId, Listed>,
    progress: Cell<PullProgress>,
    changed: Rc<Notify>,
    full: Cell<bool>,
    busy: Cell<Busy>,
}

/// Pulls, on the current core. `tell` hears of every step forward.
pub(crate) async fn run(
    options: PullOptions,
    secrets: SecretSet,
    boot: [u8; 16],
    tell: Rc<dyn Fn(PullProgress)>,
) -> Result<PullReport, PullError> {
    let begun = Core::current().now();
    let transport = point::transport(secrets, None);
    let peer = Peer { node: Some(SOURCE), address: options.address };
    let (listed, skipped) = list(&transport, peer, &*tell).await?;
    let store = open_store(&options, boot).await?;
    let (have, want, gone) = sort_out(&store, listed);
    let mut report = PullReport { skipped, ..PullReport::default() };
    for listed in have.values().chain(want.values()) {
        report.segments += 1;
        report.bytes += listed.bytes;
    }
    let progress = PullProgress {
        segments: report.segments,
        segments_done: have.len() as u64,
        bytes: report.bytes,
        bytes_done: have.values().map(|listed| listed.bytes).sum(),
        ..PullProgress::default()
    };
    let stats = Rc::new(TransferStats::default());
    let pull = Rc::new(Pull {
        options,
        store: Rc::clone(&store),
        stats: Rc::clone(&stats),
        listed: want,
        progress: Cell::new(progress),
        changed: Rc::default(),
        full: Cell::new(false),
        busy: Cell::default(),
    });
    Rc::clone(&pull).fetch_all(transport, peer, tell).await?;
    if pull.options.delete {
        report.removed = remove(&store, &gone).await?;
    }
    count_bytes(&mut report, &stats);
    #[expect(clippy::as_conversions, reason = "seconds for people")]
    let seconds = Core::current().now().since(begun).0 as f64 / 1e9;
    report.seconds = seconds;
    Ok(report)
}

fn count_bytes(report: &mut PullReport, stats: &TransferStats) {
    report.bytes_fetched = stats.bytes_fetched.get() - stats.bytes_refetched.get();
    // A chunk whose write was cut off comes twice: more may have come than the source has.
    report.bytes_reused = report.bytes.saturating_sub(report.bytes_fetched);
    report.chunks_refetched = stats.chunks_refetched.get();
}

async fn open_store(options: &PullOptions, boot: [u8; 16]) -> Result<Rc<Store>, PullError> {
    let bad = |why: &dyn fmt::Display| PullError::Dest { why: format!("{}: {why}", options.dest.display()) };
    let dest = options.dest.to_str().ok_or_else(|| bad(&"the path is not UTF-8"))?.to_owned();
    let store = StoreOptions {
        segments_root: dest.clone(),
        private: dest,
        ownership: Ownership::Ours,
        direct: true,
        kernel: kernel(),
        boot,
        gate: Gate::new(),
    };
    let (store, recovery) = Store::open(store)
        .await
        .map_err(|error| if error.is_disk_full() { PullError::DiskFull } else { bad(&error) })?;
    tracing::debug!(?recovery, "the destination's state");
    if let Some(cut) = &recovery.inventory_cut {
        tracing::warn!(%cut, "the destination's inventory is damaged; what it lost is hashed again");
    }
    Ok(Rc::new(store))
}

type Files = BTreeMap<SegmentId, Listed>;

/// What is here already, what has to come, and what an earlier pull brought that the source no longer lists.
/// New ids are above all old ones: a later version of a path supersedes an earlier one.
fn sort_out(store: &Store, listed: Vec<Listed>) -> (Files, Files, Vec<SegmentId>) {
    let mut known: BTreeMap<String, (SegmentId, Digest)> = BTreeMap::new();
    let mut generation = LogIndex(0);
    for held in store.held() {
        generation = generation.max(held.id.index);
        if let Some(record) = store.record(held.id) {
            known.insert(record.path.as_str().to_owned(), (held.id, held.root));
        }
    }
    for staged in store.staged() {
        generation = generation.max(staged.id.index);
    }
    let staged: BTreeMap<_, _> = store.staged().into_iter().map(|stem| (stem.root, stem.id)).collect();
    let (mut have, mut want) = (Files::new(), Files::new());
    for (ordinal, file) in listed.into_iter().enumerate() {
        match known.remove(&file.path) {
            Some((id, root)) if root == file.root => drop(have.insert(id, file)),
            _ => {
                let new = SegmentId {
                    index: LogIndex(generation.0 + 1),
                    ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
                };
                // What an interrupted pull has staged of this content goes on under the id that it has.
                let id = staged.get(&file.root).copied().filter(|id| !want.contains_key(id)).unwrap_or(new);
                want.insert(id, file);
            }
        }
    }
    (have, want, known.into_values().map(|(id, _)| id).collect())
}

async fn remove(store: &Store, gone: &[SegmentId]) -> Result<u64, PullError> {
    for id in gone {
        store.remove(*id).await.map_err(|error| PullError::Dest { why: error.to_string() })?;
    }
    Ok(gone.len() as u64)
}

impl Pull {
    async fn fetch_all(
        self: Rc<Self>,
        transport: Transport,
        peer: Peer,
        tell: Rc<dyn Fn(PullProgress)>,
    ) -> Result<(), PullError> {
        tell(self.progress.get());
        let fetcher =
            Fetcher::new(transport, Rc::clone(&self.store), GroupId::CLUSTER, Rc::clone(&self.stats));
        let (me, changed) = (Rc::clone(&self), Rc::clone(&self.changed));
        let hook = Box::new(move |id, done| {
            me.heard(id, done);
            tell(me.progress.get());
            changed.notify();
        });
        let driver = Driver::new(fetcher, Box::new(move |_| Some(peer)), hook, Rc::clone(&self.stats));
        driver.set_sources([SOURCE]);
        let running = Core::current().spawn(Priority::Bulk, Rc::clone(&driver).run());
        let mut left = self.listed.iter().peekable();
        let done = loop {
            let changed = self.changed.notified();
            // What the plan has no room for is not forgotten: it is `left`.
            let _has_room = driver.take_overflow();
            while let Some((id, file)) = left.peek() {
                if !driver.want(wanted(**id, file)) {
                    break;
                }
                left.next();
            }
            if let Some(done) = self.verdict(&driver, left.peek().is_some()) {
                break done;
            }
            changed.await;
        };
        driver.stop();
        running.abort();
        done
    }

    /// One fetch has ended.
    fn heard(&self, id: SegmentId, done: Result<(), Failure>) {
        let mut progress = self.progress.get();
        let (bytes, now) = (self.stats.bytes_fetched.get(), Core::current().now());
        let is_busy = done == Err(Failure::Busy);
        self.busy.set(if is_busy { self.busy.get().again(bytes, now) } else { Busy::default() });
        progress.waits_for_source = is_busy;
        match done {
            Ok(()) => {
                progress.segments_done += 1;
                progress.bytes_done += self.listed.get(&id).map_or(0, |file| file.bytes);
                progress.waits_for_space = false;
            }
            Err(Failure::DiskFull) => {
                progress.waits_for_space = true;
                self.full.set(true);
            }
            Err(_) => {}
        }
        self.progress.set(progress);
    }

    /// Whether the pull is over, and how.
    fn verdict(&self, driver: &Driver, more: bool) -> Option<Result<(), PullError>> {
        if self.full.get() && !self.options.wait_for_space {
            return Some(Err(PullError::DiskFull));
        }
        if self.busy.get().length >= SOURCE_BUSY_MAX {
            return Some(Err(PullError::Busy { address: self.options.address }));
        }
        driver.with_plan(|plan| {
            let hopeless = plan.unavailable().filter(|lost| lost.attempts >= FETCH_ATTEMPTS_MAX);
            let (mut count, mut first) = (0, None);
            for lost in hopeless {
                count += 1;
                first.get_or_insert((lost.id, lost.failure));
            }
            let stuck = count > 0 && count == plan.len() as u64 && !more;
            match first {
                Some((_, Failure::NotAllowed)) if stuck => {
                    Some(Err(PullError::Refused { why: "the source refuses to serve".to_owned() }))
                }
                Some((_, Failure::Unreachable | Failure::NoProgress)) if stuck => {
                    Some(Err(PullError::Unreachable {
                        why: format!("{}: the connection is lost", self.options.address),
                    }))
                }
                Some((id, failure)) if stuck => {
                    let path = self.listed.get(&id).map_or_else(String::new, |file| file.path.clone());
                    Some(Err(PullError::Incomplete { count, path, why: failure.word() }))
                }
                _ => (plan.is_empty() && !more).then_some(Ok(())),
            }
        })
    }
}

fn wanted(id: SegmentId, file: &Listed) -> Want {
    Want { id, path: file.path.as_str().into(), bytes: file.bytes, root: file.root, origin: SOURCE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk that came, was not written because the connection broke, and came again made the bytes reused a number
    /// below zero, which was told as 2^64 less it.
    #[test]
    fn what_came_twice_leaves_nothing_reused_and_not_less() {
        let stats = TransferStats::default();
        stats.bytes_fetched.add(3_000);
        stats.bytes_refetched.add(500);
        let mut report = PullReport { bytes: 2_000, ..PullReport::default() };
        count_bytes(&mut report, &stats);
        assert_eq!((report.bytes_fetched, report.bytes_reused), (2_500, 0));
        report.bytes = 2_600;
        count_bytes(&mut report, &stats);
        assert_eq!(report.bytes_reused, 100);
    }
}
