//! Of its shards, and of other members as they know them.

use crate::daemon::metrics::{Family, Read, counter, gauge, histogram};

pub(super) const FAMILIES: &[Family] = &[
    // Shards: how they stand.
    gauge(
        "ringway_shard_ready",
        "1 if the shard has been caught up with its leader and all of its segments stand here, sound.",
        Read::Shard(|shard| shard.ready.into()),
    ),
    gauge("ringway_shard_segments", "Segments in the manifest.", Read::Shard(|shard| shard.segments)),
    gauge("ringway_shard_bytes", "Bytes of the segments in the manifest.", Read::Shard(|shard| shard.bytes)),
    gauge(
        "ringway_shard_sessions",
        "Proposers' sessions in the manifest.",
        Read::Shard(|shard| shard.sessions),
    ),
    gauge("ringway_shard_proposed_index", "Log index proposed.", Read::Shard(|shard| shard.proposed)),
    gauge("ringway_shard_committed_index", "Log index committed.", Read::Shard(|shard| shard.committed)),
    gauge("ringway_shard_applied_index", "Log index applied.", Read::Shard(|shard| shard.applied)),
    gauge(
        "ringway_shard_installed_index",
        "Highest log index below which every segment stands here.",
        Read::Shard(|shard| shard.installed),
    ),
    gauge(
        "ringway_shard_lag_entries",
        "Log entries committed and not installed.",
        Read::Shard(|shard| shard.lag.entries),
    ),
    gauge("ringway_shard_lag_bytes", "Bytes of the segments missing.", Read::Shard(|shard| shard.lag.bytes)),
    gauge(
        "ringway_shard_lag_seconds",
        "For how long the segment is missing that has been for longest; 0 if none is.",
        Read::Shard(|shard| shard.lag.millis),
    )
    .in_parts(1000),
    gauge(
        "ringway_shard_missing_segments",
        "Segments of the manifest that do not stand here.",
        Read::Shard(|shard| shard.missing),
    ),
    gauge(
        "ringway_shard_damaged_segments",
        "Segments that stand here and are damaged.",
        Read::Shard(|shard| shard.damaged),
    ),
    gauge(
        "ringway_shard_unavailable_segments",
        "Segments that no source could serve yet.",
        Read::Shard(|shard| shard.transfers.unavailable),
    ),
    gauge(
        "ringway_shard_unavailable_seconds",
        "For how long no source could serve the first of the unavailable segments; 0 if there is none.",
        Read::Shard(|shard| shard.transfers.unavailable_millis),
    )
    .in_parts(1000),
    gauge(
        "ringway_shard_paused",
        "1 if nothing is fetched because the disk is full.",
        Read::Shard(|shard| shard.paused.is_some().into()),
    ),
    gauge(
        "ringway_shard_direct",
        "1 if content passes by the page cache where that is worth it.",
        Read::Shard(|shard| shard.direct.into()),
    ),
    gauge(
        "ringway_shard_links",
        "1 if engines' files are kept by hard links; 0 if they have to be held open.",
        Read::Shard(|shard| shard.links.into()),
    ),
    // Fetches.
    gauge(
        "ringway_fetch_queued_segments",
        "Segments planned and not being fetched.",
        Read::Shard(|shard| shard.transfers.queued),
    ),
    gauge("ringway_fetch_in_flight_segments", "Segments being fetched.", Read::Shard(|shard| shard.fetching)),
    counter(
        "ringway_fetch_planned_segments_total",
        "Segments taken into the plan of fetches.",
        Read::Shard(|shard| shard.transfers.planned),
    ),
    counter(
        "ringway_fetch_skipped_segments_total",
        "Segments not planned: they stood here, are this node's own, or were planned already.",
        Read::Each(|node, out| {
            for shard in &node.shards {
                let of = &shard.transfers;
                let reasons = [("held", of.held_already), ("own", of.own), ("planned", of.planned_already)];
                for (reason, count) in reasons {
                    out.put(&[("shard", &shard.shard), ("reason", &reason)], count);
                }
            }
        }),
    ),
    counter(
        "ringway_fetch_left_out_total",
        "Times that the plan had no room for a segment; it is given it again when there is room.",
        Read::Shard(|shard| shard.transfers.left_out),
    ),
    counter(
        "ringway_fetch_landed_segments_total",
        "Segments landed.",
        Read::Shard(|shard| shard.transfers.landed),
    ),
    counter(
        "ringway_fetch_linked_segments_total",
        "Of them, those whose content this node held already: shared or copied here, and not fetched.",
        Read::Shard(|shard| shard.transfers.linked),
    ),
    counter(
        "ringway_fetch_linked_bytes_total",
        "Bytes of segments that were not fetched, as this node held their content.",
        Read::Shard(|shard| shard.transfers.bytes_linked),
    ),
    histogram(
        "ringway_fetch_landing_seconds",
        "From when a segment was planned to when it had landed.",
        Read::Lengths(|shard| &shard.transfers.landing),
    ),
    counter(
        "ringway_fetch_failures_total",
        "Fetches that ended without their segment, by what ended them; each is tried again. not_here is mostly a \
         segment that its origin had not pinned yet.",
        Read::Counts("outcome", |shard| &shard.transfers.failed),
    ),
    counter(
        "ringway_fetch_refusals_total",
        "Refusals of sources, by code.",
        Read::Counts("code", |shard| &shard.transfers.refused),
    ),
    counter(
        "ringway_fetch_no_source_total",
        "Times that a segment was due and no node could be asked: none is known or has an address, or all rest.",
        Read::Shard(|shard| shard.transfers.no_source),
    ),
    counter("ringway_fetch_bytes_total", "Payload bytes received.", Read::Shard(|shard| shard.bytes_fetched)),
    counter(
        "ringway_fetch_damaged_bytes_total",
        "Payload bytes that arrived in chunks with a wrong digest.",
        Read::Shard(|shard| shard.transfers.bytes_refetched),
    ),
    counter(
        "ringway_fetch_damaged_chunks_total",
        "Chunks that arrived with a wrong digest and were fetched again.",
        Read::Shard(|shard| shard.chunks_refetched),
    ),
    counter(
        "ringway_fetch_reused_chunks_total",
        "Chunks found verified on disk when a fetch was resumed.",
        Read::Shard(|shard| shard.transfers.chunks_reused),
    ),
    counter(
        "ringway_fetch_lent_chunks_total",
        "Chunks that other cores of the node brought.",
        Read::Shard(|shard| shard.transfers.chunks_lent),
    ),
    counter(
        "ringway_fetch_lent_bytes_total",
        "Payload bytes that other cores of the node brought.",
        Read::Shard(|shard| shard.bytes_lent),
    ),
    counter(
        "ringway_fetch_together_chunks_total",
        "Small chunks that were digested together with others.",
        Read::Shard(|shard| shard.transfers.chunks_together),
    ),
    counter("ringway_serve_bytes_total", "Payload bytes served.", Read::Shard(|shard| shard.bytes_served)),
    counter(
        "ringway_serve_relayed_bytes_total",
        "Payload bytes served of segments that this node was itself still fetching.",
        Read::Shard(|shard| shard.bytes_relayed),
    ),
    // Walks: catching up after a start or a snapshot, and looking again at times.
    counter(
        "ringway_walks_total",
        "Walks that compared manifest and disk.",
        Read::Shard(|shard| shard.transfers.walk.walks),
    ),
    counter(
        "ringway_walk_entries_total",
        "Entries that the walks passed.",
        Read::Shard(|shard| shard.transfers.walk.entries),
    ),
    counter(
        "ringway_walk_held_segments_total",
        "Entries that the walks passed and whose segments stood here.",
        Read::Shard(|shard| shard.transfers.walk.held),
    ),
    counter(
        "ringway_walk_found_segments_total",
        "Segments that the walks found missing and that were not known to be.",
        Read::Shard(|shard| shard.transfers.walk.found),
    ),
    gauge(
        "ringway_walk_missing_segments",
        "Segments that a walk found missing and that still are.",
        Read::Shard(|shard| shard.transfers.walk.missing),
    ),
    gauge(
        "ringway_walk_unavailable_segments",
        "Segments that a walk found missing and that no source could serve yet.",
        Read::Shard(|shard| shard.transfers.walk.unavailable),
    ),
    gauge(
        "ringway_walk_last_start_timestamp_seconds",
        "When the last walk began, since 1970; 0 before the first.",
        Read::Shard(|shard| shard.transfers.walk.began_millis),
    )
    .in_parts(1000),
    gauge(
        "ringway_walk_last_end_timestamp_seconds",
        "When the last walk ended, since 1970; 0 before the first.",
        Read::Shard(|shard| shard.transfers.walk.ended_millis),
    )
    .in_parts(1000),
    // Proposals.
    counter(
        "ringway_proposals_total",
        "Batches that this node proposed, by outcome.",
        Read::Counts("outcome", |shard| &shard.proposals.outcomes),
    ),
    histogram(
        "ringway_proposal_commit_seconds",
        "Of batches committed, from when their files were digested to when the commit was known.",
        Read::Lengths(|shard| &shard.proposals.commit),
    ),
    counter(
        "ringway_foreign_proposals_total",
        "Proposals refused because a peer made them in another node's session.",
        Read::Shard(|shard| shard.foreign_proposals),
    ),
    // Checkpoints of engines with mutable files.
    counter(
        "ringway_checkpoints_total",
        "Checkpoints by outcome; expired are those whose lease ran out.",
        Read::Each(|node, out| {
            for shard in &node.shards {
                let of = &shard.checkpoints;
                let outcomes = [
                    ("made", of.made),
                    ("expired", of.expired),
                    ("failed", of.failed.saturating_sub(of.expired)),
                ];
                for (outcome, count) in outcomes {
                    out.put(&[("shard", &shard.shard), ("outcome", &outcome)], count);
                }
            }
        }),
    ),
    gauge(
        "ringway_checkpoint_freeze_seconds_max",
        "The longest freeze of an engine since the node started.",
        Read::Shard(|shard| shard.checkpoints.frozen_micros_max),
    )
    .in_parts(1_000_000),
    // Other members, as this node knows them.
    gauge(
        "ringway_peer_installed_index",
        "Log index up to which the peer says that all is installed there.",
        Read::Peer(|_, peer| peer.installed),
    ),
    gauge(
        "ringway_peer_lag_entries",
        "Log entries that are committed as far as this node knows and that the peer has not installed.",
        Read::Peer(|shard, peer| peer.installed.map(|index| shard.committed.saturating_sub(index))),
    ),
    counter(
        "ringway_peer_fetched_bytes_total",
        "Payload bytes received from the peer.",
        Read::Peer(|_, peer| Some(peer.bytes_fetched)),
    ),
    counter(
        "ringway_peer_served_bytes_total",
        "Payload bytes sent to the peer.",
        Read::Peer(|_, peer| Some(peer.bytes_served)),
    ),
    counter(
        "ringway_peer_landed_segments_total",
        "Segments landed of which the peer was the source.",
        Read::Peer(|_, peer| Some(peer.landed)),
    ),
    counter(
        "ringway_peer_failures_total",
        "Fetches from the peer, shares of segments among them, that failed by its fault or that of the way to it.",
        Read::Peer(|_, peer| Some(peer.failed)),
    ),
    counter(
        "ringway_peer_damaged_chunks_total",
        "Chunks from the peer that had a wrong digest.",
        Read::Peer(|_, peer| Some(peer.chunks_refetched)),
    ),
    counter(
        "ringway_peer_set_aside_total",
        "Times that the peer was set aside as a source, as its chunks came damaged again and again.",
        Read::Peer(|_, peer| Some(peer.set_aside)),
    ),
    gauge(
        "ringway_peer_aside_seconds",
        "For how long the peer is still set aside as a source; 0 if it is not.",
        Read::Peer(|_, peer| Some(peer.aside_millis)),
    )
    .in_parts(1000),
];
