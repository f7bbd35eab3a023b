//! The values of FORMAT.md's frame vectors, one of each kind.

use std::borrow::Cow;

use ringway::ids::{ClusterId, Digest, GroupId, Incarnation, LogIndex, NodeId, SegmentId, ShardId, StreamId};
use ringway::wire::{
    Announce, Body, Chunk, ChunkList, Class, Close, Credit, Cursor, Envelope, Fetch, FetchRefused, Hello,
    ListPage, ListReply, Open, Ping, Pong, Proof, Propose, ProposeReply, Purpose, RaftRequest, RaftResponse,
    Ready, Refusal, Refused, Reset, Role, Text, Welcome,
};

/// A frame and the payload behind it.
pub struct Sample {
    pub envelope: Envelope,
    pub body: Body<'static>,
    pub payload: &'static [u8],
}

/// `N` bytes that count up from `first`.
fn run<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(at as u8))
}

/// The tag that the vectors show where a frame has one.
pub fn tag() -> [u8; 16] {
    run(0xf0)
}

fn sample(group: u32, stream: u32, sequence: u64, body: impl Into<Body<'static>>) -> Sample {
    let envelope = Envelope { group: GroupId(group), stream: StreamId(stream), sequence, tagged: false };
    Sample { envelope, body: body.into(), payload: b"" }
}

fn tagged(mut sample: Sample) -> Sample {
    sample.envelope.tagged = true;
    sample
}

fn with_payload(mut sample: Sample, payload: &'static [u8]) -> Sample {
    sample.payload = payload;
    sample
}

pub fn all() -> Vec<Sample> {
    [handshake(), link(), agreement(), transfer(), soft()].into_iter().flatten().collect()
}

fn handshake() -> Vec<Sample> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        role: Role::Node,
        class: Class::Bulk,
        group: GroupId::CLUSTER,
        cluster: ClusterId(run(0)),
        node: NodeId(1),
        to_node: NodeId(2),
        incarnation: Incarnation(run(0x10)),
        key: run(0xc0),
        key_previous: run(0xc8),
        nonce: run(0x20),
    };
    let welcome = Welcome {
        version: 1,
        version_min: 1,
        version_max: 1,
        core_count: 4,
        cluster: ClusterId(run(0)),
        node: NodeId(2),
        incarnation: Incarnation(run(0x40)),
        key: run(0xc8),
        nonce: run(0x50),
        mac: run(0x70),
    };
    vec![
        sample(0, 0, 0, hello),
        sample(0, 0, 0, welcome),
        sample(0, 0, 0, Proof { mac: run(0x90) }),
        sample(0, 0, 0, Ready {}),
        sample(0, 0, 0, Refused { code: 3, text: Text::clip("not this cluster") }),
    ]
}

fn link() -> Vec<Sample> {
    vec![
        tagged(sample(0, 0, 1, Ping { id: 7 })),
        tagged(sample(0, 0, 1, Pong { id: 7 })),
        sample(5, 3, 2, Open { group: GroupId(5), purpose: Purpose::Transfer }),
        sample(0, 3, 3, Credit { bytes: 8 << 20 }),
        sample(0, 3, 4, Close {}),
        sample(0, 3, 5, Reset { code: 9, text: Text::clip("größer") }),
    ]
}

fn agreement() -> Vec<Sample> {
    let id = 0x0102_0304_0506_0708;
    vec![
        sample(5, 1, 6, RaftRequest { id, rpc: 2, bytes: b"append" }),
        sample(5, 1, 7, RaftResponse { id, ok: true, bytes: b"appended" }),
        sample(5, 1, 8, Propose { id: 11, bytes: b"batch" }),
        sample(5, 1, 9, ProposeReply { id: 11, status: 1, bytes: b"" }),
    ]
}

fn transfer() -> Vec<Sample> {
    let fetch = Fetch {
        request: 2,
        segment: SegmentId { index: LogIndex(42), ordinal: 1 },
        root: Digest(run(0xa0)),
        first_chunk: 3,
        chunk_count: 5,
        want_list: true,
    };
    let digests = Cow::Owned(vec![Digest(run(0xb0)), Digest(run(0xd0))]);
    let page = ListReply { request: 1, end: false, entries: b"entries", next: Cursor(b"a/b") };
    vec![
        sample(5, 3, 10, ListPage { request: 1, limit: 1000, after: Cursor(b"") }),
        sample(5, 3, 11, page),
        sample(5, 3, 12, fetch),
        sample(5, 3, 13, ChunkList { request: 2, len: (1 << 20) + 1, first: 0, digests }),
        tagged(with_payload(sample(5, 3, 14, Chunk { request: 2, chunk: 1 }), b"hello")),
        sample(5, 3, 16, FetchRefused { request: 2, code: Refusal::Superseded }),
    ]
}

fn soft() -> Vec<Sample> {
    let announce = Announce {
        incarnation: Incarnation(run(0x10)),
        shard: ShardId(4),
        load: 2,
        installed: LogIndex(100),
        applied: LogIndex(120),
        held_to: LogIndex(118),
        exceptions: vec![101, 110],
    };
    vec![sample(5, 7, 17, announce)]
}
