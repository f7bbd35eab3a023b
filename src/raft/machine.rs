//! What a group replicates: a state that commands change in log order, the same on every replica. Two of them are
//! behind this trait: a shard's manifest and the cluster's state.

use std::fmt;

use rkyv::util::AlignedVec;

use crate::cluster::{self, ClusterState};
use crate::ids::LogIndex;
use crate::limits::{ENTRY_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::manifest::{self, Installer, Replaced, SnapshotWriter, State};

/// Entries of a replaced manifest that are let go of in one turn: half a millisecond. A million at once take 0.9 s.
const SHED_ENTRIES: usize = 512;

/// A replicated state.
pub trait Machine: Sized + fmt::Debug + 'static {
    /// What applying one command gave: for those who act on it here.
    type Effect;
    /// A view of the state at one index, on its way into a snapshot.
    type Frozen: 'static;
    /// A state that comes in part by part.
    type Incoming;
    /// Why a snapshot is refused.
    type Refused: std::error::Error + 'static;

    /// Bytes of the largest snapshot that there can be.
    const SNAPSHOT_BYTES_MAX: u64 = SNAPSHOT_BYTES_MAX;

    /// The state before the first entry.
    fn empty() -> Self;

    /// Applies the command that the log carries at `index`.
    fn apply(&mut self, index: LogIndex, command: &[u8]) -> Self::Effect;

    /// What the proposer is told.
    fn outcome(effect: &Self::Effect) -> Vec<u8>;

    /// Passes over an entry that is no command.
    fn pass(&mut self, index: LogIndex);

    /// The last entry applied.
    fn applied(&self) -> LogIndex;

    /// Begins a snapshot of the state as it is now.
    fn freeze(&mut self) -> Self::Frozen;

    /// The next part of a snapshot; nothing after the last.
    ///
    /// # Errors
    /// The state was replaced since.
    fn next_part(&self, frozen: &mut Self::Frozen) -> Result<Option<AlignedVec<16>>, Replaced>;

    /// Begins to take a snapshot in.
    fn incoming() -> Self::Incoming;

    /// Takes the next part in.
    ///
    /// # Errors
    /// The part is not what was due.
    fn push_part(incoming: Self::Incoming, part: &[u8]) -> Result<Self::Incoming, Self::Refused>;

    /// The state, when the last part is in.
    ///
    /// # Errors
    /// Parts are missing.
    fn finish(incoming: Self::Incoming) -> Result<Self, Self::Refused>;

    /// Lets go of a part of a state that was replaced, in a short piece of work; whether anything is left that takes
    /// longer.
    fn shed(&mut self) -> bool {
        false
    }
}

/// What happened to a state, for those who act on it.
#[derive(Debug)]
pub enum Applied<'a, M: Machine> {
    /// A command was applied.
    Command {
        /// Its index.
        index: LogIndex,
        /// What it gave.
        effect: M::Effect,
        /// The state after it.
        state: &'a M,
    },
    /// An entry without a command was passed.
    Passed {
        /// Its index.
        index: LogIndex,
    },
    /// The state was replaced by a snapshot.
    Installed {
        /// The new state.
        state: &'a M,
    },
}

impl Machine for State {
    type Effect = manifest::Effect;
    type Frozen = SnapshotWriter;
    type Incoming = Installer;
    type Refused = manifest::SnapshotError;

    fn empty() -> Self {
        Self::new()
    }

    fn apply(&mut self, index: LogIndex, command: &[u8]) -> manifest::Effect {
        Self::apply(self, index, command)
    }

    fn outcome(effect: &manifest::Effect) -> Vec<u8> {
        effect.outcome.encode().to_vec()
    }

    fn pass(&mut self, index: LogIndex) {
        Self::pass(self, index);
    }

    fn applied(&self) -> LogIndex {
        Self::applied(self)
    }

    fn freeze(&mut self) -> SnapshotWriter {
        Self::freeze(self)
    }

    fn next_part(&self, frozen: &mut SnapshotWriter) -> Result<Option<AlignedVec<16>>, Replaced> {
        frozen.next_part(self)
    }

    fn incoming() -> Installer {
        Installer::new()
    }

    fn push_part(incoming: Installer, part: &[u8]) -> Result<Installer, manifest::SnapshotError> {
        incoming.push(part)
    }

    fn finish(incoming: Installer) -> Result<Self, manifest::SnapshotError> {
        incoming.finish()
    }

    fn shed(&mut self) -> bool {
        Self::shed(self, SHED_ENTRIES)
    }
}

/// A cluster's state on its way in: it has one part.
#[derive(Debug)]
pub struct IncomingCluster(Option<ClusterState>);

/// Why a cluster's snapshot is refused.
#[derive(Debug)]
pub enum ClusterRefused {
    /// The part is not a cluster's state.
    Part(cluster::SnapshotError),
    /// There are more parts than one, or none.
    Parts,
}

impl fmt::Display for ClusterRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(error) => error.fmt(f),
            Self::Parts => f.write_str("a cluster's snapshot has one part"),
        }
    }
}

impl std::error::Error for ClusterRefused {}

impl Machine for ClusterState {
    type Effect = cluster::Effect;
    /// The whole of it: the state is small.
    type Frozen = Option<AlignedVec<16>>;
    type Incoming = IncomingCluster;
    type Refused = ClusterRefused;

    /// One part, behind the head.
    const SNAPSHOT_BYTES_MAX: u64 = 3 * ENTRY_BYTES_MAX as u64;

    fn empty() -> Self {
        Self::new()
    }

    fn apply(&mut self, index: LogIndex, command: &[u8]) -> cluster::Effect {
        Self::apply(self, index, command)
    }

    fn outcome(effect: &cluster::Effect) -> Vec<u8> {
        effect.outcome.encode().to_vec()
    }

    fn pass(&mut self, index: LogIndex) {
        Self::pass(self, index);
    }

    fn applied(&self) -> LogIndex {
        Self::applied(self)
    }

    fn freeze(&mut self) -> Option<AlignedVec<16>> {
        Some(self.snapshot())
    }

    fn next_part(&self, frozen: &mut Option<AlignedVec<16>>) -> Result<Option<AlignedVec<16>>, Replaced> {
        Ok(frozen.take())
    }

    fn incoming() -> IncomingCluster {
        IncomingCluster(None)
    }

    fn push_part(incoming: IncomingCluster, part: &[u8]) -> Result<IncomingCluster, ClusterRefused> {
        if incoming.0.is_some() {
            return Err(ClusterRefused::Parts);
        }
        Self::install(part).map(|state| IncomingCluster(Some(state))).map_err(ClusterRefused::Part)
    }

    fn finish(incoming: IncomingCluster) -> Result<Self, ClusterRefused> {
        incoming.0.ok_or(ClusterRefused::Parts)
    }
}
