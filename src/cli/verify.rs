//! `ringway verify`: every landed segment read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ringway::engine::{is_root, shards_of, verify_segments};
use ringway::ids::ShardId;
use serde::Serialize;

use super::args::Output;
use super::bar::bar;
use super::exit::{Exit, Failure};
use super::output::{bytes, count, print};
use super::up::CONFIG;
use crate::daemon;

#[derive(Serialize)]
struct Report {
    nodes: usize,
    segments: u64,
    bytes: u64,
    damaged: Vec<Line>,
    seconds: f64,
}

#[derive(Serialize)]
struct Line {
    root: String,
    shard: String,
    path: String,
    why: String,
}

/// Reads all segments of one node's root, or of all roots in a directory.
pub(crate) fn run(root: &Path, output: Output, quiet: bool) -> Result<(), Failure> {
    let started = Instant::now();
    let roots = node_roots(root)?;
    let mut report = Report { nodes: roots.len(), segments: 0, bytes: 0, damaged: Vec::new(), seconds: 0.0 };
    let bar = bar(quiet);
    bar.set_message("reading");
    for root in &roots {
        for (shard, segments) in shards(root)? {
            let verified = verify_segments(&segments, |bytes| bar.inc(bytes))?;
            report.segments += verified.segments;
            report.bytes += verified.bytes;
            if let Some(cut) = verified.inventory_cut {
                tracing::warn!(root = %root.display(), shard, "{cut}");
            }
            report.damaged.extend(verified.damaged.into_iter().map(|damaged| Line {
                root: root.display().to_string(),
                shard: shard.clone(),
                path: damaged.path,
                why: damaged.why.to_string(),
            }));
        }
    }
    bar.finish_and_clear();
    report.seconds = started.elapsed().as_secs_f64();
    let told = print(output, &report, |out| {
        for Line { root, shard, path, why } in &report.damaged {
            writeln!(out, "{root}/{shard}: {path}: {why}")?;
        }
        let (nodes, segments) = (count(report.nodes as u64, "node"), count(report.segments, "segment"));
        let (damaged, seconds) = (report.damaged.len(), report.seconds);
        writeln!(out, "{nodes}, {segments}, {}: {damaged} damaged, in {seconds:.3} s", bytes(report.bytes))
    });
    match report.damaged.len() {
        0 => told,
        damaged => {
            let read = count(report.segments, "segment");
            let why = format!("{damaged} damaged, {read} read; `ringway verify --help` says what to do");
            Err(Failure::failed(why))
        }
    }
}

/// The root itself, or the roots in it.
fn node_roots(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    if is_root(root) {
        return Ok(vec![root.to_owned()]);
    }
    let roots = folders(root)?.into_iter().filter(|folder| is_root(folder));
    let roots: Vec<_> = roots.collect();
    if roots.is_empty() {
        let hint = if root.join(".ringway").is_dir() {
            "; what a pull brought is compared by `ringway digest` at both ends"
        } else {
            ""
        };
        let why = format!("{}: neither a node's root nor a directory of such roots{hint}", root.display());
        return Err(Failure::new(Exit::Config, why));
    }
    Ok(roots)
}

/// Shards of a node's root by name, with the directories of their segments: in the root, unless a configuration
/// there says otherwise.
fn shards(root: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let config = root.join(CONFIG);
    if config.is_file() {
        let loaded = daemon::load(&config).map_err(|error| Failure::new(Exit::Config, error))?;
        let all = (0..loaded.node.shards).map(ShardId);
        return Ok(all.map(|shard| (shard.group().folder(), loaded.node.segments_dir(shard))).collect());
    }
    let shards = shards_of(root).map_err(|error| Failure::new(Exit::Config, error))?;
    let folders = (0..shards).map(|shard| ShardId(shard).group().folder());
    Ok(folders.map(|name| (name.clone(), root.join(name).join("segments"))).collect())
}

/// Directories in a directory, in the order of their names.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let at = |error| Failure::from(error).at(root.display());
    let entries = fs::read_dir(root).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(at)?;
    let mut found: Vec<_> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    Ok(found)
}
