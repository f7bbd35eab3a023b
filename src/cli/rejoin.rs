//! `ringway rejoin`: a damaged group is set aside, and the node comes back in another life.

use ringway::engine::{RejoinError, rejoin};
use ringway::ids::{GroupId, ShardId};
use serde::Serialize;

use super::args::{self, Output};
use super::exit::{Exit, Failure};
use super::output::print;
use crate::daemon;

#[derive(Serialize)]
struct Report {
    before: String,
    incarnation: String,
    aside: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    group: String,
    path: String,
}

/// Sets groups of a stopped node aside.
pub(crate) fn run(asked: &args::Rejoin, output: Output) -> Result<(), Failure> {
    let loaded = daemon::load(&asked.config).map_err(|error| Failure::new(Exit::Config, error))?;
    let mut groups: Vec<GroupId> = asked.shard.iter().map(|shard| ShardId(*shard).group()).collect();
    groups.extend(asked.cluster.then_some(GroupId::CLUSTER));
    let done = rejoin(loaded.node, groups).map_err(failure)?;
    let aside = done
        .aside
        .iter()
        .map(|(group, path)| Line { group: group.folder(), path: path.display().to_string() });
    let report =
        Report { before: done.before.to_string(), incarnation: done.now.to_string(), aside: aside.collect() };
    print(output, &report, |out| {
        for line in &report.aside {
            writeln!(out, "{} is set aside as {}", line.group, line.path)?;
        }
        writeln!(out, "the node comes back as {}; start it", report.incarnation)
    })
}

fn failure(error: RejoinError) -> Failure {
    let exit = match &error {
        RejoinError::Root(error) => Exit::of_root(error),
        RejoinError::Other { .. } => Exit::Config,
        RejoinError::NothingDamaged | RejoinError::NoShard { .. } => Exit::Failed,
    };
    Failure::new(exit, error)
}
