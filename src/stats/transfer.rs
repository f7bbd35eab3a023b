//! What a shard's transfers and proposals have counted. Nothing here allocates once a node is known as a peer: chunks
//! are counted on their way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::{Counter, Histogram};
use crate::ids::{NodeId, UnixNanos};

/// Ways in which a fetch fails, each counted apart; `transfer::Failure` names them.
pub const FAILURES_COUNTED: usize = 8;
/// Codes of a source's refusals that are counted apart; the last place holds all above.
pub const REFUSALS_COUNTED: usize = 8;

/// What the transfers of one shard, or of one pull, did.
#[derive(Debug, Default)]
pub struct TransferStats {
    /// Payload bytes received.
    pub bytes_fetched: Counter,
    /// Of them, in chunks with a wrong digest.
    pub bytes_refetched: Counter,
    /// Of them, in chunks that other cores of the node have brought and written.
    pub bytes_lent: Counter,
    /// Those chunks.
    pub chunks_lent: Counter,
    /// Payload bytes sent.
    pub bytes_served: Counter,
    /// Of them, of segments that were themselves still being fetched.
    pub bytes_relayed: Counter,
    /// Chunks found verified in staging when a fetch was resumed.
    pub chunks_reused: Counter,
    /// Chunks that arrived with a wrong digest.
    pub chunks_refetched: Counter,
    /// Small chunks that were digested together with others.
    pub chunks_together: Counter,
    /// Segments taken into the plan of fetches.
    pub planned: Counter,
    /// Segments that were wanted and were planned already.
    pub planned_already: Counter,
    /// Segments that were wanted, or about to be fetched, and stood here already.
    pub held_already: Counter,
    /// Segments of this node's own, whose file is pinned and not fetched.
    pub own: Counter,
    /// Segments landed whose content this node held already: shared or copied here, and not fetched.
    pub linked: Counter,
    /// Bytes of them.
    pub bytes_linked: Counter,
    /// Times that the plan had no room for a segment: it is given it again when there is room.
    pub left_out: Counter,
    /// Segments landed.
    pub landed: Counter,
    /// From when a segment was planned to when it had landed.
    pub landing: Histogram,
    /// Fetches that failed.
    pub failed: Counter,
    /// The same, by what ended them.
    pub failures: [Counter; FAILURES_COUNTED],
    /// Refusals of sources to this core, by their code.
    pub refusals: [Counter; REFUSALS_COUNTED],
    /// Times that a segment was due and no node could be asked for it: none is known, or all of them rest.
    pub no_source: Counter,
    /// The walks that compare manifest and disk.
    pub walk: WalkStats,
    /// By source.
    pub peers: Peers,
}

impl TransferStats {
    /// Counts a refusal by its code.
    pub fn count_refusal(&self, code: u16) {
        self.refusals[usize::from(code).min(REFUSALS_COUNTED - 1)].count();
    }
}

/// What the walks through a shard's manifest found.
#[derive(Debug, Default)]
pub struct WalkStats {
    /// Walks ended.
    pub walks: Counter,
    /// Entries of the manifest that they passed.
    pub entries: Counter,
    /// Of them, those whose segments stood here.
    pub held: Counter,
    /// Of them, those that were missing without having been known to.
    pub found: Counter,
    /// When the last one began; 0 before the first.
    pub began: Cell<UnixNanos>,
    /// When the last one ended; 0 before the first.
    pub ended: Cell<UnixNanos>,
}

/// What passed between this node and one other.
#[derive(Debug, Default)]
pub struct PeerStats {
    /// Payload bytes received from it.
    pub bytes_fetched: Counter,
    /// Payload bytes sent to it.
    pub bytes_served: Counter,
    /// Segments landed of which it was the source.
    pub landed: Counter,
    /// Fetches from it, shares of segments among them, that failed by its fault or that of the way to it.
    pub failed: Counter,
    /// Chunks from it that had a wrong digest.
    pub chunks_refetched: Counter,
    /// Times that it was set aside as a source for that.
    pub set_aside: Counter,
}

/// By node; no more than a shard has members.
#[derive(Debug, Default)]
pub struct Peers(RefCell<BTreeMap<NodeId, PeerStats>>);

impl Peers {
    /// From now on these are counted; what was counted of the others is forgotten.
    pub fn set(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut known = self.0.take();
        let counted = nodes.into_iter().map(|node| (node, known.remove(&node).unwrap_or_default()));
        self.0.replace(counted.collect());
    }

    /// Counts something of a node; nothing of one that is not counted.
    pub fn count(&self, node: NodeId, count: impl FnOnce(&PeerStats)) {
        if let Some(peer) = self.0.borrow().get(&node) {
            count(peer);
        }
    }

    /// What was counted of each, in order.
    pub fn map<T>(&self, mut look: impl FnMut(NodeId, &PeerStats) -> T) -> Vec<T> {
        self.0.borrow().iter().map(|(node, peer)| look(*node, peer)).collect()
    }
}

/// What became of the batches that this node proposed for one shard.
#[derive(Debug, Default)]
pub struct ProposalStats {
    /// Committed.
    pub committed: Counter,
    /// Refused: by the manifest, or because their files are not what they were said to be.
    pub refused: Counter,
    /// No leader took them in time: they did not happen.
    pub not_taken: Counter,
    /// They were sent, and nobody here knows what became of them.
    pub unknown: Counter,
    /// This node could not propose them: too many are outstanding, its disk refused, or it stops.
    pub failed: Counter,
    /// Of the committed ones, from when their files were digested to when the commit was known.
    pub commit: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_only_members_are_counted_and_those_that_stay_keep_their_count() {
        let peers = Peers::default();
        let fetch = |node| peers.count(NodeId(node), |peer| peer.bytes_fetched.add(5));
        peers.set([NodeId(1), NodeId(2)]);
        (1..=3).for_each(fetch);
        peers.set([NodeId(2), NodeId(3)]);
        (2..=3).for_each(fetch);
        let bytes = peers.map(|node, peer| (node.0, peer.bytes_fetched.get()));
        assert_eq!(bytes, [(2, 10), (3, 5)]);
    }

    #[test]
    fn p9_a_refusal_beyond_the_table_is_counted_in_its_last_place() {
        let stats = TransferStats::default();
        [1, 7, 8, u16::MAX].into_iter().for_each(|code| stats.count_refusal(code));
        let counts: Vec<u64> = stats.refusals.iter().map(Counter::get).collect();
        assert_eq!(counts, [0, 1, 0, 0, 0, 0, 0, 3]);
    }
}
