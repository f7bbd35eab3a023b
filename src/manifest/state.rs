//! The replicated state of a shard: which segments there are. Everything else of a manifest serves this file.
//!
//! Commands change it in log order and the same on every replica: no clock, no chance, no input but the bytes
//! of the log. Entries never change and their ids only grow, so a snapshot's view of one index is this state
//! less what came later plus what went since (`snapshot`); no write copies anything but that.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use super::entry::Entry;
use super::labels::LabelIndex;
use super::path::SafePath;
use super::session::{Session, Sessions};
use super::snapshot::Watches;
use crate::ids::{LogIndex, SegmentId, SessionId};
use crate::limits::{LABELS_MAX, PAGE_ENTRIES_MAX};

/// A shard's manifest.
#[derive(Debug, Default)]
pub struct State {
    pub(super) applied: LogIndex,
    pub(super) by_path: BTreeMap<Rc<str>, Rc<Entry>>,
    pub(super) by_id: BTreeMap<SegmentId, Rc<Entry>>,
    pub(super) labels: LabelIndex,
    pub(super) bytes_total: u64,
    pub(super) sessions: Sessions,
    pub(super) watches: Watches,
}

/// Entries in order, and where the next page begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<'a, Cursor> {
    /// At most as many as were asked for.
    pub entries: Vec<&'a Rc<Entry>>,
    /// What to pass as `after` for the next page; nothing if this was the last. It stays good whatever
    /// changes.
    pub next: Option<Cursor>,
}

impl State {
    /// An empty manifest, before the first log entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes over a log entry that is not a command: a blank one, or a change of members.
    ///
    /// # Panics
    /// If `index` is not ahead of what is applied, or the log would repeat itself.
    pub fn pass(&mut self, index: LogIndex) {
        assert!(index > self.applied, "entry {index} comes after {}", self.applied);
        self.applied = index;
    }

    /// Log index of the last entry applied; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Lets go of `count` entries and what refers to them, of a state that was replaced; whether any may be left.
    pub(crate) fn shed(&mut self, count: usize) -> bool {
        let left = [
            (0..count).all(|_| self.by_path.pop_first().is_some()),
            (0..count).all(|_| self.by_id.pop_first().is_some()),
            self.labels.shed(count * LABELS_MAX),
        ];
        left.contains(&true)
    }

    /// Segments in the manifest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// The segment of this id; nothing if it was deleted or updated.
    #[must_use]
    pub fn entry(&self, id: &SegmentId) -> Option<&Rc<Entry>> {
        self.by_id.get(id)
    }

    /// The segment at this path.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<&Rc<Entry>> {
        self.by_path.get(path)
    }

    /// Segments in order of their paths, byte by byte, behind `after`; at most `PAGE_ENTRIES_MAX`.
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize) -> Page<'_, &str> {
        let start = after.map_or(Unbounded, Excluded);
        let walk = self.by_path.range::<str, _>((start, Unbounded)).map(|(_, entry)| entry);
        Page::take(walk, limit, |entry| &*entry.path)
    }

    /// Segments that carry a label, in order of their ids, behind `after`; at most `PAGE_ENTRIES_MAX`.
    #[must_use]
    pub fn by_label(
        &self,
        name: &str,
        value: &str,
        after: Option<SegmentId>,
        limit: usize,
    ) -> Page<'_, SegmentId> {
        let walk = self.labels.find(name, value, after);
        let walk = walk.map(|id| self.by_id.get(&id).expect("a carrier of a label is in the state"));
        Page::take(walk, limit, |entry| entry.id)
    }

    /// Segments in order of their ids, behind `after`.
    pub fn entries(&self, after: Option<SegmentId>) -> impl Iterator<Item = &Rc<Entry>> {
        let start = after.map_or(Unbounded, Excluded);
        self.by_id.range((start, Unbounded)).map(|(_, entry)| entry)
    }

    /// Open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter()
    }

    /// An open session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    pub(super) fn insert(&mut self, entry: Rc<Entry>) {
        self.bytes_total += entry.bytes;
        self.labels.add(entry.id, &entry.labels);
        let other = self.by_id.insert(entry.id, Rc::clone(&entry));
        assert!(other.is_none(), "segment {} is registered twice", entry.id);
        let other = self.by_path.insert(Rc::clone(&entry.path), entry);
        assert!(other.is_none(), "the path of {other:?} is taken");
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        self.bytes_total -= entry.bytes;
        self.labels.remove(entry.id, &entry.labels);
        let known = self.by_id.remove(&entry.id).is_some() && self.by_path.remove(&entry.path).is_some();
        assert!(known, "segment {} is not in the state", entry.id);
    }

    /// The segment whose file this path would need as a directory, or whose directory as a file.
    ///
    /// Two neighbours in byte order decide, and a third place only where a name that sorts below `/`, such as
    /// `a.x`, stands between `a` and `a/b`: any other ancestor of the path would be an ancestor of its
    /// neighbour too, and the state has no such pair.
    pub(super) fn obstacle(&self, path: SafePath<'_>) -> Option<SegmentId> {
        let path = path.as_str();
        let below = self.by_path.range::<str, _>((Unbounded, Excluded(path))).next_back();
        if let Some((below, _)) = below {
            let shared = below.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
            if path.as_bytes().get(shared) == Some(&b'/')
                && let Some(entry) = self.by_path.get(&path[..shared])
            {
                return Some(entry.id);
            }
        }
        let (above, entry) = self.by_path.range::<str, _>((Excluded(path), Unbounded)).next()?;
        match above.strip_prefix(path)?.as_bytes() {
            [b'/', ..] => Some(entry.id),
            [byte, ..] if *byte < b'/' => {
                let directory = format!("{path}/");
                let (inside, entry) =
                    self.by_path.range::<str, _>((Excluded(&*directory), Unbounded)).next()?;
                inside.starts_with(&directory).then_some(entry.id)
            }
            _ => None,
        }
    }
}

impl<'a, Cursor> Page<'a, Cursor> {
    fn take(
        mut walk: impl Iterator<Item = &'a Rc<Entry>>,
        limit: usize,
        cursor: impl Fn(&'a Rc<Entry>) -> Cursor,
    ) -> Self {
        let entries: Vec<_> = walk.by_ref().take(limit.clamp(1, PAGE_ENTRIES_MAX)).collect();
        let more = walk.next().is_some();
        Self { next: entries.last().filter(|_| more).map(|entry| cursor(entry)), entries }
    }
}
