//! proposed >= committed >= applied >= installed, and none goes back within the life of a process.

use std::collections::BTreeMap;

use ringway::ids::{GroupId, LogIndex, NodeId};

use super::{Verdict, hold};

/// One group's watermarks on one node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Watermarks {
    /// On the leader only.
    pub proposed: Option<LogIndex>,
    /// Known to be committed.
    pub committed: LogIndex,
    /// Applied to the manifest.
    pub applied: LogIndex,
    /// Every entry at or below it is installed here, superseded or deleted.
    pub installed: LogIndex,
}

/// What was seen last of every process.
#[derive(Default, Debug)]
pub struct WatermarkOrder(BTreeMap<(NodeId, u32, GroupId), Watermarks>);

impl WatermarkOrder {
    /// What a process of a node (its `life`) says now.
    ///
    /// # Errors
    /// They are out of order, or one of them went back.
    pub fn observe(&mut self, node: NodeId, life: u32, group: GroupId, now: Watermarks) -> Verdict {
        let ordered = now.proposed.is_none_or(|proposed| proposed >= now.committed)
            && now.committed >= now.applied
            && now.applied >= now.installed;
        hold(ordered, || format!("group {group} on {node}: out of order: {now:?}"))?;
        let before = self.0.insert((node, life, group), now).unwrap_or_default();
        let forward = now.committed >= before.committed
            && now.applied >= before.applied
            && now.installed >= before.installed;
        hold(forward, || format!("group {group} on {node}: from {before:?} back to {now:?}"))
    }

    /// The first entry of a node's manifest whose segment is not on its disk, beside what it says of itself.
    ///
    /// # Errors
    /// It says that the entry is installed.
    pub fn lacks(&self, node: NodeId, group: GroupId, installed: LogIndex, first: LogIndex) -> Verdict {
        hold(installed < first, || {
            format!(
                "group {group} on {node}: installed is {installed}, and the segment of {first} is not there"
            )
        })
    }
}
