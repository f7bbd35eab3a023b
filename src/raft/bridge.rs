//! Which way leads a member to what its leader has: the log, or a snapshot. Pure.

use crate::ids::LogIndex;

/// Which way leads a member to what its leader has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bridge {
    /// The leader's log has every entry that the member lacks.
    Log,
    /// The leader has let go of entries that the member lacks: a snapshot comes first.
    Snapshot,
    /// The member has entries that the leader does not have: they were never committed, and go.
    Diverged,
}

/// The way for a member whose log ends with entry `member` to a leader whose log has the entries from `first` to
/// `last`; a log that has none begins behind its end.
#[must_use]
pub fn bridge(member: LogIndex, first: LogIndex, last: LogIndex) -> Bridge {
    if member > last {
        return Bridge::Diverged;
    }
    if member.0.saturating_add(1) >= first.0 { Bridge::Log } else { Bridge::Snapshot }
}

impl Bridge {
    /// Its name in status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Diverged => "diverged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FerricStore copies everything where the member's last entry is the one before the log's first.
    #[test]
    fn s1_the_log_bridges_from_the_entry_before_its_first() {
        use Bridge::{Diverged, Log, Snapshot};
        let cases = [
            // member, first, last
            (0, 1, 0, Log),
            (0, 1, 9, Log),
            (9, 1, 9, Log),
            (4, 5, 9, Log),
            (5, 5, 9, Log),
            (3, 5, 9, Snapshot),
            (0, 5, 9, Snapshot),
            (0, 2, 1, Snapshot),
            (1, 2, 1, Log),
            (10, 5, 9, Diverged),
            (1, 1, 0, Diverged),
            (u64::MAX, 1, u64::MAX, Log),
        ];
        for (member, first, last, way) in cases {
            let found = bridge(LogIndex(member), LogIndex(first), LogIndex(last));
            assert_eq!(found, way, "a member at {member}, a log from {first} to {last}");
        }
    }
}
