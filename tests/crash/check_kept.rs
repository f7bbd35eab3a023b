//! The invariant: nothing that a checkpoint has kept is fetched again.

use crate::crash::rig::{Ledger, Recovered};

/// What breaks the invariant.
pub fn check(ledger: &Ledger, recovered: &Recovered) -> Vec<String> {
    let mut broken = Vec::new();
    for (stem, missing) in &recovered.missing {
        let kept = ledger.kept.get(stem).cloned().unwrap_or_default();
        let again: Vec<u32> = missing.intersection(&kept).copied().collect();
        if !again.is_empty() {
            broken.push(format!("chunks {again:?} of {} were kept and are fetched again", stem.id));
        }
    }
    broken
}
