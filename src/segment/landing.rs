//! How a segment lands: the one recipe by which staged content becomes a file under its final name, durably.
//!
//! The recipe is data. One function walks its steps, for one segment or for many at once; the crash test cuts the
//! power before and after each. See kernel-notes/fsync-and-rename.md.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt};

use crate::ids::{Digest, SegmentId};
use crate::limits::STORE_OPERATIONS_MAX;
use crate::uring::{Core, Dir, Priority};

use super::fault::{DiskError, Doing, failed};
use super::hooks::{Edge, Sabotage};
use super::identity::Identity;
use super::landing_error::LandError;
use super::names::Stem;
use super::record::{Change, Ownership, Record};
use super::scan::identity_of;
use super::staged::Staging;
use super::staging::Landing;
use super::store::{Inner, Store};
use super::table::Standing;

/// The steps of landing, in their order. When a step is done, its line holds whatever happens next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// The staging file exists, its room is taken.
    Staged,
    /// Every chunk was verified and written to its place, the last one padded to the alignment of direct I/O.
    Written,
    /// The file has the segment's exact length.
    Truncated,
    /// The content is durable (fdatasync), and in the inventory the intent to hold it.
    DataSynced,
    /// The chunk list is durable, in `digests/`.
    ListDurable,
    /// The file stands under its final name, in folders made for it, whose own names were durable before.
    Renamed,
    /// The file's name is durable (fsync of its folder).
    DirSynced,
    /// The inventory's record is durable: the segment is held.
    Recorded,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 8] = [
        Self::Staged,
        Self::Written,
        Self::Truncated,
        Self::DataSynced,
        Self::ListDurable,
        Self::Renamed,
        Self::DirSynced,
        Self::Recorded,
    ];
}

/// A segment that has landed: verified, durable, under its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Landed {
    /// The segment.
    pub id: SegmentId,
    /// The root of its content.
    pub root: Digest,
    /// Its length in bytes.
    pub len: u64,
    /// The version that stood under the name before.
    pub replaced: Option<SegmentId>,
}

impl Landing {
    /// Lands the segment. Once called it goes on to its end, even if the caller gives up.
    ///
    /// # Errors
    /// Chunks are missing, a newer version has landed, or the disk refuses something. What is staged is kept, unless
    /// an fsync failed.
    pub async fn land(self) -> Result<Landed, LandError> {
        let store = Store(Rc::clone(&self.0.store));
        store.land_all(vec![self]).await.pop().expect("one answer for one landing")
    }
}

impl Store {
    /// Lands many segments together: their fdatasyncs in flight at once, then one fsync for each folder, then one
    /// record write. The answers are in the order of the landings.
    pub async fn land_all(&self, landings: Vec<Landing>) -> Vec<Result<Landed, LandError>> {
        let count = landings.len();
        let store = self.clone();
        let task = Core::current().spawn(Priority::Bulk, async move { store.0.walk(landings).await });
        task.await.unwrap_or_else(|| vec![Err(LandError::ShutDown); count])
    }
}

/// One landing on its walk through the steps.
struct Flight {
    staging: Rc<Staging>,
    /// Whose name it gets.
    owner: Ownership,
    folder: Option<Dir>,
    /// The file as it is from the truncation on.
    identity: Option<Identity>,
    replaced: Option<Stem>,
    failed: Option<LandError>,
}

impl Inner {
    /// Walks the recipe.
    async fn walk(&self, landings: Vec<Landing>) -> Vec<Result<Landed, LandError>> {
        let names: BTreeSet<_> = landings.iter().map(|landing| landing.0.want.path.clone()).collect();
        let _names = self.names.lock_all(names).await;
        let owner = self.options.ownership;
        let mut flights: Vec<Flight> =
            landings.into_iter().map(|landing| Flight::new(landing, owner)).collect();
        self.refuse_older(&mut flights);
        for step in Step::ALL {
            self.hooks.reach(step, Edge::Before).await;
            self.perform(step, &mut flights).await;
            self.hooks.reach(step, Edge::After).await;
        }
        self.tidy(&flights).await;
        flights.into_iter().map(Flight::outcome).collect()
    }

    /// Performs one step for all that have not failed.
    async fn perform(&self, step: Step, flights: &mut [Flight]) {
        match step {
            Step::Staged | Step::Written | Step::Truncated => self.each(step, flights).await,
            Step::DataSynced => {
                let intents = self.intents(flights);
                let (intended, ()) = join(self.inventory.append(intents), self.each(step, flights)).await;
                fail_all(flights.iter_mut(), intended);
            }
            Step::ListDurable => {
                self.each(step, flights).await;
                self.sync_lists(flights).await;
            }
            Step::Renamed => {
                self.open_folders(flights).await;
                self.each(step, flights).await;
            }
            Step::DirSynced => self.sync_folders(flights).await,
            Step::Recorded => self.record(flights).await,
        }
    }

    /// Performs a step for each flight by itself, several at a time.
    async fn each(&self, step: Step, flights: &mut [Flight]) {
        let going = flights.iter_mut().filter(|flight| flight.failed.is_none());
        let one = async |flight: &mut Flight| {
            let done = match step {
                Step::Staged => flight.staged(),
                Step::Written => flight.written().await,
                Step::Truncated => flight.truncate().await,
                Step::DataSynced => self.sync_data(flight).await,
                Step::ListDurable => flight.staging.write_list().await.map_err(LandError::from),
                Step::Renamed => self.rename(flight).await,
                Step::DirSynced | Step::Recorded => unreachable!("{step:?} is one act for all"),
            };
            flight.failed = done.err();
        };
        stream::iter(going).for_each_concurrent(STORE_OPERATIONS_MAX, one).await;
    }

    /// Of several landings for one path the newest lands, none that is older than what stands there, and none of what
    /// is held by now: that may be the engine's file.
    fn refuse_older(&self, flights: &mut [Flight]) {
        let mut newest = BTreeMap::new();
        let table = self.inventory.table();
        for flight in &*flights {
            let want = &flight.staging.want;
            let known = table.at_path(&want.path).map_or(want.id, |(record, _)| record.id.max(want.id));
            let newest = newest.entry(want.path.clone()).or_insert(known);
            *newest = known.max(*newest);
        }
        for flight in flights {
            let want = &flight.staging.want;
            let by = newest[&want.path];
            let known = table.at_path(&want.path);
            if by != want.id {
                flight.failed = Some(LandError::Superseded { by });
            } else if known
                .is_some_and(|(record, standing)| record.stem() == want.stem() && standing == Standing::Held)
            {
                flight.failed = Some(LandError::Held);
            }
            flight.replaced = known.map(|(record, _)| record.stem());
        }
    }

    async fn sync_data(&self, flight: &Flight) -> Result<(), LandError> {
        if self.hooks.sabotaged(Sabotage::RenameWithoutDataSync) {
            return Ok(());
        }
        let path = &flight.staging.want.path;
        if let Err(errno) = flight.staging.file.sync_data().await {
            flight.staging.throw_away().await;
            return Err(LandError::SyncFailed(failed(Doing::SyncData, path)(errno)));
        }
        Ok(())
    }

    /// Makes the names in `digests/` durable if any list was written for these. A list that is lost is made again from
    /// the whole segment, and until then a source looks to its peers as if it hung.
    async fn sync_lists(&self, flights: &mut [Flight]) {
        let has_list = |flight: &Flight| flight.failed.is_none() && flight.staging.chunks.chunk_count() > 1;
        if flights.iter().any(has_list) {
            let synced = self.folders.digests.sync().await.map_err(failed(Doing::SyncFolder, "digests"));
            fail_all(flights.iter_mut().filter(|flight| has_list(flight)), synced);
        }
    }

    /// Opens every final folder once, made if it is not there.
    async fn open_folders(&self, flights: &mut [Flight]) {
        let mut open: BTreeMap<String, Result<Dir, DiskError>> = BTreeMap::new();
        for flight in flights.iter_mut().filter(|flight| flight.failed.is_none()) {
            let name = flight.staging.want.path.folder();
            if !open.contains_key(name) {
                open.insert(name.to_owned(), self.make_folder(name).await);
            }
            match &open[name] {
                Ok(dir) => flight.folder = Some(dir.clone()),
                Err(error) => flight.failed = Some(error.clone().into()),
            }
        }
    }

    /// Gives the staged file its final name. Where the names are the engine's it only gets one that is free.
    async fn rename(&self, flight: &Flight) -> Result<(), LandError> {
        let want = &flight.staging.want;
        let folder = flight.folder.as_ref().expect("the folder was opened or the flight has failed");
        match flight.owner {
            Ownership::Engine => {
                let (staging, from) = (&self.folders.staging, want.stem().to_string());
                let linked = staging.link(&from, folder, want.path.name()).await;
                linked.map_err(failed(Doing::Link, &want.path))?;
            }
            Ownership::Ours => {
                let ours = flight.record().identity;
                self.give_name((want.stem(), &ours), folder, &want.path).await?;
            }
        }
        Ok(())
    }

    /// What tells after a crash between rename and record that the file is ours. An engine's name stays the engine's.
    fn intents(&self, flights: &[Flight]) -> Vec<Change> {
        if self.hooks.sabotaged(Sabotage::RenameWithoutIntent) {
            return Vec::new();
        }
        let ours = |flight: &&Flight| flight.failed.is_none() && flight.owner == Ownership::Ours;
        flights.iter().filter(ours).map(|flight| Change::Intend(flight.record())).collect()
    }

    /// One fsync for each folder, and for those above it that are not known to be durable.
    async fn sync_folders(&self, flights: &mut [Flight]) {
        if self.hooks.sabotaged(Sabotage::RenameWithoutDirSync) {
            return;
        }
        let going = flights.iter().filter(|flight| flight.failed.is_none());
        let folders: BTreeSet<String> =
            going.map(|flight| flight.staging.want.path.folder().to_owned()).collect();
        for folder in folders {
            let synced = self.sync_folder(&folder).await;
            fail_all(flights.iter_mut().filter(|flight| flight.staging.want.path.folder() == folder), synced);
        }
    }

    /// One durable write for all records.
    async fn record(&self, flights: &mut [Flight]) {
        let going = flights.iter().filter(|flight| flight.failed.is_none());
        let records: Vec<Record> = going.map(Flight::record).collect();
        let recorded = self.inventory.append(records.iter().cloned().map(Change::Put).collect()).await;
        if recorded.is_err() {
            let records = records.into_iter().map(|record| (record.id, record));
            self.unrecorded.borrow_mut().extend(records);
        }
        fail_all(flights.iter_mut(), recorded);
    }

    /// Removes what the recipe leaves behind.
    async fn tidy(&self, flights: &[Flight]) {
        let landed = flights.iter().filter(|flight| flight.failed.is_none());
        let one = async |flight: &Flight| {
            let stem = flight.staging.want.stem();
            self.tidy_one(stem, flight.staging.has_map(), flight.replaced).await;
        };
        stream::iter(landed).for_each_concurrent(STORE_OPERATIONS_MAX, one).await;
        for flight in flights.iter().filter(|flight| flight.failed == Some(LandError::Held)) {
            self.tidy_one(flight.staging.want.stem(), flight.staging.has_map(), None).await;
        }
    }

    /// Removes what is still staged of what has landed, and what is kept beside the version before. What fails here is
    /// removed at the next start.
    pub(super) async fn tidy_one(&self, stem: Stem, has_map: bool, replaced: Option<Stem>) {
        let done = match self.staged.borrow().contains(&stem) || has_map {
            true => self.unlink_staged(stem).await,
            false => Ok(()),
        };
        let dropped = match replaced.filter(|old| *old != stem) {
            Some(old) => self.drop_private(old).await,
            None => Ok(()),
        };
        if let Err(error) = done.and(dropped) {
            tracing::debug!(%error, "left for the next start");
        }
    }
}

/// Fails those that have not failed yet, if the one act for all of them has.
fn fail_all<'a>(flights: impl Iterator<Item = &'a mut Flight>, done: Result<(), DiskError>) {
    if let Err(error) = done {
        for flight in flights.filter(|flight| flight.failed.is_none()) {
            flight.failed = Some(error.clone().into());
        }
    }
}

impl Flight {
    fn new(landing: Landing, owner: Ownership) -> Self {
        Self { staging: landing.0, owner, folder: None, identity: None, replaced: None, failed: None }
    }

    fn staged(&self) -> Result<(), LandError> {
        if self.staging.is_ruined.get() { Err(LandError::Ruined) } else { Ok(()) }
    }

    /// Waits for writes that their callers gave up, and refuses what is not complete.
    async fn written(&self) -> Result<(), LandError> {
        self.staging.quiet().await;
        let state = self.staging.state.borrow();
        if state.written.is_full() {
            return Ok(());
        }
        Err(LandError::Incomplete { expected: self.staging.chunks.chunk_count(), found: state.written.len() })
    }

    /// Cuts off the padding, if there is any.
    async fn truncate(&mut self) -> Result<(), LandError> {
        let Staging { want, file, .. } = &*self.staging;
        let mut found = identity_of(file, want.path.as_str()).await?;
        if found.bytes != want.len && !self.staging.is_exact.get() {
            file.truncate(want.len).await.map_err(failed(Doing::Truncate, &want.path))?;
            found = identity_of(file, want.path.as_str()).await?;
        }
        if found.bytes != want.len {
            return Err(LandError::Length { expected: want.len, found: found.bytes });
        }
        self.identity = Some(found);
        Ok(())
    }

    /// What is known of it when it has landed.
    fn record(&self) -> Record {
        let want = &self.staging.want;
        let identity = self.identity.expect("a flight that was truncated has its identity");
        let (id, root, len, path) = (want.id, want.root, want.len, want.path.clone());
        Record { id, root, len, path, identity, owner: self.owner }
    }

    fn outcome(self) -> Result<Landed, LandError> {
        let want = &self.staging.want;
        match self.failed {
            Some(error) => Err(error),
            None => {
                let replaced = self.replaced.map(|old| old.id).filter(|old| *old != want.id);
                Ok(Landed { id: want.id, root: want.root, len: want.len, replaced })
            }
        }
    }
}
