//! What happened on this node, in files that a consumer can be told from after a restart.
//!
//! `format` fixes the bytes, `store` the files: written on, begun anew when one has its bytes, the oldest removed.
//! Events are opaque here. They are soft: nothing but a consumer's place depends on them, so what cannot be read ends
//! the line, and whoever stood behind it is told so.

mod format;
mod store;

pub use format::{EventBatch, EventsFault, EventsHead, put_events_batch, put_events_head, read_events};
pub use store::{EventFiles, EventsFound, is_events};
