//! Nodes of one cluster in this process, on loopback, with one shard.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use ringway::engine::Engine;
use ringway::ids::{ClusterId, NodeId};

type Failure = Box<dyn Error + Send + Sync>;

/// Free addresses.
pub fn addresses(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// A node, from 1, that knows of these members; its root is below `dir`.
pub fn open(dir: &Path, node: usize, members: &[SocketAddr]) -> Result<Engine, Failure> {
    let mut builder = Engine::builder()
        .cluster(ClusterId([7; 16]))
        .node(NodeId(node as u64), members[node - 1])
        .root(dir.join(format!("node-{node}")))
        .shards(1)
        .secret("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    for (number, address) in (1..).zip(members) {
        builder = builder.member(NodeId(number), *address);
    }
    Ok(builder.open()?)
}

/// So many bytes that no compression and no other seed has.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
