//! How connections end: close, shutdown, reset, kill, power cut.

use ringway::ids::NodeId;

use super::super::node::{Descriptor, Target};
use super::super::world::World;
use super::Segment;

impl World {
    /// The program closes its side: an end, or a reset if it has not read all.
    pub(in super::super) fn close_socket(&mut self, conn: u64, side: usize) {
        let Some(end) = self.net.conns.get(&conn).map(|conn| &conn.ends[side]) else { return };
        self.leave(conn, side, !end.arrived.is_empty());
    }

    /// A killed process leaves its side.
    pub(in super::super) fn abandon_socket(&mut self, _node: NodeId, descriptor: &Descriptor) {
        let Target::Socket(conn, side) = descriptor.target else { return };
        let resets = self.rng.happens(self.options.net.kill_resets);
        let Some(end) = self.net.conns.get(&conn).map(|conn| &conn.ends[side]) else { return };
        let unread = !end.arrived.is_empty();
        self.leave(conn, side, resets || unread);
    }

    fn leave(&mut self, conn: u64, side: usize, resets: bool) {
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
        end.socket = false;
        end.receives.clear();
        end.sends.clear();
        end.rooms.clear();
        end.notices.clear();
        let (gone, shut) = (end.reset, end.shut);
        if resets && !gone {
            self.transmit(conn, side, Segment::Reset);
        } else if !gone && !shut {
            self.transmit(conn, side, Segment::Fin);
        }
        self.forget(conn);
    }

    /// The program shuts its side down in both directions; what waits on it completes.
    pub(super) fn shut_down(&mut self, conn: u64, side: usize) {
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
        let before = std::mem::replace(&mut end.shut, true);
        self.pump_sends(conn, side);
        if !before {
            self.transmit(conn, side, Segment::Fin);
        }
        self.pump_receives(conn, side);
    }

    /// A system answers for a socket that it does not know.
    pub(super) fn refuse(&mut self, conn: u64, side: usize) {
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        found.ends[side].socket = false;
        if found.ends[1 - side].socket {
            self.transmit(conn, side, Segment::Reset);
        }
    }

    /// A reset has come to a side: what waits on it fails.
    pub(super) fn reset_end(&mut self, conn: u64, side: usize) {
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
        end.reset = true;
        end.transit.clear();
        end.stalled = false;
        // Either of two that wait may be the one that is told.
        if self.rng.coin() {
            self.pump_sends(conn, side);
        }
        self.pump_receives(conn, side);
        self.pump_sends(conn, side);
        self.pump_notices(conn, side);
    }

    pub(super) fn reset_both(&mut self, conn: u64) {
        self.reset_end(conn, 0);
        self.reset_end(conn, 1);
    }

    /// Forgets a connection that nobody has a part in any more.
    pub(super) fn forget(&mut self, conn: u64) {
        let Some(found) = self.net.conns.get(&conn) else { return };
        let over = |side: usize| {
            let end = &found.ends[side];
            !end.socket && (end.transit.is_empty() || !found.ends[1 - side].socket)
        };
        if found.dial.is_none() && over(0) && over(1) {
            self.net.conns.remove(&conn);
        }
    }

    /// A host has lost its power: its sockets are gone without a word, and what it had not sent yet with them.
    pub(in super::super) fn unplug(&mut self, node: NodeId) {
        self.net.listeners.retain(|_, listener| listener.node != node);
        for conn in self.conns_of(node) {
            for side in 0..2 {
                let Self { net, rng, .. } = self;
                let Some(end) = net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { continue };
                if end.node != node {
                    continue;
                }
                end.socket = false;
                end.receives.clear();
                end.sends.clear();
                end.rooms.clear();
                end.notices.clear();
                end.arrived.clear();
                let left = if end.stalled { 0 } else { rng.index(end.transit.len() + 1) };
                end.transit.truncate(left);
                end.stalled = false;
            }
            if let Some(found) = self.net.conns.get_mut(&conn)
                && found.ends[0].node == node
            {
                found.dial = None;
            }
            self.forget(conn);
        }
    }

    /// A host answers again: those who still send to its old sockets are told.
    pub(in super::super) fn replug(&mut self, _node: NodeId) {
        self.try_again();
    }
}
