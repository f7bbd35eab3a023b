//! Accepting: one deadline from accept to proven, few places for those who have not proven themselves, and
//! the way of a proven connection to the core that its group lives on.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE};
use crate::uring::{Core, Errno, Listener, Priority, Socket, Task, sleep, timeout};

use super::connection::{Connection, Facts, Line};
use super::error::RefusedCode;
use super::hand_over::{HandOver, Seat};
use super::handshake::{self, Proven, Refusal, refuse};
use super::options::PeerIdentity;
use super::transport::Inner;

/// Accepted connections that have not proven themselves yet, in the order in which they came.
#[derive(Default)]
pub(super) struct Unproven {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Stranger>>,
}

/// Where one comes from, and the task of its handshake.
type Stranger = (IpAddr, Option<Task<()>>);

/// Those that come from one place.
struct Crowd {
    count: usize,
    oldest: u64,
}

impl Crowd {
    fn rank(&self) -> (usize, Reverse<u64>) {
        (self.count, Reverse(self.oldest))
    }
}

/// What one host can be expected to have all addresses of: of IPv6 the upper half of an address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::from(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four @ IpAddr::V4(_) => four,
    }
}

impl Unproven {
    fn enter(&self, from: IpAddr) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        self.waiting.borrow_mut().insert(id, (from, None));
        id
    }

    fn leave(&self, id: u64) -> Option<Task<()>> {
        self.waiting.borrow_mut().remove(&id).and_then(|(_, task)| task)
    }

    fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Who gives way to a newcomer: the oldest one of the address that has the most, of the network that has the most.
    /// So nobody who opens many takes the places of those who open few, also not by as many addresses as a host of IPv6
    /// has, and every one has had the time that the crowd leaves.
    fn victim(&self) -> Option<u64> {
        let waiting = self.waiting.borrow();
        let mut networks: BTreeMap<IpAddr, Crowd> = BTreeMap::new();
        for (id, (from, _)) in waiting.iter() {
            networks.entry(network(*from)).or_insert(Crowd { count: 0, oldest: *id }).count += 1;
        }
        let (largest, _) = networks.iter().max_by_key(|(_, crowd)| crowd.rank())?;
        let mut addresses: BTreeMap<IpAddr, Crowd> = BTreeMap::new();
        for (id, (from, _)) in waiting.iter().filter(|(_, (from, _))| network(*from) == *largest) {
            addresses.entry(*from).or_insert(Crowd { count: 0, oldest: *id }).count += 1;
        }
        addresses.values().max_by_key(|crowd| crowd.rank()).map(|crowd| crowd.oldest)
    }

    pub(super) fn abort_all(&self) {
        let all = std::mem::take(&mut *self.waiting.borrow_mut());
        all.into_values().filter_map(|(_, task)| task).for_each(|task| task.abort());
    }
}

impl Inner {
    pub(super) async fn listen(self: &Rc<Self>, address: SocketAddr) -> Result<SocketAddr, Errno> {
        let listener = Listener::bind_with(address, ACCEPT_BACKLOG, self.options.socket).await?;
        let address = listener.address();
        let task = Core::current().spawn(Priority::Urgent, accept(Rc::downgrade(self), listener));
        self.listeners.borrow_mut().push(task);
        Ok(address)
    }

    /// Gives an accepted connection its time to prove itself.
    fn accepted(self: &Rc<Self>, socket: Socket, from: SocketAddr) {
        self.shared.stats.accepts.count();
        while self.unproven.len() >= self.options.caps.unproven.max(1) {
            let Some(victim) = self.unproven.victim() else { break };
            self.shared.stats.unproven_evicted.count();
            if let Some(task) = self.unproven.leave(victim) {
                task.abort();
            }
        }
        let id = self.unproven.enter(from.ip());
        let transport = Rc::downgrade(self);
        let ours = self.ours();
        let limit = self.options.timeouts.handshake;
        let task = Core::current().spawn(Priority::Urgent, async move {
            let answered = timeout(limit, handshake::answer(&ours, socket)).await;
            let Some(transport) = transport.upgrade() else { return };
            let _mine = transport.unproven.leave(id);
            match answered {
                Ok(Ok(proven)) => transport.proven(proven, from).await,
                Ok(Err(refusal)) => transport.count_refusal(&refusal, from),
                Err(_) => transport.shared.stats.unproven_timed_out.count(),
            }
        });
        // The task has not run yet: spawning only makes it ready.
        if let Some((_, place)) = self.unproven.waiting.borrow_mut().get_mut(&id) {
            *place = Some(task);
        }
    }

    fn count_refusal(&self, refusal: &Refusal, from: SocketAddr) {
        match refusal {
            Refusal::Code(code) => self.count_refused(*code, from),
            Refusal::Cut(cut) if cut.is_rubbish() => self.count_refused(RefusedCode::Protocol, from),
            Refusal::Cut(_) => {}
        }
    }

    /// Counts a refused handshake and tells of it, but not of each one in a flood.
    fn count_refused(&self, code: RefusedCode, from: SocketAddr) {
        self.shared.stats.count_refused(code.number());
        let now = Core::current().now();
        if self.refusal_told.is_due(now) {
            tracing::warn!(%from, %code, "a connection was refused");
        }
    }

    /// The peer is who it says; now whether it is welcome, and where it belongs.
    async fn proven(self: &Rc<Self>, proven: Proven, from: SocketAddr) {
        let core = self.options.core_of(proven.group);
        let seat = match self.seat(&proven.peer, from, core) {
            Ok(seat) => seat,
            Err(code) => return self.turn_away(&proven.socket, from, code).await,
        };
        let Proven { socket, ahead, session, peer, class, .. } = proven;
        let facts = Facts {
            id: self.next_id(),
            peer,
            address: from,
            class,
            version: session.version,
            key: session.key,
            remote_core: None,
            dialled: None,
            caps: self.options.caps,
            seat: Cell::new(Some(seat)),
        };
        let keys = session.keys;
        if core == self.options.core_index {
            return self.keep(facts, Line { socket, ahead, keys }).outbox.ready();
        }
        let Some(carry) = &self.options.carry else { return };
        match carry(core, Box::new(HandOver { loose: socket.release(), keys, facts, ahead })) {
            Ok(()) => self.shared.stats.hand_overs.count(),
            Err(back) => self.turn_away(&Socket::adopt(back.loose), from, RefusedCode::NoCore).await,
        }
    }

    /// A place for a proven peer whose group lives on `core`.
    fn seat(&self, peer: &PeerIdentity, from: SocketAddr, core: u16) -> Result<Seat, RefusedCode> {
        if self.is_shut_down() {
            return Err(RefusedCode::Stopping);
        }
        (self.options.admit)(peer)?;
        if core != self.options.core_index && self.options.carry.is_none() {
            return Err(RefusedCode::NoCore);
        }
        self.seats.take(peer.who(from), &self.options.caps).ok_or(RefusedCode::Busy)
    }

    async fn turn_away(&self, socket: &Socket, from: SocketAddr, code: RefusedCode) {
        self.count_refused(code, from);
        // A peer that does not read its refusal does not keep its socket by that.
        let _in_time = timeout(self.options.timeouts.handshake, refuse(socket, code)).await;
    }

    /// Goes on with a connection that another core accepted.
    pub(super) fn adopt(self: &Rc<Self>, hand_over: HandOver) -> Rc<Connection> {
        let HandOver { loose, keys, facts, ahead } = hand_over;
        let facts = Facts { id: self.next_id(), ..facts };
        let connection = self.keep(facts, Line { socket: Socket::adopt(loose), ahead, keys });
        connection.outbox.ready();
        connection
    }
}

async fn accept(transport: Weak<Inner>, listener: Listener) {
    loop {
        let accepted = listener.accept().await;
        let Some(transport) = transport.upgrade() else { return };
        match accepted {
            Ok((socket, from)) => transport.accepted(socket, from),
            Err(_) => {
                transport.shared.stats.accept_failures.count();
                drop(transport);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Secret, SecretSet};
    use crate::ids::{ClusterId, Incarnation, NodeId};
    use crate::transport::{Transport, TransportOptions};
    use crate::uring::{Congestion, Op, SocketOptions};

    #[test]
    fn a_listener_has_the_options_of_the_connections_that_it_will_take() {
        let (core, script, _) = crate::uring::test_ring::core();
        let options = SocketOptions { congestion: Some(Congestion::Bbr) };
        core.spawn(Priority::Urgent, async move {
            let mut random = std::array::from_fn(|at| u8::try_from(at).expect("of 32"));
            let secrets = SecretSet::new(Secret::generate(&mut random).expect("not all alike"), None);
            let (cluster, node) = (Some(ClusterId([1; 16])), Some(NodeId(1)));
            let ours = TransportOptions::new(cluster, node, Incarnation([2; 16]), secrets);
            let transport = Transport::new(TransportOptions { socket: options, ..ours });
            transport.listen(([127, 0, 0, 1], 0).into()).await
        });
        core.turn();
        let asked = |op: &Op| matches!(op, Op::Listen { options: found, .. } if *found == options);
        assert!(script.borrow().held.iter().any(|(_, op)| asked(op)));
    }

    #[test]
    fn the_oldest_of_the_largest_crowd_gives_way() {
        let unproven = Unproven::default();
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        assert_eq!(unproven.victim(), None);
        let lone = unproven.enter(ip(1));
        let first = unproven.enter(ip(2));
        let _second = unproven.enter(ip(2));
        assert_eq!(unproven.victim(), Some(first));
        unproven.leave(first);
        assert_eq!(unproven.victim(), Some(lone), "all alike: the oldest");
    }

    #[test]
    fn many_addresses_of_one_host_are_one_crowd_and_its_largest_address_gives_way() {
        let unproven = Unproven::default();
        let ip = |host: u16, last: u16| IpAddr::from([0x2001, 0xdb8, 0, host, 0, 0, 0, last]);
        let honest = unproven.enter(ip(1, 1));
        let crowd: Vec<u64> = (0..5).map(|last| unproven.enter(ip(2, last))).collect();
        assert_eq!(unproven.victim(), Some(crowd[0]), "not {honest}, which is older");
        let _twice = unproven.enter(ip(2, 3));
        assert_eq!(unproven.victim(), Some(crowd[3]), "a neighbour with one is not concerned");
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]);
        assert_eq!(network(mapped), IpAddr::from([10, 0, 0, 1]), "IPv4 in the clothes of IPv6");
    }
}
