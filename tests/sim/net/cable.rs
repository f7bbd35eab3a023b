//! What lies between two hosts: delay, rate, partitions, cuts and corruption.

use ringway::ids::{Nanos, NodeId};

use super::super::node::State;
use super::super::rng::Chance;
use super::super::world::{Event, World};
use super::{NetEvent, Segment};

/// One direction between two hosts.
#[derive(Clone, Debug)]
pub struct Link {
    /// One-way delay.
    pub latency: Nanos,
    /// Bytes per microsecond.
    pub rate: u64,
    /// A byte of a segment is changed past the checksums.
    pub corruption: Chance,
    /// After this many more bytes all connections between the two are reset.
    pub cut_after: Option<u64>,
    busy: Nanos,
}

impl World {
    /// One direction between two hosts, to change its ways.
    pub fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let Self { net, rng, options, .. } = self;
        net.links.entry((from, to)).or_insert_with(|| {
            let latency = if from == to { Nanos(8_000) } else { rng.time(options.net.latency) };
            let (rate, corruption) = (options.net.rate, options.net.corruption);
            Link { latency, rate, corruption, cut_after: None, busy: Nanos(0) }
        })
    }

    /// Nothing gets from one host to the other any more; the other way stays open.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.note(from, "block", &[to.0]);
        self.net.blocked.insert((from, to));
    }

    /// Nothing gets from any of these hosts to any of those, nor back.
    pub fn partition(&mut self, these: &[NodeId], those: &[NodeId]) {
        for one in these {
            for other in those {
                self.block(*one, *other);
                self.block(*other, *one);
            }
        }
    }

    /// One way is open again.
    pub fn unblock(&mut self, from: NodeId, to: NodeId) {
        self.note(from, "unblock", &[to.0]);
        self.net.blocked.remove(&(from, to));
        self.try_again();
    }

    /// All ways are open again.
    pub fn heal(&mut self) {
        self.note(NodeId(0), "heal", &[]);
        self.net.blocked.clear();
        self.try_again();
    }

    /// All connections between two hosts are reset, as by a box between them.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        self.note(one, "cut", &[other.0]);
        for conn in self.conns_of(one) {
            let [dialler, acceptor] = &self.net.conns[&conn].ends;
            let between = [(one, other), (other, one)];
            if between.contains(&(dialler.node, acceptor.node)) {
                self.reset_both(conn);
            }
        }
    }

    pub(super) fn conns_of(&self, node: NodeId) -> Vec<u64> {
        let touches = |conn: &super::Conn| conn.ends.iter().any(|end| end.node == node);
        self.net.conns.iter().filter(|(_, conn)| touches(conn)).map(|(id, _)| *id).collect()
    }

    /// A segment that leaves one host now can reach the other.
    pub(super) fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let up = self.nodes.get(&to).is_some_and(|node| node.state != State::Off);
        up && !self.net.blocked.contains(&(from, to))
    }

    pub(super) fn latency(&mut self, from: NodeId, to: NodeId) -> Nanos {
        let jitter = self.rng.time(self.options.net.jitter);
        self.link(from, to).latency.plus(jitter)
    }

    /// Sends something on its way, behind what is on it.
    pub(super) fn transmit(&mut self, conn: u64, side: usize, segment: Segment) {
        let Some(ends) = self.net.conns.get(&conn).map(|conn| &conn.ends) else { return };
        let (from, to) = (ends[side].node, ends[1 - side].node);
        let bytes = if let Segment::Bytes(bytes) = &segment { bytes.len() as u64 } else { 64 };
        let now = self.now;
        let latency = self.latency(from, to);
        let link = self.link(from, to);
        link.busy = link.busy.max(now).plus(Nanos(bytes * 1000 / link.rate.max(1)));
        let mut due = link.busy.plus(latency);
        if from != to && self.rng.happens(self.options.net.loss) {
            due = due.plus(self.rng.time(self.options.net.retransmission));
        }
        let Some(conn_of) = self.net.conns.get_mut(&conn) else { return };
        let end = &mut conn_of.ends[side];
        end.last_due = end.last_due.max(due);
        end.transit.push_back((end.last_due, segment));
        let due = end.last_due;
        self.at(due, Event::Net(NetEvent::Segment(conn, side)));
    }

    /// Delivers what is due, in order; stops where the way is blocked.
    pub(super) fn deliver(&mut self, conn: u64, side: usize) {
        loop {
            let now = self.now;
            let Some(ends) = self.net.conns.get(&conn).map(|conn| &conn.ends) else { return };
            let (from, to) = (ends[side].node, ends[1 - side].node);
            if ends[side].stalled || ends[side].transit.front().is_none_or(|(due, _)| *due > now) {
                return;
            }
            let open = self.reaches(from, to);
            let off = self.nodes.get(&from).is_none_or(|node| node.state == State::Off);
            let Some(conn_of) = self.net.conns.get_mut(&conn) else { return };
            let end = &mut conn_of.ends[side];
            if !open {
                // Nobody sends a reset again, nor what stood before it; nor anything of a host without power.
                if off || end.transit.iter().any(|(_, segment)| matches!(segment, Segment::Reset)) {
                    end.transit.clear();
                }
                end.stalled = !end.transit.is_empty();
                return;
            }
            let Some((_, segment)) = end.transit.pop_front() else { return };
            self.arrive(conn, side, segment);
        }
    }

    /// After a change of ways: senders notice it when they next try.
    pub(super) fn try_again(&mut self) {
        let mut due = Vec::new();
        for (id, conn) in &self.net.conns {
            for side in 0..2 {
                let (mine, peer) = (&conn.ends[side], &conn.ends[1 - side]);
                if mine.stalled && self.reaches(mine.node, peer.node)
                    || mine.ack_stalled && self.reaches(peer.node, mine.node)
                {
                    due.push((*id, side));
                }
            }
        }
        for (conn, side) in due {
            let delay = self.rng.time(self.options.net.retransmission);
            self.after(delay, Event::Net(NetEvent::Retry(conn, side)));
        }
    }

    pub(super) fn retry(&mut self, conn: u64, side: usize) {
        let Some(ends) = self.net.conns.get(&conn).map(|conn| &conn.ends) else { return };
        let (mine, peer) = (ends[side].node, ends[1 - side].node);
        let (out, back) = (self.reaches(mine, peer), self.reaches(peer, mine));
        let Some(conn_of) = self.net.conns.get_mut(&conn) else { return };
        let end = &mut conn_of.ends[side];
        end.stalled &= !out;
        let ack = end.ack_stalled && back;
        end.ack_stalled &= !back;
        self.deliver(conn, side);
        if ack {
            self.acknowledge(conn, side);
        }
    }

    /// Changes a byte, if chance has it.
    pub(super) fn corrupt(&mut self, from: NodeId, to: NodeId, bytes: &mut [u8]) {
        let chance = self.link(from, to).corruption;
        if !bytes.is_empty() && self.rng.happens(chance) {
            let at = self.rng.index(bytes.len());
            let mask = self.rng.within(1..=255) as u8;
            bytes[at] ^= mask;
            self.note(from, "corrupt", &[to.0, at as u64]);
        }
    }

    /// How much of a segment passes before a planned cut, if it comes within it.
    pub(super) fn cut_within(&mut self, from: NodeId, to: NodeId, bytes: u64) -> Option<u64> {
        let left = self.link(from, to).cut_after.as_mut()?;
        if *left > bytes {
            *left -= bytes;
            return None;
        }
        let pass = *left;
        self.link(from, to).cut_after = None;
        Some(pass)
    }
}
