//! One shard on its core: routes events to the rooms below and performs their actions.

mod announce;
mod attempt;
mod catch_up;
mod checkpoint;
mod derive;
mod events;
mod figures;
mod forward;
mod leaving;
mod obtain;
mod parts;
mod propose;
mod proposer;
mod registrar;
mod room;
mod session;
mod settle;
#[expect(clippy::module_inception, reason = "the room is named after the thing that it owns")]
mod shard;
mod sync;
mod watermark;

pub use attempt::Attempt;
pub use checkpoint::{Captured, CheckpointPlace};
pub use events::{Event, EventsGone, Happening, Place};
pub use leaving::Pin;
pub use parts::{Addresses, Overdue, ShardParts, StartError, Transfers};
pub use propose::{Done, Level, ProposalError};
pub use registrar::{EnqueueError, RegistrarFigures};
pub use shard::Shard;
pub use sync::{Behind, NotSynced, Synced};
pub use watermark::{Installed, Lack, Lag, Watermarks};
