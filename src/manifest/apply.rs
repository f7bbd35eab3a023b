//! Applying commands: deterministic, all or nothing, at most once.
//!
//! Operations happen on the state one by one, so that a later one sees an earlier one; if one cannot happen,
//! those before it are taken back.

use std::rc::Rc;

use rkyv::util::AlignedVec;

use super::changes::{Change, Changes, Effect};
use super::command::{
    self, ArchivedBatch, ArchivedCommand, ArchivedOperation, ArchivedRegistration, Command, Tier,
};
use super::entry::Entry;
use super::outcome::{Outcome, Reason, Refusal};
use super::path::SafePath;
use super::session::Admission;
use super::state::State;
use super::validate::sorted;
use crate::ids::{LogIndex, SegmentId, UnixNanos};
use crate::limits::ENTRIES_MAX;

impl State {
    /// Applies the command that the log carries at `index`. Bytes that are no command change nothing but the
    /// index.
    ///
    /// # Panics
    /// If `index` is not ahead of what is applied, or the log would repeat itself.
    pub fn apply(&mut self, index: LogIndex, command: &[u8]) -> Effect {
        self.pass(index);
        let mut scratch = AlignedVec::new();
        match Command::access(command, &mut scratch) {
            Err(error) => Effect::new(Outcome::Refused(command::refusal(&error))),
            Ok(ArchivedCommand::OpenSession { session }) => {
                Effect::new(self.sessions.open(session.native(), index))
            }
            Ok(ArchivedCommand::RetireSession { session }) => {
                Effect::new(self.sessions.retire(session.native(), index))
            }
            Ok(ArchivedCommand::Batch(batch)) => self.apply_batch(index, batch),
        }
    }

    fn apply_batch(&mut self, index: LogIndex, batch: &ArchivedBatch) -> Effect {
        let (session, number) = (batch.session.native(), batch.number.to_native());
        match self.sessions.admit(session, index, number, batch.low_water.to_native()) {
            Admission::Repeated(outcome) => return Effect { repeated: true, ..Effect::new(outcome) },
            Admission::Refused(refusal) => return Effect::new(Outcome::Refused(refusal)),
            Admission::New => {}
        }
        let effect = match batch.validate().and_then(|()| self.perform(index, batch)) {
            Ok(changes) => Effect::applied(index, changes),
            Err(refusal) => Effect::new(Outcome::Refused(refusal)),
        };
        self.sessions.keep(session, number, effect.outcome);
        effect
    }

    /// Performs a batch whose form is valid.
    fn perform(&mut self, index: LogIndex, batch: &ArchivedBatch) -> Result<Changes, Refusal> {
        let proposed_at = batch.proposed_at.native();
        let mut changes = Changes(Vec::with_capacity(batch.operations.len()));
        for (ordinal, operation) in (0..).zip(batch.operations.iter()) {
            match self.operate(SegmentId { index, ordinal }, proposed_at, operation) {
                Ok(change) => changes.0.push(change),
                Err(reason) => {
                    self.take_back(changes);
                    return Err(Refusal::Operation { ordinal, reason });
                }
            }
        }
        for entry in changes.went() {
            self.watches.went(entry);
        }
        Ok(changes)
    }

    fn operate(
        &mut self,
        id: SegmentId,
        proposed_at: UnixNanos,
        operation: &ArchivedOperation,
    ) -> Result<Change, Reason> {
        match operation {
            ArchivedOperation::Register(registration) => self.register(id, proposed_at, registration),
            ArchivedOperation::Update(registration) => self.update(id, proposed_at, registration),
            ArchivedOperation::Delete { path, reason } => {
                let Some(entry) = self.by_path(path).map(Rc::clone) else {
                    return Ok(Change::Unchanged { ordinal: id.ordinal, id: None });
                };
                self.remove(&entry);
                Ok(Change::Deleted { entry, reason: reason.as_str().into() })
            }
        }
    }

    fn register(
        &mut self,
        id: SegmentId,
        proposed_at: UnixNanos,
        registration: &ArchivedRegistration,
    ) -> Result<Change, Reason> {
        if let Some(there) = self.by_path(&registration.path).map(Rc::clone) {
            return if there.has_content_of(registration) {
                Ok(Change::Unchanged { ordinal: id.ordinal, id: Some(there.id) })
            } else {
                Err(Reason::AlreadyExists { id: there.id })
            };
        }
        if self.len() >= ENTRIES_MAX {
            return Err(Reason::ManifestFull);
        }
        if let Some(by) = self.obstacle(SafePath::known(&registration.path)) {
            return Err(Reason::Obstructed { by });
        }
        let entry =
            Rc::new(self.entry_of(id, proposed_at, registration, registration.path.as_str().into(), 1));
        self.insert(Rc::clone(&entry));
        Ok(Change::Registered(entry))
    }

    fn update(
        &mut self,
        id: SegmentId,
        proposed_at: UnixNanos,
        registration: &ArchivedRegistration,
    ) -> Result<Change, Reason> {
        let previous = self.by_path(&registration.path).map(Rc::clone).ok_or(Reason::NotFound)?;
        let version = previous.version.saturating_add(1);
        if previous.is_said_by(registration) {
            return Ok(Change::Unchanged { ordinal: id.ordinal, id: Some(previous.id) });
        }
        self.remove(&previous);
        let entry = self.entry_of(id, proposed_at, registration, Rc::clone(&previous.path), version);
        let entry = Rc::new(entry);
        self.insert(Rc::clone(&entry));
        Ok(Change::Updated { entry, previous })
    }

    /// The entry of a registration; it must be inserted, because its labels count as in use.
    fn entry_of(
        &mut self,
        id: SegmentId,
        proposed_at: UnixNanos,
        registration: &ArchivedRegistration,
        path: Rc<str>,
        version: u32,
    ) -> Entry {
        let labels = sorted(&registration.labels);
        Entry {
            id,
            path,
            bytes: registration.bytes.to_native(),
            root: registration.root.native(),
            flat: registration.flat.as_ref().map(|flat| flat.native()),
            tier: Tier(registration.tier.0),
            version,
            origin: registration.origin.native(),
            sealed_at: registration.sealed_at.native(),
            proposed_at,
            labels: labels.into_iter().map(|(name, value)| self.labels.share(name, value)).collect(),
        }
    }

    fn take_back(&mut self, changes: Changes) {
        for change in changes.0.into_iter().rev() {
            match change {
                Change::Registered(entry) => self.remove(&entry),
                Change::Updated { entry, previous } => {
                    self.remove(&entry);
                    self.put_back(&previous);
                }
                Change::Deleted { entry, .. } => self.put_back(&entry),
                Change::Unchanged { .. } => {}
            }
        }
    }

    /// Inserts an entry that was removed, with labels that may have been forgotten since.
    fn put_back(&mut self, entry: &Entry) {
        let labels = entry.labels().map(|(name, value)| self.labels.share(name, value)).collect();
        self.insert(Rc::new(Entry { labels, ..entry.clone() }));
    }
}

impl Effect {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, repeated: false, changes: Changes::default() }
    }

    fn applied(index: LogIndex, changes: Changes) -> Self {
        let count = |count| u32::try_from(count).expect("BATCH_OPERATIONS_MAX fits");
        let changed = changes.changed();
        let unchanged = count(changes.0.len() - changed);
        Self { changes, ..Self::new(Outcome::Applied { index, changed: count(changed), unchanged }) }
    }
}
