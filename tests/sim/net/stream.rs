//! Bytes of a connection: sends within the window, segments, receives, acknowledgements, notifications.

use ringway::ids::Nanos;
use ringway::uring::{Completion, Errno, Outcome};

use super::super::job::{Ask, Job, OpKind};
use super::super::trace::hash;
use super::super::world::{Event, Ready, World};
use super::{Conn, NetEvent, Segment};

impl World {
    /// Moves what the program wants to send into the network, as far as the window lets it.
    pub(super) fn pump_sends(&mut self, conn: u64, side: usize) {
        self.pump_rooms(conn, side);
        loop {
            let largest = self.options.net.segment_bytes_max as u64;
            let Self { net, jobs, rng, .. } = self;
            let Some(end) = net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
            let Some(id) = end.sends.front().copied() else { return };
            let Some(job) = jobs.get_mut(&id) else {
                end.sends.pop_front();
                continue;
            };
            let rest = job.rest().len();
            if rest == 0 || end.reset || end.shut {
                let unsent = rest > 0 && job.moved == 0;
                let errno = if unsent && end.tell_reset() { Errno::RESET } else { Errno::BROKEN_PIPE };
                end.sends.pop_front();
                self.sent(id, conn, side, errno);
                continue;
            }
            let room = end.room();
            if room == 0 {
                return;
            }
            let count = rest.min(room).min(rng.within(1..=largest) as usize);
            let bytes = job.data()[..count].to_vec();
            job.moved += count;
            end.sent += count as u64;
            self.transmit(conn, side, Segment::Bytes(bytes));
        }
    }

    /// A send is through with its program's part, whole or broken off.
    pub(super) fn sent(&mut self, id: u64, conn: u64, side: usize, errno: Errno) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        let moved = job.moved;
        let whole = moved > 0 || job.span.is_empty();
        let result = if whole { Ok(Outcome::Count(moved)) } else { Err(errno) };
        if job.kind != OpKind::SendZeroCopy || !whole {
            self.finish(job, result);
            return;
        }
        self.note(job.key.node, "sent", &[moved as u64]);
        let completion = Completion { token: job.token, result, buffer: None, more: true };
        let handles = std::mem::take(&mut job.handles);
        self.cores.entry(job.key).or_default().ready.push(Ready { completion, handles });
        self.jobs.insert(id, job);
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
        end.notices.push_back((id, end.sent));
        self.pump_notices(conn, side);
    }

    /// Buffers of zero-copy sends come back some time after their bytes have arrived, or when the connection is gone.
    pub(super) fn pump_notices(&mut self, conn: u64, side: usize) {
        loop {
            let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
            let Some((id, position)) = end.notices.front().copied() else { return };
            if end.known.0 < position && !end.reset {
                return;
            }
            end.notices.pop_front();
            let delay = self.rng.time(self.options.net.notice);
            self.after(delay, Event::Net(NetEvent::Notice(id)));
        }
    }

    pub(super) fn notice(&mut self, id: u64) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.moved = 0;
        assert_eq!(
            hash(job.data()),
            job.sum,
            "node {} changed a buffer that a zero-copy send still had",
            job.key.node
        );
        let copied = self.is_loopback(&job);
        self.finish(job, Ok(Outcome::Notified { copied }));
    }

    fn is_loopback(&self, job: &Job) -> bool {
        let Ask::SendZeroCopy { loopback, .. } = job.ask else { return false };
        loopback
    }

    /// Something has come to the other side.
    pub(super) fn arrive(&mut self, conn: u64, side: usize, segment: Segment) {
        let peer = 1 - side;
        let Some(found) = self.net.conns.get_mut(&conn) else { return };
        if !found.ends[peer].socket {
            if matches!(segment, Segment::Bytes(_) | Segment::Established) {
                self.refuse(conn, peer);
            }
            self.forget(conn);
            return;
        }
        match segment {
            Segment::Established => self.established(conn),
            Segment::Bytes(bytes) => self.bytes_arrive(conn, side, bytes),
            Segment::Fin => {
                found.ends[peer].ended = true;
                self.pump_receives(conn, peer);
            }
            Segment::Reset => {
                self.reset_end(conn, peer);
                self.forget(conn);
            }
        }
    }

    fn bytes_arrive(&mut self, conn: u64, side: usize, mut bytes: Vec<u8>) {
        let ends = &self.net.conns[&conn].ends;
        let (from, to) = (ends[side].node, ends[1 - side].node);
        let cut = self.cut_within(from, to, bytes.len() as u64);
        if let Some(pass) = cut {
            bytes.truncate(pass as usize);
        }
        self.corrupt(from, to, &mut bytes);
        let Some(Conn { ends, .. }) = self.net.conns.get_mut(&conn) else { return };
        ends[side].delivered += bytes.len() as u64;
        if ends[1 - side].shut {
            ends[side].consumed += bytes.len() as u64;
        } else {
            ends[1 - side].arrived.extend(bytes);
        }
        self.pump_receives(conn, 1 - side);
        self.send_ack(conn, side);
        if cut.is_some() {
            self.note(from, "cut after", &[to.0]);
            self.reset_both(conn);
        }
    }

    /// Gives the program what has arrived: all of it or, by chance, less.
    pub(super) fn pump_receives(&mut self, conn: u64, side: usize) {
        loop {
            let Self { net, jobs, rng, .. } = self;
            let Some(ends) = net.conns.get_mut(&conn).map(|conn| &mut conn.ends) else { return };
            let Some(id) = ends[side].receives.front().copied() else { return };
            let Some(job) = jobs.get_mut(&id) else {
                ends[side].receives.pop_front();
                continue;
            };
            let all = matches!(job.ask, Ask::Receive { all: true, .. });
            let mut count = job.rest().len().min(ends[side].arrived.len());
            if !all && count > 1 && rng.coin() {
                count = rng.within(1..=count as u64) as usize;
            }
            let mine = &mut ends[side];
            let (front, back) = mine.arrived.as_slices();
            let split = count.min(front.len());
            let space = job.space();
            space[..split].copy_from_slice(&front[..split]);
            space[split..count].copy_from_slice(&back[..count - split]);
            mine.arrived.drain(..count);
            job.moved += count;
            let over = mine.arrived.is_empty() && (mine.ended || mine.reset || mine.shut);
            let done = job.rest().is_empty() || over || (!all && job.moved > 0);
            let failed = over && job.moved == 0 && !job.span.is_empty() && mine.tell_reset();
            if done {
                mine.receives.pop_front();
            }
            if count > 0 {
                ends[1 - side].consumed += count as u64;
                self.send_ack(conn, 1 - side);
            }
            if !done {
                return;
            }
            let Some(job) = self.jobs.remove(&id) else { return };
            let got = hash(
                &job.buffer.as_ref().expect("a receive has a buffer").memory()[job.span.clone()][..job.moved],
            );
            self.note(job.key.node, "got", &[got]);
            let count = job.moved;
            self.finish(job, if failed { Err(Errno::RESET) } else { Ok(Outcome::Count(count)) });
        }
    }

    /// Tells a sender what has arrived and what was taken; one acknowledgement is under way at a time.
    fn send_ack(&mut self, conn: u64, sender: usize) {
        let Some(ends) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends) else { return };
        if std::mem::replace(&mut ends[sender].ack_under_way, true) {
            return;
        }
        let (from, to) = (ends[1 - sender].node, ends[sender].node);
        let latency = self.latency(from, to);
        self.after(latency, Event::Net(NetEvent::Ack(conn, sender)));
    }

    pub(super) fn acknowledge(&mut self, conn: u64, sender: usize) {
        let Some(ends) = self.net.conns.get(&conn).map(|conn| &conn.ends) else { return };
        let open = self.reaches(ends[1 - sender].node, ends[sender].node);
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[sender]) else { return };
        if !open {
            end.ack_stalled = true;
            return;
        }
        end.ack_under_way = false;
        end.known = (end.delivered, end.consumed);
        self.pump_sends(conn, sender);
        self.pump_notices(conn, sender);
    }

    /// A short while, as a program's call takes.
    pub(super) fn moment(&mut self) -> Nanos {
        if self.rng.coin() { Nanos(0) } else { Nanos(self.rng.within(500..=20_000)) }
    }
}
