//! Several cores of a node bring one large segment.

use std::os::unix::fs::FileExt;

use ringway::config::CoreConfig;
use ringway::engine::{Durability, Locator, Sealed, block_on};

use crate::nodes::{Nodes, patient, seal};

const BYTES: usize = (96 << 20) - 777;

/// Every byte tells its place.
fn content() -> Vec<u8> {
    (0..BYTES as u32 / 4 + 1)
        .flat_map(|place| place.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .take(BYTES)
        .collect()
}

#[test]
fn p6_free_cores_of_a_node_bring_parts_of_a_large_segment_and_a_restart_believes_it() {
    let mut nodes = Nodes::unfounded(2, 1);
    let open = |nodes: &mut Nodes, node: usize| {
        let cores = CoreConfig { count: 3, ..CoreConfig::default() };
        nodes.open_as(node, |builder| builder.cores(cores));
    };
    open(&mut nodes, 1);
    open(&mut nodes, 2);
    nodes.engine(1).bootstrap().wait().expect("founded");
    let (shard, content) = (nodes.shard(1), content());
    seal(&shard, "large", &content);
    let done = shard.register(Sealed::at("large"), patient(Durability::Landed(2))).wait();
    assert!(done.expect("committed").reached);
    let status = nodes.engine(2).status().wait().expect("it runs");
    println!(
        "{} of {} bytes came through other cores",
        status.shards[0].bytes_lent, status.shards[0].bytes_fetched
    );
    // A core that this machine keeps waiting for seconds is not waited for, and its part may come twice.
    assert!(status.shards[0].bytes_fetched >= BYTES as u64, "{:?}", status.shards[0]);
    assert!(status.shards[0].bytes_lent > 0, "{:?}", status.shards[0]);
    // The shard is on core 1; core 2 has no shard and no reason to be connected but this.
    let helps = |core| status.connections.iter().any(|one| one.core == core && one.class == "bulk");
    assert!(helps(2) || helps(0), "{:?}", status.connections);
    let found = block_on(nodes.shard(2).open_segment(Locator::Path("large".to_owned()))).expect("it stands");
    let mut bytes = vec![0; BYTES];
    found.file.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(found.file.metadata().expect("facts").len(), BYTES as u64);
    assert!(bytes == content, "other bytes");

    nodes.stop(2);
    open(&mut nodes, 2);
    let here = || nodes.engine(2).status().wait().expect("it runs");
    crate::nodes::until("it is ready", || here().ready);
    assert_eq!(here().shards[0].bytes_fetched, 0, "it is believed");
}
