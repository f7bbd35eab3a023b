//! The deterministic simulator: disks, a network and clocks behind the seam `ringway::uring::Ring`, on one thread.
//!
//! ```ignore
//! each_seed(100, |seed| {
//!     let mut sim = Sim::new(seed, SimOptions::default());
//!     let node = sim.node(1);                             // a host with an empty /data, address 10.0.0.1
//!     let core = sim.core(node, 0);                       // a core of its process, over a simulated ring
//!     sim.later(Nanos::from_millis(5), move |sim| sim.power_cut(node));
//!     let done = sim.try_block_on(&core, write_something());  // None: the node went down first
//!     sim.restart(node);                                  // the old core is dead: ask for a new one
//!     let core = sim.core(node, 0);
//!     assert_eq!(sim.block_on(&core, read_it_back()), done);
//! });
//! ```
//!
//! `SEED=n` runs one seed, `SEEDS=n` that many, `TRACE=1` prints the event log. A failing run prints its seed.
//!
//! - **Disk** (`disk/`): what a sync covers is what was complete when it was asked for. At a power cut every unsynced
//!   block is kept, lost or torn by sectors, sizes in the order of their changes; names of a directory in the order of
//!   their changes; a sync of a file makes no name durable; a rename between directories may show both names, never
//!   none. A failing sync marks pages clean and loses them. Inode numbers are given away again, stamps are 4 ms coarse.
//! - **Network** (`net/`): ordered streams cut into random segments, windows, acknowledgements, retried dials, resets,
//!   one-way and full partitions, cuts after so many bytes, corrupted bytes. Two sends at once on one connection panic.
//! - **Processes**: a kill drops tasks without letting them act; locks and ports may outlive it by milliseconds; each
//!   node's monotonic clock begins anywhere; descriptors are the lowest free number and belong to one core.
//! - **Fault plans** (`faults.rs`): `sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("raft"))`;
//!   `Fault::Crash` with `on_durable_steps().skip(n)` ends a node before or after the nth step of a recipe.
//! - **Invariants** (`check/`): one file each, fed with plain facts.
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
