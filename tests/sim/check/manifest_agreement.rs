//! Every node that has applied an index has the same manifest at it.

use std::collections::BTreeMap;

use ringway::ids::{GroupId, LogIndex, NodeId};

use super::{Verdict, hold};

/// Manifests told as digests of their state.
#[derive(Default, Debug)]
pub struct ManifestAgreement(BTreeMap<(GroupId, LogIndex), (u64, NodeId)>);

impl ManifestAgreement {
    /// A node's state after it has applied an index, by replay or from a snapshot.
    ///
    /// # Errors
    /// Another node's state at this index differs.
    pub fn applied(&mut self, node: NodeId, group: GroupId, index: LogIndex, state: u64) -> Verdict {
        let (first, by) = *self.0.entry((group, index)).or_insert((state, node));
        hold(first == state, || {
            format!("group {group}, index {index}: {by} has state {first:x}, {node} has {state:x}")
        })
    }
}
