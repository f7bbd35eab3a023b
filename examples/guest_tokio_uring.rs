//! An application that lives on tokio-uring, and whose segments three nodes of Ringway keep: all of it in one runtime
//! on one thread, the nodes' cores as guests among the application's own tasks.
//!
//! ```text
//! cargo run --example guest_tokio_uring --features tokio-uring
//! ```

#[path = "guest/cluster.rs"]
mod cluster;

use std::path::Path;
use std::time::Duration;

use cluster::{Failure, prepare};
use ringway::engine::{Engine, GuestNode};
use tokio_uring::fs::File;

fn main() -> Result<(), Failure> {
    let base = tempfile::tempdir()?;
    let nodes = prepare(base.path())?;
    tokio_uring::start(application(nodes))
}

async fn application(nodes: Vec<GuestNode>) -> Result<(), Failure> {
    let (mut cores, mut engines) = (Vec::new(), Vec::<Engine>::new());
    for node in nodes {
        // Half a millisecond at a stretch: this application answers its own requests meanwhile.
        let guests = node.cores.into_iter().map(|core| core.slice(Duration::from_micros(500)));
        cores.extend(guests.map(|core| tokio_uring::spawn(core.run_on_tokio_uring())));
        engines.push(node.engine.await?);
    }
    engines[0].bootstrap().await?;

    cluster::keep(&engines, write, read).await?;

    engines.into_iter().for_each(Engine::shut_down);
    for core in cores {
        core.await??;
    }
    Ok(())
}

/// As an engine seals a file: written whole and durable under its name before anybody is told.
async fn write(path: &Path, content: Vec<u8>) -> Result<(), Failure> {
    let file = File::create(path).await?;
    let (written, _content) = file.write_all_at(content, 0).await;
    written?;
    file.sync_all().await?;
    Ok(file.close().await?)
}

async fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).await?;
    let (read, content) = file.read_exact_at(vec![0; cluster::SEGMENT_BYTES], 0).await;
    read?;
    file.close().await?;
    Ok(content)
}
