//! What happened to a shard's segments on this node: numbered without a gap, kept through restarts, told from any place
//! that is still kept.
//!
//! `line` is what is in memory, `codec` an event's bytes, `keep` brings them to the disk and reads old ones from there.
//! A consumer hears nothing that is not written, so that a kill takes nothing back that it was told.

mod codec;
mod event;
mod keep;
mod line;

pub use event::{Event, Happening};
pub(super) use keep::{EventWriter, open};
pub use line::{EventsGone, Place};
pub(super) use line::{Line, Local};
