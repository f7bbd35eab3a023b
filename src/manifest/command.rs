//! Commands: what a shard's log carries, in format version 1.
//!
//! The bytes that `encode` gives are the bytes proposed, logged, sent to followers and applied: never
//! serialised again. Reading them is checked access in place. A change of these types is a new format
//! version, with new types beside these.

use rkyv::{Archive, Deserialize, Serialize};

use super::outcome::Refusal;
use crate::ids::{Digest, NodeId, SessionId, UnixNanos};
use crate::wire::{DecodeError, ValueBytes, access_value, encode_value};

/// A change of a shard's manifest, as one log entry.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Begins a proposer's session; again is the same.
    OpenSession {
        /// Drawn at random by the proposer.
        session: SessionId,
    },
    /// Ends a session whose proposer is gone; again is the same.
    RetireSession {
        /// The session to end, for good.
        session: SessionId,
    },
    /// Operations, all or none.
    Batch(Batch),
}

/// Operations that happen together or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Batch {
    /// The proposer's session.
    pub session: SessionId,
    /// The proposal's number in its session: what makes it happen at most once.
    pub number: u64,
    /// The proposer has the outcome of every number below this one.
    pub low_water: u64,
    /// The proposer's clock.
    pub proposed_at: UnixNanos,
    /// In order; a later one sees what an earlier one did.
    pub operations: Vec<Operation>,
}

/// One change of one path.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum Operation {
    /// A new path; the same content at the same path again changes nothing.
    Register(Registration),
    /// New content for a path that is there.
    Update(Registration),
    /// No such path any more; nothing if there was none.
    Delete {
        /// The path.
        path: String,
        /// Why: goes into the event, decides nothing.
        reason: String,
    },
}

/// A sealed segment and what is said of it.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Registration {
    /// Where it stands, relative to the shard's directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Root of its digest tree.
    pub root: Digest,
    /// SHA-256 of the whole, where the caller gave or asked for one.
    pub flat: Option<Digest>,
    /// The node that sealed it.
    pub origin: NodeId,
    /// When it was sealed, by the origin's clock.
    pub sealed_at: UnixNanos,
    /// How the engine ranks its storage.
    pub tier: Tier,
    /// The engine's own names and values; no pair twice.
    pub labels: Vec<Label>,
}

/// A name and a value that an engine gives a segment, to find it by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
pub struct Label {
    /// For example `measurement`.
    pub name: String,
    /// For example `cpu`.
    pub value: String,
}

/// How an engine ranks a segment's storage: 0 is the hottest.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Archive, Serialize, Deserialize,
)]
pub struct Tier(pub u8);

impl Command {
    /// The bytes to propose.
    #[must_use]
    pub fn encode(&self) -> ValueBytes {
        encode_value(self)
    }

    /// The node in whose name the bytes of a command change the manifest: the owner of the session, and the origin of
    /// everything in a batch. `None` if the origin of something in it is another node.
    ///
    /// # Errors
    /// The bytes are no command of this format, or too many.
    pub fn proposer(bytes: &[u8]) -> Result<Option<NodeId>, DecodeError> {
        let mut scratch = ValueBytes::new();
        let batch = match Self::access(bytes, &mut scratch)? {
            ArchivedCommand::OpenSession { session } | ArchivedCommand::RetireSession { session } => {
                return Ok(Some(session.native().node()));
            }
            ArchivedCommand::Batch(batch) => batch,
        };
        let node = batch.session.native().node();
        let is_own = |operation: &ArchivedOperation| match operation {
            ArchivedOperation::Register(one) | ArchivedOperation::Update(one) => one.origin.native() == node,
            ArchivedOperation::Delete { .. } => true,
        };
        Ok(batch.operations.iter().all(is_own).then_some(node))
    }

    /// Reads a command in place, after checking all of it. `scratch` is used only if `bytes` are not aligned.
    ///
    /// # Errors
    /// The bytes are no command of this format, or too many.
    pub fn access<'a>(
        bytes: &'a [u8],
        scratch: &'a mut ValueBytes,
    ) -> Result<&'a ArchivedCommand, DecodeError> {
        access_value(bytes, scratch)
    }
}

/// How a proposer hears of bytes that are no command.
pub(super) fn refusal(error: &DecodeError) -> Refusal {
    match error {
        DecodeError::TooLong { bytes } => Refusal::EntryTooLong { bytes: *bytes as u64 },
        DecodeError::Invalid { .. } => Refusal::Undecodable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ENTRY_BYTES_MAX;
    use crate::wire::VALUE_ALIGNMENT;

    fn command() -> Command {
        let registration = Registration {
            path: "db/cpu/1.parquet".to_owned(),
            bytes: 77,
            root: Digest([1; 32]),
            flat: Some(Digest([2; 32])),
            origin: NodeId(3),
            sealed_at: UnixNanos(5),
            tier: Tier(1),
            labels: vec![Label { name: "database".to_owned(), value: "db".to_owned() }],
        };
        let delete = Operation::Delete { path: "old".to_owned(), reason: "compaction:9".to_owned() };
        Command::Batch(Batch {
            session: SessionId([9; 16]),
            number: 4,
            low_water: 2,
            proposed_at: UnixNanos(6),
            operations: vec![Operation::Register(registration), delete],
        })
    }

    #[test]
    fn a_command_reads_back_from_any_alignment() {
        let bytes = command().encode();
        for shift in 0..VALUE_ALIGNMENT {
            let mut moved = ValueBytes::new();
            moved.resize(shift, 0);
            moved.extend_from_slice(&bytes);
            let mut scratch = ValueBytes::new();
            let archived = Command::access(&moved[shift..], &mut scratch).expect("valid");
            let back: Command = rkyv::deserialize::<_, rkyv::rancor::Error>(archived).expect("valid");
            assert_eq!(back, command());
            assert_eq!(scratch.is_empty(), shift == 0, "a copy is made only where it must be");
        }
    }

    #[test]
    fn a_command_tells_in_whose_name_it_is_made() {
        let session = SessionId::of(NodeId(3), [1; 8]);
        for own in [Command::OpenSession { session }, Command::RetireSession { session }] {
            assert_eq!(Command::proposer(&own.encode()), Ok(Some(NodeId(3))));
        }
        let Command::Batch(batch) = command() else { unreachable!("it is one") };
        let own = Command::Batch(Batch { session, ..batch.clone() });
        assert_eq!(Command::proposer(&own.encode()), Ok(Some(NodeId(3))), "origin and session are node 3's");
        let other = Command::Batch(Batch { session: SessionId::of(NodeId(4), [1; 8]), ..batch });
        assert_eq!(Command::proposer(&other.encode()), Ok(None), "node 4 seals nothing for node 3");
        assert!(Command::proposer(b"no command").is_err());
    }

    #[test]
    fn the_same_command_gives_the_same_bytes() {
        assert_eq!(command().encode().as_slice(), command().encode().as_slice());
    }

    #[test]
    fn damaged_bytes_give_an_error_or_another_command_and_never_a_panic() {
        let bytes = command().encode();
        let mut scratch = ValueBytes::new();
        for length in 0..bytes.len() {
            let _ = Command::access(&bytes[..length], &mut scratch);
        }
        let mut refused = 0;
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            refused += usize::from(Command::access(&bad, &mut scratch).is_err());
        }
        assert!(refused > 100, "checked access looks at the bytes: {refused}");
        assert!(Command::access(&[], &mut scratch).is_err());
        let long = vec![0; ENTRY_BYTES_MAX + 1];
        let error = Command::access(&long, &mut scratch).err();
        assert_eq!(error, Some(DecodeError::TooLong { bytes: ENTRY_BYTES_MAX + 1 }));
    }
}
