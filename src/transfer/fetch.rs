//! Fetching: one stream to a source carries many segments at once, each verified chunk by chunk as it arrives.
//!
//! A request names a segment and its root, so that a source serves what is meant or refuses. Its first answer
//! is the list
//! of chunk digests, checked against the root before any chunk is trusted. A segment of which nothing is here
//! is asked for
//! whole, so that it costs no round trip of its own; one that is staged is asked for its missing ranges alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::{GroupId, NodeId};
use crate::limits::{PROGRESS_TIMEOUT, STREAM_QUEUE_MAX, WRITES_MAX};
use crate::segment::{self, Landing, Store};
use crate::stats::TransferStats;
use crate::transport::{Message, Peer, StreamReceiver, StreamSender, Transport};
use crate::uring::{Core, Priority, QueueReceiver, QueueSender, queue, timeout};
use crate::wire::{Body, Class, Fetch, Purpose, Refusal};

use super::land::Lander;
use super::plan::Failure;
use super::writes::Writes;

/// Fetches the segments of one shard.
pub struct Fetcher {
    transport: Transport,
    store: Rc<Store>,
    lander: Lander,
    group: GroupId,
    sessions: RefCell<BTreeMap<NodeId, Rc<Session>>>,
    stats: Rc<TransferStats>,
}

impl Fetcher {
    /// For the shard of `group`, into `store`.
    #[must_use]
    pub fn new(transport: Transport, store: Rc<Store>, group: GroupId, stats: Rc<TransferStats>) -> Self {
        let lander = Lander::start(Rc::clone(&store));
        Self { transport, store, lander, group, sessions: RefCell::default(), stats }
    }

    /// Fetches, verifies and lands one segment.
    ///
    /// # Errors
    /// Why it does not stand. What was verified is kept for the next attempt.
    pub async fn fetch(&self, want: segment::Want, source: NodeId, peer: Peer) -> Result<(), Failure> {
        if self.store.is_held(want.id, want.root) {
            return Ok(());
        }
        let mut request = Request::open(self.session(source, peer).await?);
        let resumed = self.store.is_staged(want.id, want.root);
        let known = if resumed { self.store.staged_chunks(&want).await } else { None };
        let chunks = match known {
            Some(chunks) => chunks,
            None => {
                request.ask(&want, if resumed { 0..0 } else { 0..u32::MAX }, true).await?;
                request.chunk_list(&want).await?
            }
        };
        let landing = match self.store.begin(want, chunks).await {
            Ok(landing) => landing,
            Err(segment::BeginError::Held) => return Ok(()),
            Err(error) if error.is_disk_full() => return Err(Failure::DiskFull),
            Err(error) => {
                tracing::warn!(%error, "a segment cannot be staged");
                return Err(Failure::Disk);
            }
        };
        if resumed {
            self.stats.chunks_reused.add(u64::from(landing.written_count()));
            for range in landing.missing() {
                request.ask(landing.want(), range, false).await?;
            }
        }
        let received = self.receive_chunks(&mut request, &landing).await;
        drop(request);
        match received {
            Ok(()) => self.lander.land(landing).await.map(|_| ()),
            Err(failure) => {
                if let Err(error) = landing.checkpoint().await {
                    tracing::warn!(%error, "what was verified could not be kept");
                }
                Err(failure)
            }
        }
    }

    /// The kept stream to a source, or a new one.
    async fn session(&self, source: NodeId, peer: Peer) -> Result<Rc<Session>, Failure> {
        if let Some(session) = self.sessions.borrow().get(&source).filter(|session| !session.broken.get()) {
            return Ok(Rc::clone(session));
        }
        let opened = self.transport.open_stream(peer, self.group, Class::Bulk, Purpose::Transfer).await;
        let stream = opened.map_err(|error| {
            tracing::debug!(%source, %error, "a source cannot be reached");
            if error.is_refusal() { Failure::NotAllowed } else { Failure::Unreachable }
        })?;
        let (sender, receiver) = stream.split();
        let session = Rc::new(Session {
            sender,
            requests: RefCell::default(),
            next: Cell::new(1),
            broken: Cell::new(false),
        });
        self.sessions.borrow_mut().insert(source, Rc::clone(&session));
        drop(Core::current().spawn(Priority::Bulk, route(Rc::downgrade(&session), receiver)));
        Ok(session)
    }

    /// Takes chunks until none is missing. One with a wrong digest is left out: the next attempt asks for it alone, of
    /// another source if there is one.
    async fn receive_chunks(&self, request: &mut Request, landing: &Landing) -> Result<(), Failure> {
        let mut writes = Writes::new(landing, WRITES_MAX);
        let mut expected: u32 = landing.missing().map(|range| range.end - range.start).sum();
        let mut is_corrupt = false;
        while expected > 0 {
            let message = request.receive().await?;
            let Ok(Body::Chunk(chunk)) = message.decode() else { return Err(Failure::Corrupt) };
            let index = chunk.chunk;
            let Some(payload) = message.payload else { return Err(Failure::Corrupt) };
            expected -= 1;
            self.stats.bytes_fetched.add(payload.filled().len() as u64);
            match landing.verify(index, payload) {
                Ok(verified) => writes.begin(verified).await?,
                Err((error, payload)) => {
                    self.stats.bytes_refetched.add(payload.filled().len() as u64);
                    tracing::warn!(%error, segment = %landing.want().id, "a chunk arrived damaged");
                    self.stats.chunks_refetched.add(1);
                    is_corrupt = true;
                }
            }
        }
        writes.finish().await?;
        if is_corrupt { Err(Failure::Corrupt) } else { Ok(()) }
    }
}

/// A stream to one source, kept while it works.
struct Session {
    sender: StreamSender,
    requests: RefCell<BTreeMap<u32, QueueSender<Message>>>,
    next: Cell<u32>,
    broken: Cell<bool>,
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
            // The stream's credit bounds what can be on its way, and the queue holds as much.
            let _given_up = queue.send(message).await;
        }
    }
}

/// One segment's conversation in a session.
struct Request {
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

    async fn ask(&self, want: &segment::Want, chunks: Range<u32>, want_list: bool) -> Result<(), Failure> {
        let fetch = Fetch {
            request: self.id,
            segment: want.id,
            root: want.root,
            first_chunk: chunks.start,
            chunk_count: chunks.end - chunks.start,
            want_list,
        };
        self.session.sender.send(fetch).await.map_err(|_| Failure::Unreachable)
    }

    /// The next answer; a refusal is an error.
    async fn receive(&mut self) -> Result<Message, Failure> {
        let message = match timeout(PROGRESS_TIMEOUT, self.answers.receive()).await {
            Err(_) => return Err(Failure::NoProgress),
            Ok(None) => return Err(Failure::Unreachable),
            Ok(Some(message)) => message,
        };
        let Ok(Body::FetchRefused(refused)) = message.decode() else { return Ok(message) };
        Err(match refused.code {
            Refusal::NotHere | Refusal::Superseded => Failure::NotHere,
            Refusal::Damaged | Refusal::BadRange => Failure::Corrupt,
            Refusal::Busy | Refusal::ShuttingDown => Failure::Busy,
            Refusal::NotAllowed => Failure::NotAllowed,
        })
    }

    /// The chunk list, in as many frames as it takes, checked against the committed root and length.
    async fn chunk_list(&mut self, want: &segment::Want) -> Result<VerifiedChunks, Failure> {
        let count = crate::digest::chunk_count(want.len).ok_or(Failure::Corrupt)?;
        let mut chunks = Vec::new();
        loop {
            let message = self.receive().await?;
            let Ok(Body::ChunkList(part)) = message.decode() else { return Err(Failure::Corrupt) };
            let expected = u32::try_from(chunks.len()).map_err(|_| Failure::Corrupt)?;
            if part.len != want.len
                || part.first != expected
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
