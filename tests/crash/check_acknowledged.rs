//! The invariant: what was acknowledged as landed is held after a restart, with its bytes, without being fetched.

use crate::crash::rig::{Ledger, Recovered};
use crate::sim::Sim;
use ringway::ids::NodeId;

/// What breaks the invariant, `recovered` being what the store knew when it had reconciled.
pub fn check(sim: &Sim, node: NodeId, ledger: &Ledger, recovered: &Recovered) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, segment) in &ledger.acknowledged {
        if !recovered.held.contains(id) {
            broken.push(format!("{id} had landed and is not held"));
        }
        if sim.host(node).disk.file(&segment.file()).as_ref() != Some(&*segment.bytes) {
            broken.push(format!("{id} had landed and its bytes are gone"));
        }
    }
    broken
}
