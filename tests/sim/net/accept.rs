//! How connections come about: listen, connect, accept.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringway::ids::{Nanos, NodeId};
use ringway::uring::{Errno, Outcome};

use super::super::job::{Ask, Job};
use super::super::node::{Node, State, Target};
use super::super::world::{Event, World};
use super::{Conn, End, Listener, NetEvent, Segment};

/// Attempts before a dialler gives up: after 1, 3, 7, ... 127 seconds, as Linux does.
const DIAL_ATTEMPTS_MAX: u32 = 6;

impl World {
    pub(super) fn listen(&mut self, job: Job) {
        let Ask::Listen { mut address, backlog } = job.ask else { unreachable!("a listen") };
        let id = job.key.node;
        let mine = address.ip().is_unspecified() || Node::of_address(address, id) == Some(id);
        if !mine {
            self.finish(job, Err(Errno(libc::EADDRNOTAVAIL)));
            return;
        }
        let taken = |port: u16, net: &super::Net| {
            net.listeners.values().any(|other| other.node == id && other.address.port() == port)
        };
        if address.port() == 0 {
            let mut port = self.port(id);
            while taken(port, &self.net) {
                port = self.port(id);
            }
            address.set_port(port);
        } else if taken(address.port(), &self.net) {
            self.finish(job, Err(Errno::ADDRESS_IN_USE));
            return;
        }
        let listener = self.sequence();
        let (ready, accepts) = (VecDeque::new(), VecDeque::new());
        let backlog = backlog.max(1) as usize;
        self.net.listeners.insert(listener, Listener { node: id, address, backlog, ready, accepts });
        let raw = self.node(id).open(job.key.core, Target::Listener(listener), String::new());
        self.finish(job, Ok(Outcome::Listening(raw, address)));
    }

    fn port(&mut self, id: NodeId) -> u16 {
        let node = self.node(id);
        let port = node.next_port;
        node.next_port = if port == u16::MAX { 32_768 } else { port + 1 };
        port
    }

    pub(super) fn connect(&mut self, id: u64, job: Job) {
        let Ask::Connect { address } = job.ask else { unreachable!("a connect") };
        let me = job.key.node;
        let Some(target) = Node::of_address(address, me) else {
            self.finish(job, Err(Errno(libc::ENETUNREACH)));
            return;
        };
        let ip = match (address.ip(), Node::address(me)) {
            (IpAddr::V4(theirs), IpAddr::V4(mine)) if !theirs.is_loopback() => {
                let [_, _, high, low] = mine.octets();
                IpAddr::V4(Ipv4Addr::new(10, theirs.octets()[1], high, low))
            }
            (theirs, _) => theirs,
        };
        let from = SocketAddr::new(ip, self.port(me));
        let (low, high) = self.options.net.window;
        let windows = [(); 2].map(|()| self.rng.within(low as u64..=high as u64) as usize);
        let conn = self.sequence();
        let mut ends = [End::new(me, from, windows[0]), End::new(target, address, windows[1])];
        ends[0].socket = true;
        self.net.conns.insert(conn, Conn { ends, dial: Some(id), listener: None });
        self.jobs.insert(id, job);
        let latency = self.latency(me, target);
        self.after(latency, Event::Net(NetEvent::Syn(conn, 0)));
    }

    /// The dial is still wanted; else its connection is forgotten.
    fn dialling(&mut self, conn: u64) -> Option<(NodeId, NodeId, SocketAddr)> {
        let found = self.net.conns.get_mut(&conn)?;
        let (from, to) = (found.ends[0].node, found.ends[1].node);
        if found.dial.is_some_and(|job| self.jobs.contains_key(&job)) {
            return Some((from, to, found.ends[1].address));
        }
        (found.dial, found.ends[0].socket) = (None, false);
        if found.ends[1].socket {
            self.transmit(conn, 0, Segment::Reset);
        } else {
            self.net.conns.remove(&conn);
        }
        None
    }

    fn give_up_dial(&mut self, conn: u64, errno: Errno) {
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        found.ends[0].socket = false;
        let Some(job) = found.dial.take().and_then(|job| self.jobs.remove(&job)) else { return };
        self.finish(job, Err(errno));
        self.forget(conn);
    }

    pub(super) fn syn(&mut self, conn: u64, attempt: u32) {
        let Some((from, to, address)) = self.dialling(conn) else { return };
        let open = self.reaches(from, to);
        let listener = self.net.listeners.iter().find(|(_, listener)| {
            let ip = listener.address.ip();
            let ours = ip.is_unspecified() || ip == address.ip();
            listener.node == to && listener.address.port() == address.port() && ours
        });
        let listener = listener.map(|(id, listener)| (*id, listener.ready.len() >= listener.backlog));
        if !open || listener.is_some_and(|(_, full)| full) {
            let off = self.nodes.get(&to).is_none_or(|node| node.state == State::Off);
            if off && attempt == 1 && self.rng.coin() {
                self.give_up_dial(conn, Errno(libc::EHOSTUNREACH));
            } else if attempt == DIAL_ATTEMPTS_MAX {
                self.give_up_dial(conn, Errno::TIMED_OUT);
            } else {
                self.after(Nanos::from_secs(1 << attempt), Event::Net(NetEvent::Syn(conn, attempt + 1)));
            }
            return;
        }
        if let (Some((listener, _)), Some(conn)) = (listener, self.net.conns.get_mut(&conn)) {
            conn.listener = Some(listener);
            conn.ends[1].socket = true;
        }
        let latency = self.latency(to, from);
        self.after(latency, Event::Net(NetEvent::Answer(conn, 0, listener.is_none())));
    }

    pub(super) fn answer(&mut self, conn: u64, attempt: u32, refused: bool) {
        let Some((from, to, _)) = self.dialling(conn) else { return };
        if !self.reaches(to, from) {
            if attempt == DIAL_ATTEMPTS_MAX {
                self.give_up_dial(conn, Errno::TIMED_OUT);
            } else {
                let event = Event::Net(NetEvent::Answer(conn, attempt + 1, refused));
                self.after(Nanos::from_secs(1 << attempt), event);
            }
            return;
        }
        if refused {
            self.give_up_dial(conn, Errno::REFUSED);
            return;
        }
        let Some(dial) = self.net.conns.get_mut(&conn).and_then(|conn| conn.dial.take()) else { return };
        let Some(job) = self.jobs.remove(&dial) else { return };
        let raw = self.node(from).open(job.key.core, Target::Socket(conn, 0), String::new());
        self.finish(job, Ok(Outcome::Opened(raw)));
        self.transmit(conn, 0, Segment::Established);
    }

    /// The dialler knows of the connection: it waits to be accepted.
    pub(super) fn established(&mut self, conn: u64) {
        let listener = self.net.conns.get(&conn).and_then(|conn| conn.listener);
        match listener.and_then(|id| Some((id, self.net.listeners.get_mut(&id)?))) {
            Some((id, listener)) => {
                listener.ready.push_back(conn);
                self.pump_listener(id);
            }
            None => self.refuse(conn, 1),
        }
    }

    pub(super) fn pump_listener(&mut self, id: u64) {
        while let Some(listener) = self.net.listeners.get_mut(&id) {
            let (Some(job), Some(conn)) = (listener.accepts.front(), listener.ready.front()) else { return };
            let (job, conn) = (*job, *conn);
            listener.accepts.pop_front();
            let Some(job) = self.jobs.remove(&job) else { continue };
            listener.ready.pop_front();
            let from = self.net.conns[&conn].ends[0].address;
            let target = Target::Socket(conn, 1);
            let raw = self.node(job.key.node).open(job.key.core, target, String::new());
            self.finish(job, Ok(Outcome::Accepted(raw, from)));
        }
    }

    pub(in super::super) fn close_listener(&mut self, id: u64) {
        let Some(listener) = self.net.listeners.remove(&id) else { return };
        for conn in listener.ready {
            self.refuse(conn, 1);
        }
    }
}
