//! Changes: what one applied command did to the set of segments, in the order of its operations.
//!
//! As long as what changed, never as long as the manifest: planning a transfer from it costs nothing more.

use std::rc::Rc;

use super::entry::Entry;
use super::outcome::Outcome;
use crate::ids::SegmentId;

/// What applying one command gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// What the proposer is told.
    pub outcome: Outcome,
    /// Whether the command was performed before, and `outcome` is the kept one.
    pub repeated: bool,
    /// What changed, here and now.
    pub changes: Changes,
}

/// What changed, in order of the operations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes(pub Vec<Change>);

/// What one operation did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A path has its first content.
    Registered(Rc<Entry>),
    /// A path has new content.
    Updated {
        /// What stands there now.
        entry: Rc<Entry>,
        /// What stood there.
        previous: Rc<Entry>,
    },
    /// A path is no more.
    Deleted {
        /// What stood there.
        entry: Rc<Entry>,
        /// Why.
        reason: Box<str>,
    },
    /// The operation found what it asked for.
    Unchanged {
        /// Its place in the batch.
        ordinal: u32,
        /// What stands there; nothing after a delete.
        id: Option<SegmentId>,
    },
}

impl Changes {
    /// Entries that came, in order. One that came and went in the same batch is among both.
    pub fn came(&self) -> impl Iterator<Item = &Rc<Entry>> {
        self.0.iter().filter_map(|change| match change {
            Change::Registered(entry) | Change::Updated { entry, .. } => Some(entry),
            Change::Deleted { .. } | Change::Unchanged { .. } => None,
        })
    }

    /// Entries that went, in order.
    pub fn went(&self) -> impl Iterator<Item = &Rc<Entry>> {
        self.0.iter().filter_map(|change| match change {
            Change::Updated { previous: entry, .. } | Change::Deleted { entry, .. } => Some(entry),
            Change::Registered(_) | Change::Unchanged { .. } => None,
        })
    }

    /// The id that each operation of the batch left at its path, in order; nothing after a delete.
    pub fn ids(&self) -> impl Iterator<Item = Option<SegmentId>> {
        self.0.iter().map(|change| match change {
            Change::Registered(entry) | Change::Updated { entry, .. } => Some(entry.id),
            Change::Deleted { .. } => None,
            Change::Unchanged { id, .. } => *id,
        })
    }

    /// Operations that changed something.
    pub(super) fn changed(&self) -> usize {
        self.0.iter().filter(|change| !matches!(change, Change::Unchanged { .. })).count()
    }
}
