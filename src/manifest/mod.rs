//! The replicated state of a shard: entries, apply, versions, snapshots, difference, safe paths. Pure.
