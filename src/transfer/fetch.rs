//! Fetching: a segment is asked for of one source, and verified chunk by chunk as it arrives.
//!
//! A request names a segment and its root, so that a source serves what is meant or refuses. Its first answer is the
//! list of chunk digests, checked against the root before any chunk is trusted. A segment of which nothing is here is
//! asked for whole, and costs no round trip of its own; one that is staged is asked for its missing ranges alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select, try_join};

use crate::config::Work;
use crate::ids::{GroupId, NodeId, SegmentId};
use crate::limits::{FETCH_RANGES_MAX, LEND_SEGMENTS_MAX, WRITES_MAX};
use crate::segment::{self, ChunkSink, ChunkWriter, DiskError, Landing, Store, WriteError};
use crate::stats::{Seldom, TransferStats};
use crate::transport::{Peer, Transport};
use crate::uring::{Core, Shares};
use crate::wire::Body;

use super::failure::{Failure, Fetched};
use super::helpers::{Helpers, Hired};
use super::land::Lander;
use super::link::Neighbours;
use super::pace::Pacer;
use super::session::{Answers, Asker, Lane, Request, Sessions};
use super::share::{Share, Tell};

/// All chunks of a segment, however many.
pub(super) const WHOLE: Range<u32> = 0..u32::MAX;

/// A segment that is taken from one node.
pub(super) struct Receiving<'a> {
    pub(super) asker: &'a Asker,
    pub(super) answers: &'a mut Answers,
    pub(super) source: NodeId,
    pub(super) peer: Peer,
    pub(super) work: Work,
    pub(super) landing: &'a Landing,
    /// Other cores that help with it.
    pub(super) hired: Vec<Hired>,
}

/// The ranges within one that are neither there nor being written.
pub(super) fn missing(landing: &Landing, within: &Range<u32>) -> impl Iterator<Item = Range<u32>> + use<> {
    let within = within.clone();
    let parts = landing.missing().map(move |range| range.start.max(within.start)..range.end.min(within.end));
    parts.filter(|range| range.start < range.end)
}

/// How many chunks those are.
pub(super) fn lacking(landing: &Landing, within: &Range<u32>) -> u32 {
    missing(landing, within).map(|range| range.end - range.start).sum()
}

/// Fetches the segments of one shard.
pub struct Fetcher {
    pub(super) store: Rc<Store>,
    pub(super) lander: Lander,
    pub(super) sessions: Sessions,
    pub(super) stats: Rc<TransferStats>,
    pub(super) group: GroupId,
    /// The other cores.
    pub(super) helpers: Option<Rc<Helpers>>,
    /// Large segments that are asked of one source, where other cores help.
    pub(super) turns: Shares<(NodeId, Work)>,
    /// The limits of what comes.
    pub(super) pacer: Pacer,
    /// The node's other shards; none if what is held is fetched all the same.
    pub(super) neighbours: Option<Neighbours>,
    /// Those of whom chunks came damaged since somebody asked.
    damagers: RefCell<BTreeSet<NodeId>>,
    damage_told: Seldom,
}

impl Fetcher {
    /// For the shard of `group`, into `store`.
    #[must_use]
    pub fn new(transport: Transport, store: Rc<Store>, group: GroupId, stats: Rc<TransferStats>) -> Self {
        let lander = Lander::start(Rc::clone(&store));
        let sessions = Sessions::new(transport, group, Pacer::default(), Rc::clone(&stats));
        let turns = Shares::new(usize::MAX, LEND_SEGMENTS_MAX);
        let (damagers, damage_told) = (RefCell::default(), Seldom::default());
        let (helpers, pacer, neighbours) = (None, Pacer::default(), None);
        Self {
            store,
            lander,
            sessions,
            stats,
            group,
            helpers,
            turns,
            pacer,
            neighbours,
            damagers,
            damage_told,
        }
    }

    /// The same; of large segments other cores bring a part, when they are free.
    #[must_use]
    pub fn with_helpers(self, helpers: Option<Rc<Helpers>>) -> Self {
        Self { helpers, ..self }
    }

    /// The same; what comes is held to these limits.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Pacer) -> Self {
        self.sessions.set_pacer(pacer.clone());
        self.pacer = pacer;
        self
    }

    /// Fetches, verifies and lands one segment: from the source, or if there are shares from all of their nodes, the
    /// first of which is the source. `tell` hears how it stands with each of the others'. What does not come from them
    /// comes from the source.
    ///
    /// # Errors
    /// Why it does not stand. What was verified is kept for the next attempt.
    pub async fn fetch(
        &self,
        want: segment::Want,
        (source, peer, work): (NodeId, Peer, Work),
        shares: &[Share],
        tell: Tell<'_>,
    ) -> Result<Fetched, Failure> {
        if self.stands(&want).await? {
            return Ok(Fetched::Held);
        }
        let id = want.id;
        let (own, others) = match shares {
            [own, others @ ..] if !others.is_empty() => (own.part.chunks.clone(), others),
            _ => (WHOLE, &[][..]),
        };
        let turn = if others.is_empty() { self.turn(&want, (source, work)).await } else { None };
        let Request { asker, mut answers } = self.sessions.request((source, Lane::Whole, work), peer).await?;
        let hired = self.hire(&want, &own);
        let resumed = self.store.is_staged(want.id, want.root);
        let known = if resumed { self.store.staged_chunks(&want).await } else { None };
        let asked = if resumed { 0..0 } else { self.first_piece(&want, &own, &hired) };
        let chunks = match known {
            Some(chunks) => chunks,
            None => {
                asker.ask(&want, asked.clone(), true).await?;
                answers.chunk_list(&want).await?
            }
        };
        let landing = match self.store.begin(want, chunks).await {
            Ok(landing) => landing,
            Err(segment::BeginError::Held) => return Ok(Fetched::Held),
            Err(error) => return Err(unstaged(id, &error)),
        };
        if resumed {
            self.stats.chunks_reused.add(u64::from(landing.written_count()));
        }
        let mut receiving =
            Receiving { asker: &asker, answers: &mut answers, source, peer, work, landing: &landing, hired };
        let received = if others.is_empty() {
            self.receive_own(&mut receiving, WHOLE, asked).await
        } else {
            self.receive_spread(&mut receiving, own, asked, (others, tell)).await
        };
        drop((asker, answers, turn));
        match received {
            Ok(()) => self.lander.land(vec![landing]).await.pop().expect("one answer for one landing"),
            Err(failure) => {
                if let Err(error) = landing.checkpoint().await {
                    tracing::warn!(%error, segment = %id, "what was verified could not be kept");
                }
                Err(failure)
            }
        }
    }

    /// Whether a segment is held, or is now: it has landed already and had no record.
    pub(super) async fn stands(&self, want: &segment::Want) -> Result<bool, Failure> {
        let is_held = self.store.is_held(want.id, want.root);
        Ok(is_held || self.store.end_landing(want).await.map_err(|error| refused(want.id, &error))?)
    }

    /// Asks for what is missing, unless all of it was asked for, and takes it meanwhile. While a source answers it
    /// reads no requests: whoever asked for more than there is credit for would not be there to take answers.
    pub(super) async fn receive_missing(
        &self,
        from: &mut Receiving<'_>,
        within: Range<u32>,
        mut is_asked: bool,
    ) -> Result<(), Failure> {
        let Receiving { asker, ref mut answers, source, landing, .. } = *from;
        loop {
            let ranges: Vec<_> = missing(landing, &within).take(FETCH_RANGES_MAX).collect();
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
            let receive = self.receive_chunks(answers, source, landing, (&within, expected));
            let ((), is_damaged) = try_join(ask, receive).await?;
            if is_damaged {
                return Err(Failure::Corrupt);
            }
        }
    }

    /// Takes so many chunks. One with a wrong digest is left out, and said so: the next attempt asks for it alone, of
    /// another source if there is one. One that is here already was not asked for, nor was another's.
    pub(super) async fn receive_chunks(
        &self,
        answers: &mut Answers,
        source: NodeId,
        landing: &Landing,
        (within, mut expected): (&Range<u32>, u32),
    ) -> Result<bool, Failure> {
        let segment = landing.want().id;
        let mut writer = landing.writer(WRITES_MAX);
        let mut is_corrupt = false;
        while expected > 0 {
            let message = unless_refused(segment, &writer, answers.receive()).await?;
            let Ok(Body::Chunk(chunk)) = message.decode() else { return Err(Failure::Corrupt) };
            let index = chunk.chunk;
            let Some(payload) = message.payload else { return Err(Failure::Corrupt) };
            expected -= 1;
            self.count_bytes(source, payload.filled().len() as u64);
            if !within.contains(&index) || !landing.lacks(index) {
                self.stats.bytes_refetched.add(payload.filled().len() as u64);
                tracing::warn!(%segment, %source, index, "a chunk came that was not asked for");
                return Err(Failure::Corrupt);
            }
            match landing.verify(index, payload) {
                Ok(verified) => writer.write(verified).await.map_err(|error| unwritten(segment, &error))?,
                Err((error, payload)) => {
                    self.stats.bytes_refetched.add(payload.filled().len() as u64);
                    self.count_damaged((segment, source), &error);
                    is_corrupt = true;
                }
            }
        }
        writer.finish().await.map_err(|error| unwritten(segment, &error))?;
        Ok(is_corrupt)
    }

    pub(super) fn count_bytes(&self, source: NodeId, bytes: u64) {
        self.stats.bytes_fetched.add(bytes);
        self.stats.peers.count(source, |peer| peer.bytes_fetched.add(bytes));
    }

    /// Whether chunks of a source came damaged since this was asked last.
    pub(super) fn took_damage(&self, source: NodeId) -> bool {
        self.damagers.borrow_mut().remove(&source)
    }

    /// A chunk with a wrong digest.
    pub(super) fn count_damaged(&self, (segment, source): (SegmentId, NodeId), error: &dyn fmt::Display) {
        if self.damage_told.is_due(Core::current().now()) {
            tracing::warn!(%error, %source, %segment, "a chunk arrived damaged");
        }
        self.damagers.borrow_mut().insert(source);
        self.stats.chunks_refetched.count();
        self.stats.peers.count(source, |peer| peer.chunks_refetched.count());
    }
}

/// What is waited for, or why a chunk could not be written meanwhile.
pub(super) async fn unless_refused<T, S: ChunkSink>(
    segment: SegmentId,
    writer: &ChunkWriter<S>,
    other: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match select(pin!(other), pin!(writer.failure())).await {
        Either::Left((done, _)) => done,
        Either::Right((error, _)) => Err(unwritten(segment, &error)),
    }
}

pub(super) fn unstaged(segment: SegmentId, error: &segment::BeginError) -> Failure {
    if error.is_disk_full() {
        return Failure::DiskFull;
    }
    tracing::warn!(%error, %segment, "a segment cannot be staged");
    Failure::Disk
}

pub(super) fn unwritten(segment: SegmentId, error: &WriteError) -> Failure {
    match error {
        WriteError::DiskFull(_) => Failure::DiskFull,
        WriteError::Content(_) => Failure::Corrupt,
        WriteError::Busy { .. } | WriteError::Missing { .. } | WriteError::Ruined | WriteError::Disk(_) => {
            tracing::warn!(%error, %segment, "a chunk could not be written");
            Failure::Disk
        }
    }
}

fn refused(segment: SegmentId, error: &DiskError) -> Failure {
    if error.is_disk_full() {
        return Failure::DiskFull;
    }
    tracing::warn!(%error, %segment, "a segment that has landed could not be recorded");
    Failure::Disk
}
