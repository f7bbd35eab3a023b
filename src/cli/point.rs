//! `ringway serve` and `ringway pull`.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ringway::engine::{self, PullError, PullOptions, PullProgress, ServeError, ServeOptions};
use serde::Serialize;

use super::args::{Output, Pull, Serve};
use super::bar::bar;
use super::exit::{Exit, Failure};
use super::output::{bytes, print};
use super::secret;
use super::stop::stop_signal;

#[derive(Serialize)]
struct Ready {
    listening: String,
}

pub(crate) fn serve(asked: Serve, output: Output, quiet: bool) -> Result<(), Failure> {
    let text = secret::read(&asked.secret.secret_file)?;
    let stop = stop_signal()?;
    let cache = asked.cache.unwrap_or_else(|| default_cache(&asked.dir));
    let options = ServeOptions { dir: asked.dir, listen: asked.listen, cache: cache.join("digests") };
    let bar = bar(quiet);
    let tell = |progress: engine::DigestProgress| {
        bar.set_length(progress.bytes);
        bar.set_position(progress.bytes_done);
        bar.set_message("digesting");
    };
    let shown = bar.clone();
    let ready = move |address: std::net::SocketAddr| {
        shown.finish_and_clear();
        let ready = Ready { listening: address.to_string() };
        print(output, &ready, |out| writeln!(out, "listening on {address}"));
    };
    engine::serve(&options, &text, &stop, &tell, ready).map_err(|error| {
        let exit = if matches!(error, ServeError::Secret { .. }) { Exit::Config } else { Exit::Failed };
        Failure::new(exit, error)
    })
}

/// A directory for each served one, below the user's cache directory.
fn default_cache(dir: &Path) -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(env::temp_dir);
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name: String = absolute.to_string_lossy().chars().map(|c| if c == '/' { '-' } else { c }).collect();
    base.join("ringway").join(name.trim_start_matches('-'))
}

pub(crate) fn pull(asked: Pull, output: Output, quiet: bool) -> Result<(), Failure> {
    let text = secret::read(&asked.secret.secret_file)?;
    let stop = stop_signal()?;
    let options = PullOptions {
        address: asked.address,
        dest: asked.dest,
        delete: asked.delete,
        wait_for_space: asked.wait_for_space,
    };
    let (bar, waits, busy) = (bar(quiet), AtomicBool::new(false), AtomicBool::new(false));
    let shown = bar.clone();
    let tell = move |progress: PullProgress| {
        shown.set_length(progress.bytes);
        shown.set_position(progress.bytes_done);
        let message = format!("{}/{} files", progress.segments_done, progress.segments);
        shown.set_message(match progress {
            PullProgress { waits_for_space: true, .. } => "disk full, waiting".to_owned(),
            PullProgress { waits_for_source: true, .. } => "source busy, waiting".to_owned(),
            _ => message,
        });
        if progress.waits_for_space && !waits.swap(true, Ordering::Relaxed) {
            tracing::warn!("the disk is full; waiting for room");
        }
        if progress.waits_for_source && !busy.swap(true, Ordering::Relaxed) {
            tracing::warn!("the source is busy; waiting for its turn");
        }
    };
    let report = engine::pull(options, &text, &stop, tell);
    bar.finish_and_clear();
    let report = report.map_err(|error| Failure::new(exit_of(&error), error))?;
    print(output, &report, |out| {
        writeln!(
            out,
            "{} files, {}: {} fetched, {} here already, {} skipped, {} removed, in {:.3} s",
            report.segments,
            bytes(report.bytes),
            bytes(report.bytes_fetched),
            bytes(report.bytes_reused),
            report.skipped,
            report.removed,
            report.seconds
        )
    });
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's error may grow")]
fn exit_of(error: &PullError) -> Exit {
    match error {
        PullError::Secret { .. } => Exit::Config,
        PullError::Refused { .. } => Exit::Auth,
        PullError::Unreachable { .. } | PullError::Busy { .. } => Exit::Unreachable,
        PullError::DiskFull => Exit::DiskFull,
        PullError::Interrupted => Exit::Interrupted,
        _ => Exit::Failed,
    }
}
