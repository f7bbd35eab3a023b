//! `ringway up`: a whole cluster on this machine, each node a process of its own. It owns the layout of its root, the
//! copy of what is imported, and the nodes' processes; all that it does to the cluster goes through node 1's admin
//! endpoint.

mod children;
mod copy;
mod import;
mod plan;
mod register;
mod root;
mod run;
mod sample;
mod watch;

pub(crate) use plan::CONFIG;
pub(crate) use run::{Voice, run};
