//! Ringway: an io_uring replication engine for the immutable segment files of storage engines.

pub mod ids;
pub mod limits;

pub(crate) mod auth;
pub(crate) mod digest;
pub(crate) mod manifest;
pub(crate) mod wire;
