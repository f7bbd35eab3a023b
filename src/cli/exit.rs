//! How a command ends: its exit code and its one line on standard error.

use std::fmt;
use std::process::ExitCode;

use ringway::engine::RootError;

/// Exit codes, stable by semantic version. 2 is clap's for usage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything without a code of its own.
    Failed = 1,
    /// Arguments that do not go together.
    Usage = 2,
    /// The configuration, the secret or a root is not usable.
    Config = 3,
    /// A peer refused us, or we it.
    Auth = 4,
    /// The disk is full.
    DiskFull = 5,
    /// Nobody answers, or no leader was reached.
    Unreachable = 6,
    /// A log, a snapshot or an identity on disk is not what its digest says.
    Damaged = 7,
    /// Ctrl-C or SIGTERM before the work was done.
    Interrupted = 130,
}

impl Exit {
    /// Of a stopped node's root that cannot be worked on.
    pub(crate) fn of_root(error: &RootError) -> Self {
        match error {
            error if error.is_disk_full() => Self::DiskFull,
            RootError::Identity(_) | RootError::NoNode { .. } => Self::Config,
            RootError::InUse { .. }
            | RootError::Ring { .. }
            | RootError::Disk { .. }
            | RootError::Group { .. } => Self::Failed,
        }
    }
}

/// A command that did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// With what was being done, before the reason.
    pub(crate) fn at(self, what: impl fmt::Display) -> Self {
        Self { exit: self.exit, message: format!("{what}: {}", self.message) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let full =
            matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        Self::new(if full { Exit::DiskFull } else { Exit::Failed }, error)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        #[expect(clippy::as_conversions, reason = "the enum is its own number")]
        Self::from(exit as u8)
    }
}
