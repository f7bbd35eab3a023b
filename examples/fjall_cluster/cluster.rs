//! Three nodes on this machine: where they stand, and their secret.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use ringway::config::CoreConfig;
use ringway::engine::{Builder, Engine};
use ringway::ids::{ClusterId, NodeId, ShardId};

/// Chosen once for a cluster; a node of another one is refused.
pub const CLUSTER: ClusterId = ClusterId(*b"fjall replicated");
/// The one shard.
pub const SHARD: ShardId = ShardId(0);
/// Buffers of 1 MiB each node: a few, as three nodes share this machine.
pub const SLAB_BUFFERS: u16 = 8;

/// Where a node stands.
pub struct Place {
    /// Its number.
    pub node: NodeId,
    /// Its own files.
    pub root: PathBuf,
    /// The shard's directory: at the source with the source's cuts, elsewhere with Ringway's copies.
    pub segments: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Places for nodes 1 to 3 below `base`.
///
/// # Errors
/// No port is free.
pub fn places(base: &Path) -> io::Result<Vec<Place>> {
    // All bound at once, so that no port is found twice; a node binds its own again.
    let listeners: Vec<_> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    let place = |(number, listener): (u64, &TcpListener)| {
        let home = base.join(format!("node-{number}"));
        let (root, segments) = (home.join("root"), home.join("cuts"));
        Ok(Place { node: NodeId(number), root, segments, address: listener.local_addr()? })
    };
    (1..).zip(&listeners).map(place).collect()
}

/// Describes one of the nodes.
pub fn builder(places: &[Place], place: &Place, secret: &str) -> Builder {
    let described = Engine::builder()
        .cluster(CLUSTER)
        .node(place.node, place.address)
        .root(&place.root)
        .segments(SHARD, &place.segments)
        .cores(CoreConfig { slab_buffers: SLAB_BUFFERS, ..CoreConfig::default() })
        .secret(secret);
    places.iter().fold(described, |builder, other| builder.member(other.node, other.address))
}

/// A new secret: the text of a secret file.
///
/// # Errors
/// The system gives no random bytes.
pub fn secret() -> io::Result<String> {
    let mut random = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
