//! A proven connection on its way from the core that accepted it to the core that its group lives on, and the
//! seats that bound how many connections a node accepts, whichever core they live on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::auth::SessionKeys;
use crate::uring::Loose;

use super::connection::Facts;
use super::options::{Caps, Who};

/// A proven connection without a core. Dropped, it takes its place with it; the peer sees the connection end.
pub struct HandOver {
    pub(super) loose: Loose,
    pub(super) keys: SessionKeys,
    pub(super) facts: Facts,
    /// What was read ahead of the first frame.
    pub(super) ahead: Vec<u8>,
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandOver({:?}, {})", self.facts.peer, self.facts.class)
    }
}

/// A hand-over passes between threads.
const _: fn() = || {
    fn passes_threads<T: Send>() {}
    passes_threads::<HandOver>();
};

/// Counts the accepted connections of a node.
#[derive(Debug, Default)]
pub(super) struct Seats {
    total: Arc<AtomicUsize>,
    peers: RefCell<BTreeMap<Who, Arc<AtomicUsize>>>,
}

/// One connection's place; free again when it is dropped, on whichever core.
#[derive(Debug)]
pub(super) struct Seat {
    total: Arc<AtomicUsize>,
    peer: Arc<AtomicUsize>,
}

impl Seats {
    /// A place for a connection of `peer`; none if the peer, or the node, has all that it may have.
    pub(super) fn take(&self, peer: Who, caps: &Caps) -> Option<Seat> {
        let mut peers = self.peers.borrow_mut();
        peers.retain(|_, count| count.load(Ordering::Relaxed) > 0);
        let count = Arc::clone(peers.entry(peer).or_default());
        let is_full = count.load(Ordering::Relaxed) >= caps.peer;
        if is_full || self.total.load(Ordering::Relaxed) >= caps.connections {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(Seat { total: Arc::clone(&self.total), peer: count })
    }

    #[cfg(test)]
    fn taken(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.peer.fetch_sub(1, Ordering::Relaxed);
        self.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, NodeId};
    use crate::transport::PeerIdentity;
    use crate::wire::Role;

    fn peer(node: u64) -> Who {
        Who::Node(NodeId(node))
    }

    /// Once each of them was a peer of its own, and one puller could have all connections.
    #[test]
    fn a_puller_that_draws_another_incarnation_each_time_is_one_peer_all_the_same() {
        let seats = Seats::default();
        let caps = Caps { connections: 9, peer: 2, ..Caps::default() };
        let take = |draw: u8, from: [u8; 4]| {
            let (cluster, node, role) = (None, None, Role::Puller);
            let incarnation = Incarnation([draw; 16]);
            let identity = PeerIdentity { cluster, node, incarnation, role, dialled: false };
            seats.take(identity.who((from, u16::from(draw)).into()), &caps)
        };
        let _two = (take(1, [10, 0, 0, 1]).expect("room"), take(2, [10, 0, 0, 1]).expect("room"));
        assert!(take(3, [10, 0, 0, 1]).is_none());
        assert!(take(3, [10, 0, 0, 2]).is_some(), "from elsewhere");
    }

    #[test]
    fn seats_are_bounded_by_peer_and_in_all_and_free_again_when_dropped() {
        let seats = Seats::default();
        let caps = Caps { connections: 3, peer: 2, ..Caps::default() };
        let first = seats.take(peer(1), &caps).expect("room");
        let _second = seats.take(peer(1), &caps).expect("room");
        assert!(seats.take(peer(1), &caps).is_none(), "the peer's bound");
        let third = seats.take(peer(2), &caps).expect("another peer");
        assert!(seats.take(peer(3), &caps).is_none(), "the node's bound");
        std::thread::spawn(move || drop((first, third))).join().expect("it ends");
        assert_eq!(seats.taken(), 1);
        assert!(seats.take(peer(1), &caps).is_some());
        assert_eq!(seats.peers.borrow().len(), 1, "who has gone is forgotten");
    }
}
