//! The embedder's own answer to who may have a segment (P2).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::ids::NodeId;
use crate::limits::NODES_MAX;

type Ask = dyn Fn(NodeId, &str) -> Vec<NodeId> + Send + Sync;

/// Given a segment's origin and its path, says who is asked for it, the first one first. Clones are the same.
#[derive(Clone)]
pub struct Resolver(Arc<Ask>);

/// It has panicked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Panicked;

impl Resolver {
    /// Asks `ask` before every attempt. It is called on the threads of the node's cores, and must not block.
    pub fn new(ask: impl Fn(NodeId, &str) -> Vec<NodeId> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// What it says of a segment; of a very long list the beginning.
    pub(super) fn ask(&self, origin: NodeId, path: &str) -> Result<Vec<NodeId>, Panicked> {
        let asked = catch_unwind(AssertUnwindSafe(|| (self.0)(origin, path)));
        let mut nodes = asked.map_err(|_| Panicked)?;
        nodes.truncate(NODES_MAX);
        Ok(nodes)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
