//! Connections between nodes in simulation: streams, credit, hostile peers, broken networks.

mod credit;
mod faults;
mod hostile;
mod raw;
pub mod scenes;
mod streams;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId};
use ringway::transport::{Transport, TransportOptions};
use ringway::uring::Core;

use crate::sim::{NetOptions, Sim, SimOptions};

pub const PORT: u16 = 7000;

/// Two nodes: the first listens and serves, the second uses it.
pub struct Pair {
    pub sim: Sim,
    pub nodes: [NodeId; 2],
    pub cores: [Core; 2],
    pub transports: [Transport; 2],
    pub address: SocketAddr,
}

impl Pair {
    pub fn new(seed: u64, net: NetOptions) -> Self {
        Self::with(seed, net, scenes::options(1), scenes::options(2))
    }

    pub fn with(seed: u64, net: NetOptions, server: TransportOptions, user: TransportOptions) -> Self {
        let mut sim = Sim::new(seed, SimOptions { net, ..SimOptions::default() });
        let nodes = [sim.node(1), sim.node(2)];
        let cores = nodes.map(|node| sim.core(node, 0));
        let address = sim.address(nodes[0], PORT);
        let mut made = [server, user].into_iter().zip(&cores);
        let transports = std::array::from_fn(|_| {
            let (options, core) = made.next().expect("two of each");
            core.enter(|| Transport::new(options))
        });
        let [server, _] = &transports;
        cores[0].enter(|| scenes::serve(&cores[0], server));
        let listening = server.clone();
        let bound = sim.block_on(&cores[0], async move { listening.listen(address).await });
        assert_eq!(bound, Ok(address));
        Self { sim, nodes, cores, transports, address }
    }

    pub fn server(&self) -> Transport {
        self.transports[0].clone()
    }

    pub fn user(&self) -> Transport {
        self.transports[1].clone()
    }

    pub fn peer(&self) -> ringway::transport::Peer {
        scenes::peer(1, self.address)
    }

    /// Runs a future of the user's core to its end.
    pub fn run<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let core = self.cores[1].clone();
        self.sim.block_on(&core, future)
    }
}

/// A place for what tasks find out.
pub fn place<T>(value: T) -> Rc<RefCell<T>> {
    Rc::new(RefCell::new(value))
}

pub fn secs(count: u64) -> Nanos {
    Nanos::from_secs(count)
}
