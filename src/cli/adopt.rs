//! `ringway adopt`: a copied root becomes another node's.

use ringway::engine::{AdoptError, adopt};
use serde::Serialize;

use super::args::{self, Output};
use super::exit::{Exit, Failure};
use super::output::print;
use crate::daemon;

#[derive(Serialize)]
struct Report {
    node: u64,
    from: u64,
    incarnation: String,
    shards: Vec<Line>,
    aside: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    shard: u32,
    applied: Option<u64>,
}

/// Adopts the configuration's root.
pub(crate) fn run(asked: &args::Adopt, output: Output) -> Result<(), Failure> {
    let loaded = daemon::load(&asked.config).map_err(|error| Failure::new(Exit::Config, error))?;
    let node = loaded.node.node.0;
    if node != asked.node {
        let why = format!("the configuration is of node {node}, not of node {}", asked.node);
        return Err(Failure::new(Exit::Config, why));
    }
    let done = adopt(loaded.node).map_err(failure)?;
    let shards =
        done.shards.iter().map(|(shard, applied)| Line { shard: shard.0, applied: applied.map(|at| at.0) });
    let report = Report {
        node,
        from: done.from.0,
        incarnation: done.incarnation.to_string(),
        shards: shards.collect(),
        aside: done.aside.iter().map(|path| path.display().to_string()).collect(),
    };
    print(output, &report, |out| {
        for Line { shard, applied } in &report.shards {
            match applied {
                Some(applied) => writeln!(out, "shard {shard} stands here up to entry {applied}")?,
                None => writeln!(out, "shard {shard} comes from its peers as a whole")?,
            }
        }
        for path in &report.aside {
            writeln!(out, "set aside: {path}")?;
        }
        writeln!(
            out,
            "the copy of node {}'s root is node {node}'s now; start it, and add it to the members",
            report.from
        )
    })
}

fn failure(error: AdoptError) -> Failure {
    let exit = match &error {
        AdoptError::Root(error) => Exit::of_root(error),
        AdoptError::Own { .. } => Exit::Config,
    };
    Failure::new(exit, error)
}
