//! No file stands under its final name, and no byte is served, unless it is what some committed entry says.

use std::collections::{BTreeMap, BTreeSet};

use ringway::ids::{Digest, NodeId, ShardId};

use super::{Verdict, hold};

/// Committed contents and what is seen of files. Content is told as digest and size.
#[derive(Default, Debug)]
pub struct NoUnverifiedByte {
    committed: BTreeMap<(ShardId, String), BTreeSet<(Digest, u64)>>,
    sealed: BTreeSet<(NodeId, ShardId, String, Digest)>,
}

impl NoUnverifiedByte {
    /// An entry is committed; those that it supersedes stay allowed.
    pub fn committed(&mut self, shard: ShardId, path: &str, digest: Digest, bytes: u64) {
        self.committed.entry((shard, path.to_owned())).or_default().insert((digest, bytes));
    }

    /// A node's own engine has put this content there: before it is committed, that is its own affair.
    pub fn sealed(&mut self, node: NodeId, shard: ShardId, path: &str, digest: Digest) {
        self.sealed.insert((node, shard, path.to_owned(), digest));
    }

    /// A file stands under its final name on a node, or was served by it.
    ///
    /// # Errors
    /// No committed entry of this path has this content, and no engine has put it there.
    pub fn visible(&self, node: NodeId, shard: ShardId, path: &str, digest: Digest, bytes: u64) -> Verdict {
        let key = (shard, path.to_owned());
        let entries = self.committed.get(&key);
        let known = entries.is_some_and(|contents| contents.contains(&(digest, bytes)));
        let own = self.sealed.contains(&(node, shard, path.to_owned(), digest));
        hold(known || own, || {
            format!(
                "shard {shard}: {node} shows {path} with {digest} of {bytes} bytes; committed is {entries:?}"
            )
        })
    }
}
