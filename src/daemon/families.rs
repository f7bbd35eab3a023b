//! What `/metrics` tells: one row a name. A name means the same for ever; what is counted otherwise gets another one.

use std::fmt::Display;

use ringway::engine::CoreStatus;

use super::labelled::{both_ways, connections, rates, round_trips, works};
use super::metrics::{Family, Read, counter, gauge, histogram};

const ROLES: [&str; 5] = ["leader", "follower", "candidate", "learner", "stopped"];

pub(super) const FAMILIES: &[Family] = &[
    // The node.
    gauge(
        "ringway_build_info",
        "The version that runs, as a label of a 1.",
        Read::Each(|_, out| out.put(&[("version", &env!("CARGO_PKG_VERSION"))], 1)),
    ),
    gauge(
        "ringway_node_info",
        "The node, its cluster and its data root's life, as labels of a 1.",
        Read::Each(|node, out| {
            let (cluster, incarnation) = (&node.cluster, &node.incarnation);
            out.put(&[("node", &node.node), ("cluster", cluster), ("incarnation", incarnation)], 1);
        }),
    ),
    gauge("ringway_node_ready", "1 if every shard is ready.", Read::Node(|node| node.ready.into())),
    gauge(
        "ringway_node_not_ready_reasons",
        "Reasons why the node is not ready; its status has them in words.",
        Read::Node(|node| node.not_ready.len() as u64),
    ),
    // Its cores.
    gauge(
        "ringway_core_info",
        "What drives a core and what it runs on, as labels of a 1.",
        Read::Each(|node, out| {
            for CoreStatus { core, backend, host, kernel, digest, .. } in &node.cores {
                let labels = [("backend", backend), ("host", host), ("kernel", kernel), ("digest", digest)];
                let labels = labels.map(|(name, value)| (name, value as &dyn Display));
                out.put(&[&[("core", core as &dyn Display)], &labels[..]].concat(), 1);
            }
        }),
    ),
    gauge(
        "ringway_core_capability",
        "1 if the core uses what was looked for on this host.",
        Read::Each(|node, out| {
            for core in &node.cores {
                for finding in &core.findings {
                    let labels: [(_, &dyn Display); 2] =
                        [("core", &core.core), ("capability", &finding.name)];
                    out.put(&labels, finding.in_use.into());
                }
            }
        }),
    ),
    gauge("ringway_core_buffers", "Buffers of the core.", Read::Core(|core| core.buffers.into())),
    gauge(
        "ringway_core_buffers_free",
        "Buffers of the core that are free.",
        Read::Core(|core| core.buffers_free.into()),
    ),
    gauge(
        "ringway_core_buffers_registered",
        "Buffers of the core that are registered with its ring.",
        Read::Core(|core| core.buffers_registered.into()),
    ),
    gauge("ringway_core_buffer_bytes", "Size of a buffer.", Read::Core(|core| core.buffer_bytes)),
    // Its connections.
    gauge(
        "ringway_connections",
        "Connections with other nodes, by class and by the way that payload in buffers leaves.",
        Read::Each(connections),
    ),
    gauge(
        "ringway_peer_round_trip_seconds",
        "Time from a ping to its answer; the longest of the connections with the peer.",
        Read::Each(round_trips),
    )
    .in_parts(1_000_000),
    counter(
        "ringway_transport_events_total",
        "Connections begun, refused and cut, by what happened.",
        Read::Each(|node, out| {
            for core in &node.cores {
                for event in &core.transport.events {
                    out.put(&[("core", &core.core), ("event", &event.what)], event.count);
                }
            }
        }),
    ),
    counter(
        "ringway_transport_frames_total",
        "Frames by direction.",
        Read::Each(|node, out| {
            both_ways(node, out, |core| (core.transport.frames_in, core.transport.frames_out))
        }),
    ),
    counter(
        "ringway_transport_control_bytes_total",
        "Bytes of heads, bodies and tags by direction.",
        Read::Each(|node, out| {
            both_ways(node, out, |core| (core.transport.control_bytes_in, core.transport.control_bytes_out));
        }),
    ),
    counter(
        "ringway_transport_payload_bytes_total",
        "Bytes of payload by direction.",
        Read::Each(|node, out| {
            both_ways(node, out, |core| (core.transport.payload_bytes_in, core.transport.payload_bytes_out));
        }),
    ),
    counter(
        "ringway_sent_bytes_total",
        "Bytes of payload sent, by the way that they took: out of the page cache by reference, zero-copy, copied, or \
         copied by the kernel after all.",
        Read::Each(|node, out| {
            for core in &node.cores {
                let sent = core.sent;
                let ways = [
                    ("reference", sent.bytes_by_reference),
                    ("zero_copy", sent.bytes_zero_copy),
                    ("copy", sent.bytes_copied),
                    ("kernel_copy", sent.bytes_copied_by_kernel),
                ];
                ways.iter().for_each(|(way, bytes)| out.put(&[("core", &core.core), ("way", way)], *bytes));
            }
        }),
    ),
    counter(
        "ringway_zero_copy_sends_total",
        "Zero-copy sends that have ended.",
        Read::Core(|core| core.sent.zero_copy_sends),
    ),
    counter(
        "ringway_zero_copy_sends_copied_total",
        "Zero-copy sends of which the kernel has reported that it copied.",
        Read::Core(|core| core.sent.zero_copy_sends_copied),
    ),
    // Limits of bytes per second: the node's have no number, a shard's are there if it has one.
    gauge(
        "ringway_rate_limit_bytes_per_second",
        "The limit of bytes a second; 0 for none.",
        Read::Each(rates),
    ),
    counter(
        "ringway_rate_passed_bytes_total",
        "Bytes that passed while there was a limit, by what they were moved for.",
        Read::Each(|node, out| works(node, out, |work| work.bytes)),
    ),
    counter(
        "ringway_rate_waits_total",
        "Chunks that had to wait for a limit.",
        Read::Each(|node, out| works(node, out, |work| work.waits)),
    ),
    counter(
        "ringway_rate_waited_seconds_total",
        "For how long chunks waited for a limit, all together.",
        Read::Each(|node, out| works(node, out, |work| work.waited_millis)),
    )
    .in_parts(1000),
    // Raft groups: 0 is the cluster's, shard s has group s + 1.
    gauge(
        "ringway_group_role",
        "1 for the role that this node has in the group, 0 for the others.",
        Read::Each(|node, out| {
            for group in &node.groups {
                let is = |role: &str| u64::from(group.role == role);
                ROLES.iter().for_each(|role| out.put(&[("group", &group.group), ("role", role)], is(role)));
            }
        }),
    ),
    gauge("ringway_group_term", "The current term.", Read::Group(|group| group.term)),
    gauge(
        "ringway_group_leader_known",
        "1 if this node knows a leader of the group.",
        Read::Group(|group| group.leader.is_some().into()),
    ),
    gauge(
        "ringway_group_leader_node",
        "The number of the node that leads; 0 if none is known.",
        Read::Group(|group| group.leader.unwrap_or_default()),
    ),
    gauge(
        "ringway_group_voters",
        "Voters as last committed.",
        Read::Group(|group| group.voters.len() as u64),
    ),
    gauge("ringway_group_committed_index", "Log index committed.", Read::Group(|group| group.committed)),
    gauge("ringway_group_applied_index", "Log index applied.", Read::Group(|group| group.applied)),
    counter(
        "ringway_group_foreign_calls_total",
        "Calls refused because a peer made them in another node's name.",
        Read::Group(|group| group.foreign_calls),
    ),
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
