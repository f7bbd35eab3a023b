//! Puts to an etcd that runs: the rival of `commits --case`, driven and measured the same way.
//!
//! `cargo bench --bench etcd -- ADDRESS --dir DIR [--seconds 5] [--in-flight 1] [--connections 1]`;
//! `scripts/bench-manifest.sh` starts the nodes. ADDRESS is the leader's, DIR any place on the disk of its data. Keys
//! of 32 bytes, each put once, and values of 256: about an entry of a manifest. The messages are made by hand, as a put
//! has two fields.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;

#[path = "machine/mod.rs"]
mod machine;
#[path = "quantile/mod.rs"]
mod quantile;
#[path = "taken/mod.rs"]
mod taken;

type Failure = Box<dyn Error + Send + Sync>;

const VALUE: [u8; 256] = [0x5a; 256];

struct Options {
    address: SocketAddr,
    dir: PathBuf,
    seconds: u64,
    in_flight: usize,
    connections: usize,
}

fn options() -> Result<Option<Options>, Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    // `cargo bench` and `cargo test` run it without a word.
    let Some(address) = arguments.next() else { return Ok(None) };
    let (address, dir) = (address.parse()?, std::env::temp_dir());
    let mut options = Options { address, dir, seconds: 5, in_flight: 1, connections: 1 };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(format!("{argument} wants a value"))?;
        match argument.as_str() {
            "--dir" => options.dir = PathBuf::from(value),
            "--seconds" => options.seconds = value.parse()?,
            "--in-flight" => options.in_flight = value.parse()?,
            "--connections" => options.connections = value.parse()?,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(Some(options))
}

fn main() -> Result<(), Failure> {
    let Some(options) = options()? else {
        println!("etcd: no address, nothing measured");
        return Ok(());
    };
    machine::print();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(puts(&options))
}

async fn puts(options: &Options) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        let stream = TcpStream::connect(options.address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::handshake(stream).await?;
        drop(tokio::spawn(connection));
        connections.push(requests);
    }
    let put = |number: usize| put(connections[number % connections.len()].clone(), number);
    let warm = taken::each(0.., options.in_flight, Duration::from_millis(500), put).await?;
    let meter = taken::Meter::begin(&options.dir)?;
    let time = Duration::from_secs(options.seconds);
    let each = taken::each(warm.len().., options.in_flight, time, put).await?;
    meter.end(each);
    Ok(())
}

/// Puts one key, and reads to the end what becomes of it.
async fn put(requests: SendRequest<Bytes>, number: usize) -> Result<(), Failure> {
    let head = http::Request::post("http://etcd/etcdserverpb.KV/Put")
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut sending) = requests.ready().await?.send_request(head, false)?;
    sending.send_data(message(number), true)?;
    let answer = answer.await?;
    let early = answer.headers().get("grpc-status").cloned();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let bytes = data?.len();
        body.flow_control().release_capacity(bytes)?;
    }
    let late = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
    match late.or(early) {
        Some(status) if status == "0" => Ok(()),
        status => Err(format!("etcd answered {status:?}").into()),
    }
}

/// A `PutRequest` {1: key, 2: value}, behind gRPC's head of five bytes: not compressed, its length.
fn message(number: usize) -> Bytes {
    let key = format!("metrics/cpu/{number:020}");
    let mut message = BytesMut::new();
    message.put_u8(0x0a);
    message.put_u8(key.len() as u8);
    message.put_slice(key.as_bytes());
    message.put_u8(0x12);
    // 256 as a varint
    message.put_slice(&[0x80, 0x02]);
    message.put_slice(&VALUE);
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}
