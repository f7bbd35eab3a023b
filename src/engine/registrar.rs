//! The registrar as an embedder sees it: changes that are queued durably on this node and registered by and by, for
//! engines that cannot wait for a quorum.

use std::fmt;

use crate::ids::Nanos;
use crate::shard::{EnqueueError as Refusal, RegistrarFigures, Shard as Served};
use crate::uring::Core;

use super::answer::asked_of;
use super::change::Change;
use super::handle::Shard;
use super::reply::{NoAnswer, Replier, Reply};
use super::request::{RegistrarRequest, ShardRequest};

/// A queued change: its place in the shard's queue on this node. Counted from 1, without a gap, over all starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// A queued change that will not happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedChange {
    /// The change.
    pub ticket: Ticket,
    /// Its path.
    pub path: String,
    /// Why: the manifest refuses it, or its file is gone, changed, or has another digest than was given.
    pub why: String,
}

/// How the registrar of a shard stands on a node. The first five are counted since the node started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "daemon", derive(serde::Serialize, serde::Deserialize))]
pub struct RegistrarStatus {
    /// Changes that were put into the queue.
    pub enqueued: u64,
    /// Changes that are in the manifest, those among them that were there already.
    pub applied: u64,
    /// Changes that went out of the queue without: `Shard::refused` names them.
    pub refused: u64,
    /// Attempts without success, each of which is made again: no leader, no room on the disk.
    pub errors: u64,
    /// Changes that were not taken because the queue was full.
    pub full: u64,
    /// Changes in the queue.
    pub depth: u64,
    /// Their bytes there.
    pub bytes: u64,
    /// How long the oldest of them has been there, in milliseconds, by this node's clock.
    pub oldest_millis: Option<u64>,
}

/// A change was not queued.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EnqueueError {
    /// No manifest takes it: its path, its labels or its reason.
    Invalid {
        /// Why.
        why: String,
    },
    /// The queue is full, or stayed so for as long as was waited.
    Full,
    /// This node's disk refuses the queue's record. The change is not queued, though a start after a crash may find it
    /// there; to ask again is safe.
    Disk {
        /// Why.
        why: String,
    },
    /// The shard has stopped, or the node.
    Stopped,
    /// As many requests wait as may; this one was not taken.
    Busy,
}

impl EnqueueError {
    /// The same change may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Disk { .. } | Self::Busy)
    }
}

impl From<NoAnswer> for EnqueueError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Stopped => Self::Stopped,
            NoAnswer::Busy => Self::Busy,
        }
    }
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { why } => f.write_str(why),
            Self::Full => {
                f.write_str("the queue is full; try again when the shard has a leader and has caught up")
            }
            Self::Disk { why } => write!(f, "the registrar's queue: {why}"),
            Self::Stopped => NoAnswer::Stopped.fmt(f),
            Self::Busy => NoAnswer::Busy.fmt(f),
        }
    }
}

impl std::error::Error for EnqueueError {}

impl Shard {
    /// Queues a change and answers when it is durable on this node; it is registered by and by, in the order of the
    /// queue, with or without a leader now, through crashes and power cuts, once. Changes that wait go together, up to
    /// 256 in one log entry.
    ///
    /// A file has to stay as it is until its change has left the queue (`registrar`, `drain`, events): it is digested
    /// only then, and checked against `Sealed::flat` and `Sealed::facts` if they were given.
    ///
    /// A change that can never happen, because the manifest refuses it or its file is gone or another one, leaves the
    /// queue with its reason, which `refused` tells; those behind it go on. What was registered meanwhile by others is
    /// found to be there, and counts as applied.
    ///
    /// # Errors
    /// `Full` at once if the queue holds 65,536 changes or 8 MiB; a path, label or reason that no manifest takes; or
    /// this node's disk refuses.
    pub fn enqueue(&self, change: Change) -> Reply<Ticket, EnqueueError> {
        self.registrar_ask(|replier| RegistrarRequest::Enqueue(change, None, replier))
    }

    /// The same, waiting for room for so long, in the order in which callers came.
    ///
    /// # Errors
    /// As `enqueue`; `Full` when the time has run out, or 1024 callers wait already.
    pub fn enqueue_waiting(&self, change: Change, within: impl Into<Nanos>) -> Reply<Ticket, EnqueueError> {
        let within = within.into();
        self.registrar_ask(|replier| RegistrarRequest::Enqueue(change, Some(within), replier))
    }

    /// How the registrar stands on this node.
    pub fn registrar(&self) -> Reply<RegistrarStatus> {
        self.registrar_ask(RegistrarRequest::Status)
    }

    /// Changes behind a ticket that went out of the queue without having happened, in order: of all, the latest 1024.
    /// They are kept over restarts; `Ticket(0)` is before the first.
    pub fn refused(&self, after: Ticket) -> Reply<Vec<RefusedChange>> {
        self.registrar_ask(|replier| RegistrarRequest::Refused(after, replier))
    }

    /// Waits until the queue is empty, for so long at most, and answers how many changes are left. They stay queued, on
    /// this disk, for later or for the next start. A node that is shut down does this by itself for up to two seconds.
    pub fn drain(&self, within: impl Into<Nanos>) -> Reply<u64> {
        let within = within.into();
        self.registrar_ask(|replier| RegistrarRequest::Drain(within, replier))
    }

    fn registrar_ask<T, E: From<NoAnswer>>(
        &self,
        make: impl FnOnce(Replier<Result<T, E>>) -> RegistrarRequest,
    ) -> Reply<T, E> {
        self.ask(|replier| ShardRequest::Registrar(make(replier)))
    }
}

/// Answers one request.
pub(super) async fn answer(shard: &Served, request: RegistrarRequest) {
    let until = |within| Core::current().now().plus(within);
    match request {
        RegistrarRequest::Enqueue(change, within, replier) => {
            let enqueued = shard.enqueue(&asked_of(change), within.map(until)).await;
            replier.answer(enqueued.map(Ticket).map_err(|error| match error {
                Refusal::Form { why } => EnqueueError::Invalid { why },
                Refusal::Full => EnqueueError::Full,
                Refusal::Disk { errno } => EnqueueError::Disk { why: errno.to_string() },
                Refusal::Stopped => EnqueueError::Stopped,
            }));
        }
        RegistrarRequest::Status(replier) => replier.answer(Ok(status(shard))),
        RegistrarRequest::Refused(after, replier) => {
            let refused = shard.refused_after(after.0).into_iter().map(|refused| RefusedChange {
                ticket: Ticket(refused.number),
                path: refused.path,
                why: refused.why,
            });
            replier.answer(Ok(refused.collect()));
        }
        RegistrarRequest::Drain(within, replier) => replier.answer(Ok(shard.drain(until(within)).await)),
    }
}

/// How a shard's registrar stands.
pub(super) fn status(shard: &Served) -> RegistrarStatus {
    let figures = shard.registrar(Core::current().wall());
    let RegistrarFigures { enqueued, applied, refused, errors, full, depth, bytes, oldest } = figures;
    let oldest_millis = oldest.map(|age| age.0 / Nanos::MILLISECOND.0);
    RegistrarStatus { enqueued, applied, refused, errors, full, depth, bytes, oldest_millis }
}
