//! Point to point, the receiving end: a directory becomes the same as a served one, verified, resumable, durable.
//!
//! All state stands under `DEST/.ringway`. What an earlier pull brought is known there with its digest, so that
//! nothing is fetched twice; what no pull brought is set aside in quarantine where the source has its name, and else
//! not touched.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::auth::SecretSet;
use crate::config::Work;
use crate::ids::{Digest, GroupId, LogIndex, SegmentId};
use crate::limits::{FETCH_ATTEMPTS_MAX, SOURCE_BUSY_MAX};
use crate::segment::{Ownership, RelativePath, Store, StoreOptions};
use crate::stats::TransferStats;
use crate::transfer::{Driver, Failure, Fetcher, Helpers, Plan, Unavailable, Want};
use crate::transport::{Peer, Transport};
use crate::uring::{Core, Gate, Notify, Priority};

use super::digests::kernel;
use super::listing::Listed;
use super::point::{self, SOURCE};
use super::pull_cores::PullCores;
use super::pull_parts::{Lost, PullError, PullOptions, PullProgress, PullReport};
use super::source::{Busy, list};

/// One pull at work.
struct Pull {
    options: PullOptions,
    store: Rc<Store>,
    stats: Rc<TransferStats>,
    listed: BTreeMap<SegmentId, Listed>,
    /// Given up: asked for as often as one is.
    lost: RefCell<BTreeMap<SegmentId, Lost>>,
    /// A fetch has failed: it is worth looking for what is hopeless.
    has_failed: Cell<bool>,
    progress: Cell<PullProgress>,
    changed: Rc<Notify>,
    full: Cell<bool>,
    busy: Cell<Busy>,
}

/// Pulls, on the current core; of large segments the other ones bring pieces. `tell` hears of every step forward.
pub(crate) async fn run(
    options: PullOptions,
    secrets: SecretSet,
    (boot, others): ([u8; 16], Rc<PullCores>),
    tell: Rc<dyn Fn(PullProgress)>,
) -> Result<PullReport, PullError> {
    let begun = Core::current().now();
    let transport = point::transport(secrets, None);
    let peer = Peer { node: Some(SOURCE), address: options.address };
    let (listed, skipped) = list(&transport, peer, &*tell).await?;
    let store = open_store(&options, boot).await?;
    let (have, want, mut gone) = sort_out(&store, listed);
    discard_unwanted(&store, &want).await?;
    let mut report = PullReport { skipped, ..PullReport::default() };
    report.removed = make_way(&store, &options, &want, &mut gone).await?;
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
    let missing = progress.bytes - progress.bytes_done;
    let stats = Rc::new(TransferStats::default());
    let pull = Rc::new(Pull {
        options,
        store: Rc::clone(&store),
        stats: Rc::clone(&stats),
        listed: want,
        lost: RefCell::default(),
        has_failed: Cell::new(false),
        progress: Cell::new(progress),
        changed: Rc::default(),
        full: Cell::new(false),
        busy: Cell::default(),
    });
    Rc::clone(&pull).fetch_all((transport, peer), others.helpers(missing), tell).await?;
    if pull.options.delete {
        report.removed += remove(&store, gone.values()).await?;
    }
    count_bytes(&mut report, &stats);
    #[expect(clippy::as_conversions, reason = "seconds for people")]
    let seconds = Core::current().now().since(begun).0 as f64 / 1e9;
    report.seconds = seconds;
    Ok(report)
}

fn count_bytes(report: &mut PullReport, stats: &TransferStats) {
    report.bytes_fetched = stats.bytes_fetched.get().saturating_sub(stats.bytes_refetched.get());
    report.bytes_lent = stats.bytes_lent.get();
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
/// What an earlier pull brought and the source no longer lists, by path.
type Gone = BTreeMap<String, SegmentId>;

/// What is here already, what has to come, and what an earlier pull brought that the source no longer lists.
/// New ids are above all old ones: a later version of a path supersedes an earlier one.
fn sort_out(store: &Store, listed: Vec<Listed>) -> (Files, Files, Gone) {
    let mut held: BTreeMap<String, (SegmentId, Digest)> = BTreeMap::new();
    // Of a path also what is not believed any more: it has its id all the same.
    let known = |path: &str| RelativePath::parse(path).ok().and_then(|path| store.id_at(&path));
    let mut generation = listed.iter().filter_map(|file| known(&file.path)).max().unwrap_or_default().index;
    for segment in store.held() {
        generation = generation.max(segment.id.index);
        if let Some(record) = store.record(segment.id) {
            held.insert(record.path.as_str().to_owned(), (segment.id, segment.root));
        }
    }
    for staged in store.staged() {
        generation = generation.max(staged.id.index);
    }
    let staged: BTreeMap<_, _> = store.staged().into_iter().map(|stem| (stem.root, stem.id)).collect();
    let (mut have, mut want) = (Files::new(), Files::new());
    for (ordinal, file) in listed.into_iter().enumerate() {
        match held.remove(&file.path) {
            Some((id, root)) if root == file.root => drop(have.insert(id, file)),
            _ => {
                let new = SegmentId {
                    index: LogIndex(generation.0 + 1),
                    ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
                };
                // What an interrupted pull has staged of this content goes on under the id that it has, unless a later
                // pull has brought something else under the name.
                let superseded = known(&file.path);
                let is_free = |id: &SegmentId| {
                    !want.contains_key(id)
                        && store.record(*id).is_none()
                        && superseded.is_none_or(|by| by < *id)
                };
                let id = staged.get(&file.root).copied().filter(is_free).unwrap_or(new);
                want.insert(id, file);
            }
        }
    }
    (have, want, held.into_iter().map(|(path, (id, _))| (path, id)).collect())
}

/// Lets go of what an interrupted pull has staged and nobody wants any more.
async fn discard_unwanted(store: &Store, want: &Files) -> Result<(), PullError> {
    for stem in store.staged() {
        if want.get(&stem.id).is_none_or(|file| file.root != stem.root) {
            let discarded = store.discard_staged(stem.id).await;
            discarded.map_err(|error| PullError::Dest { why: error.to_string() })?;
        }
    }
    Ok(())
}

/// Removes first of what is gone what stands where a folder or a file of the source has to be, if it may go at all.
async fn make_way(
    store: &Store,
    options: &PullOptions,
    want: &Files,
    gone: &mut Gone,
) -> Result<u64, PullError> {
    let mut in_the_way = Gone::new();
    for file in want.values() {
        in_the_way.extend(in_way_of(&file.path, gone));
    }
    if !options.delete {
        for path in in_the_way.keys() {
            tracing::warn!(path, "what an earlier pull brought stands in the way; pull with --delete");
        }
        return Ok(0);
    }
    gone.retain(|path, _| !in_the_way.contains_key(path));
    remove(store, in_the_way.values()).await
}

/// What is gone and stands above a path, as a file where a folder has to be, or below it.
fn in_way_of(path: &str, gone: &Gone) -> Vec<(String, SegmentId)> {
    let above = path.match_indices('/').filter_map(|(end, _)| gone.get_key_value(&path[..end]));
    let folder = format!("{path}/");
    let below = gone.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder));
    above.chain(below).map(|(path, id)| (path.clone(), *id)).collect()
}

async fn remove(store: &Store, gone: impl ExactSizeIterator<Item = &SegmentId>) -> Result<u64, PullError> {
    let count = gone.len() as u64;
    for id in gone {
        store.remove(*id).await.map_err(|error| PullError::Dest { why: error.to_string() })?;
    }
    Ok(count)
}

impl Pull {
    async fn fetch_all(
        self: Rc<Self>,
        (transport, peer): (Transport, Peer),
        helpers: Option<Rc<Helpers>>,
        tell: Rc<dyn Fn(PullProgress)>,
    ) -> Result<(), PullError> {
        tell(self.progress.get());
        let (store, stats) = (Rc::clone(&self.store), Rc::clone(&self.stats));
        let fetcher = Fetcher::new(transport, store, GroupId::CLUSTER, stats).with_helpers(helpers);
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
            self.give_up(&driver);
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
            Err(_) => self.has_failed.set(true),
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
        let is_over = driver.with_plan(Plan::is_empty) && !more;
        match self.lost.borrow().first_key_value() {
            None if is_over => Some(Ok(())),
            Some((id, why)) if is_over => Some(Err(PullError::Incomplete {
                count: self.lost.borrow().len() as u64,
                path: self.listed.get(id).map_or_else(String::new, |file| file.path.clone()),
                why: *why,
            })),
            _ if self.has_failed.get() => driver.with_plan(|plan| self.lost_source(plan)).map(Err),
            _ => None,
        }
    }

    /// Takes out of the plan what the source cannot give or this disk not take: others wait for the room.
    fn give_up(&self, driver: &Driver) {
        if !self.has_failed.get() {
            return;
        }
        let of = |failed: Unavailable| Some((failed.id, lost(failed.failure)?));
        let given_up: Vec<_> = driver.with_plan(|plan| hopeless(plan).filter_map(of).collect());
        for (id, _) in &given_up {
            driver.forget(*id);
        }
        self.lost.borrow_mut().extend(given_up);
    }

    /// Why nothing more comes, if all that is planned waits for a source that does not give it.
    fn lost_source(&self, plan: &Plan) -> Option<PullError> {
        let first = hopeless(plan).next()?;
        if hopeless(plan).count() < plan.len() {
            return None;
        }
        if first.failure == Failure::NotAllowed {
            return Some(PullError::Refused { why: "the source refuses to serve".to_owned() });
        }
        Some(PullError::Unreachable { why: format!("{}: the connection is lost", self.options.address) })
    }
}

/// What was asked for as often as one is.
fn hopeless(plan: &Plan) -> impl Iterator<Item = Unavailable> {
    plan.unavailable().filter(|failed| failed.attempts >= FETCH_ATTEMPTS_MAX)
}

/// Why one file is given up; none if the source, the way to it or the whole disk is at fault.
fn lost(failure: Failure) -> Option<Lost> {
    match failure {
        Failure::NotHere => Some(Lost::Changed),
        Failure::Corrupt => Some(Lost::Damaged),
        Failure::Disk => Some(Lost::Disk),
        Failure::NotAllowed
        | Failure::Unreachable
        | Failure::NoProgress
        | Failure::Busy
        | Failure::DiskFull => None,
    }
}

fn wanted(id: SegmentId, file: &Listed) -> Want {
    Want {
        id,
        path: file.path.as_str().into(),
        bytes: file.bytes,
        root: file.root,
        origin: SOURCE,
        work: Work::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_path_stands_above_it_or_below() {
        let id = |index| SegmentId { index: LogIndex(index), ordinal: 0 };
        let paths = ["a", "a/b/c", "a/b/d/e", "a/b.x", "ab", "z"];
        let gone: Gone = (1..).zip(paths).map(|(index, path)| (path.to_owned(), id(index))).collect();
        let found = |path| -> Vec<_> { in_way_of(path, &gone).into_iter().map(|(path, _)| path).collect() };
        assert_eq!(found("a/b"), ["a", "a/b/c", "a/b/d/e"]);
        assert_eq!(found("z/in/it"), ["z"]);
        assert!(found("b").is_empty() && found("zz").is_empty());
    }

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
