//! A fjall database that is written to all the time, and its consistent copies on the two other nodes of a cluster.
//!
//! ```text
//! cargo run --example fjall_cluster
//! ```
//!
//! Not all of fjall's files are immutable: its tables are, its journal and a few small files are not
//! (`fjall_replica/cut.rs` says which, and why). So the example pauses its writer for a fraction of a second, takes a
//! *cut* of the database's directory (hard links of the tables, copies of the rest), and lets Ringway's
//! `DirectoryAdapter` turn the difference to the last cut into one batch of changes (`source.rs`). A batch happens in
//! whole or not at all, so that a replica that has installed up to its log index holds a database, never a mixture of
//! two.
//!
//! Three nodes run in this process, each with threads, files and sockets of its own. Node 3 is stopped in the middle of
//! the work and opened again on the same root: it fetches what it missed. `tests/fjall_cluster.rs` runs the nodes as
//! processes and kills one.

mod cluster;
#[path = "../fjall_replica/cut.rs"]
mod cut;
#[path = "../fjall_replica/load.rs"]
mod load;
mod source;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{Ask, Engine};
use ringway::ids::Nanos;

use cluster::{Place, SHARD, builder, places, secret};
use load::Load;
use source::{Failure, Named, Source, compare, landed};

/// Cuts in all; node 3 goes after one and is back after another.
const CUTS: usize = 12;
const STOPPED_AFTER: usize = 3;
const BACK_AFTER: usize = 8;
/// How long the writer goes on between two cuts.
const WRITING: Duration = Duration::from_millis(250);
/// How long a replica may need for a cut.
const INSTALL_MAX: Nanos = Nanos::from_secs(30);

fn main() -> Result<(), Failure> {
    let base = tempfile::tempdir()?;
    let places = places(base.path())?;
    let secret = secret()?;
    let open = |place: &Place| builder(&places, place, &secret).open();
    let [source_at, second_at, third_at] = places.as_slice() else { return Err("three places".into()) };
    let (first, second, third) = (open(source_at)?, open(second_at)?, open(third_at)?);
    // Once in a cluster's life, on one node, when all of the first members are up.
    first.bootstrap().wait()?;

    let live = base.path().join("live");
    let load = Load::new(&live)?;
    let mut source = Source::new(&live, first.shard(SHARD)?)?;
    let reopen = || Ok(open(third_at)?);
    let (last, third) = load.while_writing(|| replicate(&load, &mut source, third, reopen))??;
    for (node, place) in [(&second, second_at), (&third, third_at)] {
        check(node, place, &last, base.path())?;
    }

    println!("{} batches written; the database is closed", load.batches());
    let model = load.close();
    let closed = source.closed(model, Ask::default())?;
    for (node, place) in [(&second, second_at), (&third, third_at)] {
        check(node, place, &closed, base.path())?;
    }
    [third, second, first].into_iter().for_each(Engine::shut_down);
    Ok(())
}

/// Takes cut after cut, without node 3 for some of them. Answers with the last one, and node 3.
fn replicate(
    load: &Load,
    source: &mut Source,
    third: Engine,
    reopen: impl Fn() -> Result<Engine, Failure>,
) -> Result<(Named, Engine), Failure> {
    let mut third = Some(third);
    let mut last = None;
    for number in 0..CUTS {
        thread::sleep(WRITING);
        let began = Instant::now();
        // With all nodes up, a cut counts when it stands on all; without one, two of three are enough to commit.
        let ask = if third.is_some() { landed(3, 10) } else { Ask::default() };
        let cut = source.cut(load, ask)?;
        let (index, on) = (cut.committed.index, cut.committed.landed);
        println!("{}: log index {index}, on {on} nodes after {:?}", cut.name, began.elapsed());
        last = Some(cut);
        if number == STOPPED_AFTER
            && let Some(node) = third.take()
        {
            node.shut_down();
            println!("node 3 is down");
        }
        if number == BACK_AFTER {
            third = Some(reopen()?);
            println!("node 3 is back");
        }
    }
    Ok((last.ok_or("no cut")?, third.ok_or("node 3 did not come back")?))
}

/// Waits until a replica has installed the cut's batch, and compares.
fn check(node: &Engine, place: &Place, cut: &Named, base: &Path) -> Result<(), Failure> {
    node.shard(SHARD)?.wait_installed(cut.committed.index, INSTALL_MAX).wait()?;
    let keys = compare(&place.segments, cut, &base.join("scratch"))?;
    println!(
        "node {}: {} opens in fjall, and its {keys} keys and values are the source's",
        place.node, cut.name
    );
    Ok(())
}
