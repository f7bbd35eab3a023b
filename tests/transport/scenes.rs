//! What the tests of connections play: a peer that serves any stream, and users that check all that they get.
//! The same scenes run in simulation and over loopback.

use std::net::SocketAddr;
use std::rc::Rc;

use ringway::auth::{Secret, SecretSet};
use ringway::ids::{ClusterId, Digest, GroupId, Incarnation, NodeId, SegmentId};
use ringway::limits::CHUNK_BYTES;
use ringway::transport::{
    Class, DialError, Incoming, Message, Peer, Purpose, Stream, StreamError, Transport, TransportOptions,
};
use ringway::uring::{Buffer, Core, Priority};
use ringway::wire::{Body, Chunk, Fetch, RaftRequest, RaftResponse};

pub const CLUSTER: ClusterId = ClusterId([7; 16]);
pub const GROUP: GroupId = GroupId(1);

pub fn secrets(seed: u8) -> SecretSet {
    let mut random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ seed);
    SecretSet::new(Secret::generate(&mut random).expect("not weak"), None)
}

/// The options of a node of the tests' cluster.
pub fn options(node: u64) -> TransportOptions {
    let incarnation = Incarnation([node as u8; 16]);
    TransportOptions::new(Some(CLUSTER), Some(NodeId(node)), incarnation, secrets(1))
}

pub fn peer(node: u64, address: SocketAddr) -> Peer {
    Peer { node: Some(NodeId(node)), address }
}

/// The bytes of chunk `chunk` of a made-up segment; chunks differ in length too.
pub fn chunk_bytes(chunk: u32) -> Vec<u8> {
    let sizes = [CHUNK_BYTES, 1, 70_000, 4096, 200_000, 16_384, 16_385];
    let length = sizes[chunk as usize % sizes.len()];
    (0..length)
        .map(|at| (at as u32).wrapping_mul(31).wrapping_add(chunk * 7 + at as u32 / 253) as u8)
        .collect()
}

/// Serves every stream that peers open, each in its own task.
pub fn serve(core: &Core, transport: &Transport) {
    let mut incoming = transport.incoming();
    let server = core.clone();
    core.spawn(Priority::Urgent, async move {
        while let Some(incoming) = incoming.receive().await {
            server.spawn(Priority::Bulk, async move {
                let Incoming { purpose, stream, .. } = incoming;
                let _ended = match purpose {
                    Purpose::Raft => echo(stream).await,
                    Purpose::Transfer | Purpose::CatchUp => source(stream).await,
                    // Takes nothing, gives nothing, and does not go away.
                    Purpose::Manifest | Purpose::Soft => std::future::pending().await,
                };
            });
        }
    });
}

async fn echo(mut stream: Stream) -> Result<(), StreamError> {
    loop {
        let message = match stream.receive().await {
            Err(StreamError::Closed) => {
                stream.close();
                return Ok(());
            }
            received => received?,
        };
        let Ok(Body::RaftRequest(RaftRequest { id, bytes, .. })) = message.decode() else {
            panic!("a frame that nobody sent: {message:?}")
        };
        stream.send(RaftResponse { id, ok: true, bytes }).await?;
    }
}

async fn source(mut stream: Stream) -> Result<(), StreamError> {
    let core = Core::current();
    let message = stream.receive().await?;
    let Ok(Body::Fetch(Fetch { request, first_chunk, chunk_count, .. })) = message.decode() else {
        panic!("a frame that nobody sent: {message:?}")
    };
    let (sender, receiver) = stream.split();
    for chunk in first_chunk..first_chunk + chunk_count {
        sender.ready().await?;
        let mut buffer = core.slab().take().await;
        let bytes = chunk_bytes(chunk);
        buffer.set_filled(0);
        buffer.append(&bytes);
        let (sent, _) = sender.send_payload(Chunk { request, chunk }, buffer, 0..bytes.len()).await;
        sent?;
    }
    sender.close();
    drop(receiver);
    Ok(())
}

/// Sends `count` requests of growing size and checks that each comes back; then ends the stream in good
/// order.
pub async fn call(transport: &Transport, to: Peer, group: GroupId, count: u64) -> Result<(), String> {
    let opened = transport.open_stream(to, group, Class::Control, Purpose::Raft).await;
    let mut stream = opened.map_err(|error| error.to_string())?;
    for id in 0..count {
        let bytes = vec![id as u8; (id as usize * 997) % 100_000];
        stream.send(RaftRequest { id, rpc: 1, bytes: &bytes }).await.map_err(|error| error.to_string())?;
        let answer = stream.receive().await.map_err(|error| error.to_string())?;
        expect_answer(&answer, id, &bytes);
    }
    let (sender, mut receiver) = stream.split();
    sender.close();
    match receiver.receive().await {
        Err(StreamError::Closed) => Ok(()),
        other => Err(format!("no orderly end: {other:?}")),
    }
}

/// A control frame is the one that was sent, or it is not delivered at all.
pub fn expect_answer(answer: &Message, id: u64, bytes: &[u8]) {
    let decoded = answer.decode().expect("a body of its kind");
    assert_eq!(decoded, Body::RaftResponse(RaftResponse { id, ok: true, bytes }), "a changed frame");
}

pub fn fetch_of(first_chunk: u32, chunk_count: u32) -> Fetch {
    Fetch {
        request: 5,
        segment: SegmentId::default(),
        root: Digest::default(),
        first_chunk,
        chunk_count,
        want_list: false,
    }
}

/// Fetches chunks; gives how many of them were other bytes than they should be.
pub async fn fetch(transport: &Transport, to: Peer, chunks: u32) -> Result<u32, String> {
    let opened = transport.open_stream(to, GROUP, Class::Bulk, Purpose::Transfer).await;
    let mut stream = opened.map_err(|error| error.to_string())?;
    stream.send(fetch_of(0, chunks)).await.map_err(|error| error.to_string())?;
    let mut wrong = 0;
    for chunk in 0..chunks {
        let message = stream.receive().await.map_err(|error| error.to_string())?;
        wrong += u32::from(!is_chunk(&message, chunk));
    }
    match stream.receive().await {
        Err(StreamError::Closed) => Ok(wrong),
        Err(error) => Err(error.to_string()),
        Ok(more) => panic!("behind the last chunk: {more:?}"),
    }
}

/// Whether the payload is what it should be; everything about the frame must be.
pub fn is_chunk(message: &Message, chunk: u32) -> bool {
    let decoded = message.decode().expect("a body of its kind");
    assert_eq!(decoded, Body::Chunk(Chunk { request: 5, chunk }), "a changed frame");
    let expected = chunk_bytes(chunk);
    let payload = message.payload.as_ref().map_or(&[][..], Buffer::filled);
    assert_eq!(payload.len(), expected.len(), "the length is covered by the tag");
    payload == expected
}

/// A stream on which the peer takes nothing.
pub async fn ignored(transport: &Transport, to: Peer, class: Class) -> Result<Rc<Stream>, DialError> {
    transport.open_stream(to, GROUP, class, Purpose::Soft).await.map(Rc::new)
}
