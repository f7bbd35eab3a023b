//! What a group is told when it is opened.

use std::fmt;

use openraft::{Config, ConfigError, SnapshotPolicy};

use crate::ids::{GroupId, Nanos, NodeId};
use crate::limits::{
    APPEND_ENTRIES_MAX, ELECTION_MAX_DEFAULT, ELECTION_MIN_DEFAULT, HEARTBEAT_DEFAULT, LOG_ENTRIES_KEPT,
    SNAPSHOT_LOG_BYTES, SNAPSHOT_LOG_ENTRIES,
};
use crate::raft::keeper::Hook;
use crate::raft::machine::Machine;
use crate::raft::network::Resolve;
use crate::transport::Transport;
use crate::uring::{Dir, Gate};

/// All that a group needs.
pub struct GroupOptions<M: Machine> {
    /// Which group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// The group's own directory: log and snapshots.
    pub dir: Dir,
    /// The gate of that directory's device.
    pub gate: Option<Gate>,
    /// The way to other nodes.
    pub transport: Transport,
    /// Finds where a member listens; without it the member's own address is read.
    pub resolve: Option<Resolve>,
    /// Told of everything that happens to the state.
    pub hook: Option<Hook<M>>,
    /// Times and bounds.
    pub config: GroupConfig,
}

/// A group's times and bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// Between two signs of life of a leader.
    pub heartbeat: Nanos,
    /// Shortest time behind the end of a leader's lease after which a follower stands for election.
    pub election_min: Nanos,
    /// The longest; and a leader's lease.
    pub election_max: Nanos,
    /// Bytes written to the log after which the state goes into a snapshot.
    pub snapshot_log_bytes: u64,
    /// Entries after which the state goes into a snapshot.
    pub snapshot_log_entries: u64,
    /// Entries before a snapshot that stay in the log.
    pub log_entries_kept: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            heartbeat: HEARTBEAT_DEFAULT,
            election_min: ELECTION_MIN_DEFAULT,
            election_max: ELECTION_MAX_DEFAULT,
            snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
            snapshot_log_entries: SNAPSHOT_LOG_ENTRIES,
            log_entries_kept: LOG_ENTRIES_KEPT,
        }
    }
}

impl GroupConfig {
    /// openraft's configuration, with what its defaults leave off: pre-vote, entries sent beside the own flush.
    ///
    /// Snapshots are ours to begin: openraft would end the group when one cannot be written. A leader that was
    /// restarted stands for election like everybody else: openraft would let it go on in its old term, although it
    /// may have lost entries of that term that it had sent and not flushed, and it would write others under the same
    /// term and index (found by `all_nodes_lose_power_at_once_and_nothing_is_lost`, seed 4).
    ///
    /// A follower whose log has become shorter than it had said gets the rest again. The log finds such a loss by
    /// itself but for one case (`log::tail`); a leader that would not hear of it would never serve that follower.
    pub(super) fn openraft(&self, group: GroupId) -> Result<Config, ConfigError> {
        let millis = |length: Nanos| length.0 / Nanos::MILLISECOND.0;
        Config {
            cluster_name: group.folder(),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            heartbeat_interval: millis(self.heartbeat),
            max_payload_entries: APPEND_ENTRIES_MAX as u64,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            purge_batch_size: 1,
            backoff: "50ms".to_owned(),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(true),
            broadcast_submitted_on_append: Some(true),
            ..Config::default()
        }
        .validate()
    }
}

impl<M: Machine> fmt::Debug for GroupOptions<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupOptions({} on {})", self.group.folder(), self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest time was configured and not used: it was twice the shortest, whatever had been said.
    #[test]
    fn consensus_has_the_times_that_were_configured() {
        let given = GroupConfig {
            heartbeat: Nanos::from_millis(20),
            election_min: Nanos::from_millis(60),
            election_max: Nanos::from_millis(70),
            ..GroupConfig::default()
        };
        let config = given.openraft(GroupId(3)).expect("the times are in order");
        let times = (config.heartbeat_interval, config.election_timeout_min, config.election_timeout_max);
        assert_eq!(times, (20, 60, 70));
    }
}
