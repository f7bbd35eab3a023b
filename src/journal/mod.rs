//! Small durable records on this disk that are not the log's: what a node has to remember of its own doings.
//!
//! Today it is the proposer's session. A record is replaced as a whole and durable when it counts; damage is a typed
//! error, and whoever owns the record says what takes its place.

mod replace;
mod session;

pub use replace::replace;
pub use session::{SessionFileError, SessionRecord};
