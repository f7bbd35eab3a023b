//! What is held on this disk: a table in memory and the file that it comes back from.
//!
//! Promises: `append` returns when its changes are durable, and only then does the table show them; those who append
//! at the same time share one fdatasync. The file is an index and no authority: what it lost is hashed again.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use crate::ids::SegmentId;
use crate::limits::{INVENTORY_PAGE_RECORDS, INVENTORY_SLACK_RECORDS};
use crate::uring::{Answer, Core, Dir, Errno, File, OpenOptions, Priority, question, yield_now};

use super::bytes::{read_all, write_all, write_file};
use super::fault::{DiskError, Doing, failed};
use super::names::Stem;
use super::record::{Change, InventoryCut, Record, header};
use super::table::{Standing, Table};

/// The file's name in the private folder.
pub const INVENTORY: &str = "inventory";
const NEW: &str = "inventory.new";

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
        self.0.table.borrow_mut().set_standing(id, standing);
    }

    /// All that stands in `pins/` under segments' names.
    pub(super) fn set_pins(&self, stems: Vec<Stem>) {
        self.0.table.borrow_mut().set_pins(stems);
    }

    /// A segment's pin has come, or it is gone.
    pub(super) fn set_pin(&self, stem: Stem, stands: bool) {
        self.0.table.borrow_mut().set_pin(stem, stands);
    }

    /// Whether a segment's pin stands.
    pub(super) fn is_pinned(&self, stem: &Stem) -> bool {
        self.table().is_pinned(stem)
    }

    /// Forgets a segment in memory at once; its `Drop` is appended by the caller.
    pub(super) fn forget(&self, id: SegmentId) {
        self.0.table.borrow_mut().apply(Change::Drop(id), Standing::Held);
    }

    /// Ends all landings of the process before: these are held, of the others no word is left. Nobody appends yet.
    pub(super) async fn settle(&self, landed: &[Record]) -> Result<(), DiskError> {
        let changes: Vec<Change> = landed.iter().cloned().map(Change::Put).collect();
        let intents = self.0.table.borrow_mut().take_intents();
        self.0.log.borrow_mut().file = None;
        let written = self.write(&changes).await;
        let mut table = self.0.table.borrow_mut();
        match &written {
            Ok(()) => changes.into_iter().for_each(|change| table.apply(change, Standing::Held)),
            Err(_) => table.set_intents(intents),
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

/// The records of an inventory's file, for whoever only reads; and where it stops making sense.
#[must_use]
pub fn records_in(file: &[u8]) -> (Vec<Record>, Option<InventoryCut>) {
    let (table, _, cut) = Table::read(file);
    (table.into_records().collect(), cut)
}
