//! One group's log on disk: entries, vote, what is committed, truncations and purges, in one order and in one stream
//! of records, so that one flush makes durable all that waits.
//!
//! `record` fixes the format, `files` the names and the recipe of a new file, `replay` what the bytes say,
//! `recovery` how a log is opened, `store` what is in memory, `writer` how batches go out, `reader` how entries come
//! back.

mod error;
mod files;
mod index;
mod open;
mod reader;
pub(super) mod record;
mod recovery;
mod replay;
mod shape;
mod storage;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{Fault, LogOpenError, LogStopped};
pub use files::{CREATE, CreateStep};
pub(super) use open::discard;
pub use open::{LogSummary, summary};
pub use record::RecordFault;
pub use store::{Log, LogFigures};

pub(super) use shape::{Shape, entry_of};
