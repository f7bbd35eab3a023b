//! Installing snapshots: a new state from parts, or an error and nothing at all.
//!
//! Every rule that apply keeps is checked again, because the parts come from a disk or a peer: checksums,
//! order, counts, paths, sessions. The parts may come one by one over many turns; the state stands only when
//! the last has come.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::command::Tier;
use super::entry::Entry;
use super::format::{
    ArchivedEntryRecord, ArchivedHead, ArchivedLabelRecord, ArchivedPart, ArchivedSessionRecord,
};
use super::format::{SNAPSHOT_VERSION, SessionRecord};
use super::labels::{Carriers, LabelIndex, LabelRef};
use super::path::{PathError, SafePath};
use super::session::{Session, Sessions};
use super::state::State;
use super::validate::label_is_valid;
use crate::ids::{LogIndex, SegmentId};
use crate::limits::{ENTRIES_MAX, LABELS_MAX, SEGMENT_BYTES_MAX, SESSIONS_MAX, SNAPSHOT_ARCHIVE_BYTES_MAX};
use crate::wire::aligned;
use crate::wire::archive::{ArchiveError, ArchiveHeader, ArchiveKind, open_archive};

/// Why a snapshot is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// A part is not a whole archive of a manifest's snapshot.
    Archive(ArchiveError),
    /// A part's archive is whole but not of this format.
    Payload {
        /// Place of the part.
        part: u32,
        /// What the checked access said.
        why: String,
    },
    /// A part is missing, repeated, of another snapshot, or of a kind that does not come here.
    Sequence {
        /// Place of the part that was due.
        expected: u32,
        /// Place that the part has by its header.
        found: u32,
    },
    /// The parts ended before the last one.
    Incomplete {
        /// Parts that came.
        parts: u32,
    },
    /// An unsafe path.
    Path {
        /// Place of the entry in the whole snapshot, from 0.
        entry: u64,
        /// What is wrong with it.
        error: PathError,
    },
    /// An entry that breaks a rule of the manifest.
    Entry {
        /// Place of the entry in the whole snapshot, from 0.
        entry: u64,
        /// The rule.
        rule: &'static str,
    },
    /// A session that breaks a rule.
    Session {
        /// Place of the session, from 0.
        session: u32,
    },
    /// The head declares other totals than what came.
    Totals {
        /// Of what.
        of: &'static str,
        /// By the head.
        declared: u64,
        /// In the parts.
        found: u64,
    },
}

/// A state under construction. An error consumes it: what came so far is not to be used.
#[derive(Debug)]
pub struct Installer {
    parts: u32,
    phase: Phase,
    index: LogIndex,
    declared: Totals,
    found: Totals,
    sessions: Sessions,
    labels: LabelIndex,
    carriers: Carriers,
    /// In order of their paths.
    entries: Vec<Rc<Entry>>,
    /// The same, with their ids.
    of_ids: Vec<(SegmentId, Rc<Entry>)>,
    scratch: AlignedVec<16>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Head,
    Sessions,
    Entries,
    Done,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    entries: u64,
    bytes: u64,
    sessions: u64,
}

impl State {
    /// The state that a whole snapshot holds.
    ///
    /// # Errors
    /// The first thing that is not as a writer leaves it.
    pub fn install<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, SnapshotError> {
        parts.into_iter().try_fold(Installer::new(), Installer::push)?.finish()
    }
}

impl Default for Installer {
    fn default() -> Self {
        Self::new()
    }
}

impl Installer {
    /// Nothing installed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parts: 0,
            phase: Phase::Head,
            index: LogIndex(0),
            declared: Totals::default(),
            found: Totals::default(),
            sessions: Sessions::default(),
            labels: LabelIndex::default(),
            carriers: Carriers::default(),
            entries: Vec::new(),
            of_ids: Vec::new(),
            scratch: AlignedVec::new(),
        }
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// The part is damaged, not the next one, or breaks a rule.
    pub fn push(mut self, part: &[u8]) -> Result<Self, SnapshotError> {
        let (header, payload) =
            open_archive(part, ArchiveKind::Manifest, SNAPSHOT_VERSION, SNAPSHOT_ARCHIVE_BYTES_MAX)
                .map_err(SnapshotError::Archive)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let archived = rkyv::access::<ArchivedPart, rancor::Error>(aligned(payload, &mut scratch))
            .map_err(|error| SnapshotError::Payload { part: header.ordinal, why: error.to_string() })?;
        self.check_sequence(&header, archived)?;
        match archived {
            ArchivedPart::Head(head) => self.take_head(&header, head)?,
            ArchivedPart::Sessions(records) => self.take_sessions(records)?,
            ArchivedPart::Entries { labels, entries } => self.take_entries(labels, entries)?,
        }
        self.parts += 1;
        if header.last {
            self.phase = Phase::Done;
        }
        self.scratch = scratch;
        Ok(self)
    }

    /// The state, once the last part has come.
    ///
    /// # Errors
    /// Parts are missing, or do not add up to what the first one declared.
    pub fn finish(self) -> Result<State, SnapshotError> {
        if self.phase != Phase::Done {
            return Err(SnapshotError::Incomplete { parts: self.parts });
        }
        let check = |of, declared, found| {
            if declared == found { Ok(()) } else { Err(SnapshotError::Totals { of, declared, found }) }
        };
        check("entries", self.declared.entries, self.found.entries)?;
        check("bytes", self.declared.bytes, self.found.bytes)?;
        check("sessions", self.declared.sessions, self.found.sessions)?;
        let mut of_ids = self.of_ids;
        of_ids.sort_unstable_by_key(|(id, _)| *id);
        let by_id: BTreeMap<_, _> = of_ids.into_iter().collect();
        check("distinct segment ids", self.found.entries, by_id.len() as u64)?;
        let by_path = self.entries.into_iter().map(|entry| (Rc::clone(&entry.path), entry)).collect();
        Ok(State {
            applied: self.index,
            by_path,
            by_id,
            labels: self.labels.restore(self.carriers),
            bytes_total: self.found.bytes,
            sessions: self.sessions,
            ..State::default()
        })
    }

    fn check_sequence(&self, header: &ArchiveHeader, part: &ArchivedPart) -> Result<(), SnapshotError> {
        let fits = match part {
            ArchivedPart::Head(_) => self.phase == Phase::Head && !header.last,
            ArchivedPart::Sessions(_) => self.phase == Phase::Sessions && !header.last,
            ArchivedPart::Entries { .. } => matches!(self.phase, Phase::Sessions | Phase::Entries),
        };
        let same = self.phase == Phase::Head || header.index == self.index.0;
        if fits && same && header.ordinal == self.parts {
            return Ok(());
        }
        Err(SnapshotError::Sequence { expected: self.parts, found: header.ordinal })
    }

    fn take_head(&mut self, header: &ArchiveHeader, head: &ArchivedHead) -> Result<(), SnapshotError> {
        self.index = LogIndex(header.index);
        self.phase = Phase::Sessions;
        self.declared = Totals {
            entries: head.entries.to_native(),
            bytes: head.bytes_total.to_native(),
            sessions: u64::from(head.sessions.to_native()),
        };
        bounded("entries", self.declared.entries, ENTRIES_MAX)?;
        bounded("sessions", self.declared.sessions, SESSIONS_MAX)?;
        for (place, retired) in (0..).zip(head.retired.iter()) {
            let (id, index) = (retired.0.native(), retired.1.native());
            if index > self.index || !self.sessions.restore_retired(id, index) {
                return Err(SnapshotError::Session { session: place });
            }
        }
        Ok(())
    }

    fn take_sessions(&mut self, records: &[ArchivedSessionRecord]) -> Result<(), SnapshotError> {
        for record in records {
            let place = u32::try_from(self.found.sessions).expect("SESSIONS_MAX fits");
            let error = SnapshotError::Session { session: place };
            let record: SessionRecord =
                rkyv::deserialize::<_, rancor::Error>(record).map_err(|_| error.clone())?;
            let ascending = record.outcomes.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let session = Session {
                opened: record.opened,
                used: record.used,
                low_water: record.low_water,
                outcomes: record.outcomes.into_iter().collect(),
            };
            if !ascending || session.used > self.index || !self.sessions.restore(record.session, session) {
                return Err(error);
            }
            self.found.sessions += 1;
        }
        Ok(())
    }

    fn take_entries(
        &mut self,
        labels: &[ArchivedLabelRecord],
        records: &[ArchivedEntryRecord],
    ) -> Result<(), SnapshotError> {
        self.phase = Phase::Entries;
        let place = self.found.entries;
        let broken = |rule| SnapshotError::Entry { entry: place, rule };
        if labels.iter().any(|label| !label_is_valid(&label.name, &label.value)) {
            return Err(broken("labels are short and free of control characters"));
        }
        if labels.len() > records.len() * LABELS_MAX {
            return Err(broken("a part has no more labels than its entries carry"));
        }
        let shared: Vec<_> =
            labels.iter().map(|label| self.labels.share(&label.name, &label.value)).collect();
        let mut carried = vec![false; shared.len()];
        for record in records {
            let entry = self.read_entry(record, &shared, &mut carried)?;
            self.found.bytes += entry.bytes; // ENTRIES_MAX * SEGMENT_BYTES_MAX fits
            self.found.entries += 1;
            self.carriers.note(entry.id, &entry.labels);
            let entry = Rc::new(entry);
            self.of_ids.push((entry.id, Rc::clone(&entry)));
            self.entries.push(entry);
        }
        if carried.contains(&false) {
            return Err(broken("every label of a part is carried"));
        }
        Ok(())
    }

    fn read_entry(
        &self,
        record: &ArchivedEntryRecord,
        shared: &[LabelRef],
        carried: &mut [bool],
    ) -> Result<Entry, SnapshotError> {
        let place = self.found.entries;
        let check =
            |holds, rule| if holds { Ok(()) } else { Err(SnapshotError::Entry { entry: place, rule }) };
        let path =
            SafePath::parse(&record.path).map_err(|error| SnapshotError::Path { entry: place, error })?;
        let mut labels: Vec<LabelRef> = Vec::with_capacity(record.labels.len().min(LABELS_MAX));
        check(record.labels.len() <= LABELS_MAX, "an entry has at most LABELS_MAX labels")?;
        for label in record.labels.iter() {
            let at = label.to_native() as usize;
            check(at < shared.len(), "labels are in the part's table")?;
            check(labels.last().is_none_or(|last| *last < shared[at]), "labels ascend")?;
            labels.push(shared[at].clone());
            carried[at] = true;
        }
        let id = record.id.native();
        check(place < ENTRIES_MAX as u64, "a manifest has at most ENTRIES_MAX entries")?;
        check(
            (LogIndex(1)..=self.index).contains(&id.index),
            "ids are of log entries up to the snapshot's index",
        )?;
        check(
            record.bytes.to_native() <= SEGMENT_BYTES_MAX,
            "a segment has at most SEGMENT_BYTES_MAX bytes",
        )?;
        check(record.sealed_at.native().0 > 0, "a segment has the time it was sealed at")?;
        check(record.version.to_native() > 0, "versions count from 1")?;
        check(self.follows(path), "paths ascend, and no file is a directory")?;
        Ok(Entry {
            id,
            path: path.as_str().into(),
            bytes: record.bytes.to_native(),
            root: record.root.native(),
            flat: record.flat.as_ref().map(|flat| flat.native()),
            tier: Tier(record.tier),
            version: record.version.to_native(),
            origin: record.origin.native(),
            sealed_at: record.sealed_at.native(),
            proposed_at: record.proposed_at.native(),
            labels: labels.into(),
        })
    }

    /// Whether a path sorts behind all that came, and none of them is a directory of it (see
    /// `State::obstacle`).
    fn follows(&self, path: SafePath<'_>) -> bool {
        let Some(last) = self.entries.last() else { return true };
        let path = path.as_str();
        let shared = shared_bytes(last.path.as_bytes(), path.as_bytes());
        let directory = path.as_bytes().get(shared) == Some(&b'/')
            && self.entries.binary_search_by(|entry| (*entry.path).cmp(&path[..shared])).is_ok();
        last.path.as_bytes()[shared..] < path.as_bytes()[shared..] && !directory
    }
}

/// Bytes that both begin with.
fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let same = |a: &[[u8; 8]], b: &[[u8; 8]]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let words = size_of::<[u8; 8]>() * same(a.as_chunks().0, b.as_chunks().0);
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

fn bounded(of: &'static str, declared: u64, most: usize) -> Result<(), SnapshotError> {
    if declared <= most as u64 {
        return Ok(());
    }
    Err(SnapshotError::Totals { of, declared, found: most as u64 })
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(error) => fmt::Display::fmt(error, f),
            Self::Payload { part, why } => {
                write!(f, "part {part} of the snapshot is not of its format: {why}")
            }
            Self::Sequence { expected, found } => {
                write!(
                    f,
                    "part {expected} of the snapshot was due; part {found}, or one of another snapshot, came"
                )
            }
            Self::Incomplete { parts } => write!(f, "the snapshot ends after {parts} parts, before its last"),
            Self::Path { entry, error } => write!(f, "entry {entry} of the snapshot: {error}"),
            Self::Entry { entry, rule } => write!(f, "entry {entry} of the snapshot breaks a rule: {rule}"),
            Self::Session { session } => write!(f, "session {session} of the snapshot breaks a rule"),
            Self::Totals { of, declared, found } => {
                write!(f, "the snapshot declares {declared} {of}, but has or may have {found}")
            }
        }
    }
}

impl std::error::Error for SnapshotError {}
