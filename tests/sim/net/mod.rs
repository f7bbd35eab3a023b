//! A simulated network.

use ringway::ids::NodeId;
use ringway::uring::Errno;

use super::faults::Fault;
use super::job::Job;
use super::node::Descriptor;
use super::world::World;

/// The network.
#[derive(Debug, Default)]
pub struct Net {}

/// Something that happens on the network.
#[derive(Debug)]
pub enum NetEvent {}

impl World {
    pub(super) fn ask_net(&mut self, _id: u64, job: Job, _fault: Option<Fault>) {
        self.finish(job, Err(Errno::NOT_SUPPORTED));
    }

    pub(super) fn cancel_net(&mut self, _id: u64) {}

    pub(super) fn net_due(&mut self, event: NetEvent) {
        match event {}
    }

    pub(super) fn close_listener(&mut self, _listener: u64) {}

    pub(super) fn close_socket(&mut self, _conn: u64, _side: usize) {}

    pub(super) fn abandon_socket(&mut self, _id: NodeId, _descriptor: &Descriptor) {}

    pub(super) fn unplug(&mut self, _id: NodeId) {}

    pub(super) fn replug(&mut self, _id: NodeId) {}
}
