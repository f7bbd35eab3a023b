//! Fetching: one stream to a source carries many segments at once, each verified chunk by chunk as it arrives.
//!
//! A request names a segment and its root, so that a source serves what is meant or refuses. Its first answer is the list
//! of chunk digests, checked against the root before any chunk is trusted. A small segment is asked for in one message
//! and so costs no round trip of its own; one whose staging file is here already is asked for its list first, then for
//! the missing ranges alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::{GroupId, NodeId};
use crate::limits::{ANSWER_TIMEOUT, CHUNK_BYTES, PROGRESS_TIMEOUT, WRITES_MAX};
use crate::segment::{ChunkError, Landing, Store};
use crate::stats::TransferStats;
use crate::transport::{Class, Message, Peer, StreamError, StreamReceiver, StreamSender, Transport};
use crate::uring::{Core, Notify, Priority, QueueReceiver, QueueSender, Task, queue, timeout};
use crate::wire::{self, Kind};

use super::land::Lander;
use super::plan::{Failure, Want};
use super::PURPOSE_FETCH;

/// Fetches the segments of one shard.
pub struct Fetcher {
    transport: Transport,
    store: Rc<Store>,
    lander: Lander,
    group: GroupId,
    sessions: RefCell<BTreeMap<NodeId, Rc<Session>>>,
    stats: Rc<TransferStats>,
}

/// A stream to one source, kept while it works.
struct Session {
    sender: StreamSender,
    requests: RefCell<BTreeMap<u32, QueueSender<Message>>>,
    next_request: Cell<u32>,
    broken: Cell<bool>,
}

impl Fetcher {
    /// For the shard of `group`, into `store`.
    #[must_use]
    pub fn new(transport: Transport, store: Rc<Store>, group: GroupId, stats: Rc<TransferStats>) -> Self {
        let lander = Lander::start(Rc::clone(&store), Rc::clone(&stats));
        Self { transport, store, lander, group, sessions: RefCell::default(), stats }
    }

    /// Fetches, verifies and lands one segment.
    ///
    /// # Errors
    /// Why it does not stand; what was verified is kept for the next attempt.
    pub async fn fetch(&self, want: &Want, source: NodeId, peer: Peer) -> Result<(), Failure> {
        let session = self.session(source, peer).await?;
        let mut request = Request::open(Rc::clone(&session));
        let resumed = self.store.is_staged(want.root);
        request.ask(want, if resumed { 0..0 } else { 0..u32::MAX }, true).await?;
        let chunks = request.chunk_list(want).await?;
        let landing = self.store.begin(want.segment(), chunks).await.map_err(|error| self.disk(&error))?;
        if resumed {
            for range in landing.missing() {
                request.ask(want, range, false).await?;
            }
        }
        let landing = Rc::new(landing);
        let received = self.receive_chunks(&mut request, &landing).await;
        drop(request);
        match received {
            Ok(()) => self.lander.land(landing).await,
            Err(failure) => {
                if let Err(error) = landing.checkpoint().await {
                    tracing::warn!(segment = %want.id, %error, "what was verified could not be kept");
                }
                Err(failure)
            }
        }
    }
}
