//! The manifest's promises: against a naive model, across snapshots, and case by case.

mod batches;
mod differences;
mod properties;
mod snapshots;
