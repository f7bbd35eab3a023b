//! What was committed stays committed, the same on every node; what was acknowledged was committed.

use std::collections::BTreeMap;

use ringway::ids::{GroupId, LogIndex, NodeId};

use super::{Verdict, hold};

/// Entries told as digests of their bytes.
#[derive(Default, Debug)]
pub struct NoLostCommit {
    committed: BTreeMap<(GroupId, LogIndex), (u64, NodeId)>,
    acknowledged: BTreeMap<(GroupId, LogIndex), u64>,
}

impl NoLostCommit {
    /// A node holds an entry to be committed.
    ///
    /// # Errors
    /// Another entry is committed at this index.
    pub fn committed(&mut self, node: NodeId, group: GroupId, index: LogIndex, entry: u64) -> Verdict {
        let (first, by) = *self.committed.entry((group, index)).or_insert((entry, node));
        hold(first == entry, || {
            format!("group {group}, index {index}: {by} committed {first:x}, {node} commits {entry:x}")
        })
    }

    /// The entry that was committed at an index, if any node has said so.
    #[must_use]
    pub fn entry(&self, group: GroupId, index: LogIndex) -> Option<u64> {
        self.committed.get(&(group, index)).map(|(entry, _)| *entry)
    }

    /// A proposer was told that its entry is committed.
    ///
    /// # Errors
    /// It was told so of another entry before.
    pub fn acknowledged(&mut self, group: GroupId, index: LogIndex, entry: u64) -> Verdict {
        let first = *self.acknowledged.entry((group, index)).or_insert(entry);
        hold(first == entry, || {
            format!("group {group}, index {index}: {first:x} and {entry:x} are both acknowledged")
        })
    }

    /// What a node that follows the leader has in the end: a snapshot up to and with `snapshot`, and these entries.
    ///
    /// # Errors
    /// An acknowledged entry is not among them.
    pub fn holds(
        &self,
        node: NodeId,
        group: GroupId,
        snapshot: LogIndex,
        entries: &BTreeMap<LogIndex, u64>,
    ) -> Verdict {
        for ((_, index), entry) in self.acknowledged.range((group, LogIndex(0))..=(group, LogIndex(u64::MAX)))
        {
            if *index <= snapshot {
                continue;
            }
            let found = entries.get(index);
            hold(found == Some(entry), || {
                format!("group {group}, index {index}: {entry:x} was acknowledged, {node} has {found:x?}")
            })?;
        }
        Ok(())
    }
}
