//! One shard on its core: routes events to the rooms below and performs their actions. It takes no decisions of
//! its own.
//!
//! So far its two machines stand: the watermarks, and the numbering of proposals.

#![cfg_attr(not(feature = "sim"), allow(dead_code, reason = "driven by the shard itself, which lands next"))]

pub mod proposer;
pub mod watermark;
