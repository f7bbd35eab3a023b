//! The door for embedders and for the command line: serving and pulling a directory, digests, and the adapter
//! that turns an engine's directory into batches of changes.

mod adapter;
mod boot;
mod cache;
mod change;
mod digests;
mod listing;
mod point;
mod pull;
mod run;
mod scan;
mod serve;
mod tree;

pub use adapter::{Cut, CutError, DirectoryAdapter, SealRule};
pub use change::{Change, Sealed};
pub use digests::{flat_digest, tree_digest};
pub use pull::{PullError, PullOptions, PullProgress, PullReport};
pub use run::{ServeOptions, pull, serve};
pub use scan::DigestProgress;
pub use serve::ServeError;
pub use tree::{Facts, Found, SkipReason, Skipped, Walk, walk};
