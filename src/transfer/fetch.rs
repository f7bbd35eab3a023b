//! Fetching: a segment is asked for of one source, and verified chunk by chunk as it arrives.
//!
//! A request names a segment and its root, so that a source serves what is meant or refuses. Its first answer is the
//! list of chunk digests, checked against the root before any chunk is trusted. A segment of which nothing is here is
//! asked for whole, and costs no round trip of its own; one that is staged is asked for its missing ranges alone.

use std::rc::Rc;

use futures_util::future::try_join;

use crate::ids::{GroupId, NodeId};
use crate::limits::{FETCH_RANGES_MAX, WRITES_MAX};
use crate::segment::{self, DiskError, Landing, Store};
use crate::stats::TransferStats;
use crate::transport::{Peer, Transport};
use crate::wire::Body;

use super::land::Lander;
use super::plan::Failure;
use super::session::{Answers, Asker, Request, Sessions};
use super::writes::Writes;

/// Fetches the segments of one shard.
pub struct Fetcher {
    store: Rc<Store>,
    lander: Lander,
    sessions: Sessions,
    stats: Rc<TransferStats>,
}

impl Fetcher {
    /// For the shard of `group`, into `store`.
    #[must_use]
    pub fn new(transport: Transport, store: Rc<Store>, group: GroupId, stats: Rc<TransferStats>) -> Self {
        let lander = Lander::start(Rc::clone(&store));
        Self { store, lander, sessions: Sessions::new(transport, group), stats }
    }

    /// Fetches, verifies and lands one segment.
    ///
    /// # Errors
    /// Why it does not stand. What was verified is kept for the next attempt.
    pub async fn fetch(&self, want: segment::Want, source: NodeId, peer: Peer) -> Result<(), Failure> {
        if self.store.is_held(want.id, want.root)
            || self.store.end_landing(&want).await.map_err(|error| refused(&error))?
        {
            return Ok(());
        }
        let Request { asker, mut answers } = self.sessions.request(source, peer).await?;
        let resumed = self.store.is_staged(want.id, want.root);
        let known = if resumed { self.store.staged_chunks(&want).await } else { None };
        let chunks = match known {
            Some(chunks) => chunks,
            None => {
                asker.ask(&want, if resumed { 0..0 } else { 0..u32::MAX }, true).await?;
                answers.chunk_list(&want).await?
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
        }
        let received = self.receive_missing(&asker, &mut answers, source, &landing, !resumed).await;
        drop((asker, answers));
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

    /// Asks for what is missing, unless all of it was asked for, and takes it meanwhile. While a source answers it
    /// reads no requests: whoever asked for more than there is credit for would not be there to take answers.
    async fn receive_missing(
        &self,
        asker: &Asker,
        answers: &mut Answers,
        source: NodeId,
        landing: &Landing,
        mut is_asked: bool,
    ) -> Result<(), Failure> {
        loop {
            let ranges: Vec<_> = landing.missing().take(FETCH_RANGES_MAX).collect();
            if ranges.is_empty() {
                return Ok(());
            }
            let expected = ranges.iter().map(|range| range.end - range.start).sum();
            let to_ask = if std::mem::take(&mut is_asked) { Vec::new() } else { ranges };
            let ask = async {
                for range in to_ask {
                    asker.ask(landing.want(), range, false).await?;
                }
                Ok(())
            };
            try_join(ask, self.receive_chunks(answers, source, landing, expected)).await?;
        }
    }

    /// Takes so many chunks. One with a wrong digest is left out: the next attempt asks for it alone, of another source
    /// if there is one. One that is here already was not asked for.
    async fn receive_chunks(
        &self,
        answers: &mut Answers,
        source: NodeId,
        landing: &Landing,
        mut expected: u32,
    ) -> Result<(), Failure> {
        let mut writes = Writes::new(landing, WRITES_MAX);
        let mut is_corrupt = false;
        while expected > 0 {
            let message = writes.beside(answers.receive()).await?;
            let Ok(Body::Chunk(chunk)) = message.decode() else { return Err(Failure::Corrupt) };
            let index = chunk.chunk;
            let Some(payload) = message.payload else { return Err(Failure::Corrupt) };
            expected -= 1;
            self.stats.bytes_fetched.add(payload.filled().len() as u64);
            if !landing.lacks(index) {
                self.stats.bytes_refetched.add(payload.filled().len() as u64);
                tracing::warn!(segment = %landing.want().id, index, "a chunk came that was not asked for");
                return Err(Failure::Corrupt);
            }
            match landing.verify(index, payload) {
                Ok(verified) => writes.begin(verified).await?,
                Err((error, payload)) => {
                    self.stats.bytes_refetched.add(payload.filled().len() as u64);
                    tracing::warn!(%error, %source, segment = %landing.want().id, "a chunk arrived damaged");
                    self.stats.chunks_refetched.add(1);
                    is_corrupt = true;
                }
            }
        }
        writes.finish().await?;
        if is_corrupt { Err(Failure::Corrupt) } else { Ok(()) }
    }
}

fn refused(error: &DiskError) -> Failure {
    if error.is_disk_full() {
        return Failure::DiskFull;
    }
    tracing::warn!(%error, "a segment that has landed could not be recorded");
    Failure::Disk
}
