//! One shard on its core: routes events to the rooms below and performs their actions. It takes no decisions of its own.

pub mod proposer;
pub mod watermark;
