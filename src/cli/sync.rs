//! `ringway sync`: a node's shards brought up to date side by side, each with its own outcome.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ringway::engine::NodeStatus;
use serde::Serialize;

use super::args::{Output, Sync};
use super::ask::{Endpoint, asked_of, asked_within, token};
use super::exit::Failure;
use super::output::{bytes, count, print};
use crate::daemon::{SyncBody, SyncReport};

/// Between two looks at how it goes.
const LOOK: Duration = Duration::from_secs(1);
/// For an answer, behind the time that the attempt has.
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    shards: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    shard: u32,
    attempts: u32,
    #[serde(flatten)]
    done: Option<SyncReport>,
    error: Option<String>,
}

pub(crate) fn run(asked: &Sync, output: Output, quiet: bool) -> Result<(), Failure> {
    let endpoint = asked_of(&asked.node.endpoint)?;
    let token = token(&asked.node.secret_file)?;
    let shards = match asked.shard {
        Some(shard) => vec![shard],
        None => endpoint.status()?.shards.iter().map(|shard| shard.shard).collect(),
    };
    let is_over = AtomicBool::new(false);
    let lines = thread::scope(|scope| {
        let asks: Vec<_> =
            shards.iter().map(|shard| scope.spawn(|| sync_shard(asked, *shard, &token))).collect();
        let watch = scope.spawn(|| {
            if !quiet {
                tell(&endpoint, asked.to, &shards, &is_over)
            }
        });
        let lines: Result<Vec<Line>, Failure> =
            asks.into_iter().map(|ask| ask.join().expect("it does not panic")).collect();
        is_over.store(true, Ordering::Relaxed);
        watch.thread().unpark();
        lines
    })?;
    let report = Report { shards: lines };
    let told = print(output, &report, |out| {
        report.shards.iter().try_for_each(|line| match (&line.done, &line.error) {
            (Some(done), _) => {
                let way =
                    done.snapshot.map_or_else(String::new, |index| format!(", by the snapshot of {index}"));
                write!(out, "shard {}: has all to {}{way}", line.shard, done.due)?;
                if let (Some(landed), Some(fetched)) = (done.landed, done.bytes_fetched) {
                    write!(out, "; {} landed, {}", count(landed, "segment"), bytes(fetched))?;
                }
                writeln!(out)
            }
            (None, error) => {
                let (why, tries) = (error.as_deref().unwrap_or_default(), count(line.attempts, "attempt"));
                writeln!(out, "shard {}: {why}, after {tries}", line.shard)
            }
        })
    });
    told?;
    let failed = report.shards.iter().filter(|line| line.done.is_none()).count();
    if failed == 0 {
        return Ok(());
    }
    let (failed, all) = (count(failed as u64, "shard"), report.shards.len());
    Err(Failure::failed(format!("{failed} of {all} not up to date; what is verified stays, ask again")))
}

/// One shard, as often as may be. Only what asking again may mend is asked again.
fn sync_shard(asked: &Sync, shard: u32, token: &str) -> Result<Line, Failure> {
    let within = Duration::from_secs(asked.within.into());
    let endpoint = asked_within(&asked.node.endpoint, within + ANSWER_TIME)?;
    let body = SyncBody { shard, to: asked.to, timeout_millis: u64::from(asked.within) * 1000 };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match endpoint.post::<SyncReport>("/v1/sync", token, &body) {
            Ok(done) => return Ok(Line { shard, attempts, done: Some(done), error: None }),
            Err(trouble) if !trouble.is_passing() => return Err(trouble.into()),
            Err(trouble) if attempts >= asked.attempts => {
                let Failure { message, .. } = trouble.into();
                return Ok(Line { shard, attempts, done: None, error: Some(message) });
            }
            // Its node may be starting.
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Says on standard error how it goes.
fn tell(endpoint: &Endpoint, to: Option<u64>, shards: &[u32], is_over: &AtomicBool) {
    thread::park_timeout(LOOK);
    while !is_over.load(Ordering::Relaxed) {
        let status = endpoint.status();
        if let (Some(node), Ok(status)) = (to, &status) {
            tell_of(node, status, shards);
            thread::park_timeout(LOOK);
            continue;
        }
        for shard in status.iter().flat_map(|status| &status.shards).filter(|of| shards.contains(&of.shard)) {
            let (missing, installed) = (count(shard.missing, "segment"), shard.installed);
            let (fetching, fetched) = (shard.fetching, bytes(shard.bytes_fetched));
            eprintln!(
                "shard {}: {installed} of {} installed, {missing} missing, {fetching} being fetched, {fetched} came",
                shard.shard, shard.committed
            );
        }
        thread::park_timeout(LOOK);
    }
}

/// The same of another member, as far as the node that is asked knows.
fn tell_of(node: u64, status: &NodeStatus, shards: &[u32]) {
    let seats = status.members.iter().filter(|member| member.node == node).flat_map(|member| &member.seats);
    for (seat, shard) in seats.filter_map(|seat| Some((seat, seat.group.checked_sub(1)?))) {
        let of = status.shards.iter().find(|of| of.shard == shard && shards.contains(&shard));
        if let (Some(installed), Some(of)) = (seat.installed, of) {
            eprintln!("shard {shard}: {installed} of {} installed on node {node}", of.committed);
        }
    }
}
