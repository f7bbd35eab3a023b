//! What programs ask of the network, and how they take it back.

use ringway::ids::Nanos;
use ringway::uring::{Errno, Outcome};

use super::super::faults::Fault;
use super::super::job::{Ask, Job, OpKind};
use super::super::node::Target;
use super::super::trace::hash;
use super::super::world::{Event, World};
use super::NetEvent;

impl World {
    pub(in super::super) fn ask_net(&mut self, id: u64, mut job: Job, fault: Option<Fault>) {
        if job.kind == OpKind::SendZeroCopy {
            job.sum = hash(job.data());
        }
        self.jobs.insert(id, job);
        match fault {
            Some(Fault::Fail(errno)) => {
                let delay = self.moment();
                self.after(delay, Event::Net(NetEvent::Fail(id, errno)));
            }
            Some(Fault::Slow(delay)) => self.after(delay, Event::Net(NetEvent::Ask(id))),
            Some(Fault::Hang) => {}
            Some(Fault::Short | Fault::Lose | Fault::Misdirect | Fault::Crash(_)) | None => self.begin(id),
        }
    }

    pub(in super::super) fn net_due(&mut self, event: NetEvent) {
        match event {
            NetEvent::Ask(id) => self.begin(id),
            NetEvent::Fail(id, errno) => self.end(id, Err(errno)),
            NetEvent::Syn(conn, attempt) => self.syn(conn, attempt),
            NetEvent::Answer(conn, attempt, refused) => self.answer(conn, attempt, refused),
            NetEvent::Segment(conn, side) => self.deliver(conn, side),
            NetEvent::Retry(conn, side) => self.retry(conn, side),
            NetEvent::Ack(conn, side) => self.acknowledge(conn, side),
            NetEvent::Pump(conn, side) => {
                self.pump_sends(conn, side);
                self.pump_receives(conn, side);
            }
            NetEvent::PumpListener(listener) => self.pump_listener(listener),
            NetEvent::Cancel(id) => self.cancelled(id),
            NetEvent::Notice(id) => self.notice(id),
        }
    }

    pub(super) fn end(&mut self, id: u64, result: Result<Outcome, Errno>) {
        if let Some(job) = self.jobs.remove(&id) {
            self.finish(job, result);
        }
    }

    /// The socket that an operation is about.
    fn target_of(&mut self, id: u64) -> Result<Target, Errno> {
        let Some(job) = self.jobs.get(&id) else { return Err(Errno::BAD_DESCRIPTOR) };
        let (Ask::Accept { listener: raw }
        | Ask::Receive { socket: raw, .. }
        | Ask::Send { socket: raw }
        | Ask::SendZeroCopy { socket: raw, .. }
        | Ask::SendFile { socket: raw, .. }
        | Ask::Room { socket: raw }
        | Ask::Shutdown { socket: raw }) = job.ask
        else {
            return Err(Errno::BAD_DESCRIPTOR);
        };
        let node = job.key.node;
        self.node(node).target(raw)
    }

    fn begin(&mut self, id: u64) {
        let Some(kind) = self.jobs.get(&id).map(|job| job.kind) else { return };
        if matches!(kind, OpKind::Listen | OpKind::Connect) {
            let Some(job) = self.jobs.remove(&id) else { return };
            if kind == OpKind::Listen {
                self.listen(job)
            } else {
                self.connect(id, job)
            }
            return;
        }
        match (self.target_of(id), kind) {
            (Ok(Target::Listener(listener)), OpKind::Accept) => {
                if let Some(found) = self.net.listeners.get_mut(&listener) {
                    found.accepts.push_back(id);
                }
                self.soon(NetEvent::PumpListener(listener));
            }
            (Ok(Target::Socket(conn, side)), OpKind::Shutdown) => {
                self.shut_down(conn, side);
                self.end(id, Ok(Outcome::Done));
            }
            (Ok(Target::Socket(conn, side)), OpKind::SendFile) => {
                let sent = self.send_file(id, conn, side);
                self.end(id, sent.map(Outcome::Count));
            }
            (Ok(Target::Socket(conn, side)), OpKind::Room) => {
                if let Some(found) = self.net.conns.get_mut(&conn) {
                    found.ends[side].rooms.push(id);
                }
                self.soon(NetEvent::Pump(conn, side));
            }
            (Ok(Target::Socket(conn, side)), OpKind::Receive | OpKind::Send | OpKind::SendZeroCopy) => {
                self.enqueue(id, conn, side, kind);
                self.soon(NetEvent::Pump(conn, side));
            }
            (Ok(_), _) => self.end(id, Err(Errno(libc::ENOTSOCK))),
            (Err(errno), _) => self.end(id, Err(errno)),
        }
    }

    fn enqueue(&mut self, id: u64, conn: u64, side: usize, kind: OpKind) {
        let Self { net, jobs, .. } = self;
        let Some(ends) = net.conns.get_mut(&conn).map(|conn| &mut conn.ends) else { return };
        let loopback = ends[0].node == ends[1].node;
        let end = &mut ends[side];
        if kind == OpKind::Receive {
            end.receives.push_back(id);
            return;
        }
        assert!(
            end.sends.is_empty(),
            "node {} has two sends at once on one connection: the kernel may mix their bytes",
            end.node
        );
        end.sends.push_back(id);
        if let Some(Ask::SendZeroCopy { loopback: known, .. }) = jobs.get_mut(&id).map(|job| &mut job.ask) {
            *known = loopback;
        }
    }

    fn soon(&mut self, event: NetEvent) {
        match self.moment() {
            Nanos(0) => self.net_due(event),
            delay => self.after(delay, Event::Net(event)),
        }
    }

    /// A program takes an operation back; until that takes effect the operation may still take bytes.
    pub(in super::super) fn cancel_net(&mut self, id: u64) {
        self.soon(NetEvent::Cancel(id));
    }

    fn cancelled(&mut self, id: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (kind, moved) = (job.kind, job.moved);
        // A zero-copy send that has its count only waits for its notification.
        if kind == OpKind::SendZeroCopy && job.handles.is_empty() {
            return;
        }
        match self.target_of(id) {
            Ok(Target::Listener(listener)) => {
                if let Some(listener) = self.net.listeners.get_mut(&listener) {
                    listener.accepts.retain(|other| *other != id);
                }
            }
            Ok(Target::Socket(conn, side)) => {
                let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else {
                    return;
                };
                end.receives.retain(|other| *other != id);
                end.sends.retain(|other| *other != id);
                end.rooms.retain(|other| *other != id);
                if kind == OpKind::SendZeroCopy {
                    self.sent(id, conn, side, Errno::CANCELED);
                    return;
                }
            }
            Ok(Target::Inode { .. }) | Err(_) => {}
        }
        let result = if moved > 0 { Ok(Outcome::Count(moved)) } else { Err(Errno::CANCELED) };
        self.end(id, result);
    }
}
