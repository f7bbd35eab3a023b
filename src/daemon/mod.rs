//! A node as a process: configuration file, signals, admin endpoint.

mod address;
mod admin;
mod families;
mod file;
mod host;
mod http;
mod labelled;
mod metrics;
mod seats;

pub(crate) use address::Address;
pub(crate) use admin::{
    Admin, ChangeBody, ChangeReport, MemberBody, MemberRole, Problem, SyncBody, SyncReport, TransferBody,
};
pub(crate) use file::{Cores, DigestPart, NodeFile, Raft, Transfer, load};
pub(crate) use host::{Executors, Host};
