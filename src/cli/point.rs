//! `ringway serve` and `ringway pull`.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringway::engine::{self, PullError, PullOptions, PullProgress, ServeError, ServeOptions};
use serde::Serialize;

use super::args::{Output, Pull, Serve};
use super::bar::bar;
use super::cache::digests_of;
use super::exit::{Exit, Failure};
use super::output::{bytes, count, print};
use super::secret;
use super::stop::stop_signal;

#[derive(Serialize)]
struct Ready {
    listening: String,
}

pub(crate) fn serve(asked: Serve, output: Output, quiet: bool) -> Result<(), Failure> {
    let text = secret::read(&asked.secret.secret_file)?;
    let stop = stop_signal()?;
    let listen = asked.listen.resolve().map_err(Failure::failed)?;
    // Before an hour of digesting, not behind it. It listens when it is ready.
    TcpListener::bind(listen)
        .map_err(|error| Failure::failed(format!("cannot listen on {listen}: {error}")))
        .map(drop)?;
    let cache = digests_of(&asked.dir, asked.cache);
    let options = ServeOptions { dir: asked.dir, listen, cache };
    let bar = bar(quiet);
    let tell = |progress: engine::DigestProgress| {
        bar.set_length(progress.bytes);
        bar.set_position(progress.bytes_done);
        bar.set_message("digesting");
    };
    let shown = bar.clone();
    let told = Rc::new(RefCell::new(None));
    let (telling, end) = (Rc::clone(&told), Arc::clone(&stop));
    let ready = move |address: std::net::SocketAddr| {
        shown.finish_and_clear();
        let ready = Ready { listening: address.to_string() };
        let printed = print(output, &ready, |out| writeln!(out, "listening on {address}"));
        // Nobody would know where it listens.
        end.fetch_or(printed.is_err(), Ordering::Relaxed);
        *telling.borrow_mut() = Some(printed);
    };
    engine::serve(&options, &text, &stop, &tell, ready).map_err(|error| {
        let exit = if matches!(error, ServeError::Secret { .. }) { Exit::Config } else { Exit::Failed };
        Failure::new(exit, error)
    })?;
    let interrupted = || Err(Failure::new(Exit::Interrupted, "interrupted before it listened"));
    told.take().unwrap_or_else(interrupted)
}

pub(crate) fn pull(asked: Pull, output: Output, quiet: bool) -> Result<(), Failure> {
    let text = secret::read(&asked.secret.secret_file)?;
    let stop = stop_signal()?;
    let options = PullOptions {
        address: asked.address.reach().map_err(|error| Failure::new(Exit::Unreachable, error))?,
        dest: asked.dest,
        delete: asked.delete,
        wait_for_space: asked.wait_for_space,
        cores: asked.cores,
    };
    let (bar, waits, busy) = (bar(quiet), AtomicBool::new(false), AtomicBool::new(false));
    let shown = bar.clone();
    let tell = move |progress: PullProgress| {
        shown.set_length(progress.bytes);
        shown.set_position(progress.bytes_done);
        let message = format!("{}/{} files", progress.segments_done, progress.segments);
        shown.set_message(match progress {
            PullProgress { waits_for_space: true, .. } if asked.wait_for_space => {
                "disk full, waiting".to_owned()
            }
            PullProgress { waits_for_source: true, .. } => "source busy, waiting".to_owned(),
            _ => message,
        });
        if asked.wait_for_space && progress.waits_for_space && !waits.swap(true, Ordering::Relaxed) {
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
            "{}, {}: {} fetched, {} here already, {} skipped, {} removed, in {:.3} s",
            count(report.segments, "file"),
            bytes(report.bytes),
            bytes(report.bytes_fetched),
            bytes(report.bytes_reused),
            report.skipped,
            report.removed,
            report.seconds
        )
    })
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
