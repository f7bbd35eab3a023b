//! Tests of the simulator itself and, room by room, of the product in simulation.

#[path = "sim/mod.rs"]
mod sim;

#[path = "sim/self_test/disk.rs"]
mod disk;
#[path = "sim/self_test/net.rs"]
mod net;

#[path = "sim/self_test/check.rs"]
mod check;

#[path = "sim/self_test/conformance.rs"]
mod conformance;

#[path = "sim/self_test/world.rs"]
mod world;

#[path = "transport/mod.rs"]
mod transport;

#[path = "transfer/mod.rs"]
mod transfer;

#[path = "raft/mod.rs"]
mod raft;

#[path = "nodes/mod.rs"]
mod nodes;
