//! What a core tells of itself and of what runs on it.

use std::collections::BTreeMap;

use crate::ids::{GroupId, Incarnation, LogIndex, Nanos, NodeId};
use crate::limits::UNAVAILABLE_SHOWN_MAX;
use crate::raft::{Group, GroupRole, Machine, Member, bridge};
use crate::shard::Shard;
use crate::transport::{ConnectionInfo, SendPath};
use crate::uring::{Core, REGISTERED_BUFFERS};

use super::figures::{LagStatus, ProposalStatus, RateStatus, TransferStatus, TransportStatus, millis};
use super::node::CoreNode;
use super::registrar;
use super::request::CoreReport;
use super::status::{
    ConnectionStatus, CoreStatus, FindingStatus, GroupStatus, MemberStatus, SeatStatus, ShardStatus,
    UnavailableStatus,
};

pub(super) fn core(node: &CoreNode) -> CoreReport {
    let core = Core::current();
    let probe = core.probe();
    let findings = probe.findings.iter().map(|finding| FindingStatus {
        name: finding.name.to_owned(),
        in_use: finding.in_use,
        note: finding.note.clone(),
    });
    let status = CoreStatus {
        core: node.parts.index,
        backend: probe.backend.to_owned(),
        host: node.parts.host.to_owned(),
        kernel: probe.kernel.clone(),
        findings: findings.collect(),
        digest: node.parts.kernel.name().to_owned(),
        buffers: core.slab().count(),
        buffers_free: u16::try_from(core.slab().free()).unwrap_or(u16::MAX),
        buffers_registered: if probe.uses(REGISTERED_BUFFERS) { core.slab().count() } else { 0 },
        buffer_bytes: core.slab().buffer_bytes() as u64,
        sent: node.transport.stats().sent.get(),
        transport: TransportStatus::from(node.transport.stats()),
    };
    let connections = node.transport.connections();
    let mut report = CoreReport {
        core: status,
        connections: connections.into_iter().map(|info| connection(node.parts.index, info)).collect(),
        groups: Vec::new(),
        shards: Vec::new(),
        members: members(node),
        not_ready: Vec::new(),
        rates: Vec::new(),
    };
    if let Some(seat) = &node.cluster {
        report.rates = node.parts.limits.figures().into_iter().map(RateStatus::from).collect();
        report.groups.push(group(GroupId::CLUSTER, seat.group()));
        report.not_ready.extend(log_not_ready(GroupId::CLUSTER, seat.group()));
        if seat.group().machine().borrow().cluster().is_none() {
            report.not_ready.push("the cluster is not founded, or this node has not heard of it".to_owned());
        }
        let own = node.parts.config.node;
        if node.door.placement().is_some_and(|placement| !placement.nodes.contains_key(&own)) {
            report.not_ready.push("the cluster has removed this node".to_owned());
        }
        report.not_ready.extend(other_shards(node));
    }
    for shard in node.shards.values() {
        report.groups.push(group(shard.id().group(), shard.group()));
        let mut status = shard_status(shard);
        let not_ready = not_ready(shard, &status);
        status.ready = not_ready.is_empty();
        report.not_ready.extend(not_ready);
        report.shards.push(status);
    }
    report
}

fn connection(core: u16, info: ConnectionInfo) -> ConnectionStatus {
    let send_path_why = match info.send_path {
        SendPath::ZeroCopy => String::new(),
        SendPath::Copy(why) => why.to_string(),
    };
    ConnectionStatus {
        core,
        node: info.peer.node.map(|node| node.0),
        address: info.address.to_string(),
        class: info.class.to_string(),
        dialled: info.peer.dialled,
        streams: info.streams as u64,
        congestion: info.congestion,
        send_path: info.send_path.to_string(),
        send_path_why,
        sent: info.sent,
        round_trip_micros: info.round_trip.map(|time| time.0 / 1000),
    }
}

fn group<M: Machine>(id: GroupId, group: &Group<M>) -> GroupStatus {
    let at = group.watermarks();
    GroupStatus {
        group: id.0,
        role: at.role.name().to_owned(),
        term: at.term.0,
        leader: group.live_leader().map(|node| node.0),
        voters: group.voters().into_keys().map(|node| node.0).collect(),
        committed: at.committed.0,
        applied: at.applied.0,
        foreign_calls: group.figures().foreign_calls,
    }
}

fn shard_status(shard: &Shard) -> ShardStatus {
    let at = shard.watermarks();
    let machine = shard.group().machine();
    let (segments, bytes) = (machine.borrow().len() as u64, machine.borrow().bytes_total());
    let sessions = machine.borrow().sessions().count() as u64;
    let now = Core::current().now();
    let transfers = shard.transfers(UNAVAILABLE_SHOWN_MAX);
    let stats = shard.stats();
    let paths = shard.store().paths();
    let lag = LagStatus::new(at.committed.0 - at.installed.0, &transfers, now);
    let mut counted = TransferStatus::new(stats, &transfers, now);
    for peer in &mut counted.peers {
        peer.installed = shard.installed_at(NodeId(peer.node)).map(|index| index.0);
        peer.aside_millis = millis(shard.aside(NodeId(peer.node)));
    }
    ShardStatus {
        shard: shard.id().0,
        ready: false,
        segments,
        bytes,
        sessions,
        proposed: at.proposed.0,
        committed: at.committed.0,
        applied: at.applied.0,
        installed: at.installed.0,
        missing: transfers.missing,
        damaged: transfers.damaged,
        fetching: transfers.in_flight,
        unavailable: transfers
            .unavailable
            .into_iter()
            .map(|lost| UnavailableStatus {
                segment: lost.id.to_string(),
                reason: lost.failure.word().to_owned(),
                seconds: now.since(lost.since).0 / Nanos::SECOND.0,
            })
            .collect(),
        paused: transfers.paused.then(|| "the disk is full; fetching resumes when there is room".to_owned()),
        bytes_fetched: stats.bytes_fetched.get(),
        bytes_lent: stats.bytes_lent.get(),
        bytes_served: stats.bytes_served.get(),
        bytes_relayed: stats.bytes_relayed.get(),
        chunks_refetched: stats.chunks_refetched.get(),
        foreign_proposals: shard.foreign_proposals(),
        direct: paths.direct,
        direct_asked: paths.direct_asked,
        links: paths.links,
        lag,
        transfers: counted,
        proposals: ProposalStatus::from(shard.proposals()),
        registrar: registrar::status(shard),
        leaving: shard.leaving(),
        checkpoints: shard.checkpoints().into(),
    }
}

/// The cluster has another number of shards than this node is configured for.
fn other_shards(node: &CoreNode) -> Option<String> {
    let (found, configured) = (node.door.placement()?.shards, node.parts.config.shards);
    (found != configured).then(|| {
        format!("the cluster has {found} shards, this node is configured for {configured}; start it empty")
    })
}

/// A group whose log does not take what it is told.
fn log_not_ready<M: Machine>(id: GroupId, group: &Group<M>) -> Option<String> {
    let figures = group.figures();
    if figures.watermarks.role == GroupRole::Stopped {
        return Some(format!(
            "group {id} has stopped on this node; its log tells why, a restart recovers it"
        ));
    }
    let waits = figures.log.waits_for_room;
    waits.then(|| format!("group {id}: the disk is full; its log goes on when there is room"))
}

fn not_ready(shard: &Shard, status: &ShardStatus) -> Vec<String> {
    let id = shard.id();
    let mut why: Vec<_> = log_not_ready(id.group(), shard.group()).into_iter().collect();
    if shard.group().live_leader().is_none() {
        why.push(format!("shard {id} has no leader"));
    }
    let overdue = shard.overdue();
    match overdue {
        None => why.push(format!("shard {id} does not know yet what was committed without this node")),
        Some(overdue) if status.applied < overdue.due.0 => {
            why.push(format!("shard {id} has applied {} of {} committed", status.applied, status.committed));
        }
        Some(_) => {}
    }
    if let Some(paused) = &status.paused {
        why.push(format!("shard {id}: {paused}"));
    }
    if let Some(overdue) = overdue.filter(|overdue| overdue.missing > 0) {
        why.push(format!("shard {id} lacks {} segments", overdue.missing));
    }
    if status.damaged > 0 {
        why.push(format!("shard {id} has {} damaged segments", status.damaged));
    }
    why
}

/// The members of the cluster, and their seats in the groups of this core.
fn members(node: &CoreNode) -> Vec<MemberStatus> {
    let mut members: BTreeMap<NodeId, MemberStatus> = match node.door.placement() {
        Some(placement) => {
            let placed = placement.nodes.iter().map(|(id, placed)| {
                let (address, life) = (placed.address.to_string(), placed.life.to_string());
                (*id, member(*id, address, life, placed.role.to_string()))
            });
            placed.collect()
        }
        // Before the cluster is founded those of the configuration.
        None => {
            let first = node.addresses.borrow();
            let first = first
                .iter()
                .map(|(id, address)| (*id, member(*id, address.to_string(), String::new(), String::new())));
            first.collect()
        }
    };
    let mut sit = |id: NodeId, life: Incarnation, seat: SeatStatus| {
        let leaving = || member(id, String::new(), life.to_string(), "leaving".to_owned());
        members.entry(id).or_insert_with(leaving).seats.push(seat);
    };
    if let Some(cluster) = &node.cluster {
        seats(cluster.group(), |_| None).into_iter().for_each(|(id, life, seat)| sit(id, life, seat));
    }
    for shard in node.shards.values() {
        let installed = |id| shard.installed_at(id).map(|index| index.0);
        seats(shard.group(), installed).into_iter().for_each(|(id, life, seat)| sit(id, life, seat));
    }
    members.into_values().collect()
}

fn seats<M: Machine>(
    group: &Group<M>,
    installed: impl Fn(NodeId) -> Option<u64>,
) -> Vec<(NodeId, Incarnation, SeatStatus)> {
    let (voters, figures) = (group.voters(), group.figures());
    let first = LogIndex(figures.purged.index.0 + 1);
    let way = |id: &NodeId| {
        let matched = figures.matched.get(id).filter(|_| figures.watermarks.role == GroupRole::Leader)?;
        Some(bridge(*matched, first, figures.last.index).name().to_owned())
    };
    let seat = |(id, known): (NodeId, Member)| {
        let (voter, way) = (voters.contains_key(&id), way(&id));
        (id, known.incarnation, SeatStatus { group: group.id().0, voter, installed: installed(id), way })
    };
    group.agreed_members().into_iter().map(seat).collect()
}

fn member(node: NodeId, address: String, incarnation: String, role: String) -> MemberStatus {
    MemberStatus { node: node.0, address, incarnation, role, voter: false, seats: Vec::new() }
}
