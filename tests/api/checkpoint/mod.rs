//! Checkpoints of engines with mutable files (row S6): what the replicas have of them is what the engine had when it
//! held still.

mod consistent;
mod ends;
mod engine;
mod files;
mod killed;
mod refused;
