//! Bad input, from outside, through the binary: each gets a clear line, its exit code, and nothing is lost. What else
//! is refused at a start stands in `tests/cluster/bad_input.rs` and `tests/pull.rs`; on the wire, in `tests/transport`.
//!
//! What the machine lacks is skipped by name, and the name is printed: `skipped: …`.

mod asking;
#[path = "../cluster/bench.rs"]
#[allow(dead_code, reason = "the clusters' tests use the rest")]
mod bench;
#[path = "../binary/mod.rs"]
mod binary;
mod changing;
mod damage;
mod disk;
mod full_disk;
mod hostile;
mod hosts;
mod interrupted;
mod joining;
mod rejoin;
mod silent;
mod tools;
#[path = "../binary/without.rs"]
mod without;
