//! One proven connection: its streams, and its end. A reader and a writer task work on it; both stop when it
//! is cut, and it is cut exactly once, with a reason that every stream on it is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::auth::{KeyId, SessionKeys};
use crate::ids::{GroupId, Nanos, StreamId};
use crate::limits::{
    CONNECTION_LOADS_MAX, CORE_LOADS_MAX, PEER_LOADS_MAX, READ_AHEAD_BYTES, ZERO_COPY_COPIED_MAX,
};
use crate::stats::{Sent, TransportStats};
use crate::uring::{Core, Places, Priority, Shares, Socket};
use crate::wire::{Body, Class, Close, Kind, Open, Purpose};

use super::credit::{Budget, Budgets};
use super::dial::DialKey;
use super::entry::{End, Entry};
use super::error::{Cut, ResetCode, StreamError};
use super::hand_over::Seat;
use super::intake::{Intake, Pulse, patience};
use super::options::{Caps, ConnectionInfo, PeerIdentity, Who, core_of};
use super::outbox::{Outbox, Outgoing};
use super::reader::Reader;
use super::send_path::{SendPaths, WhyCopy};
use super::stream::Stream;
use super::transport::Inner;
use super::writer::Writer;

/// What all connections of a core share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stats: TransportStats,
    pub(super) budgets: Budgets,
    /// Places for payloads in memory that are read to be sent.
    pub(super) loads: Shares<Who>,
}

impl Default for Shared {
    fn default() -> Self {
        let loads = Shares::new(CORE_LOADS_MAX, PEER_LOADS_MAX);
        Self { stats: TransportStats::default(), budgets: Budgets::default(), loads }
    }
}

/// What is known of a connection when it begins.
pub(super) struct Facts {
    pub(super) id: u64,
    pub(super) peer: PeerIdentity,
    pub(super) address: SocketAddr,
    pub(super) class: Class,
    pub(super) version: u16,
    pub(super) key: KeyId,
    /// The core of the peer that it leads to, and how many cores the peer has, if we dialled.
    pub(super) remote_core: Option<(u16, u16)>,
    pub(super) dialled: Option<DialKey>,
    pub(super) caps: Caps,
    /// Its place among the node's accepted connections.
    pub(super) seat: Cell<Option<Seat>>,
}

/// What a proven connection consists of.
pub(super) struct Line {
    pub(super) socket: Socket,
    /// Received behind the handshake.
    pub(super) ahead: Vec<u8>,
    pub(super) keys: SessionKeys,
}

/// One proven connection.
pub(super) struct Connection {
    pub(super) facts: Facts,
    pub(super) shared: Rc<Shared>,
    pub(super) outbox: Outbox,
    pub(super) pulse: Rc<Pulse>,
    pub(super) paths: SendPaths,
    /// A frame is being sent since then, and has so long.
    pub(super) sending: Cell<Option<(Nanos, Nanos)>>,
    socket: Socket,
    owner: Weak<Inner>,
    streams: RefCell<BTreeMap<StreamId, Rc<Entry>>>,
    /// The highest number that a stream was opened under, by whichever side dialled.
    last_stream: Cell<u32>,
    cut: RefCell<Option<Cut>>,
    slab_buffers: u16,
    /// Its places of its peer's.
    pub(super) loads: Places,
    /// Its peer's.
    pub(super) budget: Rc<Budget>,
    pinged: Cell<Option<(u64, Nanos)>>,
    round_trip: Cell<Option<Nanos>>,
    unused_since: Cell<Option<Nanos>>,
}

impl Connection {
    /// A connection whose reader and writer run from now on.
    pub(super) fn start(facts: Facts, shared: Rc<Shared>, owner: Weak<Inner>, line: Line) -> Rc<Self> {
        let core = Core::current();
        let Line { socket, ahead, keys } = line;
        let pulse = Rc::new(Pulse::default());
        pulse.now();
        let intake = Intake::new(socket.clone(), READ_AHEAD_BYTES, &ahead, Rc::clone(&pulse));
        shared.stats.connections.count();
        let priority = match facts.class {
            Class::Control => Priority::Urgent,
            Class::Bulk => Priority::Bulk,
        };
        let who = facts.peer.who(facts.address);
        let connection = Rc::new(Self {
            loads: shared.loads.of(who).share(CONNECTION_LOADS_MAX, 0),
            budget: shared.budgets.of(who),
            paths: SendPaths::new(&core, &facts.address),
            facts,
            shared,
            outbox: Outbox::default(),
            pulse,
            sending: Cell::new(None),
            socket,
            owner,
            streams: RefCell::default(),
            last_stream: Cell::new(0),
            cut: RefCell::new(None),
            slab_buffers: core.slab().count(),
            pinged: Cell::new(None),
            round_trip: Cell::new(None),
            unused_since: Cell::new(Some(core.now())),
        });
        let SessionKeys { send, receive } = keys;
        let reader = Reader::new(Rc::clone(&connection), intake, receive);
        let writer = Writer::new(Rc::clone(&connection), connection.socket.clone(), send);
        drop(core.spawn(priority, reader.run()));
        drop(core.spawn(priority, writer.run()));
        connection
    }

    /// Ends the connection; only the first reason counts.
    pub(super) fn cut(&self, cut: Cut) {
        if self.is_cut() {
            return;
        }
        self.count_cut(&cut);
        drop(self.facts.seat.take());
        *self.cut.borrow_mut() = Some(cut.clone());
        if Core::try_current().is_some() {
            self.socket.abort();
        }
        for outgoing in self.outbox.close() {
            if let Some(freight) = outgoing.freight {
                freight.fail(StreamError::Connection(cut.clone()));
            }
        }
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        for entry in streams.into_values() {
            self.release(&entry);
            entry.changed.notify();
        }
        if let Some(owner) = self.owner.upgrade() {
            owner.ended(self.facts.id, &cut);
        }
    }

    fn count_cut(&self, cut: &Cut) {
        let stats = &self.shared.stats;
        if cut.is_rubbish() {
            stats.cut_for_rubbish.count();
        }
        match cut {
            Cut::Tag(_) => stats.tag_failures.count(),
            Cut::CreditOverrun { .. } => stats.credit_overruns.count(),
            Cut::Silent | Cut::Stalled => stats.cut_for_silence.count(),
            Cut::Ended
            | Cut::Socket { .. }
            | Cut::PayloadShort
            | Cut::Header(_)
            | Cut::Frame(_)
            | Cut::Unexpected { .. }
            | Cut::UnknownStream { .. }
            | Cut::StreamReused { .. }
            | Cut::OtherGroup { .. }
            | Cut::AfterEnd { .. }
            | Cut::TooManyStreams { .. }
            | Cut::Unused
            | Cut::ShutDown => {}
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.borrow().is_some()
    }

    /// Why the connection ended, for a stream that looks for the reason.
    pub(super) fn cut_reason(&self) -> Option<StreamError> {
        self.cut.borrow().clone().map(StreamError::Connection)
    }

    /// Whether the connection leads where a stream of `group` has to go.
    pub(super) fn leads_to(&self, group: GroupId) -> bool {
        self.facts.remote_core.is_some_and(|(index, count)| core_of(group, count) == index)
    }

    /// Opens a stream; none if there are too many.
    pub(super) fn open(self: &Rc<Self>, group: GroupId, purpose: Purpose) -> Option<Stream> {
        // Ours are the odd numbers; only the side that dialled opens streams.
        let number = self.last_stream.get().checked_add(if self.last_stream.get() == 0 { 1 } else { 2 })?;
        if self.is_cut() || self.streams.borrow().len() >= self.facts.caps.streams {
            return None;
        }
        let id = StreamId(number);
        let entry = self.enter(id, group, purpose);
        self.push(&entry, &Body::Open(Open { group, purpose })).ok()?;
        self.shared.stats.streams_opened.count();
        self.widen(&entry);
        Some(Stream::new(Rc::clone(self), entry))
    }

    /// The peer opens a stream.
    pub(super) fn opened(self: &Rc<Self>, id: StreamId, open: &Open) -> Result<(), Cut> {
        if id.0 <= self.last_stream.get() || id.0.is_multiple_of(2) {
            return Err(Cut::StreamReused { stream: id });
        }
        let most = self.facts.caps.streams;
        if self.places_taken() >= most {
            return Err(Cut::TooManyStreams { most });
        }
        let entry = self.enter(id, open.group, open.purpose);
        self.shared.stats.streams_accepted.count();
        let Some(owner) = self.owner.upgrade() else { return Err(Cut::ShutDown) };
        match owner.incoming(self, &entry) {
            Ok(()) => self.widen(&entry),
            Err(code) => self.reset(&entry, code),
        }
        Ok(())
    }

    /// Streams that the peer cannot know to be over: those that are open here, and those whose end it has not been
    /// told. Otherwise a peer that reads nothing could have us keep an end for every stream that it opens and gives up.
    fn places_taken(&self) -> usize {
        let streams = self.streams.borrow();
        streams.len() + self.outbox.count_ends(|id| !streams.contains_key(&id))
    }

    fn enter(&self, id: StreamId, group: GroupId, purpose: Purpose) -> Rc<Entry> {
        let entry = Rc::new(Entry::new(id, group, purpose, &self.budget));
        self.budget.count_stream(self.facts.class, 1);
        self.last_stream.set(id.0);
        self.streams.borrow_mut().insert(id, Rc::clone(&entry));
        self.unused_since.set(None);
        entry
    }

    /// A bulk stream gets its window at once, so that its first chunks need no round trip.
    fn widen(&self, entry: &Entry) {
        if self.facts.class == Class::Bulk && entry.inflow.widen(self.window(), &self.budget) {
            self.outbox.credit(entry.id);
        }
    }

    pub(super) fn window(&self) -> i64 {
        self.budget.window(self.facts.class, self.slab_buffers)
    }

    pub(super) fn entry(&self, id: StreamId) -> Option<Rc<Entry>> {
        self.streams.borrow().get(&id).cloned()
    }

    /// Whether a stream of that number has been.
    pub(super) fn has_been(&self, id: StreamId) -> bool {
        id.0 != 0 && id.0 <= self.last_stream.get() && !id.0.is_multiple_of(2)
    }

    /// Queues a small frame of a stream that needs no credit.
    fn push(&self, entry: &Entry, body: &Body<'_>) -> Result<(), StreamError> {
        let mut bytes = self.outbox.body();
        body.encode(&mut bytes).expect("an Open and a Close are within their bounds");
        let (kind, group, stream) = (body.kind(), entry.group, entry.id);
        let outgoing = Outgoing { kind, group, stream, body: bytes, freight: None };
        self.outbox.push(outgoing).map_err(|_| self.ended_error())
    }

    pub(super) fn ended_error(&self) -> StreamError {
        self.cut_reason().unwrap_or(StreamError::Connection(Cut::ShutDown))
    }

    /// Ends our direction of a stream behind all that was sent on it.
    pub(super) fn close(&self, entry: &Entry) {
        if !self.is_cut() && entry.end(End::Close) {
            let _cut_meanwhile = self.push(entry, &Body::Close(Close {}));
            self.forget_if_over(entry);
        }
    }

    /// Gives a stream up.
    pub(super) fn reset(&self, entry: &Entry, code: ResetCode) {
        if self.is_cut() || !entry.end(End::Reset(code)) {
            return;
        }
        self.shared.stats.streams_reset.count();
        if self.outbox.reset(entry.id, entry.group, code) {
            self.forget(entry);
        } else {
            self.forget_if_over(entry);
        }
    }

    /// The peer ended its direction of a stream.
    pub(super) fn peer_ended(&self, entry: &Entry, end: End) -> Result<(), Cut> {
        entry.peer_ended(end)?;
        entry.inflow.release(&self.budget);
        if let End::Reset(code) = end {
            self.reset(entry, code);
        }
        self.forget_if_over(entry);
        Ok(())
    }

    fn forget_if_over(&self, entry: &Entry) {
        if entry.is_over() {
            self.forget(entry);
        }
    }

    fn forget(&self, entry: &Entry) {
        let Some(entry) = self.streams.borrow_mut().remove(&entry.id) else { return };
        self.release(&entry);
        if self.streams.borrow().is_empty() {
            self.unused_since.set(Core::try_current().map(|core| core.now()));
        }
    }

    fn release(&self, entry: &Entry) {
        entry.inflow.release(&self.budget);
        self.budget.count_stream(self.facts.class, -1);
        // Others may hold what a sender of this stream waits for.
        self.loads.notify();
    }

    /// The answer to a ping has come.
    pub(super) fn ponged(&self, id: u64) {
        if let Some((pinged, at)) = self.pinged.get()
            && pinged == id
        {
            self.pinged.set(None);
            self.round_trip.set(Some(Core::current().now().since(at)));
        }
    }

    /// Looks at the time: asks for a sign of life, or gives the peer up.
    pub(super) fn check(&self, now: Nanos, ping: Nanos, idle: Nanos, unused: Nanos) {
        let silence = now.since(self.pulse.heard.get());
        if silence > idle.plus(self.pulse.patience.get()) {
            return self.cut(Cut::Silent);
        }
        if let Some((since, allowed)) = self.sending.get()
            && now.since(since) > idle.plus(allowed)
        {
            return self.cut(Cut::Stalled);
        }
        let is_unused = |since: Nanos| now.since(since) > unused;
        if self.facts.dialled.is_some() && self.unused_since.get().is_some_and(is_unused) {
            return self.cut(Cut::Unused);
        }
        if silence > ping && self.pinged.get().is_none_or(|(_, at)| now.since(at) > ping) {
            self.pinged.set(Some((now.0, now)));
            self.outbox.ping(now.0);
        }
    }

    /// Payload has left.
    pub(super) fn count_sent(&self, sent: Sent) {
        self.paths.count(sent);
        self.shared.stats.sent.add(sent);
    }

    /// So much was sent without copying, or the kernel copied it after all; a route where it does so is given up.
    pub(super) fn count_zero_copy(&self, bytes: usize, copied: bool) {
        self.count_sent(Sent::zero_copy(bytes as u64, copied));
        if self.paths.sent().zero_copy_sends_copied >= ZERO_COPY_COPIED_MAX {
            self.copy_from_now_on(WhyCopy::Reported);
        }
    }

    /// Gives zero-copy sends up on this connection, and tells of it.
    pub(super) fn copy_from_now_on(&self, why: WhyCopy) {
        if self.paths.give_zero_copy_up(why) {
            let (node, address) = (self.facts.peer.node, self.facts.address);
            match why {
                WhyCopy::Refused { .. } => {
                    tracing::warn!(?node, %address, %why, "a connection copies from now on");
                }
                WhyCopy::Loopback | WhyCopy::Unsupported | WhyCopy::Unregistered | WhyCopy::Reported => {
                    tracing::info!(?node, %address, %why, "a connection copies from now on");
                }
            }
        }
    }

    /// The writer begins to send so many bytes, or is done.
    pub(super) fn mark_sending(&self, bytes: Option<usize>) {
        self.sending.set(bytes.map(|bytes| (Core::current().now(), patience(bytes))));
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            peer: self.facts.peer,
            address: self.facts.address,
            class: self.facts.class,
            version: self.facts.version,
            key: self.facts.key,
            streams: self.streams.borrow().len(),
            send_path: self.paths.now(),
            sent: self.paths.sent(),
            congestion: self.socket.congestion(),
            round_trip: self.round_trip.get(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} to {:?}, {})", self.facts.id, self.facts.peer.node, self.facts.class)
    }
}

/// Whether frames of this kind belong to a stream's user.
pub(super) fn is_message(kind: Kind) -> bool {
    match kind {
        Kind::Hello
        | Kind::Welcome
        | Kind::Proof
        | Kind::Ready
        | Kind::Refused
        | Kind::Ping
        | Kind::Pong
        | Kind::Open
        | Kind::Credit
        | Kind::Close
        | Kind::Reset => false,
        Kind::RaftRequest
        | Kind::RaftResponse
        | Kind::Propose
        | Kind::ProposeReply
        | Kind::ListPage
        | Kind::ListReply
        | Kind::Fetch
        | Kind::ChunkList
        | Kind::Chunk
        | Kind::FetchRefused
        | Kind::Announce => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::uring::Place;

    #[test]
    fn payloads_in_memory_are_bounded_for_each_peer_and_for_all_but_for_one_each() {
        let shared = Shared::default();
        let peers: Vec<_> = (1..=6).map(|node| shared.loads.of(Who::Node(NodeId(node)))).collect();
        let all = |places: &Places| -> Vec<Place> {
            std::iter::from_fn(|| places.has_room().then(|| places.take())).collect()
        };
        let held: Vec<_> = peers.iter().map(all).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [PEER_LOADS_MAX, PEER_LOADS_MAX, PEER_LOADS_MAX, PEER_LOADS_MAX, 1, 1]);
        assert_eq!(shared.loads.taken(), CORE_LOADS_MAX + 2);
    }
}
