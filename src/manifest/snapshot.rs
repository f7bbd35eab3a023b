//! Writing snapshots without stopping writes: freezing a view costs nothing, and each slice is short.
//!
//! Entries never change and their ids only grow with the log. So the view of index F is: entries of the state
//! with ids up to F, and those that went since. Only the latter are kept aside, one pointer each, for as long
//! as a writer lives. Two replicas at the same index write the same bytes, whatever they applied meanwhile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::{Rc, Weak};

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::entry::Entry;
use super::format::{EntryRecord, Head, LabelRecord, Part, SNAPSHOT_VERSION, SessionRecord};
use super::labels::LabelRef;
use super::session::Sessions;
use super::state::State;
use crate::ids::{LogIndex, SessionId};
use crate::limits::{SNAPSHOT_ARCHIVE_BYTES_MAX, SNAPSHOT_SLICE_BYTES};
use crate::wire::archive::{
    ARCHIVE_ALIGNMENT, ARCHIVE_HEADER_BYTES, ArchiveHeader, ArchiveKind, archive_buffer, seal_archive,
};

/// Entries that went since a view was frozen, and are part of it.
type Gone = BTreeMap<Rc<str>, Rc<Entry>>;

/// The views that writers hold on a state.
#[derive(Debug, Default)]
pub(super) struct Watches(Vec<Watch>);

#[derive(Debug)]
struct Watch {
    index: LogIndex,
    gone: Weak<RefCell<Gone>>,
}

impl Watches {
    /// Keeps an entry that left the state for the views that it is part of, and forgets writers that are no
    /// more.
    pub(super) fn went(&mut self, entry: &Rc<Entry>) {
        self.0.retain(|watch| {
            let Some(gone) = watch.gone.upgrade() else { return false };
            if entry.id.index <= watch.index {
                let other = gone.borrow_mut().insert(Rc::clone(&entry.path), Rc::clone(entry));
                assert!(other.is_none(), "two segments stood at {} at index {}", entry.path(), watch.index);
            }
            true
        });
    }
}

/// The snapshot of one state at one index, on its way out. The state may change meanwhile.
#[derive(Debug)]
pub struct SnapshotWriter {
    index: LogIndex,
    entries: u64,
    bytes_total: u64,
    sessions: Sessions,
    gone: Rc<RefCell<Gone>>,
    step: Step,
    ordinal: u32,
    slice_bytes: usize,
}

/// What the next part begins with.
#[derive(Debug)]
enum Step {
    Head,
    Sessions { after: Option<SessionId> },
    Entries { after: Option<Rc<str>> },
    Done,
}

/// The state is not the one that the snapshot was begun on: it was replaced. Begin another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replaced;

impl std::fmt::Display for Replaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the state that the snapshot was begun on was replaced; begin another")
    }
}

impl std::error::Error for Replaced {}

impl State {
    /// Begins a snapshot of the state as it is now.
    pub fn freeze(&mut self) -> SnapshotWriter {
        let gone = Rc::new(RefCell::default());
        self.watches.0.retain(|watch| watch.gone.strong_count() > 0);
        self.watches.0.push(Watch { index: self.applied, gone: Rc::downgrade(&gone) });
        SnapshotWriter {
            index: self.applied,
            entries: self.len() as u64,
            bytes_total: self.bytes_total,
            sessions: self.sessions.clone(),
            gone,
            step: Step::Head,
            ordinal: 0,
            slice_bytes: SNAPSHOT_SLICE_BYTES,
        }
    }
}

impl SnapshotWriter {
    /// Parts of another size than `SNAPSHOT_SLICE_BYTES`, so that tests need few entries for many parts.
    #[cfg(test)]
    pub(super) fn with_slices(mut self, slice_bytes: usize) -> Self {
        self.slice_bytes = slice_bytes;
        self
    }

    /// Log index that the snapshot stands at.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// The next part, to be written behind the one before; nothing after the last. A short piece of work:
    /// about `SNAPSHOT_SLICE_BYTES`.
    ///
    /// # Errors
    /// `state` is not the one that was frozen.
    pub fn next_part(&mut self, state: &State) -> Result<Option<AlignedVec<ARCHIVE_ALIGNMENT>>, Replaced> {
        let ours = Rc::downgrade(&self.gone);
        if !state.watches.0.iter().any(|watch| watch.gone.ptr_eq(&ours)) {
            return Err(Replaced);
        }
        let part = match std::mem::replace(&mut self.step, Step::Done) {
            Step::Head => {
                self.step = Step::Sessions { after: None };
                self.head()
            }
            Step::Sessions { after } => match self.sessions_part(after) {
                Some(part) => part,
                None => self.entries_part(state, None),
            },
            Step::Entries { after } => self.entries_part(state, after),
            Step::Done => return Ok(None),
        };
        Ok(Some(self.seal(&part)))
    }

    fn head(&self) -> Part {
        Part::Head(Head {
            entries: self.entries,
            bytes_total: self.bytes_total,
            sessions: u32::try_from(self.sessions.len()).expect("SESSIONS_MAX fits"),
            retired: self.sessions.retired().collect(),
        })
    }

    fn sessions_part(&mut self, after: Option<SessionId>) -> Option<Part> {
        let mut budget = Budget::new(self.slice_bytes);
        let walk = self.sessions.after(after).map(|(id, session)| SessionRecord::new(id, session));
        let records: Vec<_> = walk.take_while(|record| budget.takes(record.bytes())).collect();
        let after = records.last()?.session;
        self.step = Step::Sessions { after: Some(after) };
        Some(Part::Sessions(records))
    }

    fn entries_part(&mut self, state: &State, after: Option<Rc<str>>) -> Part {
        let gone = self.gone.borrow();
        let start = after.as_deref().map_or(Unbounded, Excluded);
        let here = state.by_path.range::<str, _>((start, Unbounded)).map(|(_, entry)| entry);
        let gone = gone.range::<str, _>((start, Unbounded)).map(|(_, entry)| entry);
        let mut view = View {
            here: here.filter(|entry| entry.id.index <= self.index).peekable(),
            gone: gone.peekable(),
        };
        let mut budget = Budget::new(self.slice_bytes);
        let mut labels = LabelTable::default();
        let mut records = Vec::new();
        let mut last = None;
        while let Some(entry) = view.peek() {
            if !budget.takes(EntryRecord::bytes(entry)) {
                self.step = Step::Entries { after: last };
                break;
            }
            let places = entry.labels.iter().map(|label| labels.place(label)).collect();
            records.push(EntryRecord::new(entry, places));
            last = Some(Rc::clone(&entry.path));
            view.pass();
        }
        Part::Entries { labels: labels.records, entries: records }
    }

    fn seal(&mut self, part: &Part) -> AlignedVec<ARCHIVE_ALIGNMENT> {
        let mut bytes =
            rkyv::api::high::to_bytes_in::<_, rancor::Error>(part, archive_buffer(SNAPSHOT_SLICE_BYTES))
                .expect("serialising plain values into memory has no way to fail");
        let payload_bytes = bytes.len() - ARCHIVE_HEADER_BYTES;
        assert!(payload_bytes <= SNAPSHOT_ARCHIVE_BYTES_MAX, "a part has {payload_bytes} bytes");
        let last = matches!(self.step, Step::Done);
        let header = ArchiveHeader {
            kind: ArchiveKind::Manifest,
            version: SNAPSHOT_VERSION,
            ordinal: self.ordinal,
            index: self.index.0,
            last,
        };
        seal_archive(&mut bytes, &header);
        self.ordinal += 1;
        bytes
    }
}

/// The entries of a view in order of their paths. No path is on both sides: what stands here at the path of
/// one that went came later than the view.
struct View<'a, A: Iterator<Item = &'a Rc<Entry>>, B: Iterator<Item = &'a Rc<Entry>>> {
    here: Peekable<A>,
    gone: Peekable<B>,
}

impl<'a, A: Iterator<Item = &'a Rc<Entry>>, B: Iterator<Item = &'a Rc<Entry>>> View<'a, A, B> {
    fn peek(&mut self) -> Option<&'a Rc<Entry>> {
        if self.gone_is_next() { self.gone.peek().copied() } else { self.here.peek().copied() }
    }

    fn pass(&mut self) {
        if self.gone_is_next() {
            self.gone.next()
        } else {
            self.here.next()
        };
    }

    fn gone_is_next(&mut self) -> bool {
        match (self.here.peek(), self.gone.peek()) {
            (Some(here), Some(gone)) => gone.path < here.path,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

/// The distinct labels of one part, in order of their first use.
#[derive(Default)]
struct LabelTable<'a> {
    places: BTreeMap<&'a str, u32>,
    records: Vec<LabelRecord>,
}

impl<'a> LabelTable<'a> {
    fn place(&mut self, label: &'a LabelRef) -> u32 {
        let next = u32::try_from(self.records.len()).expect("a part has fewer labels");
        *self.places.entry(label.text()).or_insert_with(|| {
            self.records.push(LabelRecord::new(label.name(), label.value()));
            next
        })
    }
}

/// Bytes that a slice may still take. The first record is always taken.
struct Budget {
    left: usize,
    fresh: bool,
}

impl Budget {
    fn new(left: usize) -> Self {
        Self { left, fresh: true }
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.fresh || bytes <= self.left;
        self.fresh = false;
        self.left = self.left.saturating_sub(bytes);
        fits
    }
}
