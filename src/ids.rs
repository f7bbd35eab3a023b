//! The newtypes of every room: who, which, when. Plain values; no I/O and no rules beyond their own form.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $archived:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
        #[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug), attr(doc(hidden)))]
        pub struct $name(pub $inner);

        impl $archived {
            /// The value in the machine's own form.
            #[must_use]
            pub fn native(self) -> $name {
                $name(self.0.to_native())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A node: one process taking part in a cluster. Chosen by the operator, from 1.
    NodeId(u64),
    ArchivedNodeId
);
number!(
    /// A Raft group. Group 0 is the cluster group; the group of shard `s` is `s + 1`.
    GroupId(u32),
    ArchivedGroupId
);
number!(
    /// A partition of the data: one data directory, one Raft group, one manifest. Counts from 0.
    ShardId(u32),
    ArchivedShardId
);
number!(
    /// A stream of one connection: an odd number, opened by the side that dialled. 0 is the connection itself.
    StreamId(u32),
    ArchivedStreamId
);
number!(
    /// A Raft term.
    Term(u64),
    ArchivedTerm
);
number!(
    /// A Raft log index. 0 is before the first entry.
    LogIndex(u64),
    ArchivedLogIndex
);
number!(
    /// Monotonic time of one core's clock, in nanoseconds from an arbitrary start.
    Nanos(u64),
    ArchivedNanos
);
number!(
    /// Wall-clock time, in nanoseconds since the Unix epoch.
    UnixNanos(u64),
    ArchivedUnixNanos
);

impl GroupId {
    /// The cluster group: nodes, addresses, incarnations, shard map.
    pub const CLUSTER: Self = Self(0);

    /// The shard that this group replicates; `None` for the cluster group.
    #[must_use]
    pub fn shard(self) -> Option<ShardId> {
        self.0.checked_sub(1).map(ShardId)
    }

    /// The group's fixed folder below a node's data root.
    #[must_use]
    pub fn folder(self) -> String {
        self.shard().map_or_else(|| "cluster".to_owned(), |shard| format!("shard-{:04}", shard.0))
    }
}

/// The one stable name of a group's server on a node, in logs, status and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId {
    /// The node that hosts the server.
    pub node: NodeId,
    /// The Raft group that it serves.
    pub group: GroupId,
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.group.folder())
    }
}

impl ServerId {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (node, group) = text.split_once('@')?;
        let group = match group.strip_prefix("shard-") {
            Some(shard) => GroupId(shard.parse::<u32>().ok()?.checked_add(1)?),
            None if group == "cluster" => GroupId::CLUSTER,
            None => return None,
        };
        let id = Self { node: NodeId(node.parse().ok()?), group };
        (id.to_string() == text).then_some(id)
    }
}

impl ShardId {
    /// The Raft group of this shard.
    #[must_use]
    pub fn group(self) -> GroupId {
        GroupId(self.0 + 1)
    }
}

impl Nanos {
    /// One millisecond.
    pub const MILLISECOND: Self = Self(1_000_000);
    /// One second.
    pub const SECOND: Self = Self(1_000_000_000);

    /// `count` milliseconds.
    #[must_use]
    pub const fn from_millis(count: u64) -> Self {
        Self(count.saturating_mul(1_000_000))
    }

    /// `count` seconds.
    #[must_use]
    pub const fn from_secs(count: u64) -> Self {
        Self(count.saturating_mul(1_000_000_000))
    }

    /// This instant moved by `length`, at most the end of time.
    #[must_use]
    pub const fn plus(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// The length from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl From<Nanos> for std::time::Duration {
    fn from(length: Nanos) -> Self {
        Self::from_nanos(length.0)
    }
}

impl From<std::time::Duration> for Nanos {
    /// As long as can be told: 584 years.
    fn from(length: std::time::Duration) -> Self {
        Self(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
    }
}

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident($len:literal), $archived:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
        #[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug), attr(doc(hidden)))]
        pub struct $name(pub [u8; $len]);

        impl $archived {
            /// The value in the machine's own form.
            #[must_use]
            pub fn native(self) -> $name {
                $name(self.0)
            }
        }

        impl $name {
            /// Size in bytes, on disk and wire.
            pub const BYTES: usize = $len;

            /// Reads lower- or upper-case hexadecimal of exactly this size.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                hex_decode(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(hex_encode(self.0).as_flattened()).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

bytes!(
    /// A SHA-256 value: of a leaf, a chunk, a segment's root, or a flat file.
    Digest(32),
    ArchivedDigest
);
bytes!(
    /// A cluster, drawn at random by its one bootstrap.
    ClusterId(16),
    ArchivedClusterId
);
bytes!(
    /// One life of a data root, drawn at random when the root is made. A node that returns with another
    /// incarnation is not the old voter.
    Incarnation(16),
    ArchivedIncarnation
);
bytes!(
    /// A proposer's durable session; its proposals are numbered within it. Its node, then eight bytes of chance.
    SessionId(16),
    ArchivedSessionId
);

impl SessionId {
    /// A session of a node, told from its others by chance.
    #[must_use]
    pub fn of(node: NodeId, chance: [u8; 8]) -> Self {
        let mut id = Self::default();
        id.0[..8].copy_from_slice(&node.0.to_le_bytes());
        id.0[8..].copy_from_slice(&chance);
        id
    }

    /// The node that proposes in it.
    #[must_use]
    pub fn node(self) -> NodeId {
        let mut node = [0; 8];
        node.copy_from_slice(&self.0[..8]);
        NodeId(u64::from_le_bytes(node))
    }
}

/// A segment: the log index of the entry that registered it and its place in that entry's batch.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Archive, Serialize, Deserialize,
)]
#[rkyv(derive(Clone, Copy, PartialEq, Eq, Debug), attr(doc(hidden)))]
pub struct SegmentId {
    /// Log index of the registering entry.
    pub index: LogIndex,
    /// Place in the entry's batch, from 0.
    pub ordinal: u32,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.ordinal)
    }
}

impl ArchivedSegmentId {
    /// The value in the machine's own form.
    #[must_use]
    pub fn native(self) -> SegmentId {
        SegmentId { index: self.index.native(), ordinal: self.ordinal.to_native() }
    }
}

impl SegmentId {
    /// Above every other.
    pub const MAX: Self = Self { index: LogIndex(u64::MAX), ordinal: u32::MAX };

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, ordinal) = text.split_once('.')?;
        let id = Self { index: LogIndex(index.parse().ok()?), ordinal: ordinal.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The lower-case digits of each byte.
pub(crate) fn hex_encode<const N: usize>(bytes: [u8; N]) -> [[u8; 2]; N] {
    bytes.map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
}

/// What each byte is worth as a hexadecimal digit of either case; `NO_DIGIT` where it is none.
const DIGITS: [u8; 256] = {
    let (mut digits, mut value) = ([NO_DIGIT; 256], 0);
    while value < HEX.len() {
        digits[HEX[value] as usize] = value as u8;
        digits[HEX[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// Reads lower- or upper-case hexadecimal of exactly `N` bytes.
pub(crate) fn hex_decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut seen = 0;
    let bytes = pairs.map(|pair| {
        let [high, low] = pair.map(|digit| DIGITS[usize::from(digit)]);
        seen |= high | low;
        high << 4 | low
    });
    (seen != NO_DIGIT).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips_and_refuses_other_lengths() {
        let id = ClusterId([0xab; 16]);
        assert_eq!(ClusterId::from_hex(&id.to_string()), Some(id));
        assert_eq!(ClusterId::from_hex("ab"), None);
        assert_eq!(ClusterId::from_hex(&"+a".repeat(16)), None);
    }

    #[test]
    fn a_segment_id_reads_what_it_writes() {
        let id = SegmentId { index: LogIndex(7), ordinal: 3 };
        assert_eq!(SegmentId::parse(&id.to_string()), Some(id));
        for text in ["7", "+7.3", "07.3", "7.3.1", "7."] {
            assert_eq!(SegmentId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn r6_a_server_has_one_name_and_one_folder() {
        for group in [GroupId::CLUSTER, ShardId(0).group(), ShardId(12_345).group()] {
            let id = ServerId { node: NodeId(3), group };
            assert_eq!(ServerId::parse(&id.to_string()), Some(id));
        }
        let id = ServerId { node: NodeId(3), group: ShardId(4).group() };
        assert_eq!(id.to_string(), "3@shard-0004");
        assert_eq!(ServerId::parse("3@shard-4"), None, "one name only");
        assert_eq!(ServerId::parse("3@other"), None);
        assert_eq!(GroupId::CLUSTER.folder(), "cluster");
    }

    #[test]
    fn groups_and_shards_map_one_to_one() {
        assert_eq!(ShardId(4).group().shard(), Some(ShardId(4)));
        assert_eq!(GroupId::CLUSTER.shard(), None);
    }
}
