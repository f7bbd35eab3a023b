//! The invariant: no file stands under a segment's final name whose bytes are not those of a version of it.

use crate::crash::rig::{Ledger, ROOT};
use crate::sim::Sim;
use ringway::ids::NodeId;

/// What breaks the invariant on this disk, as it is.
pub fn check(sim: &Sim, node: NodeId, ledger: &Ledger) -> Vec<String> {
    let mut broken = Vec::new();
    let host = sim.host(node);
    for path in host.disk.paths(ROOT) {
        let Some(bytes) = host.disk.file(&path) else { continue };
        let name = path.strip_prefix(ROOT).unwrap_or(&path).trim_start_matches('/');
        let versions = ledger.versions.iter().find(|(known, _)| known.as_str() == name);
        let is_version =
            versions.is_some_and(|(_, known)| known.iter().any(|version| *version.bytes == bytes));
        if !is_version {
            broken.push(format!("{name} has {} bytes that are no version of it", bytes.len()));
        }
    }
    broken
}
