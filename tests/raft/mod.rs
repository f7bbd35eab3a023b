//! Consensus in simulation: groups of one, three and five on simulated disks and networks, with what breaks them.

mod cluster;
mod crash;
mod faults;
mod members;
mod reopened;
mod single;
mod snapshots;
mod tape;

use ringway::ids::Nanos;

pub fn secs(count: u64) -> Nanos {
    Nanos::from_secs(count)
}
