//! A node as a process: configuration file, signals, admin endpoint.

mod file;

pub(crate) use file::load;
