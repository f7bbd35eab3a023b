//! Of the node: its cores, connections, limits and Raft groups.

use std::fmt::Display;

use ringway::engine::CoreStatus;

use crate::daemon::labelled::{both_ways, connections, rates, round_trips, works};
use crate::daemon::metrics::{Family, Read, counter, gauge};

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
    counter(
        "ringway_rate_held_back_seconds_total",
        "For how long any chunk waited for a limit.",
        Read::Each(|node, out| works(node, out, |work| work.held_back_millis)),
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
];
