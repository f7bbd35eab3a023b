//! One finding, and the tour through all of them.

use std::fmt;
use std::path::PathBuf;

use crate::digest::Kernel;
use crate::uring::{Core, Errno, Probe};

use super::{disk, host, network};

/// How a host stands in one respect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Standing {
    /// As good as Ringway makes use of.
    Good,
    /// It works; `Check::change` says what would be faster.
    Slower,
    /// A node does not work so.
    Bad,
    /// It cannot be told from here.
    Unknown,
}

/// One respect in which a host was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize))]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// What to change; empty if nothing.
    pub change: String,
}

/// The directory to try the disk in cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoctorError {
    /// The directory.
    pub dir: PathBuf,
    /// The kernel's answer.
    pub errno: Errno,
}

impl fmt::Display for DoctorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no file can be tried there: {}", self.dir.display(), self.errno)
    }
}

impl std::error::Error for DoctorError {}

impl Check {
    pub(crate) fn new(name: impl Into<String>, standing: Standing, found: impl Into<String>) -> Self {
        Self { name: name.into(), standing, found: found.into(), change: String::new() }
    }

    pub(crate) fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Standing::Good, found)
    }

    pub(crate) fn change(self, change: impl Into<String>) -> Self {
        Self { change: change.into(), ..self }
    }
}

/// Looks at everything, on a core of this host. The disk is tried in `dir`, with one file of `disk::TRIAL_BYTES` that
/// goes away again.
pub(crate) async fn examine(dir: PathBuf) -> Result<Vec<Check>, DoctorError> {
    let probe = Core::current().probe();
    let mut checks = ring(&probe);
    checks.extend(host::memory());
    checks.extend(digests());
    checks.extend(disk::checks(&dir).await.map_err(|errno| DoctorError { dir, errno })?);
    checks.extend(network::checks(&probe));
    Ok(checks)
}

/// What the ring found when it was made; its notes say what stands in for what is missing.
fn ring(probe: &Probe) -> Vec<Check> {
    let mut checks = vec![Check::good("kernel", format!("Linux {}, {}", probe.kernel, probe.backend))];
    checks.extend(probe.findings.iter().map(|finding| {
        let check = Check::good(finding.name, if finding.in_use { "in use" } else { "not in use" });
        let found =
            if finding.in_use && !finding.note.is_empty() { finding.note.clone() } else { check.found };
        match (finding.in_use, finding.name) {
            (true, _) => Check { found, ..check },
            // One of the two is enough.
            (false, "bbr") => Check { found, ..check },
            (false, "huge pages") => {
                Check { standing: Standing::Slower, found: finding.note.clone(), ..check }.change(
                    "allow transparent huge pages (below), and memory for them: buffers on them cost less",
                )
            }
            (false, _) => Check { standing: Standing::Slower, found, change: finding.note.clone(), ..check },
        }
    }));
    checks
}

/// Every digest kernel that there is, and its rate on one core, tried here.
fn digests() -> Vec<Check> {
    let now = || Core::current().now();
    let fastest = Kernel::fastest(now);
    let rates: Vec<String> = Kernel::present()
        .map(|kernel| format!("{kernel} {:.2} GB/s", kernel.rate(now) as f64 / 1e9))
        .collect();
    let check = Check::good("sha-256", format!("{fastest} on each core; {}", rates.join(", ")));
    if fastest != Kernel::Ring {
        return vec![check];
    }
    let change = "a processor with AVX-512 or the SHA extensions digests two to three times as much";
    vec![Check { standing: Standing::Slower, ..check }.change(change)]
}
