//! Why a call to another member came to nothing.

use std::fmt;

use crate::ids::{Incarnation, Nanos};
use crate::transport::{DialError, StreamError};
use crate::wire::CodecError;

/// Why a call to another member came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The member's address is none.
    Address {
        /// What it says.
        text: String,
    },
    /// No stream.
    Dial(DialError),
    /// The node has another life than the member: its data root is new.
    OtherLife {
        /// The life that was admitted.
        expected: Incarnation,
        /// The one that answered.
        found: Incarnation,
    },
    /// The stream ended before the answer.
    Stream(StreamError),
    /// No answer in time.
    TimedOut {
        /// How long.
        after: Nanos,
    },
    /// The member refused.
    Refused {
        /// What it says.
        text: String,
    },
    /// The answer is not one of this protocol.
    Answer(CodecError),
    /// The group is shut down.
    Closed,
}

impl CallError {
    /// Trying again at once is pointless.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::Dial(_)
            | Self::OtherLife { .. }
            | Self::Refused { .. }
            | Self::Closed => true,
            Self::Stream(_) | Self::TimedOut { .. } | Self::Answer(_) => false,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { text } => write!(f, "{text:?} is no address"),
            Self::Dial(error) => error.fmt(f),
            Self::OtherLife { expected, found } => {
                write!(f, "incarnation {found} answers where {expected} is the member")
            }
            Self::Stream(error) => error.fmt(f),
            Self::TimedOut { after } => write!(f, "no answer within {} ms", after.0 / 1_000_000),
            Self::Refused { text } => write!(f, "the member refused: {text}"),
            Self::Answer(error) => write!(f, "the answer {error}"),
            Self::Closed => f.write_str("the group is shut down"),
        }
    }
}

impl std::error::Error for CallError {}
