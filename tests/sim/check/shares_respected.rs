//! Limits of bytes per second hold in any time, and what waits for one has its share of what passes.

use std::collections::BTreeMap;

use ringway::config::Direction;
use ringway::ids::{Nanos, NodeId, ShardId};

use super::{Verdict, hold};

/// What of one kind of work has passed a limit until now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Passed {
    pub bytes: u64,
    /// How often somebody had to wait.
    pub waits: u64,
    /// For how long anybody waited.
    pub held_back: Nanos,
}

/// A limit: bytes a second, those that pass at once after a rest, the most that pass in one go, and each kind's share
/// in per cent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    pub rate: u64,
    pub burst: u64,
    pub most: u64,
    pub shares: [u8; 3],
}

/// Whose limit: of which process of a node, of one of its shards or of all of it.
type Of = (NodeId, u32, Option<ShardId>, Direction);

/// What was seen last.
#[derive(Default, Debug)]
struct Seen {
    at: Nanos,
    passed: [Passed; 3],
    /// What has passed beyond the limit, as it drains.
    over: u64,
    /// What each kind is behind its share.
    behind: [u64; 3],
}

/// Every limit of every process.
#[derive(Default, Debug)]
pub struct SharesRespected {
    limits: BTreeMap<Of, Seen>,
    /// The most that was seen of each, to know whether the bounds are near.
    pub over_max: u64,
    pub behind_max: [u64; 3],
}

impl SharesRespected {
    /// What has passed a limit until now.
    ///
    /// # Errors
    /// More than it allows in some time, or a kind of work that waited had less than its share.
    pub fn observe(&mut self, of: Of, limit: Limit, at: Nanos, passed: [Passed; 3]) -> Verdict {
        let seen = self.limits.entry(of).or_default();
        let in_time = |length: Nanos, rate: u64| {
            u64::try_from(u128::from(length.0) * u128::from(rate) / 1_000_000_000).expect("a time of a test")
        };
        let bytes = |passed: &[Passed; 3]| passed.iter().map(|passed| passed.bytes).sum::<u64>();
        let more = bytes(&passed) - bytes(&seen.passed);
        seen.over = (seen.over + more).saturating_sub(in_time(at.since(seen.at), limit.rate));
        self.over_max = self.over_max.max(seen.over);
        // A byte for what the division leaves.
        hold(seen.over <= limit.burst + 1, || {
            format!("{of:?}: {} bytes beyond {limit:?} at {at}", seen.over)
        })?;
        for kind in 0..3 {
            let (now, before) = (passed[kind], seen.passed[kind]);
            // Of what passes, and not of the time: in a process that stands still everybody waits.
            let due =
                if now.held_back > before.held_back { more * u64::from(limit.shares[kind]) / 100 } else { 0 };
            // Whoever waits may wait for one of the others, each time.
            let had = now.bytes - before.bytes + (now.waits - before.waits) * limit.most;
            let behind = &mut seen.behind[kind];
            *behind = (*behind + due).saturating_sub(had);
            self.behind_max[kind] = self.behind_max[kind].max(*behind);
            // Each of the two others may have saved up a burst.
            let most = 2 * limit.burst + limit.most;
            hold(*behind <= most, || {
                format!(
                    "{of:?}: kind {kind} is {behind} bytes behind its share of {limit:?} at {at}: {passed:?}"
                )
            })?;
        }
        (seen.at, seen.passed) = (at, passed);
        Ok(())
    }

    /// So many bytes have been moved under a limit, by whatever counts them.
    ///
    /// # Errors
    /// Some of them have not passed it.
    pub fn moved(&self, of: Of, bytes: u64) -> Verdict {
        let passed =
            self.limits.get(&of).map_or(0, |seen| seen.passed.iter().map(|passed| passed.bytes).sum());
        hold(bytes <= passed, || format!("{of:?}: {bytes} bytes moved, {passed} passed"))
    }
}
