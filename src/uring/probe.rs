//! What a ring found on this host: printed by `ringway status`, so that no fallback is silent.

use std::fmt;

/// Name of the finding on the slab's registration.
pub const REGISTERED_BUFFERS: &str = "registered buffers";
/// Name of the finding on sends without copying.
pub const ZERO_COPY_SEND: &str = "zero-copy send";

/// One capability: in use, or what stands in for it and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The capability, in the kernel's words.
    pub name: &'static str,
    /// It is in use.
    pub in_use: bool,
    /// What is done instead, or a figure; empty if there is nothing to say.
    pub note: String,
}

/// All that a ring found, in a fixed order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// What stands behind the seam: `io_uring` or `simulation`.
    pub backend: &'static str,
    /// The kernel's release.
    pub kernel: String,
    /// The capabilities.
    pub findings: Vec<Finding>,
}

impl Probe {
    /// Adds a finding.
    pub fn note(&mut self, name: &'static str, in_use: bool, note: impl Into<String>) {
        self.findings.push(Finding { name, in_use, note: note.into() });
    }

    /// Whether a capability is in use; false for one that was not looked for.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.findings.iter().any(|finding| finding.name == name && finding.in_use)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on Linux {}", self.backend, self.kernel)?;
        for finding in &self.findings {
            write!(f, "; {}{}", if finding.in_use { "" } else { "no " }, finding.name)?;
            if !finding.note.is_empty() {
                write!(f, " ({})", finding.note)?;
            }
        }
        Ok(())
    }
}
