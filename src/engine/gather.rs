//! One status out of what every core reports.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::NodeConfig;
use crate::uring::{MailSender, SendError};

use super::identity::Identity;
use super::reply::{NoAnswer, Reply, reply};
use super::request::{CoreReport, Request};
use super::status::{MemberStatus, NodeStatus};

/// Collects the cores' reports; the last one to come answers for all.
pub(crate) struct Gathering {
    gathered: Mutex<Gathered>,
    empty: NodeStatus,
}

struct Gathered {
    reports: Vec<CoreReport>,
    expected: usize,
    tell: Option<Box<dyn FnOnce(NodeStatus) + Send>>,
}

/// Asks all cores; the answer is what `part` takes of the whole.
pub(crate) fn gather<T: Send + 'static>(
    config: &NodeConfig,
    identity: &Identity,
    address: SocketAddr,
    cores: &[MailSender<Request>],
    part: fn(NodeStatus) -> T,
) -> Reply<T> {
    let (replier, waiting) = reply::<T, NoAnswer>();
    let empty = NodeStatus {
        node: config.node.0,
        cluster: config.cluster.to_string(),
        incarnation: identity.incarnation.to_string(),
        address: address.to_string(),
        ..NodeStatus::default()
    };
    let tell = move |status| replier.answer(Ok(part(status)));
    let gathered = Gathered { reports: Vec::new(), expected: cores.len(), tell: Some(Box::new(tell)) };
    let gathering = Arc::new(Gathering { gathered: Mutex::new(gathered), empty });
    for core in cores {
        match core.try_send(Request::Status(Arc::clone(&gathering))) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return Reply::none(NoAnswer::Busy),
            Err(SendError::Closed(_)) => return Reply::none(NoAnswer::Stopped),
        }
    }
    waiting
}

impl Gathering {
    /// Takes one core's report.
    pub(crate) fn take(&self, report: CoreReport) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.reports.push(report);
        if gathered.reports.len() < gathered.expected {
            return;
        }
        let reports = std::mem::take(&mut gathered.reports);
        if let Some(tell) = gathered.tell.take() {
            tell(self.merge(reports));
        }
    }

    fn merge(&self, mut reports: Vec<CoreReport>) -> NodeStatus {
        reports.sort_by_key(|report| report.core.core);
        let mut status = self.empty.clone();
        let mut members = BTreeMap::<u64, MemberStatus>::new();
        for report in reports {
            status.cores.push(report.core);
            status.groups.extend(report.groups);
            status.shards.extend(report.shards);
            status.connections.extend(report.connections);
            status.not_ready.extend(report.not_ready);
            status.rates.extend(report.rates);
            for member in report.members {
                match members.entry(member.node) {
                    Entry::Vacant(place) => drop(place.insert(member)),
                    Entry::Occupied(mut known) => known.get_mut().seats.extend(member.seats),
                }
            }
        }
        status.members = members.into_values().collect();
        for member in &mut status.members {
            member.seats.sort_by_key(|seat| seat.group);
            member.voter = member.seats.first().is_some_and(|seat| seat.group == 0 && seat.voter);
        }
        status.groups.sort_by_key(|group| group.group);
        status.shards.sort_by_key(|shard| shard.shard);
        status.ready = status.not_ready.is_empty();
        status
    }
}
