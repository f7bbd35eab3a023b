//! What a core does without, told once in the log when it begins; `status` and `doctor` tell it whenever asked.

use crate::uring::{Congestion, Probe, REGISTERED_BUFFERS};

/// Warns of what the operator can allow, and mentions what the kernel is too old for.
pub(super) fn tell(probe: &Probe, core: u16, asked: Option<Congestion>) {
    for finding in probe.findings.iter().filter(|finding| !finding.in_use) {
        let (name, note) = (finding.name, finding.note.as_str());
        match name {
            REGISTERED_BUFFERS => tracing::warn!(core, "{name} are not in use: {note}"),
            _ if asked.is_some_and(|asked| asked.name() == name) => {
                tracing::warn!(core, "congestion control {name} is not in use: {note}");
            }
            // Nobody has asked for it.
            _ if Congestion::named(name).is_some() => {}
            _ => tracing::info!(core, "{name}: not in use: {note}"),
        }
    }
}
