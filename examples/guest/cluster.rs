//! What both examples need beside their executor: three nodes of a cluster on loopback, one core each, and what the
//! application does with them.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use ringway::engine::{Ask, Durability, Engine, GuestNode, Sealed};
use ringway::ids::{ClusterId, NodeId};

pub type Failure = Box<dyn Error>;

/// Size of each segment.
pub const SEGMENT_BYTES: usize = 8 << 20;
const SEGMENTS: u8 = 8;

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

/// What the application does: seals segments and has them kept on all nodes, then reads them back on the third. How it
/// writes and reads is its executor's way.
pub async fn keep(
    engines: &[Engine],
    write: impl AsyncFn(&Path, Vec<u8>) -> Result<(), Failure>,
    read: impl AsyncFn(&Path) -> Result<Vec<u8>, Failure>,
) -> Result<(), Failure> {
    let origin = engines[0].shards().next().expect("one, unless more are asked for");
    let asked = Ask::durable(Durability::Landed(3)).within(Duration::from_secs(60));
    for number in 0..SEGMENTS {
        let name = format!("{number:06}.seg");
        write(&origin.directory().join(&name), content(number)).await?;
        let done = origin.register(Sealed::at(name.as_str()), asked).await?;
        println!("{name}: committed at {}, landed on {} of {}", done.index, done.landed, done.replicas);
    }
    let replica = engines[2].shards().next().expect("as many as the origin has");
    for number in 0..SEGMENTS {
        let found = read(&replica.directory().join(format!("{number:06}.seg"))).await?;
        assert!(found == content(number), "segment {number} is what the application wrote");
    }
    println!("the third node holds all {SEGMENTS}, read back by the application's own ring");
    Ok(())
}

/// A segment's content: what a real engine seals is its own affair.
fn content(number: u8) -> Vec<u8> {
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
