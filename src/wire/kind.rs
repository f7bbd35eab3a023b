//! The one table of frame kinds: code, name, body and payload of each.

use std::fmt;

use crate::limits::{FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use crate::wire::body::{
    Announce, Chunk, ChunkList, Close, Credit, Fetch, FetchRefused, Hello, ListPage, ListReply, Open, Ping,
    Pong, Proof, Propose, ProposeReply, RaftRequest, RaftResponse, Ready, Refused, Reset, Welcome,
};
use crate::wire::codec::{CodecError, Reader, Writer};

/// A field of a body as FORMAT.md shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldForm {
    /// Its name.
    pub name: &'static str,
    /// The word of its form.
    pub form: &'static str,
    /// Bytes of zero that follow it, so that what comes next is aligned.
    pub padding: usize,
}

/// A body of one kind: its fields in order.
pub(in crate::wire) trait Fields<'a>: Sized {
    const FORMS: &'static [FieldForm];
    const BYTES_MAX: usize;

    fn read(reader: &mut Reader<'a>) -> Result<Self, FieldError>;
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), FieldError>;
}

/// A codec's error with the field that it arose at.
pub(in crate::wire) type FieldError = (&'static str, CodecError);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($body:ty) = $code:literal, $text:literal, $payload:expr;)+) => {
        /// What a frame is.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// Every kind, by code.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The kind with this code.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Its code on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// Its name in status, logs and FORMAT.md.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Most bytes of raw payload behind a frame of this kind.
            #[must_use]
            pub const fn payload_bytes_max(self) -> usize {
                match self {
                    $(Self::$name => $payload,)+
                }
            }

            /// Most bytes of its body. A handshake's are few, so that nobody unproven is given room.
            #[must_use]
            pub const fn body_bytes_max(self) -> usize {
                Body::bytes_max(self)
            }

            /// Its fields, in order.
            #[must_use]
            pub const fn forms(self) -> &'static [FieldForm] {
                Body::forms(self)
            }
        }

        /// The body of a frame.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Body<'a> {
            $($(#[$doc])* $name($body),)+
        }

        $(impl<'a> From<$body> for Body<'a> {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })+

        impl<'a> Body<'a> {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind::$name,)+
                }
            }

            /// Reads the body of a frame of this kind; every byte belongs to it.
            ///
            /// # Errors
            /// When the bytes are not such a body; the field is named.
            pub fn decode(kind: Kind, bytes: &'a [u8]) -> Result<Self, BodyError> {
                let mut reader = Reader::new(bytes);
                let body = match kind {
                    $(Kind::$name => <$body as Fields<'a>>::read(&mut reader).map(Self::$name),)+
                };
                let named = |(field, error)| BodyError { kind, field, error };
                let body = body.map_err(named)?;
                reader.finish().map_err(|error| named(("the end", error)))?;
                Ok(body)
            }

            /// Writes the body behind what is in `out`; nothing, if that fails.
            ///
            /// # Errors
            /// When a field, or all of them, are past their bound.
            pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BodyError> {
                let start = out.len();
                let mut writer = Writer::new(out);
                let written = match self {
                    $(Self::$name(body) => body.write(&mut writer),)+
                };
                let (found, max) = (out.len() - start, self.kind().body_bytes_max());
                let whole = if found <= max { Ok(()) } else { Err(("the whole", CodecError::TooLong { max, found })) };
                written.and(whole).map_err(|(field, error)| {
                    out.truncate(start);
                    BodyError { kind: self.kind(), field, error }
                })
            }

            const fn bytes_max(kind: Kind) -> usize {
                let fields = match kind {
                    $(Kind::$name => <$body as Fields<'a>>::BYTES_MAX,)+
                };
                if fields < FRAME_BODY_BYTES_MAX { fields } else { FRAME_BODY_BYTES_MAX }
            }

            const fn forms(kind: Kind) -> &'static [FieldForm] {
                match kind {
                    $(Kind::$name => <$body as Fields<'a>>::FORMS,)+
                }
            }
        }
    };
}

// Codes are grouped by room, sixteen to a group. A code is never given a second meaning.
kinds! {
    /// The first frame of a connection, from the side that dials.
    Hello(Hello) = 1, "hello", 0;
    /// The other side's answer, with its proof.
    Welcome(Welcome) = 2, "welcome", 0;
    /// The dialler's proof.
    Proof(Proof) = 3, "proof", 0;
    /// The connection stands.
    Ready(Ready) = 4, "ready", 0;
    /// The connection does not come about; the last frame.
    Refused(Refused<'a>) = 5, "refused", 0;

    /// Are you there?
    Ping(Ping) = 16, "ping", 0;
    /// The answer to a ping.
    Pong(Pong) = 17, "pong", 0;
    /// Opens the stream that the header names.
    Open(Open) = 18, "open", 0;
    /// Lets the other side send more on the stream.
    Credit(Credit) = 19, "credit", 0;
    /// The stream's sender has sent all.
    Close(Close) = 20, "close", 0;
    /// The stream ends at once, in both directions.
    Reset(Reset<'a>) = 21, "reset", 0;

    /// A call of consensus.
    RaftRequest(RaftRequest<'a>) = 32, "raft_request", 0;
    /// Its answer.
    RaftResponse(RaftResponse<'a>) = 33, "raft_response", 0;

    /// A proposal on its way to the leader.
    Propose(Propose<'a>) = 48, "propose", 0;
    /// What became of it.
    ProposeReply(ProposeReply<'a>) = 49, "propose_reply", 0;

    /// Asks for a page of what a source has.
    ListPage(ListPage<'a>) = 64, "list_page", 0;
    /// A page of what a source has.
    ListReply(ListReply<'a>) = 65, "list_reply", 0;
    /// Asks for chunks of a segment.
    Fetch(Fetch) = 66, "fetch", 0;
    /// A page of a segment's chunk list.
    ChunkList(ChunkList<'a>) = 67, "chunk_list", 0;
    /// One chunk; its bytes are the payload.
    Chunk(Chunk) = 68, "chunk", FRAME_PAYLOAD_BYTES_MAX;
    /// A fetch or a page is refused, or ends early.
    FetchRefused(FetchRefused) = 70, "fetch_refused", 0;

    /// What a node tells of a shard.
    Announce(Announce) = 80, "announce", 0;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why some bytes are not a body of their kind, or a body cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyError {
    /// The kind.
    pub kind: Kind,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub error: CodecError,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frame: {}: {}", self.kind, self.field, self.error)
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_names_one_kind() {
        for code in 0..=u8::MAX {
            assert_eq!(Kind::from_code(code).map_or(code, Kind::code), code);
        }
        assert_eq!(Kind::ALL.len(), (0..=u8::MAX).filter_map(Kind::from_code).count());
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.code()));
        assert_eq!(Kind::from_code(0), None, "zeros are no frame");
    }

    #[test]
    fn a_handshake_and_a_link_frame_are_small() {
        for kind in Kind::ALL.iter().filter(|kind| kind.code() < 32) {
            assert!(kind.body_bytes_max() <= 264, "{kind} may have {} bytes", kind.body_bytes_max());
        }
        for kind in Kind::ALL {
            assert!(kind.body_bytes_max() <= FRAME_BODY_BYTES_MAX, "{kind}");
        }
    }

    #[test]
    fn an_error_names_kind_and_field() {
        let error = Body::decode(Kind::Ping, &[0; 7]).unwrap_err();
        assert_eq!(error.to_string(), "ping frame: id: needs 8 bytes, 7 are left");
        let error = Body::decode(Kind::Ready, &[1]).unwrap_err();
        assert_eq!(error.to_string(), "ready frame: the end: 1 bytes follow the last field");
    }

    #[test]
    fn a_body_past_its_bound_is_not_written() {
        let bytes = vec![0; FRAME_BODY_BYTES_MAX - 15];
        let mut out = vec![7];
        let body = Body::Propose(Propose { id: 1, bytes: &bytes });
        let refused = body.encode(&mut out).unwrap_err();
        assert_eq!(refused.field, "the whole");
        assert_eq!(out, [7]);
        let body = Body::Propose(Propose { id: 1, bytes: &bytes[1..] });
        assert_eq!(body.encode(&mut out), Ok(()));
        assert_eq!(out.len(), 1 + FRAME_BODY_BYTES_MAX);
    }
}
