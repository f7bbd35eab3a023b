//! A node as a process: configuration file, signals, admin endpoint.

mod address;
mod admin;
mod file;
mod host;
mod http;
mod seats;

pub(crate) use address::Address;
pub(crate) use admin::{Admin, ChangeBody, ChangeReport, Problem, TransferBody};
pub(crate) use file::{Cores, DigestPart, NodeFile, Raft, Transfer, load};
pub(crate) use host::{Executors, Host};
