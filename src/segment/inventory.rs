//! What is held on this disk: a table in memory and the file that it comes back from.
//!
//! Promises: `append` returns when its changes are durable, and only then does the table show them; those who append
//! at the same time share one fdatasync. The file is an index and no authority: what it lost is hashed again.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::ids::{Digest, SegmentId};
use crate::limits::{INVENTORY_PAGE_RECORDS, INVENTORY_SLACK_RECORDS};
use crate::uring::{Answer, Core, Dir, Errno, File, OpenOptions, Priority, question, yield_now};

use super::bytes::{read_all, write_all, write_file};
use super::fault::{DiskError, Doing, failed};
use super::path::RelativePath;
use super::record::{Change, InventoryCut, Record, decode_all, header};

/// The file's name in the private folder.
pub const INVENTORY: &str = "inventory";
const NEW: &str = "inventory.new";

/// Whether a record is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The file was seen to be what the record says.
    Held,
    /// The file is gone or has changed; it does not count before it was hashed.
    Suspect,
}

#[derive(Default, Debug)]
pub(super) struct Table {
    by_id: BTreeMap<SegmentId, (Record, Standing)>,
    by_path: BTreeMap<RelativePath, SegmentId>,
    by_root: BTreeSet<(Digest, SegmentId)>,
    /// Landings that have announced their file and not recorded it, in their order.
    intents: BTreeMap<RelativePath, Vec<Record>>,
}

/// The inventory of one store. Clones are the same one.
#[derive(Clone)]
pub(super) struct Inventory(Rc<Inner>);

struct Inner {
    folder: Dir,
    table: RefCell<Table>,
    log: RefCell<Log>,
}

type Waiting = (Vec<Change>, Answer<Result<(), DiskError>>);

#[derive(Default)]
struct Log {
    /// None: the file is not trusted, the next flush writes a new one.
    file: Option<File>,
    end: u64,
    records: usize,
    waiting: Vec<Waiting>,
    flushing: bool,
}

impl Inventory {
    /// Reads the file in `folder`; every record is suspect until its file was looked at.
    pub(super) async fn load(folder: Dir) -> Result<(Self, Option<InventoryCut>), DiskError> {
        let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
        let file = folder.open(INVENTORY, options).await.map_err(failed(Doing::Open, INVENTORY))?;
        let bytes = read_all(&file, INVENTORY).await?;
        let (table, records, cut) = Table::read(&bytes);
        // A file of an older version is gone on with as one of ours.
        let sound = cut.is_none() && bytes.starts_with(&header());
        let log = Log {
            file: sound.then_some(file),
            end: bytes.len() as u64,
            records,
            waiting: Vec::new(),
            flushing: false,
        };
        let inner = Inner { folder, table: RefCell::new(table), log: RefCell::new(log) };
        Ok((Self(Rc::new(inner)), cut))
    }

    /// Makes changes durable, then shows them in the table. Goes on to its end when the caller gives up.
    pub(super) async fn append(&self, changes: Vec<Change>) -> Result<(), DiskError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (answer, question) = question();
        let is_flushing = {
            let mut log = self.0.log.borrow_mut();
            log.waiting.push((changes, answer));
            std::mem::replace(&mut log.flushing, true)
        };
        if !is_flushing {
            drop(Core::current().spawn(Priority::Bulk, flush(self.clone())));
        }
        question.await.unwrap_or_else(|| Err(failed(Doing::Write, INVENTORY)(Errno::CANCELED)))
    }

    /// The table.
    pub(super) fn table(&self) -> Ref<'_, Table> {
        self.0.table.borrow()
    }

    /// Changes what is believed of a record. In memory only: every start looks at the files again.
    pub(super) fn set_standing(&self, id: SegmentId, standing: Standing) {
        if let Some((_, current)) = self.0.table.borrow_mut().by_id.get_mut(&id) {
            *current = standing;
        }
    }

    /// Forgets a segment in memory at once; its `Drop` is appended by the caller.
    pub(super) fn forget(&self, id: SegmentId) {
        self.0.table.borrow_mut().apply(Change::Drop(id), Standing::Held);
    }

    /// Ends all landings of the process before: these are held, of the others no word is left. Nobody appends yet.
    pub(super) async fn settle(&self, landed: &[Record]) -> Result<(), DiskError> {
        let changes: Vec<Change> = landed.iter().cloned().map(Change::Put).collect();
        let intents = std::mem::take(&mut self.0.table.borrow_mut().intents);
        self.0.log.borrow_mut().file = None;
        let written = self.write(&changes).await;
        let mut table = self.0.table.borrow_mut();
        match &written {
            Ok(()) => changes.into_iter().for_each(|change| table.apply(change, Standing::Held)),
            Err(_) => table.intents = intents,
        }
        written
    }

    async fn write(&self, changes: &[Change]) -> Result<(), DiskError> {
        let (file, end, records) = {
            let log = self.0.log.borrow();
            (log.file.clone(), log.end, log.records + changes.len())
        };
        let live = self.0.table.borrow().live();
        let Some(file) = file.filter(|_| records <= 2 * live + INVENTORY_SLACK_RECORDS) else {
            return self.rewrite(changes).await;
        };
        let mut bytes = Vec::new();
        changes.iter().for_each(|change| change.encode(&mut bytes));
        let written = match write_all(&file, INVENTORY, &bytes, end).await {
            Ok(()) => file.sync_data().await.map_err(failed(Doing::SyncData, INVENTORY)),
            Err(error) => Err(error),
        };
        if written.is_err() {
            // After a failed write or sync nobody knows what the file holds: a new one, or none.
            return self.rewrite(changes).await;
        }
        let mut log = self.0.log.borrow_mut();
        log.end = end + bytes.len() as u64;
        log.records = records;
        Ok(())
    }

    /// Writes a new file of all that is known and `changes`, and puts it in the place of the old one.
    async fn rewrite(&self, changes: &[Change]) -> Result<(), DiskError> {
        let mut bytes = header().to_vec();
        let mut last = None;
        // Very many may be known, and others wait for the core. What is forgotten meanwhile is dropped behind this.
        while let Some(next) = self.encode_page(last, &mut bytes) {
            last = Some(next);
            yield_now().await;
        }
        let live = {
            let table = self.0.table.borrow();
            table.intents().for_each(|intent| Change::Intend(intent.clone()).encode(&mut bytes));
            table.live()
        };
        changes.iter().for_each(|change| change.encode(&mut bytes));
        self.0.log.borrow_mut().file = None;
        let folder = &self.0.folder;
        let file = write_file(folder, NEW, &bytes).await?;
        folder.rename(NEW, folder, INVENTORY).await.map_err(failed(Doing::Rename, NEW))?;
        folder.sync().await.map_err(failed(Doing::SyncFolder, INVENTORY))?;
        let mut log = self.0.log.borrow_mut();
        (log.file, log.end, log.records) = (Some(file), bytes.len() as u64, live + changes.len());
        Ok(())
    }

    /// Some of the records behind one; the last of them, if there is any.
    fn encode_page(&self, after: Option<SegmentId>, bytes: &mut Vec<u8>) -> Option<SegmentId> {
        let table = self.0.table.borrow();
        let page = table.after(after).take(INVENTORY_PAGE_RECORDS).map(|(record, _)| {
            Change::Put(record.clone()).encode(bytes);
            record.id
        });
        page.last()
    }
}

/// Writes what waits until nothing waits. A task of its own: whoever appended may give up.
async fn flush(inventory: Inventory) {
    loop {
        let waiting = std::mem::take(&mut inventory.0.log.borrow_mut().waiting);
        if waiting.is_empty() {
            inventory.0.log.borrow_mut().flushing = false;
            return;
        }
        let (changes, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let changes: Vec<Change> = changes.into_iter().flatten().collect();
        let result = inventory.write(&changes).await;
        if result.is_ok() {
            let mut table = inventory.0.table.borrow_mut();
            changes.into_iter().for_each(|change| table.apply(change, Standing::Held));
        }
        for answer in answers {
            // Whoever does not wait any more does not care.
            let _gone = answer.give(result.clone());
        }
    }
}

impl Table {
    /// What a file says, all of it suspect; how many changes it has, and where it stops making sense.
    fn read(file: &[u8]) -> (Self, usize, Option<InventoryCut>) {
        let (mut table, mut changes) = (Self::default(), 0);
        let cut = decode_all(file, |change| {
            table.apply_unrooted(change, Standing::Suspect);
            changes += 1;
        });
        // In no order in the file: sorted once, and not a place looked for each.
        table.by_root = table.by_id.values().map(|(record, _)| (record.root, record.id)).collect();
        (table, changes, cut)
    }

    fn apply(&mut self, change: Change, standing: Standing) {
        let root = match &change {
            Change::Put(record) => Some((record.root, record.id)),
            Change::Drop(_) | Change::Intend(_) => None,
        };
        self.apply_unrooted(change, standing);
        self.by_root.extend(root);
    }

    /// The same, without a root that is new.
    fn apply_unrooted(&mut self, change: Change, standing: Standing) {
        match change {
            Change::Drop(id) => {
                self.remove(id);
                self.intents.retain(|_, intents| {
                    intents.retain(|intent| intent.id != id);
                    !intents.is_empty()
                });
            }
            Change::Intend(record) => {
                let intents = self.intents.entry(record.path.clone()).or_default();
                // The same file once more: an attempt that failed before its rename.
                intents.retain(|of| (of.id, of.identity.inode) != (record.id, record.identity.inode));
                intents.push(record);
            }
            Change::Put(record) => {
                self.intents.remove(&record.path);
                self.remove(record.id);
                if let Some(older) = self.by_path.insert(record.path.clone(), record.id) {
                    self.remove(older);
                    self.by_path.insert(record.path.clone(), record.id);
                }
                self.by_id.insert(record.id, (record, standing));
            }
        }
    }

    fn remove(&mut self, id: SegmentId) {
        let Some((record, _)) = self.by_id.remove(&id) else { return };
        self.by_root.remove(&(record.root, id));
        if self.by_path.get(&record.path) == Some(&id) {
            self.by_path.remove(&record.path);
        }
    }

    /// The record of a segment that is held.
    pub(super) fn held(&self, id: SegmentId) -> Option<&Record> {
        self.by_id.get(&id).filter(|(_, standing)| *standing == Standing::Held).map(|(record, _)| record)
    }

    /// What is known of a segment.
    pub(super) fn known(&self, id: SegmentId) -> Option<&(Record, Standing)> {
        self.by_id.get(&id)
    }

    /// What is known of a path.
    pub(super) fn at_path(&self, path: &RelativePath) -> Option<&(Record, Standing)> {
        self.by_path.get(path).and_then(|id| self.by_id.get(id))
    }

    /// The held segments with this root.
    pub(super) fn with_root(&self, root: Digest) -> impl Iterator<Item = &Record> {
        let first = (root, SegmentId::default());
        let of_root = self.by_root.range(first..).take_while(move |(other, _)| *other == root);
        of_root.filter_map(|(_, id)| self.held(*id))
    }

    /// All records in the order of their ids, from behind `after`.
    pub(super) fn after(&self, after: Option<SegmentId>) -> impl Iterator<Item = &(Record, Standing)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((start, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// What landings have announced and not recorded.
    pub(super) fn intents(&self) -> impl Iterator<Item = &Record> {
        self.intents.values().flatten()
    }

    /// The same under one name.
    pub(super) fn intents_at(&self, path: &RelativePath) -> &[Record] {
        self.intents.get(path).map_or(&[], Vec::as_slice)
    }

    /// Entries that a new file has to hold.
    fn live(&self) -> usize {
        self.by_id.len() + self.intents().count()
    }

    /// Records, believed or not.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// The records of an inventory's file, for whoever only reads; and where it stops making sense.
#[must_use]
pub fn records_in(file: &[u8]) -> (Vec<Record>, Option<InventoryCut>) {
    let (table, _, cut) = Table::read(file);
    (table.by_id.into_values().map(|(record, _)| record).collect(), cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogIndex, UnixNanos};
    use crate::segment::identity::Identity;
    use crate::segment::record::Ownership;

    fn at(path: &str) -> RelativePath {
        RelativePath::parse(path).expect("a path")
    }

    fn record(index: u64, path: &str, root: u8) -> Record {
        Record {
            id: SegmentId { index: LogIndex(index), ordinal: 0 },
            root: Digest([root; 32]),
            len: 1,
            path: at(path),
            identity: Identity { device: 1, inode: index, bytes: 1, modified: UnixNanos(1) },
            owner: Ownership::Ours,
        }
    }

    fn ids(table: &Table) -> Vec<u64> {
        table.after(None).map(|(record, _)| record.id.index.0).collect()
    }

    #[test]
    fn a_new_version_of_a_path_takes_the_place_of_the_old() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Put(record(2, "b", 7)), Standing::Held);
        table.apply(Change::Put(record(3, "a", 8)), Standing::Held);
        assert_eq!(ids(&table), [2, 3]);
        assert_eq!(table.at_path(&at("a")).map(|(record, _)| record.id.index.0), Some(3));
        assert_eq!(table.with_root(Digest([7; 32])).count(), 1);
    }

    #[test]
    fn a_segment_that_moves_to_another_path_leaves_the_old_one() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Put(record(1, "b", 7)), Standing::Held);
        assert!(table.at_path(&at("a")).is_none());
        table.apply(Change::Drop(record(1, "b", 7).id), Standing::Held);
        assert_eq!((table.len(), table.by_path.len(), table.by_root.len()), (0, 0, 0));
    }

    #[test]
    fn an_intent_is_no_record_and_ends_with_the_record_of_its_path_or_the_drop_of_its_id() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Intend(record(2, "a", 8)), Standing::Held);
        table.apply(Change::Intend(record(2, "a", 8)), Standing::Held);
        table.apply(Change::Intend(record(3, "b", 8)), Standing::Held);
        assert_eq!((ids(&table), table.intents().count(), table.live()), (vec![1], 2, 3));
        assert!(table.held(record(2, "a", 8).id).is_none());
        table.apply(Change::Put(record(4, "a", 9)), Standing::Held);
        assert!(table.intents_at(&at("a")).is_empty());
        table.apply(Change::Drop(record(3, "b", 8).id), Standing::Held);
        assert_eq!((ids(&table), table.live(), table.intents.len()), (vec![4], 1, 0));
    }

    #[test]
    fn a_suspect_is_known_and_not_held() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Suspect);
        let id = record(1, "a", 7).id;
        assert!(table.held(id).is_none() && table.known(id).is_some());
        assert_eq!(table.with_root(Digest([7; 32])).count(), 0);
    }
}
