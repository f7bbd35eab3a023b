//! The deterministic simulator: a disk, a network and a clock behind the seam `ringway::uring::Ring`.
//!
//! A test makes a `Sim` from a seed, boots nodes, asks for cores and runs the product on them. `SEED=n` runs one seed,
//! `TRACE=1` prints the event log.
#![expect(clippy::wildcard_enum_match_arm, reason = "operations are matched family by family")]
#![allow(dead_code, unused_imports, reason = "each test binary takes what it needs of this toolbox")]

pub mod check;
pub mod disk;
mod disk_jobs;
pub mod faults;
pub mod harness;
pub mod job;
pub mod net;
pub mod node;
pub mod options;
mod processes;
pub mod ring;
pub mod rng;
pub mod trace;
pub mod world;

pub use disk::Loss;
pub use faults::{Crash, Fault, How, Rule};
pub use harness::{Ended, Sim, each_seed, seed_or, twice};
pub use job::OpKind;
pub use net::Link;
pub use options::{DiskOptions, NetOptions, SimOptions};
pub use rng::{Chance, Rng};
