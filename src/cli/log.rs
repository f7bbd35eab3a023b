//! Time-stamped events on standard error.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the library's events to standard error, warnings and worse unless the flags ask for more or less.
pub(crate) fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    // The consensus library tells of each of its workers' steps; they are for who looks into it.
    let consensus = if verbose >= 2 { level.into() } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(level).with_target("openraft", consensus);
    let is_colourful = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(is_colourful).with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}
