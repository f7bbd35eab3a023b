//! Serving: answering the requests of one stream, chunk by chunk, the next read while one is sent.
//!
//! Nothing is hashed here: the digests were made when the segment was registered, and whoever receives checks them.

use std::borrow::Cow;
use std::rc::Rc;

use futures_util::future::join;

use crate::digest::VerifiedChunks;
use crate::ids::{Digest, Nanos, SegmentId};
use crate::limits::{CHUNK_BYTES, FRAME_DIGESTS_MAX, PACE_WAIT_MAX, PEER_SERVES_MAX, PLACE_WAIT, SERVES_MAX};
use crate::segment::{ChunkUnread, ChunkedFile, NotReady, Partial, ReadError, Reader, Store, WriteError};
use crate::stats::TransferStats;
use crate::transport::{Stream, StreamError, StreamSender, Who};
use crate::uring::{Buffer, Core, Extent, Place, Places, Shares, deadline, timeout};
use crate::wire::{Body, Chunk, ChunkList, Cursor, Fetch, FetchRefused, ListPage, ListReply, Refusal};

use super::directory::Directory;
use super::pace::Pace;

/// Where served segments come from.
#[derive(Clone)]
pub enum Holdings {
    /// A shard's store.
    Store(Rc<Store>),
    /// A plain directory with the digests of its files.
    Directory(Rc<Directory>),
}

/// An open segment.
enum Open {
    Held(Reader),
    Plain(ChunkedFile),
    /// Its chunks as they come.
    Partial(Partial, Rc<Store>, SegmentId, Digest),
}

/// A place among the segments that are served. Given back while a chunk is waited for that this node is itself still
/// fetching: nodes that wait for each other have room for what ends the waiting. And while a limit holds it back, as
/// what is behind would take up all places.
struct Seat<'a> {
    places: &'a Places,
    place: Option<Place>,
    pace: &'a Pace,
}

/// A chunk to be sent.
enum Loaded {
    /// Out of the page cache.
    Cached(Extent),
    /// Out of a buffer, so many bytes, in its place.
    Read(usize, Buffer, Place),
}

/// The segments that a core serves at a time, over all of its streams.
#[derive(Debug)]
pub struct Desk(Shares<Who>);

impl Default for Desk {
    fn default() -> Self {
        Self(Shares::new(SERVES_MAX, PEER_SERVES_MAX))
    }
}

impl Desk {
    /// How many that is just now.
    #[must_use]
    pub fn serving(&self) -> u32 {
        u32::try_from(self.0.taken()).unwrap_or(u32::MAX)
    }
}

/// Gives the page behind a cursor, of at most so many entries.
pub type Pages = Rc<dyn Fn(&[u8], usize) -> Page>;

/// One page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The entries, as whoever asks reads them.
    pub entries: Vec<u8>,
    /// The cursor of the next page; empty at the end.
    pub next: Vec<u8>,
}

/// Answers requests until the peer ends the stream, no faster than `pace`. `pages`, if there are any, are listed to
/// whoever asks. A segment for which the desk has no place is refused as busy.
pub async fn serve(
    stream: Stream,
    holdings: Holdings,
    pages: Option<Pages>,
    desk: Rc<Desk>,
    pace: Pace,
    stats: Rc<TransferStats>,
) {
    let who = stream.who();
    let places = desk.0.of(who);
    let (sender, mut receiver) = stream.split();
    loop {
        let Ok(message) = receiver.receive().await else { return };
        let done = match (message.decode(), &pages) {
            (Ok(Body::Fetch(fetch)), _) => {
                answer(&sender, (&places, &pace), &holdings, &fetch, (&stats, who)).await
            }
            (Ok(Body::ListPage(ask)), Some(pages)) => list(&sender, pages, &ask).await,
            _ => {
                tracing::warn!(peer = ?who, kind = %message.kind, "a peer asks for segments in a way that is none");
                return;
            }
        };
        if let Err(error) = done {
            tracing::debug!(peer = ?who, %error, "a peer that fetches has gone away");
            return;
        }
    }
}

async fn list(sender: &StreamSender, pages: &Pages, ask: &ListPage<'_>) -> Result<(), StreamError> {
    // No page is made before there is room for it.
    sender.ready().await?;
    let page = pages(ask.after.0, usize::try_from(ask.limit).unwrap_or(usize::MAX));
    let (entries, next) = (&page.entries[..], Cursor(&page.next));
    let end = page.next.is_empty();
    sender.send(ListReply { request: ask.request, end, entries, next }).await
}

async fn answer(
    sender: &StreamSender,
    (places, pace): (&Places, &Pace),
    holdings: &Holdings,
    fetch: &Fetch,
    (stats, who): (&TransferStats, Who),
) -> Result<(), StreamError> {
    let refuse = async |code| sender.send(FetchRefused { request: fetch.request, code }).await;
    if !places.has_room() {
        tracing::debug!(peer = ?who, segment = %fetch.segment, "refused as one too many");
        return refuse(Refusal::Busy).await;
    }
    let mut seat = Seat { places, place: Some(places.take()), pace };
    let mut open = match holdings.open(fetch.segment, fetch.root).await {
        Ok(open) => open,
        Err(code) => return refuse(code).await,
    };
    if fetch.want_list {
        match open.chunk_list(holdings, fetch).await {
            Ok(chunks) => send_list(sender, fetch.request, &chunks).await?,
            Err(code) => return refuse(code).await,
        }
    }
    let end = fetch.first_chunk.saturating_add(fetch.chunk_count).min(open.chunk_count());
    if fetch.first_chunk > end {
        return refuse(Refusal::BadRange).await;
    }
    let mut ahead = None;
    for chunk in fetch.first_chunk..end {
        let loaded = match ahead.take() {
            Some(loaded) => loaded,
            None => {
                sender.ready().await?;
                open.load(sender, &mut seat, chunk).await?
            }
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(code) => return refuse(code).await,
        };
        let (bytes, is_relayed) = (loaded.bytes(), matches!(open, Open::Partial(..)));
        let send = loaded.send(sender, Chunk { request: fetch.request, chunk });
        // A buffer is taken only when the peer has room for it: ours are where its own payloads arrive, too.
        let next = async {
            if chunk + 1 >= end || sender.ready().await.is_err() {
                return None;
            }
            Some(open.load(sender, &mut seat, chunk + 1).await)
        };
        let (sent, loaded) = join(send, next).await;
        sent?;
        stats.bytes_served.add(bytes as u64);
        if let Who::Node(node) = who {
            stats.peers.count(node, |peer| peer.bytes_served.add(bytes as u64));
        }
        if is_relayed {
            stats.bytes_relayed.add(bytes as u64);
        }
        ahead = loaded.transpose()?;
    }
    Ok(())
}

async fn send_list(sender: &StreamSender, request: u32, chunks: &VerifiedChunks) -> Result<(), StreamError> {
    let mut first = 0;
    // An empty segment has an empty list, in one frame.
    loop {
        let rest = &chunks.digests()[first..];
        let part = rest.len().min(FRAME_DIGESTS_MAX);
        let list = ChunkList {
            request,
            len: chunks.len(),
            first: u32::try_from(first).expect("bounded by SEGMENT_CHUNKS_MAX"),
            digests: Cow::Borrowed(&rest[..part]),
        };
        sender.send(list).await?;
        first += part;
        if first >= chunks.digests().len() {
            return Ok(());
        }
    }
}

impl Holdings {
    async fn open(&self, id: SegmentId, root: Digest) -> Result<Open, Refusal> {
        match self {
            Self::Store(store) => match (store.record(id), store.partial(id, root)) {
                (None, Some(partial)) => Ok(Open::Partial(partial, Rc::clone(store), id, root)),
                _ => held(store, id, root).await,
            },
            Self::Directory(directory) => directory.open(root).await.map(Open::Plain),
        }
    }

    async fn chunk_list(&self, id: SegmentId, root: Digest) -> Result<VerifiedChunks, Refusal> {
        match self {
            Self::Store(store) => store.chunk_list(id).await.map_err(|error| refusal(id, &error)),
            Self::Directory(directory) => directory.chunk_list(root),
        }
    }
}

impl Open {
    fn chunk_count(&self) -> u32 {
        match self {
            Self::Held(reader) => reader.chunk_count(),
            Self::Plain(reader) => reader.chunk_count(),
            Self::Partial(partial, ..) => partial.chunk_count(),
        }
    }

    async fn chunk_list(&self, holdings: &Holdings, fetch: &Fetch) -> Result<VerifiedChunks, Refusal> {
        let kept = if let Self::Partial(partial, ..) = self { partial.chunks() } else { None };
        match kept {
            Some(chunks) => Ok(chunks),
            None => holdings.chunk_list(fetch.segment, fetch.root).await,
        }
    }

    /// Waits until a chunk of what is being fetched here is there; what has landed meanwhile is opened as such.
    async fn await_chunk(&mut self, seat: &mut Seat<'_>, chunk: u32) -> Result<(), Refusal> {
        let Self::Partial(partial, store, id, root) = self else { return Ok(()) };
        if partial.is_there(chunk) {
            return Ok(());
        }
        seat.leave();
        let ready = partial.ready(chunk).await;
        if ready == Err(NotReady::Stalled) {
            return Err(Refusal::NotHere);
        }
        seat.come_back().await?;
        if ready == Err(NotReady::Ended) {
            *self = held(store, *id, *root).await?;
        }
        Ok(())
    }

    /// The chunk where it is in the page cache, else read into a buffer.
    async fn load(
        &mut self,
        sender: &StreamSender,
        seat: &mut Seat<'_>,
        chunk: u32,
    ) -> Result<Result<Loaded, Refusal>, StreamError> {
        let until = Core::current().now().plus(PACE_WAIT_MAX);
        if let Err(code) = self.await_chunk(seat, chunk).await {
            return Ok(Err(code));
        }
        let span = match self {
            Self::Held(reader) => reader.span(chunk),
            Self::Plain(file) => file.span(chunk),
            Self::Partial(..) => CHUNK_BYTES,
        };
        if let Err(code) = seat.pay(span, until).await {
            return Ok(Err(code));
        }
        let cached = match self {
            Self::Held(reader) => reader.cached_chunk(chunk).await,
            Self::Plain(file) => file.cached(chunk).await,
            Self::Partial(..) => None,
        };
        if let Some(extent) = cached {
            return Ok(Ok(Loaded::Cached(extent)));
        }
        let place = sender.load().await?;
        // Of memory of its own, the connections' places bound how much.
        let buffer = Core::current().slab().spare(span).unwrap_or_else(|| Buffer::heap(span));
        let (read, buffer) = match self {
            Self::Held(reader) => {
                let id = reader.record().id;
                let (read, buffer) = reader.read_chunk(chunk, buffer).await;
                (read.map_err(|error| refusal(id, &error)), buffer)
            }
            Self::Plain(file) => {
                let (read, buffer) = file.read(chunk, buffer).await;
                (read.map_err(unread), buffer)
            }
            Self::Partial(partial, _, id, _) => {
                let (read, buffer) = partial.read_chunk(chunk, buffer).await;
                (read.map_err(|error| unstaged(*id, &error)), buffer)
            }
        };
        Ok(read.map(|count| Loaded::Read(count, buffer, place)))
    }
}

impl Seat<'_> {
    fn leave(&mut self) {
        self.place = None;
    }

    /// Waits until so many bytes may leave. Somewhat more may be counted than the chunk has: of a file that is read in
    /// blocks, and of one that is being fetched. Whoever would wait too long comes again: where streams share a low
    /// limit, each would take the source for silent.
    async fn pay(&mut self, bytes: usize, until: Nanos) -> Result<(), Refusal> {
        if self.pace.is_free() {
            return Ok(());
        }
        self.leave();
        deadline(until, self.pace.pass(bytes)).await.map_err(|_| Refusal::Busy)?;
        self.come_back().await
    }

    async fn come_back(&mut self) -> Result<(), Refusal> {
        let places = self.places;
        let free = places.until(|| places.has_room().then(|| places.take()));
        self.place = Some(timeout(PLACE_WAIT, free).await.map_err(|_| Refusal::Busy)?);
        Ok(())
    }
}

impl Loaded {
    fn bytes(&self) -> usize {
        match self {
            Self::Cached(extent) => extent.bytes,
            Self::Read(count, ..) => *count,
        }
    }

    /// A buffer goes home when it is sent: with it in hand, streams that wait for a buffer wait for each other.
    async fn send(self, sender: &StreamSender, body: Chunk) -> Result<(), StreamError> {
        match self {
            Self::Cached(extent) => sender.send_extent(body, extent).await,
            Self::Read(count, buffer, _place) => sender.send_payload(body, buffer, 0..count).await.0,
        }
    }
}

async fn held(store: &Rc<Store>, id: SegmentId, root: Digest) -> Result<Open, Refusal> {
    let reader = store.open_segment(id).await.map_err(|error| refusal(id, &error))?;
    if reader.record().root == root { Ok(Open::Held(reader)) } else { Err(Refusal::Superseded) }
}

/// A chunk that went, with what it was staged in, between the look and the read is one that is not here.
fn unstaged(segment: SegmentId, error: &WriteError) -> Refusal {
    if !matches!(error, WriteError::Missing { .. }) {
        tracing::warn!(%error, %segment, "a staged chunk cannot be read");
    }
    Refusal::NotHere
}

fn refusal(segment: SegmentId, error: &ReadError) -> Refusal {
    if matches!(error, ReadError::NotHeld) {
        return Refusal::NotHere;
    }
    tracing::warn!(%error, %segment, "a segment cannot be served");
    Refusal::Damaged
}

fn unread(unread: ChunkUnread) -> Refusal {
    match unread {
        ChunkUnread::Range(_) => Refusal::BadRange,
        ChunkUnread::Short { .. } => Refusal::Superseded,
        ChunkUnread::Disk(errno) => {
            tracing::warn!(%errno, "a chunk cannot be read");
            Refusal::Damaged
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    #[test]
    fn a_desk_has_places_for_all_half_of_them_for_one_peer_and_one_for_whoever_has_none() {
        let desk = Desk::default();
        let peers: Vec<_> = (1..=4).map(|node| desk.0.of(Who::Node(NodeId(node)))).collect();
        let all = |places: &Places| -> Vec<Place> {
            std::iter::from_fn(|| places.has_room().then(|| places.take())).collect()
        };
        let held: Vec<_> = peers.iter().map(all).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [PEER_SERVES_MAX, PEER_SERVES_MAX, 1, 1]);
        assert_eq!(desk.serving() as usize, SERVES_MAX + 2);
    }
}
