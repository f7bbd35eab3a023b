//! Why a dial, a stream or a connection came to nothing. One type per question; each says what a person can
//! do.

use std::fmt;

use crate::auth::{HandshakeError, TagError};
use crate::ids::{GroupId, Nanos, StreamId};
use crate::uring::Errno;
use crate::wire::{FrameError, HeaderError, Kind};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$code_doc:meta])* $code:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$code_doc])* $code,)+
            /// A code of another version.
            Other(u16),
        }

        impl $name {
            /// Its number on the wire.
            #[must_use]
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$code => $number,)+
                    Self::Other(number) => number,
                }
            }

            /// The code of a number.
            #[must_use]
            pub fn of(number: u16) -> Self {
                match number {
                    $($number => Self::$code,)+
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$code => f.write_str($text),)+
                    Self::Other(number) => write!(f, "code {number} of another version"),
                }
            }
        }
    };
}

codes! {
    /// Why a handshake is refused. A peer that has not proven itself learns no more than this.
    RefusedCode {
        /// It does not hold the secret.
        Authentication = 1, "authentication failed";
        /// No common protocol version.
        Version = 2, "no common protocol version";
        /// Another cluster.
        Cluster = 3, "another cluster";
        /// It claims to be the very node that it dialled.
        Ourselves = 4, "the node dialled itself, or a copy of its data root";
        /// Proven, and not a member.
        UnknownNode = 5, "not a member of the cluster";
        /// Proven, and not in the life that is a member.
        Incarnation = 6, "another incarnation of the node is the member";
        /// Connections are at their bound.
        Busy = 7, "too many connections";
        /// Its first message was not one of a handshake.
        Protocol = 8, "not a handshake of this protocol";
        /// We are about to stop.
        Stopping = 9, "the node is stopping";
        /// The group's core is not there.
        NoCore = 10, "no core serves the group";
        /// Its role may not do this.
        Role = 11, "the role is not welcome here";
    }
}

codes! {
    /// Why a stream was given up.
    ResetCode {
        /// Its owner dropped it before its end.
        Dropped = 1, "given up by its owner";
        /// Nobody takes new streams, or too many wait.
        Busy = 2, "too many streams wait to be taken";
        /// Received bytes that wait for their consumers are at their bound.
        Overloaded = 3, "too much waits for its consumer";
        /// The group is not of the connection's core.
        WrongCore = 4, "the group lives on another core";
    }
}

/// Where in a dial something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DialPhase {
    /// Connecting.
    Connect,
    /// Proving.
    Handshake,
}

impl fmt::Display for DialPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Handshake => "the handshake",
        })
    }
}

/// Why a stream could not be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DialError {
    /// The system's error.
    Socket {
        /// Where.
        phase: DialPhase,
        /// The error.
        errno: Errno,
    },
    /// The time ran out.
    TimedOut {
        /// Where.
        phase: DialPhase,
    },
    /// The peer hung up in the handshake.
    Ended,
    /// The peer is not who it should be.
    Handshake(HandshakeError),
    /// The peer refused us.
    Refused {
        /// Why.
        code: RefusedCode,
        /// What it says about it.
        text: String,
    },
    /// We do not admit the peer.
    NotAdmitted {
        /// Why.
        code: RefusedCode,
    },
    /// What answers does not speak the protocol.
    Protocol(Cut),
    /// An earlier dial failed, and it is too early for the next.
    BackingOff {
        /// When the next one is made.
        retry_at: Nanos,
        /// What the earlier one ended with.
        last: Box<DialError>,
    },
    /// The connection has all the streams that it may have.
    TooManyStreams {
        /// The bound.
        most: usize,
    },
    /// We have all the connections that we may have.
    TooManyConnections {
        /// The bound.
        most: usize,
    },
    /// The transport was shut down.
    ShutDown,
}

impl DialError {
    /// One side does not take the other for what it says it is: dialling again changes nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            // It has no room now, or stops.
            Self::Refused { code: RefusedCode::Busy | RefusedCode::Stopping, .. } => false,
            Self::Handshake(_) | Self::Refused { .. } | Self::NotAdmitted { .. } => true,
            Self::BackingOff { last, .. } => last.is_refusal(),
            Self::Socket { .. }
            | Self::TimedOut { .. }
            | Self::Ended
            | Self::Protocol(_)
            | Self::TooManyStreams { .. }
            | Self::TooManyConnections { .. }
            | Self::ShutDown => false,
        }
    }

    /// The code with which the peer has refused us, now or before this dial was too early.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusedCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::BackingOff { last, .. } => last.refusal(),
            Self::Socket { .. }
            | Self::TimedOut { .. }
            | Self::Ended
            | Self::Handshake(_)
            | Self::NotAdmitted { .. }
            | Self::Protocol(_)
            | Self::TooManyStreams { .. }
            | Self::TooManyConnections { .. }
            | Self::ShutDown => None,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { phase, errno } => write!(f, "{phase} failed: {errno}"),
            Self::TimedOut { phase } => write!(f, "{phase} took too long"),
            Self::Ended => f.write_str("the peer hung up in the handshake"),
            Self::Handshake(error) => error.fmt(f),
            Self::Refused { code, text } if text.is_empty() || *text == code.to_string() => {
                write!(f, "the peer refused: {code}")
            }
            Self::Refused { code, text } => write!(f, "the peer refused: {code} ({text})"),
            Self::NotAdmitted { code } => write!(f, "the peer is not admitted: {code}"),
            Self::Protocol(cut) => write!(f, "what answers does not speak the protocol: {cut}"),
            Self::BackingOff { last, .. } => write!(f, "too early for another dial; the last: {last}"),
            Self::TooManyStreams { most } => write!(f, "{most} streams are open on the connection already"),
            Self::TooManyConnections { most } => write!(f, "{most} connections are open already"),
            Self::ShutDown => f.write_str("the transport was shut down"),
        }
    }
}

impl std::error::Error for DialError {}

/// Why a message could not be sent or received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamError {
    /// The peer ended the stream in good order; nothing was lost.
    Closed,
    /// One side gave the stream up.
    Reset {
        /// Why.
        code: ResetCode,
    },
    /// The connection ended.
    Connection(Cut),
    /// The message is larger than a frame may be, or of a kind that streams do not carry.
    Unsendable {
        /// Its kind.
        kind: Kind,
        /// Bytes of its body.
        body_bytes: usize,
        /// Bytes of its payload.
        payload_bytes: usize,
    },
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer ended the stream"),
            Self::Reset { code } => write!(f, "the stream was given up: {code}"),
            Self::Connection(cut) => write!(f, "the connection ended: {cut}"),
            Self::Unsendable { kind, body_bytes, payload_bytes } => write!(
                f,
                "a {kind} of {body_bytes} bytes with {payload_bytes} bytes of payload is no message of a stream"
            ),
        }
    }
}

impl std::error::Error for StreamError {}

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The peer hung up.
    Ended,
    /// The system's error.
    Socket {
        /// The error.
        errno: Errno,
    },
    /// Bytes that are no frame's header.
    Header(HeaderError),
    /// A frame that is not the peer's next one.
    Tag(TagError),
    /// A frame that changed on the way, or whose body is not one of its kind.
    Frame(FrameError),
    /// A kind of frame that has no place here.
    Unexpected {
        /// The kind.
        kind: Kind,
    },
    /// A frame of a stream that is not open.
    UnknownStream {
        /// Its number.
        stream: StreamId,
    },
    /// A stream was opened under a number that is not above all before it.
    StreamReused {
        /// Its number.
        stream: StreamId,
    },
    /// A frame names another group than its stream's.
    OtherGroup {
        /// The stream.
        stream: StreamId,
        /// Its group.
        expected: GroupId,
        /// The group found.
        found: GroupId,
    },
    /// A frame on a stream that its sender had ended.
    AfterEnd {
        /// The stream.
        stream: StreamId,
    },
    /// A frame beyond the granted credit.
    CreditOverrun {
        /// The stream.
        stream: StreamId,
    },
    /// More streams than agreed.
    TooManyStreams {
        /// The bound.
        most: usize,
    },
    /// The peer went silent.
    Silent,
    /// The peer stopped reading.
    Stalled,
    /// A file that we were sending from turned out to be shorter than the frame before it says.
    PayloadShort,
    /// No stream was open for a while.
    Unused,
    /// The transport was shut down.
    ShutDown,
}

impl Cut {
    /// The peer broke the protocol: faulty, or something tampers.
    #[must_use]
    pub fn is_rubbish(&self) -> bool {
        match self {
            Self::Header(_)
            | Self::Tag(_)
            | Self::Frame(_)
            | Self::Unexpected { .. }
            | Self::UnknownStream { .. }
            | Self::StreamReused { .. }
            | Self::OtherGroup { .. }
            | Self::AfterEnd { .. }
            | Self::CreditOverrun { .. }
            | Self::TooManyStreams { .. } => true,
            Self::Ended
            | Self::Socket { .. }
            | Self::Silent
            | Self::Stalled
            | Self::PayloadShort
            | Self::Unused
            | Self::ShutDown => false,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the peer hung up"),
            Self::Socket { errno } => errno.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Tag(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Unexpected { kind } => write!(f, "a {kind} has no place here"),
            Self::UnknownStream { stream } => write!(f, "a frame of stream {stream}, which is not open"),
            Self::StreamReused { stream } => write!(f, "stream {stream} was opened under a used number"),
            Self::OtherGroup { stream, expected, found } => {
                write!(f, "a frame of group {found} on stream {stream} of group {expected}")
            }
            Self::AfterEnd { stream } => write!(f, "a frame on stream {stream} after its end"),
            Self::CreditOverrun { stream } => write!(f, "stream {stream} sent beyond its credit"),
            Self::TooManyStreams { most } => write!(f, "the peer opened more than {most} streams"),
            Self::Silent => f.write_str("the peer went silent"),
            Self::Stalled => f.write_str("the peer stopped reading"),
            Self::PayloadShort => f.write_str("a file ended while it was being sent"),
            Self::Unused => f.write_str("no stream was open for a while"),
            Self::ShutDown => f.write_str("the transport was shut down"),
        }
    }
}

impl std::error::Error for Cut {}
