//! What metrics tell by more than one label: connections, round trips, limits.

use ringway::engine::{ConnectionStatus, CoreStatus, NodeStatus, RateStatus, WorkStatus};

use super::metrics::{Label, Samples};

const CLASSES: [&str; 2] = ["control", "bulk"];
const SEND_PATHS: [&str; 2] = ["zero-copy", "copy"];

/// Of every class and every way, those of which there are none among them: a query that finds nothing finds no zero.
pub(super) fn connections(node: &NodeStatus, out: &mut Samples<'_>) {
    for core in &node.cores {
        for (class, path) in CLASSES.iter().flat_map(|class| SEND_PATHS.iter().map(move |path| (class, path)))
        {
            let is_one =
                |of: &&ConnectionStatus| of.core == core.core && of.class == *class && of.send_path == *path;
            let count = node.connections.iter().filter(is_one).count() as u64;
            out.put(&[("core", &core.core), ("class", class), ("send_path", path)], count);
        }
    }
}

pub(super) fn round_trips(node: &NodeStatus, out: &mut Samples<'_>) {
    let mut longest = std::collections::BTreeMap::new();
    for connection in &node.connections {
        if let (Some(peer), Some(micros)) = (connection.node, connection.round_trip_micros) {
            let time = longest.entry((peer, &connection.class)).or_insert(micros);
            *time = micros.max(*time);
        }
    }
    for ((peer, class), micros) in longest {
        out.put(&[("peer", &peer), ("class", class)], micros);
    }
}

/// Whom a limit holds for: `node`, or the number of a shard.
fn scope(rate: &RateStatus) -> String {
    rate.shard.map_or_else(|| "node".to_owned(), |shard| shard.to_string())
}

/// Each limit, 0 for none.
pub(super) fn rates(node: &NodeStatus, out: &mut Samples<'_>) {
    for rate in &node.rates {
        let of = scope(rate);
        let labels: [Label<'_>; 2] = [("of", &of), ("direction", &rate.direction)];
        out.put(&labels, rate.bytes_per_second.unwrap_or_default());
    }
}

/// What passed each limit, by what it was moved for.
pub(super) fn works(node: &NodeStatus, out: &mut Samples<'_>, read: fn(&WorkStatus) -> u64) {
    for rate in &node.rates {
        let of = scope(rate);
        for work in &rate.works {
            let labels: [Label<'_>; 3] = [("of", &of), ("direction", &rate.direction), ("work", &work.work)];
            out.put(&labels, read(work));
        }
    }
}

pub(super) fn both_ways(node: &NodeStatus, out: &mut Samples<'_>, read: fn(&CoreStatus) -> (u64, u64)) {
    for core in &node.cores {
        let (came, left) = read(core);
        out.put(&[("core", &core.core), ("direction", &"in")], came);
        out.put(&[("core", &core.core), ("direction", &"out")], left);
    }
}
