//! What this host can do for a node, found by trying, and what to change where it could do more.

mod check;
mod disk;
mod host;
mod network;

pub(crate) use check::examine;
pub use check::{Check, DoctorError, Standing};
