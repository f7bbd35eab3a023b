//! What both examples need beside their executor: three nodes of a cluster on loopback, one core each.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use ringway::engine::{Engine, GuestNode};
use ringway::ids::{ClusterId, NodeId};

pub type Failure = Box<dyn Error>;

/// Size of each segment.
pub const SEGMENT_BYTES: usize = 8 << 20;
pub const SEGMENTS: u8 = 8;

/// Prepares three nodes below a directory; none of them runs yet.
pub fn prepare(base: &Path) -> Result<Vec<GuestNode>, Failure> {
    let secret = hex(random::<32>()?);
    let cluster = ClusterId(random()?);
    // The listeners choose the ports and let go of them.
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    drop(listeners);
    let node = |number: u64, address: &SocketAddr| {
        let root = base.join(format!("node-{number}"));
        let builder = Engine::builder().cluster(cluster).root(root).secret(&secret);
        let members = (1..).zip(&addresses);
        let builder =
            members.fold(builder, |builder, (number, address)| builder.member(NodeId(number), *address));
        builder.node(NodeId(number), *address).open_guest()
    };
    Ok((1..).zip(&addresses).map(|(number, address)| node(number, address)).collect::<Result<_, _>>()?)
}

/// A segment's content: what a real engine seals is its own affair.
pub fn content(number: u8) -> Vec<u8> {
    let word = |place: usize| (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number);
    (0..SEGMENT_BYTES / 8).flat_map(|place| word(place).to_le_bytes()).collect()
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
