//! Moving segments: the plan (pure), fetching by verified chunk, serving, landing in batches.
//!
//! What to fetch is always the difference between the applied manifest and the verified inventory; the plan holds a
//! bounded part of it and asks for the rest when there is room again (ARCHITECTURE.md, D11).

pub mod plan;
pub mod source;
