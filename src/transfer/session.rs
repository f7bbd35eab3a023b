//! Conversations with sources: one stream to each, kept, on which the requests of many segments are answered one
//! after the other.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::{GroupId, Nanos, NodeId};
use crate::limits::{PROGRESS_TIMEOUT, STREAM_QUEUE_MAX};
use crate::segment;
use crate::transport::{Message, Peer, RefusedCode, StreamReceiver, StreamSender, Transport};
use crate::uring::{Core, Notify, Priority, QueueReceiver, QueueSender, deadline, queue};
use crate::wire::{Body, Class, Fetch, Purpose, Refusal};

use super::plan::Failure;

/// The kept streams of a shard, one to each source.
pub(super) struct Sessions {
    transport: Transport,
    group: GroupId,
    kept: RefCell<BTreeMap<NodeId, Rc<Session>>>,
    opening: RefCell<BTreeSet<NodeId>>,
    opened: Notify,
}

/// While it lives, nobody else opens a stream to the source.
struct Opening<'a> {
    sessions: &'a Sessions,
    source: NodeId,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.sessions.opening.borrow_mut().remove(&self.source);
        self.sessions.opened.notify();
    }
}

impl Sessions {
    pub(super) fn new(transport: Transport, group: GroupId) -> Self {
        let (kept, opening, opened) = (RefCell::default(), RefCell::default(), Notify::default());
        Self { transport, group, kept, opening, opened }
    }

    /// A new request to a source, on the stream that is kept or on a new one.
    pub(super) async fn request(&self, source: NodeId, peer: Peer) -> Result<Request, Failure> {
        self.session(source, peer).await.map(Request::open)
    }

    async fn session(&self, source: NodeId, peer: Peer) -> Result<Rc<Session>, Failure> {
        let begin = || {
            let is_first = self.opening.borrow_mut().insert(source);
            is_first.then(|| Opening { sessions: self, source })
        };
        let _one = self.opened.until(begin).await;
        if let Some(session) = self.kept.borrow().get(&source).filter(|session| !session.broken.get()) {
            return Ok(Rc::clone(session));
        }
        let opened = self.transport.open_stream(peer, self.group, Class::Bulk, Purpose::Transfer).await;
        let stream = opened.map_err(|error| {
            tracing::debug!(%source, %error, "a source cannot be reached");
            match error.refusal() {
                Some(RefusedCode::Busy | RefusedCode::Stopping) => Failure::Busy,
                _ if error.is_refusal() => Failure::NotAllowed,
                _ => Failure::Unreachable,
            }
        })?;
        let (sender, receiver) = stream.split();
        let session = Rc::new(Session {
            sender,
            requests: RefCell::default(),
            next: Cell::new(1),
            broken: Cell::new(false),
            heard: Cell::new(Core::current().now()),
        });
        self.kept.borrow_mut().insert(source, Rc::clone(&session));
        drop(Core::current().spawn(Priority::Bulk, route(Rc::downgrade(&session), receiver)));
        Ok(session)
    }
}

/// A stream to one source, kept while it works.
struct Session {
    sender: StreamSender,
    requests: RefCell<BTreeMap<u32, QueueSender<Message>>>,
    next: Cell<u32>,
    broken: Cell<bool>,
    /// When the source last answered any of them.
    heard: Cell<Nanos>,
}

impl Session {
    /// Waits for something of the source as long as it makes progress. It answers one request after the other: while it
    /// answers any, it does.
    async fn while_it_answers<T>(&self, something: impl Future<Output = T>) -> Result<T, Failure> {
        let begun = Core::current().now();
        let mut something = std::pin::pin!(something);
        loop {
            let heard = self.heard.get().max(begun);
            match deadline(heard.plus(PROGRESS_TIMEOUT), something.as_mut()).await {
                Err(_) if self.heard.get() > heard => {}
                Err(_) => {
                    // Whoever comes next asks on a stream of its own: on this one there may be no credit ever again.
                    self.broken.set(true);
                    return Err(Failure::NoProgress);
                }
                Ok(done) => return Ok(done),
            }
        }
    }
}

/// Gives each answer to the request that it names. Ends with the stream or the session.
async fn route(session: std::rc::Weak<Session>, mut receiver: StreamReceiver) {
    loop {
        let received = receiver.receive().await;
        let Some(session) = session.upgrade() else { return };
        let Ok(message) = received else {
            session.broken.set(true);
            session.requests.borrow_mut().clear();
            return;
        };
        let request = match message.decode() {
            Ok(Body::ChunkList(list)) => list.request,
            Ok(Body::Chunk(chunk)) => chunk.request,
            Ok(Body::FetchRefused(refused)) => refused.request,
            _ => continue,
        };
        let queue = session.requests.borrow().get(&request).cloned();
        if let Some(queue) = queue {
            // What nobody has asked for is no progress.
            session.heard.set(Core::current().now());
            // A request that is slow holds up those behind it, as the source answers in their order.
            let _given_up = queue.send(message).await;
        }
    }
}

/// One segment's conversation in a session.
pub(super) struct Request {
    session: Rc<Session>,
    id: u32,
    answers: QueueReceiver<Message>,
}

impl Request {
    fn open(session: Rc<Session>) -> Self {
        let id = session.next.get();
        session.next.set(id.wrapping_add(1).max(1));
        let (sender, answers) = queue(STREAM_QUEUE_MAX);
        session.requests.borrow_mut().insert(id, sender);
        Self { session, id, answers }
    }

    pub(super) async fn ask(
        &self,
        want: &segment::Want,
        chunks: Range<u32>,
        want_list: bool,
    ) -> Result<(), Failure> {
        let fetch = Fetch {
            request: self.id,
            segment: want.id,
            root: want.root,
            first_chunk: chunks.start,
            chunk_count: chunks.end - chunks.start,
            want_list,
        };
        // A source that gives no credit may answer pings for ever.
        let sent = self.session.while_it_answers(self.session.sender.send(fetch)).await?;
        sent.map_err(|_| Failure::Unreachable)
    }

    /// The next answer; a refusal is an error.
    pub(super) async fn receive(&mut self) -> Result<Message, Failure> {
        let answer = self.session.while_it_answers(self.answers.receive()).await?;
        let message = answer.ok_or(Failure::Unreachable)?;
        let Ok(Body::FetchRefused(refused)) = message.decode() else { return Ok(message) };
        Err(match refused.code {
            Refusal::NotHere | Refusal::Superseded => Failure::NotHere,
            Refusal::Damaged | Refusal::BadRange => Failure::Corrupt,
            Refusal::Busy | Refusal::ShuttingDown => Failure::Busy,
            Refusal::NotAllowed => Failure::NotAllowed,
        })
    }

    /// The chunk list, in as many frames as it takes, checked against the committed root and length.
    pub(super) async fn chunk_list(&mut self, want: &segment::Want) -> Result<VerifiedChunks, Failure> {
        let count = crate::digest::chunk_count(want.len).ok_or(Failure::Corrupt)?;
        let mut chunks = Vec::new();
        loop {
            let message = self.receive().await?;
            let Ok(Body::ChunkList(part)) = message.decode() else { return Err(Failure::Corrupt) };
            let expected = u32::try_from(chunks.len()).map_err(|_| Failure::Corrupt)?;
            let is_endless = part.digests.is_empty() && count > 0;
            if part.len != want.len
                || part.first != expected
                || is_endless
                || chunks.len() + part.digests.len() > count as usize
            {
                return Err(Failure::Corrupt);
            }
            chunks.extend_from_slice(&part.digests);
            if chunks.len() == count as usize {
                let list = ChunkList { len: want.len, chunks };
                return list.verify(want.root).map_err(|_| Failure::Corrupt);
            }
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.session.requests.borrow_mut().remove(&self.id);
    }
}
