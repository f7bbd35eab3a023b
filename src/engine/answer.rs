//! Answering the requests of other threads, each in a task of its own.

use std::rc::Rc;

use crate::ids::{GroupId, NodeId};
use crate::journal::Asked;
use crate::limits::{PAGE_ENTRIES_MAX, PROPOSE_TIMEOUT};
use crate::manifest::Refusal;
use crate::raft::TransferError;
use crate::segment::DigestError;
use crate::shard::{Done, Event as ShardEvent, EventsGone, Happening, Level, Place, ProposalError, Shard};
use crate::uring::{Core, Priority, deadline};

use super::change::{Ask, Change, ChangeError, Committed, Durability, Sealed};
use super::checkpoint::CheckpointError;
use super::cluster::bootstrap;
use super::cluster_calls;
use super::error::{EventsError, LocateError, TransferLeaderError, WaitError};
use super::event::{Event, EventCursor, EventSegment, What};
use super::members::change_members;
use super::node::CoreNode;
use super::registrar;
use super::reply::NoAnswer;
use super::report;
use super::request::{CheckpointRequest, ClusterRequest, Located, Locator, Request, ShardRequest};
use super::seats::confirm;
use super::status::{SegmentPage, SegmentStatus};

/// Takes one request.
pub(super) fn answer(node: &Rc<CoreNode>, request: Request) {
    let core = Core::current();
    match request {
        Request::Shard(id, request) => {
            // A shard that is not here drops the reply, which tells.
            if let Some(shard) = node.shards.get(&id).cloned() {
                drop(core.spawn(Priority::Urgent, answer_shard(shard, request)));
            }
        }
        Request::Cluster(ClusterRequest::Bootstrap(replier)) => {
            let node = Rc::clone(node);
            drop(core.spawn(Priority::Urgent, async move { replier.answer(bootstrap(node).await) }));
        }
        Request::Cluster(ClusterRequest::Placement(replier)) => {
            if let Some(seat) = &node.cluster {
                drop(core.spawn(Priority::Urgent, confirm(seat.group().clone(), replier)));
            }
        }
        Request::Cluster(ClusterRequest::Change(change, within, replier)) => {
            let node = Rc::clone(node);
            let changing = async move { replier.answer(change_members(&node, change, within).await) };
            drop(core.spawn(Priority::Urgent, changing));
        }
        Request::Status(gathering) => gathering.take(report::core(node)),
        Request::HandOver(hand_over) => node.transport.adopt(hand_over),
        Request::Lend(loan) => node.help(*loan),
        Request::Inquire(inquiry) => node.tell(*inquiry),
        Request::Placement(placement) => node.place(&placement),
        Request::TransferLeader { group, to, asks_leader, replier } => {
            let node = Rc::clone(node);
            drop(core.spawn(Priority::Urgent, async move {
                let done = match transfer_leader(&node, group, to).await {
                    Err(TransferLeaderError::NotLeader { leader: Some(leader) }) if asks_leader => {
                        cluster_calls::hand_over(&node, leader, group, to).await
                    }
                    done => done,
                };
                replier.answer(done);
            }));
        }
        Request::Rates(rates, replier) => {
            node.parts.limits.set(&rates);
            replier.answer(Ok(()));
        }
        Request::Stop(replier) => replier.answer(Ok(())),
    }
}

/// There are many changes at once: what is larger than one, and rarer, is boxed.
async fn answer_shard(shard: Shard, request: ShardRequest) {
    match request {
        ShardRequest::Change(changes, ask, replier) => replier.answer(change(&shard, changes, ask).await),
        ShardRequest::WaitInstalled(index, timeout, replier) => {
            let until = Core::current().now().plus(timeout);
            let installed = || shard.watermarks().installed;
            let reached = async {
                while installed() < index {
                    shard.changed().await;
                }
            };
            let reached = deadline(until, reached).await;
            replier.answer(match reached {
                Ok(()) => Ok(installed()),
                Err(_) => Err(WaitError::TimedOut { installed: installed() }),
            });
        }
        ShardRequest::Sync(within, replier) => {
            replier.answer(Box::pin(shard.sync(within)).await.map_err(Into::into));
        }
        ShardRequest::SyncMember(node, within, replier) => {
            replier.answer(Box::pin(shard.sync_member(node, within)).await.map_err(Into::into));
        }
        ShardRequest::Segments(after, limit, replier) => {
            replier.answer(Ok(segments(&shard, after.as_deref(), limit)))
        }
        ShardRequest::Pin(which, replier) => {
            let found = locate(&shard, &which);
            replier.answer(found.map(|located| {
                let pin = shard.pin(located.id);
                (located, pin)
            }));
        }
        ShardRequest::Locate(which, replier) => replier.answer(locate(&shard, &which)),
        ShardRequest::Events(after, replier) => loop {
            let events = events(&shard, after).await;
            if !matches!(&events, Ok(none) if none.is_empty()) {
                return replier.answer(events);
            }
            if replier.is_abandoned() {
                return;
            }
            shard.changed().await;
        },
        ShardRequest::EventsNow(replier) => {
            let end = shard.events_end().await;
            replier.answer(end.map(cursor).ok_or(NoAnswer::Stopped));
        }
        ShardRequest::Registrar(request) => Box::pin(registrar::answer(&shard, request)).await,
        ShardRequest::Checkpoint(CheckpointRequest::Begin(replier)) => {
            replier.answer(shard.begin_checkpoint().ok_or(CheckpointError::Busy));
        }
        ShardRequest::Checkpoint(CheckpointRequest::Register(files, deleted, ask, replier)) => {
            let done = Box::pin(shard.checkpoint(files, deleted, level(ask.durability), ask.timeout)).await;
            replier.answer(done.map(committed).map_err(change_error));
        }
    }
}

fn cursor(place: Place) -> EventCursor {
    EventCursor { life: place.life, number: place.number }
}

async fn events(shard: &Shard, after: EventCursor) -> Result<Vec<Event>, EventsError> {
    let told = shard.events_after(Place { life: after.life, number: after.number }).await;
    match told {
        Ok(events) => Ok(events.into_iter().map(event).collect()),
        Err(EventsGone) => {
            let now = cursor(shard.events_end().await.ok_or(EventsError::Stopped)?);
            Err(EventsError::Gap { now })
        }
    }
}

async fn change(shard: &Shard, changes: Vec<Change>, ask: Ask) -> Result<Committed, ChangeError> {
    let asked = changes.into_iter().map(asked_of);
    let done = shard.perform(asked.collect(), level(ask.durability), ask.timeout).await;
    done.map(committed).map_err(change_error)
}

fn level(durability: Durability) -> Level {
    match durability {
        Durability::Committed => Level::Committed,
        Durability::Landed(count) => Level::Landed(count),
        Durability::LandedQuorum => Level::Quorum,
    }
}

fn committed(done: Done) -> Committed {
    let Done { index, segments, landed, replicas, reached } = done;
    Committed { index, segments, landed, replicas, reached }
}

pub(super) fn asked_of(change: Change) -> Asked {
    match change {
        Change::Register(sealed) => asked(sealed, false),
        Change::Update(sealed) => asked(sealed, true),
        Change::Delete { path, reason } => Asked::Delete { path, reason },
    }
}

fn asked(sealed: Sealed, update: bool) -> Asked {
    let Sealed { path, flat, tier, labels, facts } = sealed;
    let facts = facts.map(|facts| (facts.inode, facts.bytes, facts.modified));
    Asked::Sealed { update, path, flat, tier, labels, facts }
}

fn change_error(error: ProposalError) -> ChangeError {
    match error {
        ProposalError::Path { path, why } => ChangeError::Path { path, why },
        ProposalError::Changed { path }
        | ProposalError::Digest { path, error: DigestError::Changed { .. } } => ChangeError::Changed { path },
        ProposalError::Digest { path, error } => ChangeError::File { path, why: error.to_string() },
        ProposalError::FlatDiffers { path, expected, found } => {
            ChangeError::FlatDiffers { path, expected, found }
        }
        ProposalError::Refused(refusal) => {
            let ordinal = if let Refusal::Operation { ordinal, .. } = refusal { Some(ordinal) } else { None };
            ChangeError::Refused { ordinal, why: refusal.to_string() }
        }
        ProposalError::NoLeader { last } => ChangeError::NoLeader { last },
        ProposalError::OutcomeUnknown => ChangeError::OutcomeUnknown,
        ProposalError::TooMany => ChangeError::TooMany,
        ProposalError::Disk { why } => ChangeError::Disk { why },
        ProposalError::Foreign => {
            let why = "the leader takes this node for another one".to_owned();
            ChangeError::Refused { ordinal: None, why }
        }
        ProposalError::Stopped => ChangeError::Stopped,
    }
}

fn segments(shard: &Shard, after: Option<&str>, limit: usize) -> SegmentPage {
    let machine = shard.group().machine();
    let state = machine.borrow();
    let page = state.page(after, limit.clamp(1, PAGE_ENTRIES_MAX));
    let segments = page.entries.iter().map(|entry| SegmentStatus {
        segment: entry.id.to_string(),
        path: entry.path().as_str().to_owned(),
        bytes: entry.bytes,
        root: entry.root.to_string(),
        sha256: entry.flat.map(|flat| flat.to_string()),
        origin: entry.origin.0,
        version: entry.version,
        here: shard.store().is_held(entry.id, entry.root),
        labels: entry.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    });
    SegmentPage { segments: segments.collect(), next: page.next.map(str::to_owned) }
}

/// How long somebody who asks for a segment that is on its way is told to wait.
const RETRY_AFTER_MILLIS: u64 = 500;

fn locate(shard: &Shard, which: &Locator) -> Result<Located, LocateError> {
    let machine = shard.group().machine();
    let entry = match which {
        Locator::Id(id) => machine.borrow().entry(id).cloned(),
        Locator::Path(path) => machine.borrow().by_path(path).cloned(),
    };
    let entry = entry.ok_or(LocateError::NotFound)?;
    let places = shard.store().places_of(entry.id, entry.root);
    let (places, identity) = places.ok_or(LocateError::NotHere { retry_after_millis: RETRY_AFTER_MILLIS })?;
    Ok(Located {
        id: entry.id,
        path: entry.path().as_str().to_owned(),
        bytes: entry.bytes,
        places: places.into_iter().map(Into::into).collect(),
        identity,
    })
}

fn event(event: ShardEvent) -> Event {
    let ShardEvent { place, applied, segment, what } = event;
    let what = match what {
        Happening::Registered => What::Registered,
        Happening::Updated => What::Updated,
        Happening::Deleted { reason } => What::Deleted { reason },
        Happening::Installed => What::Installed,
        Happening::Damaged => What::Damaged,
        Happening::Repaired => What::Repaired,
        Happening::Unavailable { why } => What::Unavailable { why },
        Happening::Role { role, leader } => What::RoleChanged { role, leader },
    };
    let segment = segment.map(|(id, path)| EventSegment { id, path });
    Event { cursor: cursor(place), applied, segment, what }
}

async fn transfer_leader(node: &CoreNode, group: GroupId, to: NodeId) -> Result<(), TransferLeaderError> {
    let done = match (group.shard(), &node.cluster) {
        (None, Some(seat)) => Some(seat.group().transfer_leader(to, PROPOSE_TIMEOUT).await),
        (None, None) => None,
        (Some(id), _) => match node.shards.get(&id) {
            Some(shard) => Some(shard.group().transfer_leader(to, PROPOSE_TIMEOUT).await),
            None => None,
        },
    };
    done.ok_or(TransferLeaderError::NoSuchGroup)?.map_err(|error| match error {
        TransferError::NotLeader { leader, .. } => TransferLeaderError::NotLeader { leader },
        TransferError::NotAVoter { .. } => TransferLeaderError::NotAVoter { node: to },
        TransferError::TimedOut { .. } => TransferLeaderError::TimedOut,
        TransferError::Stopped { .. } => TransferLeaderError::Stopped,
    })
}
