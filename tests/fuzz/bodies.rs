//! A random body of each kind, within the bounds of its fields.

use std::borrow::Cow;

use ringway::ids::{ClusterId, Digest, GroupId, Incarnation, LogIndex, NodeId, SegmentId, ShardId};
use ringway::wire::{
    Announce, Body, Chunk, ChunkList, Class, Close, Credit, Cursor, Fetch, FetchRefused, Hello, Kind,
    ListPage, ListReply, Open, Ping, Pong, Proof, Propose, ProposeReply, Purpose, RaftRequest, RaftResponse,
    Ready, Refusal, Refused, Reset, Role, Text, Welcome,
};

use crate::chance::Chance;

/// What the bodies of one round borrow from.
pub struct Bodies {
    bytes: Vec<u8>,
    text: String,
}

impl Bodies {
    pub fn new(chance: &mut Chance) -> Self {
        let len = chance.below(60);
        let letters = ['a', 'é', '€', '🦀', ' ', '\0'];
        let text = (0..chance.below(90)).map(|_| chance.one_of(&letters)).collect();
        Self { bytes: chance.bytes(len), text }
    }

    fn bytes(&self, chance: &mut Chance) -> &[u8] {
        &self.bytes[..chance.below(self.bytes.len() + 1)]
    }

    pub fn draw<'a>(&'a self, chance: &mut Chance, kind: Kind) -> Body<'a> {
        match kind {
            Kind::Hello => hello(chance).into(),
            Kind::Welcome => welcome(chance).into(),
            Kind::Proof => Proof { mac: chance.array() }.into(),
            Kind::Ready => Ready {}.into(),
            Kind::Refused => Refused { code: chance.u32() as u16, text: Text::clip(&self.text) }.into(),
            Kind::Ping => Ping { id: chance.u64() }.into(),
            Kind::Pong => Pong { id: chance.u64() }.into(),
            Kind::Open => Open { group: GroupId(chance.u32()), purpose: chance.one_of(Purpose::ALL) }.into(),
            Kind::Credit => Credit { bytes: chance.u32() }.into(),
            Kind::Close => Close {}.into(),
            Kind::Reset => Reset { code: chance.u32() as u16, text: Text::clip(&self.text) }.into(),
            Kind::RaftRequest => {
                RaftRequest { id: chance.u64(), rpc: chance.byte(), bytes: self.bytes(chance) }.into()
            }
            Kind::RaftResponse => {
                RaftResponse { id: chance.u64(), ok: truth(chance), bytes: self.bytes(chance) }.into()
            }
            Kind::Propose => Propose { id: chance.u64(), bytes: self.bytes(chance) }.into(),
            Kind::ProposeReply => {
                ProposeReply { id: chance.u64(), status: chance.byte(), bytes: self.bytes(chance) }.into()
            }
            Kind::ListPage => {
                ListPage { request: chance.u32(), limit: chance.u32(), after: Cursor(self.bytes(chance)) }
                    .into()
            }
            Kind::ListReply => self.list_reply(chance).into(),
            Kind::Fetch => fetch(chance).into(),
            Kind::ChunkList => chunk_list(chance).into(),
            Kind::Chunk => Chunk { request: chance.u32(), chunk: chance.u32() }.into(),
            Kind::FetchRefused => {
                FetchRefused { request: chance.u32(), code: chance.one_of(Refusal::ALL) }.into()
            }
            Kind::Announce => announce(chance).into(),
        }
    }

    fn list_reply<'a>(&'a self, chance: &mut Chance) -> ListReply<'a> {
        let (entries, next) = (self.bytes(chance), Cursor(self.bytes(chance)));
        ListReply { request: chance.u32(), end: truth(chance), entries, next }
    }
}

fn truth(chance: &mut Chance) -> bool {
    chance.below(2) == 1
}

fn hello(chance: &mut Chance) -> Hello {
    Hello {
        version_min: chance.byte(),
        version_max: chance.byte(),
        role: chance.one_of(Role::ALL),
        class: chance.one_of(Class::ALL),
        group: GroupId(chance.u32()),
        cluster: ClusterId(chance.array()),
        node: NodeId(chance.u64()),
        to_node: NodeId(chance.u64()),
        incarnation: Incarnation(chance.array()),
        key: chance.array(),
        key_previous: chance.array(),
        nonce: chance.array(),
    }
}

fn welcome(chance: &mut Chance) -> Welcome {
    Welcome {
        version: chance.byte(),
        version_min: chance.byte(),
        version_max: chance.byte(),
        core_count: chance.u32() as u16,
        cluster: ClusterId(chance.array()),
        node: NodeId(chance.u64()),
        incarnation: Incarnation(chance.array()),
        key: chance.array(),
        nonce: chance.array(),
        mac: chance.array(),
    }
}

fn fetch(chance: &mut Chance) -> Fetch {
    Fetch {
        request: chance.u32(),
        segment: SegmentId { index: LogIndex(chance.u64()), ordinal: chance.u32() },
        root: Digest(chance.array()),
        first_chunk: chance.u32(),
        chunk_count: chance.u32(),
        want_list: truth(chance),
    }
}

fn chunk_list(chance: &mut Chance) -> ChunkList<'static> {
    let digests = (0..chance.below(5)).map(|_| Digest(chance.array())).collect();
    ChunkList { request: chance.u32(), len: chance.u64(), first: chance.u32(), digests: Cow::Owned(digests) }
}

fn announce(chance: &mut Chance) -> Announce {
    Announce {
        incarnation: Incarnation(chance.array()),
        shard: ShardId(chance.u32()),
        load: chance.u32(),
        installed: LogIndex(chance.u64()),
        applied: LogIndex(chance.u64()),
        held_to: LogIndex(chance.u64()),
        exceptions: (0..chance.below(65)).map(|_| chance.u64()).collect(),
    }
}
