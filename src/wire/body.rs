//! The body of each kind of frame: its fields, in the order of their bytes.
//!
//! Opaque bytes that another room reads in place begin 16 bytes into the body, so that an archive in them is as
//! aligned as the body's buffer; the padding for it is zero.

use std::borrow::Cow;

use crate::ids::{ClusterId, Digest, GroupId, Incarnation, LogIndex, NodeId, SegmentId, ShardId};
use crate::wire::codec::{Reader, Writer};
use crate::wire::field::{Cursor, Field, Text};
use crate::wire::kind::{FieldError, FieldForm, Fields};
use crate::wire::word::{Class, Purpose, Refusal, Role};

macro_rules! bodies {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $ty:ty $(; pad $pad:literal)?,)*
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, Debug)]
            pub struct $name $(<$life>)? {
                $($(#[$field_doc])* pub $field: $ty,)*
            }

            impl<'a> Fields<'a> for $name $(<$life>)? {
                const FORMS: &'static [FieldForm] = &[$(FieldForm {
                    name: stringify!($field),
                    form: <$ty as Field<'a>>::FORM,
                    padding: 0 $(+ $pad)?,
                }),*];
                const BYTES_MAX: usize = 0 $(+ <$ty as Field<'a>>::BYTES_MAX $(+ $pad)?)*;

                #[allow(unused_variables, reason = "a body without fields reads nothing")]
                fn read(reader: &mut Reader<'a>) -> Result<Self, FieldError> {
                    $(
                        let $field = <$ty as Field<'a>>::read(reader).map_err(|e| (stringify!($field), e))?;
                        $(reader.zeros($pad).map_err(|e| (stringify!($field), e))?;)?
                    )*
                    Ok(Self { $($field),* })
                }

                #[allow(unused_variables, reason = "a body without fields writes nothing")]
                fn write(&self, writer: &mut Writer<'_>) -> Result<(), FieldError> {
                    $(
                        self.$field.write(writer).map_err(|e| (stringify!($field), e))?;
                        $(writer.zeros($pad);)?
                    )*
                    Ok(())
                }
            }
        )+
    };
}

bodies! {
    /// Who dials, whom, and for what. Framed in the oldest version that the dialler speaks.
    Hello {
        /// Oldest version that the dialler speaks.
        version_min: u8,
        /// Newest version that the dialler speaks.
        version_max: u8,
        /// What it is.
        role: Role,
        /// What the connection is for.
        class: Class,
        /// The group, where the connection serves one alone; the cluster group otherwise.
        group: GroupId,
        /// The cluster that it belongs to.
        cluster: ClusterId,
        /// Its node.
        node: NodeId,
        /// The node that it wants; 0 if it does not know.
        to_node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// Name of the secret that it prefers.
        key: [u8; 8],
        /// Name of the secret that it still accepts; the same one if there is no other.
        key_previous: [u8; 8],
        /// Fresh random bytes.
        nonce: [u8; 32],
    }

    /// Who answers, in the version that both will speak.
    Welcome {
        /// The version of every later frame.
        version: u8,
        /// Oldest version that it speaks.
        version_min: u8,
        /// Newest version that it speaks.
        version_max: u8; pad 1,
        /// Cores of the node, for spreading connections.
        core_count: u16; pad 2,
        /// The cluster that it belongs to.
        cluster: ClusterId,
        /// Its node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// Name of the secret that both hold.
        key: [u8; 8],
        /// Fresh random bytes.
        nonce: [u8; 32],
        /// Its proof over all that was said.
        mac: [u8; 32],
    }

    /// The dialler's proof.
    Proof {
        /// Over all that was said.
        mac: [u8; 32],
    }

    /// The connection stands.
    Ready {}

    /// Why the connection does not come about.
    Refused<'a> {
        /// The reason's code.
        code: u16,
        /// The reason in words.
        text: Text<'a>,
    }

    /// Are you there?
    Ping {
        /// Comes back in the pong.
        id: u64,
    }

    /// The answer to a ping.
    Pong {
        /// The ping's.
        id: u64,
    }

    /// Opens the stream that the header names.
    Open {
        /// The group that the stream is about.
        group: GroupId,
        /// What the stream is for.
        purpose: Purpose,
    }

    /// Lets the other side send more on the stream.
    Credit {
        /// Bytes, beyond those let before.
        bytes: u32,
    }

    /// The stream's sender has sent all.
    Close {}

    /// The stream ends at once.
    Reset<'a> {
        /// The reason's code.
        code: u16,
        /// The reason in words.
        text: Text<'a>,
    }

    /// A call of consensus.
    RaftRequest<'a> {
        /// Comes back in the response.
        id: u64,
        /// Which call.
        rpc: u8; pad 3,
        /// Its argument.
        bytes: &'a [u8],
    }

    /// Its answer.
    RaftResponse<'a> {
        /// The request's.
        id: u64,
        /// Whether `bytes` is the result; the error otherwise.
        ok: bool; pad 3,
        /// Result or error.
        bytes: &'a [u8],
    }

    /// A proposal on its way to the leader.
    Propose<'a> {
        /// Comes back in the reply.
        id: u64; pad 4,
        /// The proposal.
        bytes: &'a [u8],
    }

    /// What became of a proposal.
    ProposeReply<'a> {
        /// The proposal's.
        id: u64,
        /// Outcome in a word.
        status: u8; pad 3,
        /// The outcome.
        bytes: &'a [u8],
    }

    /// Asks for a page of what a source has.
    ListPage<'a> {
        /// Comes back in the reply.
        request: u32,
        /// Most entries wanted.
        limit: u32,
        /// The cursor of the page before; empty for the first page.
        after: Cursor<'a>,
    }

    /// A page of what a source has.
    ListReply<'a> {
        /// The request's.
        request: u32,
        /// Whether the list ends here.
        end: bool; pad 7,
        /// The entries.
        entries: &'a [u8],
        /// Where the next page begins.
        next: Cursor<'a>,
    }

    /// Asks for chunks of a segment.
    Fetch {
        /// Comes back in every answer.
        request: u32,
        /// The segment.
        segment: SegmentId,
        /// Its root as the asker knows it.
        root: Digest,
        /// First chunk wanted.
        first_chunk: u32,
        /// Chunks wanted; past the segment's last chunk it means all to the end.
        chunk_count: u32,
        /// Whether the chunk list is to go ahead.
        want_list: bool,
    }

    /// A page of a segment's chunk list.
    ChunkList<'a> {
        /// The fetch's.
        request: u32,
        /// Length of the segment, in bytes.
        len: u64,
        /// The chunk of the page's first digest.
        first: u32,
        /// The digests.
        digests: Cow<'a, [Digest]>,
    }

    /// One chunk; its bytes are the payload.
    Chunk {
        /// The fetch's.
        request: u32,
        /// Which chunk.
        chunk: u32,
    }

    /// A fetch or a page is refused, or ends early.
    FetchRefused {
        /// The request's.
        request: u32,
        /// Why.
        code: Refusal,
    }

    /// What a node tells of a shard. Soft state: nothing that safety needs.
    Announce {
        /// The node's life.
        incarnation: Incarnation,
        /// The shard.
        shard: ShardId,
        /// Segments that the shard's core serves at this moment, for choosing among sources.
        load: u32,
        /// Highest index below which every entry is installed there, superseded or deleted.
        installed: LogIndex,
        /// Highest index that it has applied.
        applied: LogIndex,
        /// Highest index below which every entry is installed there but for the exceptions.
        held_to: LogIndex,
        /// Indexes at or below `held_to` with a segment that it cannot serve just now.
        exceptions: Vec<u64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kind::Body;

    #[test]
    fn bytes_that_are_read_in_place_begin_sixteen_bytes_into_the_body() {
        let bytes = &b"0123456789abcdef"[..];
        let bodies = [
            Body::RaftRequest(RaftRequest { id: 1, rpc: 2, bytes }),
            Body::RaftResponse(RaftResponse { id: 1, ok: true, bytes }),
            Body::Propose(Propose { id: 1, bytes }),
            Body::ProposeReply(ProposeReply { id: 1, status: 2, bytes }),
            Body::ListReply(ListReply { request: 1, end: true, entries: bytes, next: Cursor(b"") }),
        ];
        for body in bodies {
            let mut out = Vec::new();
            body.encode(&mut out).unwrap();
            let found = out.windows(bytes.len()).position(|window| window == bytes);

            assert_eq!(found, Some(16), "{}", body.kind());
        }
    }
}
