//! Clusters of three and five whole nodes in simulation: the product's own code from the embedder's handle to the
//! disk, under the product's own API and everything that breaks.
//!
//! `SEED=n` replays one seed of a campaign; `scripts/simulate.sh --seeds N` runs many.

mod answers;
mod broken;
mod campaign;
mod cases;
mod checks;
mod churn;
mod cluster;
mod compacted;
mod elsewhere;
mod faults;
mod fetched;
mod follow;
mod host;
mod impostor;
mod ledger;
mod lend;
mod linked;
mod load;
mod registrar;
mod regressions;
mod returning;
mod seeds;
mod settle;
mod shares;
mod spread;
mod synced;
mod updates;
mod workload;

use ringway::ids::Nanos;

pub fn secs(count: u64) -> Nanos {
    Nanos::from_secs(count)
}

pub const fn millis(count: u64) -> Nanos {
    Nanos::from_millis(count)
}
