//! The way to the other members of a group: streams of the transport, calls with numbers, many at a time.
//!
//! `line` is one stream and the calls that wait for their answers on it; `client` is what openraft calls; `pipeline`
//! keeps several messages with entries on their way; `send` moves a snapshot.

mod client;
mod error;
mod line;
mod lines;
mod pipeline;
mod send;

pub use error::CallError;
pub use lines::Resolve;

pub(super) use lines::{LineUse, Lines};
