//! When faults have ended, every node comes to the same content within a time, and stays there.

use std::collections::BTreeMap;

use ringway::ids::{Nanos, NodeId};

use super::{Verdict, hold};

/// Contents told as digests.
#[derive(Debug)]
pub struct Converges {
    within: Nanos,
    expected: u64,
    since: Nanos,
    seen: BTreeMap<NodeId, (u64, Nanos)>,
}

impl Converges {
    /// A checker that gives the nodes this long.
    #[must_use]
    pub fn within(length: Nanos) -> Self {
        Self { within: length, expected: 0, since: Nanos(0), seen: BTreeMap::new() }
    }

    /// A fault has happened or ended, or the content that all should come to is another: the time starts again.
    pub fn disturbed(&mut self, now: Nanos, expected: u64) {
        (self.expected, self.since) = (expected, now);
    }

    /// A node's content now.
    ///
    /// # Errors
    /// It had come to what is expected, nothing disturbed it since, and it has left it again.
    pub fn observe(&mut self, now: Nanos, node: NodeId, content: u64) -> Verdict {
        let before = self.seen.insert(node, (content, now));
        let was_there = before.is_some_and(|(content, at)| content == self.expected && at >= self.since);
        hold(!was_there || content == self.expected, || {
            format!("{node} had {:x} and has {content:x} at {now}", self.expected)
        })
    }

    /// Whether all of these nodes are there by now.
    ///
    /// # Errors
    /// The time is over and one is not.
    pub fn verdict(&self, now: Nanos, nodes: &[NodeId]) -> Verdict {
        if now < self.since.plus(self.within) {
            return Ok(());
        }
        for node in nodes {
            let seen = self.seen.get(node);
            let there = seen.is_some_and(|(content, at)| *content == self.expected && *at >= self.since);
            hold(there, || format!("{node} has {seen:x?}, not {:x}, at {now}", self.expected))?;
        }
        Ok(())
    }
}
