//! One shard on its core: routes events to the rooms below and performs their actions.

mod announce;
mod catch_up;
mod event;
mod forward;
mod obtain;
mod parts;
mod propose;
mod proposer;
mod room;
mod session;
#[expect(clippy::module_inception, reason = "the room is named after the thing that it owns")]
mod shard;
mod watermark;

pub use event::{Event, Events, EventsGone, Happening};
pub use parts::{Addresses, ShardParts, StartError, Transfers};
pub use propose::{Asked, Done, Level, ProposalError};
pub use shard::Shard;
pub use watermark::{Installed, Watermarks};
