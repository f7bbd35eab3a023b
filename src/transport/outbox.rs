//! What waits to be sent on a connection: the connection's own frames, which go first and are bounded because
//! each has one place to wait in, and the frames of its streams in the order in which they were given.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{GroupId, StreamId};
use crate::limits::OUTBOX_BYTES_MAX;
use crate::uring::{Answer, Buffer, Extent, Notify, Questions, Span};
use crate::wire::Kind;

use super::error::{ResetCode, StreamError};

/// What became of a payload, and its buffer.
pub type Delivered = (Result<(), StreamError>, Buffer);

/// A payload on its way.
#[derive(Debug)]
pub(super) enum Freight {
    /// Out of a buffer.
    Memory(Loaded),
    /// Out of the page cache.
    Cached { extent: Extent, answer: Answer<Result<(), StreamError>> },
}

/// A payload in a buffer, which goes back with the answer.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) buffer: Buffer,
    pub(super) span: Span,
    pub(super) answer: Answer<Delivered>,
}

impl Freight {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Memory(loaded) => loaded.span.len(),
            Self::Cached { extent, .. } => extent.bytes,
        }
    }

    pub(super) fn fail(self, error: StreamError) {
        // Whoever gave it may have gone; then the buffer goes home here.
        match self {
            Self::Memory(Loaded { buffer, answer, .. }) => drop(answer.give((Err(error), buffer))),
            Self::Cached { answer, .. } => drop(answer.give(Err(error))),
        }
    }
}

/// A frame of a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) group: GroupId,
    pub(super) stream: StreamId,
    pub(super) body: Vec<u8>,
    pub(super) freight: Option<Freight>,
}

/// A frame of the connection itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Own {
    Ready,
    Pong(u64),
    Ping(u64),
    Reset(StreamId, GroupId, ResetCode),
    Credit(StreamId),
}

/// All that waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: Cell<bool>,
    pong: Cell<Option<u64>>,
    ping: Cell<Option<u64>>,
    resets: RefCell<BTreeMap<StreamId, (GroupId, ResetCode)>>,
    /// Ordered, each once.
    credits: RefCell<Vec<StreamId>>,
    data: RefCell<VecDeque<Outgoing>>,
    /// Streams whose Close waits in `data`.
    closes: RefCell<BTreeSet<StreamId>>,
    bytes: Cell<usize>,
    closed: Cell<bool>,
    /// There is something to send, or nothing ever will be.
    pub(super) work: Notify,
    /// There is room again, or nothing ever will be sent.
    pub(super) room: Notify,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Of payloads in memory.
    pub(super) deliveries: Questions<Delivered>,
    /// Of payloads out of the page cache.
    pub(super) sendings: Questions<Result<(), StreamError>>,
}

/// Bodies kept for use again, each of at most this many bytes.
const SPARE_MAX: usize = 16;
const SPARE_BYTES_MAX: usize = 4096;

impl Outbox {
    /// An empty body to write into.
    pub(super) fn body(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a body back that was sent.
    pub(super) fn recycle(&self, mut body: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && body.capacity() <= SPARE_BYTES_MAX {
            body.clear();
            spare.push(body);
        }
    }

    pub(super) fn is_roomy(&self) -> bool {
        self.bytes.get() < OUTBOX_BYTES_MAX
    }

    pub(super) fn push(&self, outgoing: Outgoing) -> Result<(), Outgoing> {
        if self.closed.get() {
            return Err(outgoing);
        }
        self.bytes.set(self.bytes.get() + outgoing.body.len());
        if outgoing.kind == Kind::Close {
            self.closes.borrow_mut().insert(outgoing.stream);
        }
        self.data.borrow_mut().push_back(outgoing);
        self.work.notify();
        Ok(())
    }

    pub(super) fn ready(&self) {
        self.ready.set(true);
        self.work.notify();
    }

    pub(super) fn pong(&self, id: u64) {
        self.pong.set(Some(id));
        self.work.notify();
    }

    pub(super) fn ping(&self, id: u64) {
        self.ping.set(Some(id));
        self.work.notify();
    }

    pub(super) fn credit(&self, stream: StreamId) {
        let mut credits = self.credits.borrow_mut();
        if let Err(place) = credits.binary_search(&stream) {
            credits.insert(place, stream);
        }
        drop(credits);
        self.work.notify();
    }

    /// Gives a stream up: what it still had to send is taken out. True if the peer has not heard of the
    /// stream yet, and need not.
    pub(super) fn reset(&self, stream: StreamId, group: GroupId, code: ResetCode) -> bool {
        let all = std::mem::take(&mut *self.data.borrow_mut());
        let mut unheard = false;
        let mut kept = VecDeque::with_capacity(all.len());
        for outgoing in all {
            if outgoing.stream != stream {
                kept.push_back(outgoing);
                continue;
            }
            self.bytes.set(self.bytes.get() - outgoing.body.len());
            unheard |= outgoing.kind == Kind::Open;
            if outgoing.kind == Kind::Close {
                self.closes.borrow_mut().remove(&stream);
            }
            if let Some(freight) = outgoing.freight {
                freight.fail(StreamError::Reset { code });
            }
        }
        self.data.replace(kept);
        self.credits.borrow_mut().retain(|waiting| *waiting != stream);
        if !unheard {
            self.resets.borrow_mut().insert(stream, (group, code));
        }
        self.work.notify();
        self.room.notify();
        unheard
    }

    pub(super) fn has_work(&self) -> bool {
        self.closed.get()
            || self.ready.get()
            || self.pong.get().is_some()
            || self.ping.get().is_some()
            || !self.resets.borrow().is_empty()
            || !self.data.borrow().is_empty()
            || !self.credits.borrow().is_empty()
    }

    /// Of the streams whose end waits to be sent, how many are such ones.
    pub(super) fn count_ends(&self, is_such: impl Fn(StreamId) -> bool) -> usize {
        let (resets, closes) = (self.resets.borrow(), self.closes.borrow());
        resets.keys().chain(closes.iter()).filter(|id| is_such(**id)).count()
    }

    /// The next frame of the connection itself.
    pub(super) fn next_own(&self) -> Option<Own> {
        if self.ready.take() {
            return Some(Own::Ready);
        }
        if let Some(id) = self.pong.take() {
            return Some(Own::Pong(id));
        }
        if let Some(id) = self.ping.take() {
            return Some(Own::Ping(id));
        }
        if let Some((stream, (group, code))) = self.resets.borrow_mut().pop_first() {
            return Some(Own::Reset(stream, group, code));
        }
        // A stream's first credit follows its Open, which may still wait in the queue.
        let waiting = |stream: &StreamId| {
            self.data.borrow().iter().any(|o| o.kind == Kind::Open && o.stream == *stream)
        };
        let mut credits = self.credits.borrow_mut();
        let place = credits.iter().position(|stream| !waiting(stream))?;
        Some(Own::Credit(credits.remove(place)))
    }

    /// The next frame of a stream, if it fits.
    pub(super) fn next_data(&self, fits: impl Fn(&Outgoing) -> bool) -> Option<Outgoing> {
        let mut data = self.data.borrow_mut();
        let next = data.pop_front_if(|next| fits(next))?;
        drop(data);
        let was_full = !self.is_roomy();
        self.bytes.set(self.bytes.get() - next.body.len());
        if next.kind == Kind::Close {
            self.closes.borrow_mut().remove(&next.stream);
        }
        if was_full && self.is_roomy() {
            self.room.notify();
        }
        Some(next)
    }

    /// Nothing will be sent any more; gives what waited.
    pub(super) fn close(&self) -> VecDeque<Outgoing> {
        self.closed.set(true);
        self.bytes.set(0);
        self.work.notify();
        self.room.notify();
        std::mem::take(&mut *self.data.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::question;

    fn frame(stream: u32, kind: Kind) -> Outgoing {
        Outgoing { kind, group: GroupId(1), stream: StreamId(stream), body: vec![0; 10], freight: None }
    }

    fn all(outbox: &Outbox) -> Vec<(u32, Kind)> {
        std::iter::from_fn(|| outbox.next_data(|_| true)).map(|o| (o.stream.0, o.kind)).collect()
    }

    #[test]
    fn the_connections_own_frames_go_first_and_each_waits_once() {
        let outbox = Outbox::default();
        outbox.push(frame(1, Kind::Fetch)).expect("open");
        outbox.pong(1);
        outbox.pong(2);
        outbox.credit(StreamId(1));
        outbox.credit(StreamId(1));
        let own: Vec<_> = std::iter::from_fn(|| outbox.next_own()).collect();
        assert_eq!(own, [Own::Pong(2), Own::Credit(StreamId(1))]);
        assert_eq!(all(&outbox), [(1, Kind::Fetch)]);
        assert!(!outbox.has_work());
    }

    #[test]
    fn a_reset_takes_its_streams_frames_out_and_gives_their_buffers_back() {
        let outbox = Outbox::default();
        let (answer, mut question) = question();
        let freight = Some(Freight::Memory(Loaded { buffer: Buffer::heap(1), span: 0..1, answer }));
        outbox.push(Outgoing { freight, ..frame(3, Kind::Chunk) }).expect("open");
        outbox.push(frame(5, Kind::Fetch)).expect("open");
        assert!(!outbox.reset(StreamId(3), GroupId(1), ResetCode::Dropped));
        assert_eq!(outbox.next_own(), Some(Own::Reset(StreamId(3), GroupId(1), ResetCode::Dropped)));
        assert_eq!(all(&outbox), [(5, Kind::Fetch)]);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = std::pin::Pin::new(&mut question).poll(&mut context);
        assert!(matches!(polled, std::task::Poll::Ready(Some((Err(StreamError::Reset { .. }), _)))));
    }

    #[test]
    fn a_stream_that_the_peer_never_heard_of_ends_without_a_word() {
        let outbox = Outbox::default();
        outbox.push(frame(3, Kind::Open)).expect("open");
        assert!(outbox.reset(StreamId(3), GroupId(1), ResetCode::Dropped));
        assert_eq!(outbox.next_own(), None);
        assert!(all(&outbox).is_empty());
    }

    #[test]
    fn an_end_counts_until_it_is_on_its_way() {
        let outbox = Outbox::default();
        outbox.push(frame(3, Kind::Close)).expect("open");
        outbox.reset(StreamId(5), GroupId(1), ResetCode::Dropped);
        outbox.reset(StreamId(5), GroupId(1), ResetCode::Dropped);
        assert_eq!((outbox.count_ends(|_| true), outbox.count_ends(|id| id.0 == 5)), (2, 1));
        assert_eq!(all(&outbox), [(3, Kind::Close)]);
        assert!(outbox.next_own().is_some());
        assert_eq!(outbox.count_ends(|_| true), 0);
    }

    #[test]
    fn a_credit_never_goes_ahead_of_its_streams_open() {
        let outbox = Outbox::default();
        outbox.push(frame(3, Kind::Open)).expect("open");
        outbox.credit(StreamId(3));
        assert_eq!(outbox.next_own(), None);
        assert_eq!(all(&outbox), [(3, Kind::Open)]);
        assert_eq!(outbox.next_own(), Some(Own::Credit(StreamId(3))));
    }

    #[test]
    fn a_closed_outbox_takes_nothing_more() {
        let outbox = Outbox::default();
        outbox.push(frame(1, Kind::Fetch)).expect("open");
        assert_eq!(outbox.close().len(), 1);
        assert!(outbox.push(frame(1, Kind::Fetch)).is_err());
        assert!(outbox.has_work(), "the writer wakes and sees the end");
    }
}
