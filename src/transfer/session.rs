//! Conversations with sources: one stream to each, kept, on which the requests of many segments are answered one
//! after the other.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};

use crate::config::Work;
use crate::digest::{ChunkList, VerifiedChunks, chunk_count};
use crate::ids::{GroupId, Nanos, NodeId};
use crate::limits::{FETCHES_MAX, PROGRESS_TIMEOUT, STREAM_QUEUE_MAX};
use crate::segment;
use crate::stats::TransferStats;
use crate::transport::{Message, Peer, RefusedCode, StreamReceiver, StreamSender, Transport};
use crate::uring::{Core, Notify, Priority, QueueReceiver, QueueSender, deadline, queue};
use crate::wire::{Body, Class, Fetch, Purpose, Refusal};

use super::failure::Failure;
use super::pace::{Pace, Pacer};

/// What a stream to a source is for. A source answers the requests of one stream in their order: a share that it is
/// itself still fetching would hold up what it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lane {
    /// Segments of which the source is asked for all that is missing.
    Whole,
    /// Shares of segments.
    Share,
}

/// A source, and what for. What is live waits behind nothing else.
pub(super) type To = (NodeId, Lane, Work);

/// The kept streams of a shard, one to each source and for each purpose.
pub(super) struct Sessions {
    transport: Transport,
    group: GroupId,
    kept: RefCell<BTreeMap<To, Rc<Session>>>,
    opening: RefCell<BTreeSet<To>>,
    opened: Notify,
    pacer: Pacer,
    stats: Rc<TransferStats>,
}

/// While it lives, nobody else opens a stream to the source.
struct Opening<'a> {
    sessions: &'a Sessions,
    to: To,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.sessions.opening.borrow_mut().remove(&self.to);
        self.sessions.opened.notify();
    }
}

impl Sessions {
    /// Refusals are counted in `stats`.
    pub(super) fn new(transport: Transport, group: GroupId, pacer: Pacer, stats: Rc<TransferStats>) -> Self {
        let (kept, opening, opened) = (RefCell::default(), RefCell::default(), Notify::default());
        Self { transport, group, kept, opening, opened, pacer, stats }
    }

    /// From now on what comes is held to these limits.
    pub(super) fn set_pacer(&mut self, pacer: Pacer) {
        self.pacer = pacer;
    }

    /// A new request to a source, on the stream that is kept or on a new one.
    pub(super) async fn request(&self, to: To, peer: Peer) -> Result<Request, Failure> {
        self.session(to, peer).await.map(Request::open)
    }

    async fn session(&self, to: To, peer: Peer) -> Result<Rc<Session>, Failure> {
        let (source, _, work) = to;
        let begin = || {
            let is_first = self.opening.borrow_mut().insert(to);
            is_first.then(|| Opening { sessions: self, to })
        };
        let _one = self.opened.until(begin).await;
        if let Some(session) = self.kept.borrow().get(&to).filter(|session| !session.broken.get()) {
            return Ok(Rc::clone(session));
        }
        let opened = self.transport.open_stream(peer, self.group, Class::Bulk, purpose(work)).await;
        let stream = opened.map_err(|error| {
            tracing::debug!(%source, %error, "a source cannot be reached");
            match error.refusal() {
                Some(RefusedCode::Busy | RefusedCode::Stopping) => Failure::Busy,
                _ if error.is_refusal() => Failure::NotAllowed,
                _ => Failure::Unreachable,
            }
        })?;
        let (sender, receiver) = stream.split();
        let over = Rc::<Notify>::default();
        let session = Rc::new(Session {
            sender,
            requests: RefCell::default(),
            next: Cell::new(1),
            broken: Cell::new(false),
            over: Rc::clone(&over),
            heard: Cell::new(Core::current().now()),
            is_held: Cell::new(false),
            stats: Rc::clone(&self.stats),
        });
        self.kept.borrow_mut().insert(to, Rc::clone(&session));
        drop(
            Core::current()
                .spawn(Priority::Bulk, route(Rc::downgrade(&session), receiver, over, self.pacer.of(work))),
        );
        Ok(session)
    }
}

/// A stream to one source, kept while it works.
struct Session {
    sender: StreamSender,
    requests: RefCell<BTreeMap<u32, Asked>>,
    next: Cell<u32>,
    broken: Cell<bool>,
    /// Told to end before the source ends it.
    over: Rc<Notify>,
    /// When the source last answered any of them.
    heard: Cell<Nanos>,
    /// What it has sent waits here until it may pass.
    is_held: Cell<bool>,
    stats: Rc<TransferStats>,
}

impl Session {
    /// Waits for something of the source as long as it makes progress. It answers one request after the other: while it
    /// answers any, it does.
    async fn while_it_answers<T>(&self, something: impl Future<Output = T>) -> Result<T, Failure> {
        let core = Core::current();
        let mut begun = core.now();
        let mut something = pin!(something);
        loop {
            let heard = self.heard.get().max(begun);
            match deadline(heard.plus(PROGRESS_TIMEOUT), something.as_mut()).await {
                Err(_) if self.heard.get() > heard => {}
                Err(_) if self.is_held.get() => begun = core.now(),
                Err(_) => {
                    // Whoever comes next asks on a stream of its own: on this one there may be no credit ever again.
                    self.broken.set(true);
                    return Err(Failure::NoProgress);
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    /// Notes an answer, and gives who takes it. What comes for a request that was given up is taken by nobody, and is
    /// progress all the same: others wait behind it. What nobody has asked for is none.
    fn heard_of(&self, message: &Message) -> Option<QueueSender<Message>> {
        let (request, answers) = match message.decode() {
            Ok(Body::ChunkList(list)) => (list.request, list.digests.len().max(1) as u64),
            Ok(Body::Chunk(chunk)) => (chunk.request, 1),
            Ok(Body::FetchRefused(refused)) => (refused.request, u64::MAX),
            _ => return None,
        };
        let mut requests = self.requests.borrow_mut();
        let asked = requests.get_mut(&request)?;
        let taker = asked.taker.clone();
        if asked.due.came(answers) || taker.is_some() {
            self.heard.set(Core::current().now());
        }
        if taker.is_none() && asked.due.is_over() {
            requests.remove(&request);
        }
        taker
    }

    /// Nobody takes a request's answers any more; those on their way are kept in mind. With too many of such requests
    /// before them, whoever comes next asks on a stream of its own.
    fn give_up(&self, request: u32) {
        let mut requests = self.requests.borrow_mut();
        let Some(asked) = requests.get_mut(&request) else { return };
        asked.taker = None;
        if asked.due.is_over() {
            requests.remove(&request);
        } else if requests.values().filter(|asked| asked.taker.is_none()).count() > FETCHES_MAX {
            self.broken.set(true);
        }
    }

    /// What is still to come to a request is not wanted. If nobody waits for anything of the stream, it ends, and the
    /// source sends no more.
    fn hang_up(&self, request: u32) {
        self.give_up(request);
        let requests = self.requests.borrow();
        if !requests.is_empty() && requests.values().all(|asked| asked.taker.is_none()) {
            self.broken.set(true);
            self.over.notify();
        }
    }
}

/// What was asked in the name of one request, and who takes the answers: nobody if it was given up.
struct Asked {
    taker: Option<QueueSender<Message>>,
    due: Due,
}

/// How many answers are still to come to each asking, in its order: chunks, digests of a list. A source that says more
/// than it was asked for makes no progress by it.
#[derive(Default)]
struct Due(VecDeque<u64>);

impl Due {
    /// All the answers to one asking; the list of an empty segment is one, too.
    fn ask(&mut self, want: &segment::Want, chunks: &Range<u32>, want_list: bool) {
        let count = chunk_count(want.len).unwrap_or_default();
        let chunks = chunks.end.min(count).saturating_sub(chunks.start);
        let list = if want_list { count.max(1) } else { 0 };
        self.0.push_back(u64::from(chunks) + u64::from(list));
    }

    /// So many have come, or a refusal in the place of all. False if none was due.
    fn came(&mut self, answers: u64) -> bool {
        let Some(first) = self.0.front_mut() else { return false };
        *first = first.saturating_sub(answers);
        self.0.pop_front_if(|first| *first == 0);
        true
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a source is told that a stream is for.
fn purpose(work: Work) -> Purpose {
    match work {
        Work::Live => Purpose::Transfer,
        Work::CatchUp | Work::Scrub => Purpose::CatchUp,
    }
}

/// Gives each answer to the request that it names, when it may pass: what is held back stays with the source, but for
/// the credit of one stream. Ends with the stream or the session, or when it is told to.
async fn route(session: std::rc::Weak<Session>, mut receiver: StreamReceiver, over: Rc<Notify>, pace: Pace) {
    let mut over = pin!(over.notified());
    loop {
        let Either::Left((received, _)) = select(pin!(receiver.receive()), over.as_mut()).await else {
            return;
        };
        let Some(session) = session.upgrade() else { return };
        let Ok(message) = received else {
            session.broken.set(true);
            session.requests.borrow_mut().clear();
            return;
        };
        let taker = session.heard_of(&message);
        let bytes = message.payload.as_ref().map_or(0, |payload| payload.filled().len());
        if bytes > 0 && !pace.is_free() {
            session.is_held.set(true);
            let Either::Left(_) = select(pin!(pace.pass(bytes)), over.as_mut()).await else { return };
            session.is_held.set(false);
            session.heard.set(Core::current().now());
        }
        if let Some(queue) = taker {
            // A request that is slow holds up those behind it, as the source answers in their order.
            let _given_up = queue.send(message).await;
        }
    }
}

/// One segment's conversation in a session.
pub(super) struct Request {
    pub(super) asker: Asker,
    pub(super) answers: Answers,
}

/// The side of a request that asks. Dropped, it gives the request up.
pub(super) struct Asker {
    session: Rc<Session>,
    id: u32,
}

/// Ends a request's stream, unless others need it, when it is dropped before `keep`.
pub(super) struct HangUp<'a>(Option<&'a Asker>);

impl HangUp<'_> {
    /// It has come to its end.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if let Some(asker) = self.0 {
            asker.session.hang_up(asker.id);
        }
    }
}

/// The side of a request that takes the answers.
pub(super) struct Answers {
    session: Rc<Session>,
    queue: QueueReceiver<Message>,
}

impl Request {
    fn open(session: Rc<Session>) -> Self {
        let id = session.next.get();
        session.next.set(id.wrapping_add(1).max(1));
        let (taker, queue) = queue(STREAM_QUEUE_MAX);
        session.requests.borrow_mut().insert(id, Asked { taker: Some(taker), due: Due::default() });
        let answers = Answers { session: Rc::clone(&session), queue };
        Self { asker: Asker { session, id }, answers }
    }
}

impl Asker {
    /// For who may be dropped in the middle of the answers.
    pub(super) fn or_hang_up(&self) -> HangUp<'_> {
        HangUp(Some(self))
    }

    /// Asks for chunks, and for their list, when the source has room for it. Whoever has asked for something already
    /// takes answers meanwhile: those that nobody takes are in the way of others, and in the end of all room.
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
        sent.map_err(|_| Failure::Unreachable)?;
        if let Some(asked) = self.session.requests.borrow_mut().get_mut(&self.id) {
            asked.due.ask(want, &chunks, want_list);
        }
        Ok(())
    }
}

impl Answers {
    /// The next answer; a refusal is an error.
    pub(super) async fn receive(&mut self) -> Result<Message, Failure> {
        self.next().await?
    }

    /// The next answer, or the refusal of one asking, behind which the other answers still come. The outer error ends
    /// them all.
    pub(super) async fn next(&mut self) -> Result<Result<Message, Failure>, Failure> {
        let answer = self.session.while_it_answers(self.queue.receive()).await?;
        let message = answer.ok_or(Failure::Unreachable)?;
        let Ok(Body::FetchRefused(refused)) = message.decode() else { return Ok(Ok(message)) };
        self.session.stats.count_refusal(refused.code.code());
        Ok(Err(match refused.code {
            Refusal::NotHere | Refusal::Superseded => Failure::NotHere,
            Refusal::Damaged | Refusal::BadRange => Failure::Corrupt,
            Refusal::Busy | Refusal::ShuttingDown => Failure::Busy,
            Refusal::NotAllowed => Failure::NotAllowed,
        }))
    }

    /// The chunk list, in as many frames as it takes, checked against the committed root and length.
    pub(super) async fn chunk_list(&mut self, want: &segment::Want) -> Result<VerifiedChunks, Failure> {
        let count = chunk_count(want.len).ok_or(Failure::Corrupt)?;
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

impl Drop for Asker {
    fn drop(&mut self) {
        self.session.give_up(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, SegmentId};
    use crate::limits::CHUNK_BYTES;
    use crate::segment::RelativePath;

    fn want(chunks: u64) -> segment::Want {
        let path = RelativePath::parse("a").expect("a path");
        segment::Want {
            id: SegmentId::default(),
            path,
            len: chunks * CHUNK_BYTES as u64,
            root: Digest::default(),
        }
    }

    #[test]
    fn answers_are_due_as_often_as_they_were_asked_for_and_no_more() {
        let mut due = Due::default();
        assert!(!due.came(1), "nothing was asked for");
        due.ask(&want(5), &(1..u32::MAX), true);
        let came: Vec<bool> = [3, 1, 1, 4, 1, 1].map(|answers| due.came(answers)).to_vec();
        assert_eq!(came, [true, true, true, true, false, false], "a list of five, and four chunks");
        assert!(due.is_over());
        due.ask(&want(0), &(0..u32::MAX), true);
        assert!(due.came(1) && due.is_over(), "the list of an empty segment is one answer");
    }

    #[test]
    fn a_refusal_is_the_answer_to_one_asking_alone() {
        let mut due = Due::default();
        for range in [0..3, 4..5] {
            due.ask(&want(9), &range, false);
        }
        assert!(due.came(1) && due.came(u64::MAX), "refused in its middle");
        assert!(!due.is_over(), "the other one is still to be answered");
        assert!(due.came(1) && due.is_over());
    }
}
