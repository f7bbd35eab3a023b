//! Outcomes: what the state answers to a command, in format version 1.
//!
//! Small, because each session keeps a window of them; the same on every replica; on the wire and in
//! snapshots.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::path::PathError;
use crate::ids::{LogIndex, SegmentId};
use crate::limits::{
    BATCH_OPERATIONS_MAX, ENTRIES_MAX, ENTRY_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, REASON_BYTES_MAX,
    SEGMENT_BYTES_MAX, SESSION_OUTCOMES_MAX, SESSIONS_MAX,
};
use crate::wire::{DecodeError, ValueBytes, decode_value, encode_value};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Outcome {
    /// The session is open.
    SessionOpened,
    /// The session is no more.
    SessionRetired,
    /// All operations of the batch happened.
    Applied {
        /// Log index that it happened at: a segment registered by operation `n` has the id (index, n).
        index: LogIndex,
        /// Operations that changed something.
        changed: u32,
        /// Operations that found what they asked for, and changed nothing.
        unchanged: u32,
    },
    /// Nothing happened.
    Refused(Refusal),
}

/// Why nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Refusal {
    /// The bytes are no command of this format.
    Undecodable,
    /// More bytes than a log entry may have; split the batch.
    EntryTooLong {
        /// How many.
        bytes: u64,
    },
    /// As many sessions as may be; retire old ones.
    SessionsFull,
    /// No such session; open one under a new id.
    SessionUnknown,
    /// The session was retired, and its id does not come back; open one under a new id.
    SessionRetired,
    /// Below the session's low-water mark: this proposal had its outcome, which is no longer kept.
    Expired {
        /// The session's low-water mark.
        low_water: u64,
    },
    /// Too far ahead of the session's low-water mark to keep an outcome for it; send a newer mark.
    TooFarAhead {
        /// The session's low-water mark.
        low_water: u64,
    },
    /// The low-water mark of the proposal is above its own number.
    LowWaterAboveNumber,
    /// No operations.
    BatchEmpty,
    /// Too many operations.
    BatchTooLong {
        /// How many.
        operations: u32,
    },
    /// One operation cannot happen, and so none did.
    Operation {
        /// Its place in the batch, from 0.
        ordinal: u32,
        /// Why.
        reason: Reason,
    },
}

/// Why an operation cannot happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Reason {
    /// Not a safe path.
    Path(PathError),
    /// Other content stands there; update it, or choose another path.
    AlreadyExists {
        /// What stands there.
        id: SegmentId,
    },
    /// Nothing to update; register it.
    NotFound,
    /// The path would need another segment's file as its directory, or its directory as a file.
    Obstructed {
        /// The other segment.
        by: SegmentId,
    },
    /// A segment without the time that it was sealed at.
    SealedAtZero,
    /// More bytes than a segment may have.
    TooLarge {
        /// How many.
        bytes: u64,
    },
    /// Too many labels.
    TooManyLabels {
        /// How many.
        labels: u32,
    },
    /// A label without name, too long, or with a control character.
    LabelInvalid {
        /// Its place, from 0.
        label: u32,
    },
    /// The same name and value twice.
    LabelRepeated {
        /// Its place in order of name and value, from 0.
        label: u32,
    },
    /// A reason of too many bytes.
    DeleteReasonTooLong {
        /// How many.
        bytes: u32,
    },
    /// As many entries as may be.
    ManifestFull,
}

impl Outcome {
    /// The outcome's bytes.
    #[must_use]
    pub fn encode(&self) -> ValueBytes {
        encode_value(self)
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// The bytes are no outcome of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_value(bytes)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionOpened => write!(f, "the session is open"),
            Self::SessionRetired => write!(f, "the session is retired"),
            Self::Applied { index, changed, unchanged } => {
                write!(f, "applied at {index}: {changed} changed, {unchanged} were so already")
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => write!(f, "the bytes are no command that this version reads"),
            Self::EntryTooLong { bytes } => {
                write!(f, "the command has {bytes} bytes, more than {ENTRY_BYTES_MAX}; split the batch")
            }
            Self::SessionsFull => write!(f, "{SESSIONS_MAX} sessions are open; retire old ones"),
            Self::SessionUnknown => write!(f, "the session is unknown; open one under a new id"),
            Self::SessionRetired => write!(f, "the session was retired; open one under a new id"),
            Self::Expired { low_water } => {
                write!(f, "the proposal had its outcome: the session's low-water mark is {low_water}")
            }
            Self::TooFarAhead { low_water } => {
                write!(
                    f,
                    "the number is {SESSION_OUTCOMES_MAX} or more ahead of the low-water mark {low_water}"
                )
            }
            Self::LowWaterAboveNumber => write!(f, "the proposal's low-water mark is above its number"),
            Self::BatchEmpty => write!(f, "the batch has no operations"),
            Self::BatchTooLong { operations } => {
                write!(f, "the batch has {operations} operations, more than {BATCH_OPERATIONS_MAX}")
            }
            Self::Operation { ordinal, reason } => write!(f, "operation {ordinal}: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(error) => fmt::Display::fmt(error, f),
            Self::AlreadyExists { id } => {
                write!(f, "the path has other content, segment {id}; update it or choose another path")
            }
            Self::NotFound => write!(f, "the path is not in the manifest; register it"),
            Self::Obstructed { by } => {
                write!(f, "the path is file to one segment and directory to another, {by}")
            }
            Self::SealedAtZero => write!(f, "the time that the segment was sealed at is missing"),
            Self::TooLarge { bytes } => {
                write!(f, "the segment has {bytes} bytes, more than {SEGMENT_BYTES_MAX}")
            }
            Self::TooManyLabels { labels } => write!(f, "{labels} labels are more than {LABELS_MAX}"),
            Self::LabelInvalid { label } => write!(
                f,
                "label {label} must have a name, at most {LABEL_BYTES_MAX} bytes a side, and no control characters"
            ),
            Self::LabelRepeated { label } => write!(f, "label {label} is there twice"),
            Self::DeleteReasonTooLong { bytes } => {
                write!(f, "the reason has {bytes} bytes, more than {REASON_BYTES_MAX}")
            }
            Self::ManifestFull => write!(f, "the manifest has {ENTRIES_MAX} entries and takes no more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_outcome_reads_back() {
        let id = SegmentId { index: LogIndex(7), ordinal: 2 };
        let refusals = [
            Refusal::Undecodable,
            Refusal::SessionRetired,
            Refusal::Expired { low_water: u64::MAX },
            Refusal::BatchTooLong { operations: 10_001 },
            Refusal::Operation { ordinal: 3, reason: Reason::Path(PathError::Parent { at: 9 }) },
            Refusal::Operation { ordinal: 0, reason: Reason::Obstructed { by: id } },
        ];
        let mut outcomes: Vec<Outcome> = refusals.map(Outcome::Refused).to_vec();
        outcomes.push(Outcome::SessionOpened);
        outcomes.push(Outcome::Applied { index: LogIndex(9), changed: 2, unchanged: 1 });
        for outcome in outcomes {
            assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
        }
        assert!(Outcome::decode(&[1, 2, 3]).is_err());
        assert!(Outcome::decode(&[0xff; 48]).is_err());
    }

    #[test]
    fn an_outcome_stays_small_because_sessions_keep_many() {
        assert!(size_of::<Outcome>() <= 40, "{}", size_of::<Outcome>());
    }
}
