//! A whole frame: header and body together, with their checksum. Tag and payload follow them on the wire.

use std::fmt;

use crate::ids::{GroupId, StreamId};
use crate::wire::header::{HEADER_BYTES, Header};
use crate::wire::kind::{Body, BodyError, Kind};

/// Where a frame goes: what its header holds beside its body's kind and size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// The group that it is about.
    pub group: GroupId,
    /// The stream that it belongs to; 0 is the connection itself.
    pub stream: StreamId,
    /// Its number among the frames of this connection and direction.
    pub sequence: u64,
    /// Whether a session tag will follow the body.
    pub tagged: bool,
}

impl Envelope {
    /// Writes header and body behind what is in `out`; nothing, if that fails. The caller appends the tag, if the
    /// envelope says so, and sends `payload_bytes` of payload behind.
    ///
    /// # Errors
    /// When body or payload are past the limits of the kind.
    pub fn encode(
        &self,
        body: &Body<'_>,
        payload_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<Header, EncodeError> {
        let (kind, start) = (body.kind(), out.len());
        let max = kind.payload_bytes_max();
        if payload_bytes > max {
            return Err(EncodeError::Payload { kind, found: payload_bytes, max });
        }
        out.extend_from_slice(&[0; HEADER_BYTES]);
        if let Err(error) = body.encode(out) {
            out.truncate(start);
            return Err(EncodeError::Body(error));
        }
        let (head, body) = out[start..].split_at_mut(HEADER_BYTES);
        let mut header = Header {
            kind,
            group: self.group,
            stream: self.stream,
            sequence: self.sequence,
            tagged: self.tagged,
            body_bytes: body.len(),
            payload_bytes,
            checksum: 0,
        };
        header.checksum = header.checksum_over(body);
        head.copy_from_slice(&header.encode());
        Ok(header)
    }
}

impl Header {
    /// Reads the body that came behind this header, once its length and checksum agree.
    ///
    /// # Errors
    /// When the length, the checksum or a field of the body does not.
    pub fn decode_body<'a>(&self, body: &'a [u8]) -> Result<Body<'a>, FrameError> {
        if body.len() != self.body_bytes {
            return Err(FrameError::Length { kind: self.kind, expected: self.body_bytes, found: body.len() });
        }
        let found = self.checksum_over(body);
        if found != self.checksum {
            return Err(FrameError::Checksum { kind: self.kind, expected: self.checksum, found });
        }
        Body::decode(self.kind, body).map_err(FrameError::Body)
    }
}

/// Why a frame cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncodeError {
    /// A field or the whole body is past its bound.
    Body(BodyError),
    /// The payload is past its kind's limit.
    Payload {
        /// The kind.
        kind: Kind,
        /// Bytes of the payload.
        found: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => write!(f, "cannot write a {error}"),
            Self::Payload { kind, found, max } => {
                write!(
                    f,
                    "cannot write a {kind} frame with {found} bytes of payload; at most {max} are allowed"
                )
            }
        }
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Payload { .. } => None,
        }
    }
}

/// Why what came behind a header is not its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The caller brought another number of bytes than the header announces.
    Length {
        /// The kind.
        kind: Kind,
        /// Bytes announced.
        expected: usize,
        /// Bytes brought.
        found: usize,
    },
    /// Header or body changed on the way.
    Checksum {
        /// The kind.
        kind: Kind,
        /// The checksum in the header.
        expected: u32,
        /// The checksum of what came.
        found: u32,
    },
    /// Sound bytes that are no body of this kind.
    Body(BodyError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { kind, expected, found } => {
                write!(f, "{kind} frame: a body of {found} bytes, announced as {expected}")
            }
            Self::Checksum { kind, expected, found } => {
                write!(f, "{kind} frame: checksum {expected:08x}, what came gives {found:08x}")
            }
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Length { .. } | Self::Checksum { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body::{Chunk, Ping, Propose};
    use crate::wire::codec::CodecError;

    fn frame(body: &Body<'_>) -> (Header, Vec<u8>) {
        let mut out = Vec::new();
        let header = Envelope { sequence: 9, ..Envelope::default() }.encode(body, 0, &mut out).unwrap();
        (header, out)
    }

    #[test]
    fn a_frame_reads_what_it_wrote() {
        let body = Body::Ping(Ping { id: 77 });
        let (header, bytes) = frame(&body);
        let (head, rest) = bytes.split_first_chunk().unwrap();
        assert_eq!(Header::decode(head), Ok(header));
        assert_eq!(header.decode_body(rest), Ok(body));
    }

    #[test]
    fn frames_are_written_one_behind_the_other() {
        let body = Body::Ping(Ping { id: 1 });
        let (_, one) = frame(&body);
        let mut out = one.clone();
        Envelope { sequence: 9, ..Envelope::default() }.encode(&body, 0, &mut out).unwrap();
        assert_eq!(out, [one.clone(), one].concat());
    }

    #[test]
    fn a_body_of_another_length_or_content_is_refused() {
        let (header, bytes) = frame(&Body::Ping(Ping { id: 77 }));
        let kind = Kind::Ping;
        let short = header.decode_body(&bytes[HEADER_BYTES + 1..]);
        assert_eq!(short, Err(FrameError::Length { kind, expected: 8, found: 7 }));
        let other = header.decode_body(&[0; 8]);
        assert!(matches!(other, Err(FrameError::Checksum { kind: Kind::Ping, .. })), "{other:?}");
    }

    #[test]
    fn a_sound_frame_with_a_bad_body_names_the_field() {
        let mut header = Header { body_bytes: 7, ..frame(&Body::Ping(Ping { id: 1 })).0 };
        header.checksum = header.checksum_over(&[0; 7]);
        let error = CodecError::Truncated { needed: 8, left: 7 };
        let body_error = BodyError { kind: Kind::Ping, field: "id", error };
        assert_eq!(header.decode_body(&[0; 7]), Err(FrameError::Body(body_error)));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let mut out = vec![1, 2, 3];
        let payload = Envelope::default().encode(&Body::Ping(Ping { id: 1 }), 1, &mut out);
        assert_eq!(payload, Err(EncodeError::Payload { kind: Kind::Ping, found: 1, max: 0 }));
        let bytes = vec![0; crate::limits::FRAME_BODY_BYTES_MAX];
        let body = Envelope::default().encode(&Body::Propose(Propose { id: 1, bytes: &bytes }), 0, &mut out);
        assert!(matches!(body, Err(EncodeError::Body(_))));
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn writing_into_a_vector_that_has_grown_allocates_nothing() {
        let mut out = Vec::with_capacity(64);
        let place = out.as_ptr();
        for _ in 0..3 {
            out.clear();
            Envelope::default().encode(&Body::Chunk(Chunk { request: 1, chunk: 2 }), 4096, &mut out).unwrap();
            assert_eq!((out.as_ptr(), out.capacity()), (place, 64));
        }
    }
}
