//! Entries: what the state knows of one segment. Never changed once made: an update makes another entry.

use std::rc::Rc;

use super::command::{ArchivedRegistration, Tier};
use super::labels::LabelRef;
use super::path::SafePath;
use super::validate::sorted;
use crate::ids::{Digest, NodeId, SegmentId, UnixNanos};

/// One segment of the manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Log index and ordinal of the operation that made it.
    pub id: SegmentId,
    pub(super) path: Rc<str>,
    /// Its size.
    pub bytes: u64,
    /// Root of its digest tree.
    pub root: Digest,
    /// SHA-256 of the whole, where there is one.
    pub flat: Option<Digest>,
    /// How the engine ranks its storage.
    pub tier: Tier,
    /// How often this path had content since it was last registered: 1 at registration, one more with each
    /// update.
    pub version: u32,
    /// The node that sealed it.
    pub origin: NodeId,
    /// When it was sealed, by the origin's clock.
    pub sealed_at: UnixNanos,
    /// When it was proposed, by the proposer's clock.
    pub proposed_at: UnixNanos,
    pub(super) labels: Box<[LabelRef]>,
}

impl Entry {
    /// Where it stands, relative to the shard's directory.
    #[must_use]
    pub fn path(&self) -> SafePath<'_> {
        SafePath::known(&self.path)
    }

    /// Names and values that the engine gave it, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.labels.iter().map(|label| (label.name(), label.value()))
    }

    /// The value of the first label of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find(|label| label.0 == name).map(|label| label.1)
    }

    /// Whether the registration is of these bytes, as far as both say.
    pub(super) fn has_content_of(&self, registration: &ArchivedRegistration) -> bool {
        let flat = registration.flat.as_ref().map(|flat| flat.native());
        self.bytes == registration.bytes.to_native()
            && self.root == registration.root.native()
            && (self.flat.is_none() || flat.is_none() || self.flat == flat)
    }

    /// Whether the registration says nothing new of this path. Who says it and when is nothing new: what is said again
    /// after a restart, or by another node, moves no bytes.
    pub(super) fn is_said_by(&self, registration: &ArchivedRegistration) -> bool {
        self.has_content_of(registration)
            && (registration.flat.is_none() || self.flat.is_some())
            && self.tier.0 == registration.tier.0
            && self.labels().eq(sorted(&registration.labels))
    }
}
