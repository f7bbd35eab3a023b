//! The queue in front of the manifest: changes that are durable on this disk before anybody is told so, and stay until
//! it is known what became of them.
//!
//! `format` fixes the bytes and says what those of a file mean, `store` what is in memory, `writer` how it goes out:
//! what waits together, with one write and one flush. Content is opaque here.

mod error;
mod format;
mod store;
mod writer;

pub use error::{QueueFault, QueueFileError};
pub use format::{Held, Kept, Line, Refused, Sent, put_batch, put_head, replay};
pub use store::{NAME, Queue, QueueFigures, QueueFull};
