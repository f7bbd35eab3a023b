//! Moving segments: the plan (pure), fetching by verified chunk, serving, landing in batches.
//!
//! What to fetch is always the difference between the applied manifest and the verified inventory; the plan holds a
//! bounded part of it and asks for the rest when there is room again (ARCHITECTURE.md, D11).

mod aside;
mod bucket;
mod directory;
mod drive;
mod failure;
mod fetch;
mod helper;
mod helpers;
mod land;
mod lend;
mod link;
mod look;
mod pace;
mod pieces;
mod plan;
mod resolve;
mod serve;
mod session;
mod share;
mod source;
mod spread;
mod together;

pub use bucket::Passed;
pub use directory::{Directory, Served};
pub use drive::{Driver, Hook};
pub use failure::{Failure, Fetched};
pub use fetch::Fetcher;
pub use helper::{Helper, Loan};
pub use helpers::Helpers;
pub use link::{Inquiry, Neighbours};
pub use pace::{LimitFigures, Limits, Pace, Pacer};
pub use plan::{Plan, Start, Unavailable, Want};
pub use resolve::Resolver;
pub use serve::{Desk, Holdings, Page, Pages, serve};
pub use share::{Share, Told};
pub use source::{Announced, Sources, back_off};
pub use spread::Part;
