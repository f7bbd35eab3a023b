//! An application that lives on glommio, and whose segments three nodes of Ringway keep: all of it in one executor on
//! one thread, the nodes' cores as guests in a task queue of their own.
//!
//! ```text
//! cargo run --example guest_glommio --features glommio
//! ```

#[path = "guest/cluster.rs"]
mod cluster;

use std::path::Path;
use std::time::Duration;

use cluster::{Failure, prepare};
use glommio::io::DmaFile;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};
use ringway::engine::{Engine, GuestNode};

/// Of one read or write, a multiple of what the device asks for.
const PART_BYTES: usize = 1 << 20;

fn main() -> Result<(), Failure> {
    let base = tempfile::tempdir()?;
    let nodes = prepare(base.path())?;
    // glommio 0.9 judges a device by the first file that it opens there, and wrongly if that is empty.
    let first = base.path().join("not-empty");
    std::fs::write(&first, [0; 4096])?;
    LocalExecutorBuilder::new(Placement::Unbound).make()?.run(async move {
        DmaFile::open(&first).await?.close().await?;
        application(nodes).await
    })
}

async fn application(nodes: Vec<GuestNode>) -> Result<(), Failure> {
    // A fifth of the thread's time when both want it, and never for long at a stretch.
    let queue = glommio::executor().create_task_queue(
        Shares::Static(250),
        Latency::Matters(Duration::from_millis(2)),
        "ringway",
    );
    let (mut cores, mut engines) = (Vec::new(), Vec::<Engine>::new());
    for node in nodes {
        for core in node.cores {
            cores.push(glommio::spawn_local_into(core.run_on_glommio(), queue)?);
        }
        engines.push(node.engine.await?);
    }
    engines[0].bootstrap().await?;

    cluster::keep(&engines, write, read).await?;

    engines.into_iter().for_each(Engine::shut_down);
    for core in cores {
        core.await?;
    }
    Ok(())
}

/// As an engine seals a file: written whole and durable under its name before anybody is told.
async fn write(path: &Path, content: Vec<u8>) -> Result<(), Failure> {
    let file = DmaFile::create(path).await?;
    for (place, part) in content.chunks(PART_BYTES).enumerate() {
        let mut buffer = file.alloc_dma_buffer(part.len());
        buffer.as_bytes_mut().copy_from_slice(part);
        file.write_at(buffer, (place * PART_BYTES) as u64).await?;
    }
    file.fdatasync().await?;
    Ok(file.close().await?)
}

async fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = DmaFile::open(path).await?;
    let mut content = Vec::with_capacity(cluster::SEGMENT_BYTES);
    while content.len() < cluster::SEGMENT_BYTES {
        let part = file.read_at(content.len() as u64, PART_BYTES).await?;
        content.extend_from_slice(&part);
    }
    file.close().await?;
    Ok(content)
}
