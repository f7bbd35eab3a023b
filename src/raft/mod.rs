//! Consensus: the log, driving openraft, its network and its state machines. openraft's types stop at this door.
#![cfg_attr(not(test), expect(dead_code, unused_imports, reason = "used by shard, which comes next"))]

mod runtime;
