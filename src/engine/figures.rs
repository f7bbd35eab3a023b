//! What a node has counted, as plain values: the parts of its status that are numbers by peer, by outcome and in time.

use crate::config::Work;
use crate::ids::Nanos;
use crate::shard::Transfers;
use crate::stats::{
    BOUNDS, CheckpointStats, Counter, Histogram, PeerStats, ProposalStats, TransferStats, TransportStats,
};
use crate::transfer::{Failure, LimitFigures};
use crate::wire::Refusal;

/// How far one shard on one node is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct LagStatus {
    /// Log entries committed and not installed.
    pub entries: u64,
    /// Bytes of the segments that are missing.
    pub bytes: u64,
    /// For how long the one is missing that has been for longest, in milliseconds.
    pub millis: u64,
}

/// What became of one shard's checkpoints since the node started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct CheckpointStatus {
    /// Those that are registered.
    pub made: u64,
    /// Those that came to nothing, or are not known to be registered.
    pub failed: u64,
    /// Of them, those whose lease ran out.
    pub expired: u64,
    /// For how long the engine was frozen when it was for longest, in microseconds.
    pub frozen_micros_max: u64,
}

impl From<&CheckpointStats> for CheckpointStatus {
    fn from(stats: &CheckpointStats) -> Self {
        let [made, failed, expired, frozen_micros_max] = stats.get();
        Self { made, failed, expired, frozen_micros_max }
    }
}

/// What the transfers of one shard did since the node started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct TransferStatus {
    /// Segments taken into the plan of fetches.
    pub planned: u64,
    /// Segments that were wanted and were planned already.
    pub planned_already: u64,
    /// Segments that were wanted and stood here already.
    pub held_already: u64,
    /// Segments of this node's own, whose file is pinned and not fetched.
    pub own: u64,
    /// Segments landed whose content this node held already: shared or copied here, and not fetched.
    pub linked: u64,
    /// Bytes of them.
    pub bytes_linked: u64,
    /// Times that the plan had no room for a segment: it is given it again when there is room.
    pub left_out: u64,
    /// Segments landed.
    pub landed: u64,
    /// From when a segment was planned to when it had landed.
    pub landing: HistogramStatus,
    /// Fetches that failed, by what ended them.
    pub failed: Vec<CountStatus>,
    /// Refusals of sources, by their code.
    pub refused: Vec<CountStatus>,
    /// Times that a segment was due and no node could be asked for it.
    pub no_source: u64,
    /// Segments that are planned and not being fetched. A number of now.
    pub queued: u64,
    /// Segments that no source could serve yet. A number of now.
    pub unavailable: u64,
    /// For how long the first of them, in milliseconds.
    pub unavailable_millis: u64,
    /// Payload bytes that arrived in chunks with a wrong digest.
    pub bytes_refetched: u64,
    /// Chunks found verified in staging when a fetch was resumed.
    pub chunks_reused: u64,
    /// Chunks that other cores of the node have brought and written.
    pub chunks_lent: u64,
    /// Small chunks that were digested together with others.
    pub chunks_together: u64,
    /// The walks that compare manifest and disk.
    pub walk: WalkStatus,
    /// By peer, each other member of the shard's group.
    pub peers: Vec<PeerStatus>,
}

/// What the walks through a shard's manifest found since the node started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct WalkStatus {
    /// Walks ended.
    pub walks: u64,
    /// Entries that they passed.
    pub entries: u64,
    /// Of them, those whose segments stood here.
    pub held: u64,
    /// Of them, those that were missing without having been known to.
    pub found: u64,
    /// Found by a walk and still missing. A number of now.
    pub missing: u64,
    /// Of them, those that no source could serve yet. A number of now.
    pub unavailable: u64,
    /// When the last one began, in milliseconds since 1970; 0 before the first.
    pub began_millis: u64,
    /// When the last one ended, in milliseconds since 1970; 0 before the first.
    pub ended_millis: u64,
}

/// What passed between this node and another, for one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerStatus {
    /// The other node.
    pub node: u64,
    /// How far it has said that it has installed: a log index.
    pub installed: Option<u64>,
    /// Payload bytes received from it.
    pub bytes_fetched: u64,
    /// Payload bytes sent to it.
    pub bytes_served: u64,
    /// Segments landed of which it was the source.
    pub landed: u64,
    /// Fetches from it, shares of segments among them, that failed by its fault or that of the way to it.
    pub failed: u64,
    /// Chunks from it that had a wrong digest.
    pub chunks_refetched: u64,
    /// Times that it was set aside as a source for that.
    pub set_aside: u64,
    /// For how long it still is, in milliseconds; 0 if it is not. A number of now.
    pub aside_millis: u64,
}

/// What became of the batches that a node proposed for a shard since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct ProposalStatus {
    /// By outcome: `committed`, `refused`, `not_taken`, `unknown`, `failed`.
    pub outcomes: Vec<CountStatus>,
    /// Of the committed ones, from when their files were digested to when the commit was known.
    pub commit: HistogramStatus,
}

/// What one core's connections did since the node started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct TransportStatus {
    /// Connections begun and ended, by what happened: `dialled`, `dial_failed`, `accepted`, and so on.
    pub events: Vec<CountStatus>,
    /// Frames received and checked.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of headers, bodies and tags received.
    pub control_bytes_in: u64,
    /// Bytes of headers, bodies and tags sent.
    pub control_bytes_out: u64,
    /// Bytes of payload received.
    pub payload_bytes_in: u64,
    /// Bytes of payload sent.
    pub payload_bytes_out: u64,
}

/// One limit of bytes per second, of a node or of one of its shards.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct RateStatus {
    /// The shard that it holds for; none if it holds for the whole node.
    pub shard: Option<u32>,
    /// `receive` or `serve`.
    pub direction: String,
    /// The limit; none if there is none.
    pub bytes_per_second: Option<u64>,
    /// By what bytes are moved for: `live`, `catch_up`, `scrub`.
    pub works: Vec<WorkStatus>,
}

/// What has passed one limit for one kind of work, since the node started and while there was a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkStatus {
    /// Which kind.
    pub work: String,
    /// Its share of the limit, in per cent.
    pub share: u8,
    /// Bytes.
    pub bytes: u64,
    /// Chunks that had to wait.
    pub waits: u64,
    /// For how long, all waits together, in milliseconds.
    pub waited_millis: u64,
    /// For how long any chunk waited, in milliseconds: for that part of the time the limit was what held back.
    pub held_back_millis: u64,
}

/// How often one of a few things has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct CountStatus {
    /// Which, in a word.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// How long something took.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct HistogramStatus {
    /// The greatest length that each bucket counts, in microseconds, of all but the last, which has no bound.
    pub bounds_micros: Vec<u64>,
    /// How many fell into each bucket and into none before it. None of all if nothing was counted.
    pub counts: Vec<u64>,
    /// All lengths together, in microseconds.
    pub sum_micros: u64,
}

fn counts<'a>(of: impl IntoIterator<Item = (&'static str, &'a Counter)>) -> Vec<CountStatus> {
    let count =
        |(what, counter): (&str, &Counter)| CountStatus { what: what.to_owned(), count: counter.get() };
    of.into_iter().map(count).collect()
}

pub(super) fn millis(length: Nanos) -> u64 {
    length.0 / Nanos::MILLISECOND.0
}

impl From<&Histogram> for HistogramStatus {
    fn from(histogram: &Histogram) -> Self {
        Self {
            bounds_micros: BOUNDS.iter().map(|bound| bound.0 / 1000).collect(),
            counts: histogram.counts().to_vec(),
            sum_micros: histogram.sum().0 / 1000,
        }
    }
}

impl From<&ProposalStats> for ProposalStatus {
    fn from(stats: &ProposalStats) -> Self {
        let outcomes = [
            ("committed", &stats.committed),
            ("refused", &stats.refused),
            ("not_taken", &stats.not_taken),
            ("unknown", &stats.unknown),
            ("failed", &stats.failed),
        ];
        Self { outcomes: counts(outcomes), commit: (&stats.commit).into() }
    }
}

impl From<&TransportStats> for TransportStatus {
    fn from(stats: &TransportStats) -> Self {
        let events = [
            ("dialled", &stats.dials),
            ("dial_failed", &stats.dial_failures),
            ("accepted", &stats.accepts),
            ("accept_failed", &stats.accept_failures),
            ("unproven_evicted", &stats.unproven_evicted),
            ("unproven_timed_out", &stats.unproven_timed_out),
            ("proven", &stats.connections),
            ("handed_over", &stats.hand_overs),
            ("cut_for_rubbish", &stats.cut_for_rubbish),
            ("cut_for_silence", &stats.cut_for_silence),
        ];
        let mut events = counts(events);
        let count = stats.refused.iter().map(Counter::get).sum();
        events.push(CountStatus { what: "refused".to_owned(), count });
        Self {
            events,
            frames_in: stats.frames_in.get(),
            frames_out: stats.frames_out.get(),
            control_bytes_in: stats.control_bytes_in.get(),
            control_bytes_out: stats.control_bytes_out.get(),
            payload_bytes_in: stats.payload_bytes_in.get(),
            payload_bytes_out: stats.payload_bytes_out.get(),
        }
    }
}

impl TransferStatus {
    /// Without what has been heard of other nodes.
    pub(super) fn new(stats: &TransferStats, now: &Transfers, at: Nanos) -> Self {
        Self {
            planned: stats.planned.get(),
            planned_already: stats.planned_already.get(),
            held_already: stats.held_already.get(),
            own: stats.own.get(),
            linked: stats.linked.get(),
            bytes_linked: stats.bytes_linked.get(),
            left_out: stats.left_out.get(),
            landed: stats.landed.get(),
            landing: (&stats.landing).into(),
            failed: counts(Failure::ALL.map(|failure| (failure.word(), &stats.failures[failure.place()]))),
            refused: counts(Refusal::ALL.iter().filter_map(|refusal| {
                Some((refusal.name(), stats.refusals.get(usize::from(refusal.code()))?))
            })),
            no_source: stats.no_source.get(),
            queued: now.queued,
            unavailable: now.unavailable_count,
            unavailable_millis: now.unavailable_since.map_or(0, |since| millis(at.since(since))),
            bytes_refetched: stats.bytes_refetched.get(),
            chunks_reused: stats.chunks_reused.get(),
            chunks_lent: stats.chunks_lent.get(),
            chunks_together: stats.chunks_together.get(),
            walk: WalkStatus::new(stats, now),
            peers: stats.peers.map(|node, peer| PeerStatus::new(node.0, peer)),
        }
    }
}

impl WalkStatus {
    fn new(stats: &TransferStats, now: &Transfers) -> Self {
        let walk = &stats.walk;
        let (missing, unavailable) = now.catching_up;
        Self {
            walks: walk.walks.get(),
            entries: walk.entries.get(),
            held: walk.held.get(),
            found: walk.found.get(),
            missing,
            unavailable,
            began_millis: millis(Nanos(walk.began.get().0)),
            ended_millis: millis(Nanos(walk.ended.get().0)),
        }
    }
}

impl PeerStatus {
    fn new(node: u64, peer: &PeerStats) -> Self {
        Self {
            node,
            installed: None,
            bytes_fetched: peer.bytes_fetched.get(),
            bytes_served: peer.bytes_served.get(),
            landed: peer.landed.get(),
            failed: peer.failed.get(),
            chunks_refetched: peer.chunks_refetched.get(),
            set_aside: peer.set_aside.get(),
            aside_millis: 0,
        }
    }
}

impl From<LimitFigures> for RateStatus {
    fn from(limit: LimitFigures) -> Self {
        let work = |work: Work| {
            let passed = limit.passed[work.place()];
            WorkStatus {
                work: work.word().to_owned(),
                share: limit.shares.of(work),
                bytes: passed.bytes,
                waits: passed.waits,
                waited_millis: millis(passed.waited),
                held_back_millis: millis(passed.held_back),
            }
        };
        Self {
            shard: limit.shard.map(|shard| shard.0),
            direction: limit.direction.word().to_owned(),
            bytes_per_second: limit.rate,
            works: Work::ALL.map(work).into(),
        }
    }
}

impl LagStatus {
    /// `entries` as the watermarks tell.
    pub(super) fn new(entries: u64, now: &Transfers, at: Nanos) -> Self {
        let millis = now.missing_since.map_or(0, |since| millis(at.since(since)));
        Self { entries, bytes: now.missing_bytes, millis }
    }
}
