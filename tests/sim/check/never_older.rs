//! The newest committed version of a path that a node has come to stays: none before it re-appears under the name.

use std::collections::BTreeMap;

use ringway::ids::{Digest, LogIndex, NodeId, ShardId};

use super::{Verdict, hold};

/// Committed versions, and the newest one that each process of a node was seen to show.
#[derive(Default, Debug)]
pub struct NeverOlder {
    committed: BTreeMap<(ShardId, String, Digest), LogIndex>,
    shown: BTreeMap<(NodeId, u32, ShardId, String), LogIndex>,
}

impl NeverOlder {
    /// An entry gave a path this content.
    pub fn committed(&mut self, shard: ShardId, index: LogIndex, path: &str, content: Digest) {
        self.committed.insert((shard, path.to_owned(), content), index);
    }

    /// A process of a node (its `life`) that holds the version of index `held` shows this content under its name. What
    /// is not committed yet is the engine's own affair.
    ///
    /// # Errors
    /// It is older than what the node holds, or than what this process has shown before.
    pub fn visible(
        &mut self,
        (node, life): (NodeId, u32),
        shard: ShardId,
        path: &str,
        held: LogIndex,
        content: Digest,
    ) -> Verdict {
        let Some(index) = self.committed.get(&(shard, path.to_owned(), content)).copied() else {
            return Ok(());
        };
        hold(index >= held, || {
            format!("shard {shard}: {node} holds {path} of {held} and shows what it was at {index}")
        })?;
        let newest = self.shown.entry((node, life, shard, path.to_owned())).or_insert(index);
        let before = *newest;
        *newest = index.max(before);
        hold(index >= before, || {
            format!("shard {shard}: {node} showed {path} of {before} and shows what it was at {index} again")
        })
    }
}
