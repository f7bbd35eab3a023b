//! Time-stamped events on standard error.

use std::io::{self, IsTerminal};

use tracing::Level;

/// Sends the library's events to standard error from the level that the flags ask for.
pub(crate) fn start(verbose: u8, quiet: bool, usual: Level) {
    let level = match (quiet, verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => usual,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
}
