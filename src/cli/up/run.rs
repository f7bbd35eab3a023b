//! The course of `ringway up`: take the root, start the nodes, copy, register, wait until all is everywhere, stop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::children::Children;
use super::copy::{Pending, Placed, place};
use super::import::{self, Item};
use super::plan::Plan;
use super::register::register;
use super::root::Root;
use super::watch::{View, Watch};
use crate::cli::args::{Output, Up};
use crate::cli::bar::bar;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{bytes, count, print};
use crate::cli::stop::stop_signal;

/// Between two looks at the nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long the nodes may take to recover, to elect and to found the cluster.
const FOUND_TIME: Duration = Duration::from_secs(90);

/// How much the command says on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) verbose: u8,
    pub(crate) quiet: bool,
}

#[derive(Serialize)]
struct Report {
    root: String,
    nodes: usize,
    shards: u32,
    segments: u64,
    bytes: u64,
    bytes_fetched: u64,
    synced: bool,
    skipped: usize,
    seconds: f64,
    admin: Vec<String>,
}

/// Runs the cluster.
pub(crate) fn run(asked: &Up, output: Output, voice: Voice) -> Result<(), Failure> {
    let started = Instant::now();
    let stop = stop_signal()?;
    if let Some(dir) = &asked.import {
        import::check(dir, &asked.root)?;
    }
    let root = Root::take(&asked.root)?;
    let plan = Plan::prepare(asked, &root.path)?;
    let pending = Pending::load(&plan)?;
    let (items, skipped) = items(asked, &plan, &pending)?;
    let mut up = Course { plan: &plan, children: Children::start(&plan, voice, &stop)?, stop: &stop, asked };
    let (view, ended) = match up.sync(&items, pending, voice) {
        Ok(view) => (Some(view), Ok(())),
        Err(failure) if failure.exit == Exit::Interrupted => (None, Err(failure)),
        Err(failure) => return up.children.stop().and(Err(failure)),
    };
    // Said when all is everywhere; or, after Ctrl-C, as far as it is.
    let synced = view.is_some();
    let view = view.unwrap_or_else(|| Watch::new(&plan).look());
    let (segments, size) = view.manifest();
    let report = Report {
        root: plan.root.display().to_string(),
        nodes: plan.seats.len(),
        shards: plan.shards,
        segments,
        bytes: size,
        bytes_fetched: view.bytes_fetched(),
        synced,
        skipped,
        seconds: started.elapsed().as_secs_f64(),
        admin: plan.seats.iter().map(|seat| seat.admin.to_string()).collect(),
    };
    let ended = ended.and(tell(&report, output, asked.exit_when_synced));
    if ended.is_ok() && !asked.exit_when_synced {
        up.stay();
    }
    up.children.stop().and(ended)
}

fn tell(report: &Report, output: Output, ends: bool) -> Result<(), Failure> {
    print(output, report, |out| {
        let Report { bytes_fetched, skipped, seconds, .. } = report;
        let (nodes, shards) = (count(report.nodes as u64, "node"), count(report.shards, "shard"));
        let segments = count(report.segments, "segment");
        let state = if report.synced { "synced" } else { "not synced" };
        writeln!(
            out,
            "{state}: {nodes}, {shards}, {segments}, {} on each node; {} fetched, {skipped} skipped, \
             in {seconds:.3} s",
            bytes(report.bytes),
            bytes(*bytes_fetched)
        )?;
        if ends {
            return Ok(());
        }
        for (node, admin) in (1_u32..).zip(&report.admin) {
            writeln!(out, "node {node}: ringway status --endpoint {admin}")?;
        }
        Ok(())
    })
}

/// What is to be brought into node 1, and how much of the directory is not.
fn items(asked: &Up, plan: &Plan, pending: &Pending) -> Result<(Vec<Item>, usize), Failure> {
    if let Some(dir) = &asked.import {
        return import::directory(dir, &plan.root, plan.shards);
    }
    let sample = import::sample(plan.shards);
    // An interrupted start may have made a part of it.
    let is_begun = || sample.iter().any(|item| pending.all.contains(&Placed::of(item)));
    let items = if plan.is_new || is_begun() { sample } else { Vec::new() };
    Ok((items, 0))
}

struct Course<'a> {
    plan: &'a Plan,
    children: Children,
    stop: &'a AtomicBool,
    asked: &'a Up,
}

impl Course<'_> {
    /// Until every node has everything.
    fn sync(&mut self, items: &[Item], mut pending: Pending, voice: Voice) -> Result<View, Failure> {
        let bar = bar(voice.quiet);
        let watch = Watch::new(self.plan);
        // The nodes recover and elect meanwhile.
        place(self.plan, items, &mut pending, &bar, self.stop)?;
        bar.set_message("founding");
        let until = Instant::now() + FOUND_TIME;
        self.wait(&watch, |view| match view.is_founded() {
            false if Instant::now() >= until => {
                Err(Failure::new(Exit::Unreachable, "the nodes have found no leader"))
            }
            is_founded => Ok(is_founded),
        })?;
        bar.set_message("registering");
        register(self.plan, items, &pending.all, self.stop)?;
        pending.clear()?;
        bar.set_message("replicating");
        let whole = self.plan.seats.len() as u64 - 1;
        let view = self.wait(&watch, |view| {
            bar.set_length(view.manifest().1 * whole);
            bar.set_position(view.bytes_fetched());
            Ok(view.is_synced())
        })?;
        bar.finish_and_clear();
        Ok(view)
    }

    fn wait(
        &mut self,
        watch: &Watch,
        mut done: impl FnMut(&View) -> Result<bool, Failure>,
    ) -> Result<View, Failure> {
        loop {
            self.check()?;
            let view = watch.look();
            if done(&view)? {
                return Ok(view);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// A node that ends is the end of a command that waits for all of them; a cluster that stays up lives on
    /// without it.
    fn check(&mut self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Interrupted, "interrupted before every node had everything"));
        }
        for ended in self.children.ended() {
            if self.asked.exit_when_synced || ended.status.code().is_some() {
                return Err(ended.failure());
            }
            let config: &Path =
                &self.plan.seats[usize::try_from(ended.node - 1).expect("a few nodes")].config;
            let again = format!("ringway node --config {}", config.display());
            tracing::warn!(node = ended.node, status = %ended.status, again, "a node has ended");
        }
        Ok(())
    }

    /// Until Ctrl-C.
    fn stay(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(failure) = self.check() {
                tracing::warn!("{}", failure.message);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}
