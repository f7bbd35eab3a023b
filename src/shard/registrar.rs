//! The registrar: changes of engines that cannot wait. Each is durable in a queue on this disk before its caller hears
//! of it, and stays there until it is known what became of it.
//!
//! Files are digested ahead of what is proposed, many at a time; `settle` proposes, in the order of the queue. What can
//! never succeed goes out of the queue with its reason and holds nothing up; everything else is tried for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use futures_util::{StreamExt, stream};

use crate::ids::{Digest, Nanos, NodeId, SessionId, UnixNanos};
use crate::journal::{Asked, Held, Queue, Refused};
use crate::limits::{
    BACKOFF_MAX, FETCH_ATTEMPTS_MAX, QUEUE_WAITERS_MAX, REFUSAL_BYTES_MAX, REGISTRAR_BACKOFF_FIRST,
    REGISTRAR_BATCH_MAX, REGISTRAR_DIGESTS_MAX, REGISTRAR_READY_MAX,
};
use crate::manifest::{Batch, Command, Label, Operation, Refusal, Registration, Tier};
use crate::segment::{DigestError, RelativePath};
use crate::uring::{Core, Errno, Priority, deadline, timeout};

use super::propose::{Preparing, ProposalError, check_path};
use super::shard::{Inner, Shard};

/// Why a change was not put into the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnqueueError {
    /// No manifest takes it, whatever else it has.
    Form {
        /// Why.
        why: String,
    },
    /// The queue is full.
    Full,
    /// The disk refuses.
    Disk {
        /// Why.
        errno: Errno,
    },
    /// The shard has stopped.
    Stopped,
}

/// How a registrar stands. Counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RegistrarFigures {
    /// Changes that were put into the queue.
    pub enqueued: u64,
    /// Changes that are in the manifest.
    pub applied: u64,
    /// Changes that went out of the queue without.
    pub refused: u64,
    /// Attempts that will be made again: at a proposal, at a file, at the queue.
    pub errors: u64,
    /// Changes that found the queue full.
    pub full: u64,
    /// Changes in the queue.
    pub depth: u64,
    /// Their bytes there.
    pub bytes: u64,
    /// How long the first of them has been there, by this node's clock.
    pub oldest: Option<Nanos>,
}

/// The registrar of one shard.
pub(super) struct Registrar {
    pub(super) queue: Queue,
    /// Prepared changes, from the first that is not settled.
    pub(super) ready: RefCell<VecDeque<Item>>,
    pub(super) figures: Cell<RegistrarFigures>,
    /// The number of the last proposal, while the manifest is to keep what became of it.
    pub(super) number: Cell<Option<(SessionId, u64)>>,
    /// Callers that wait for room, in their order.
    line: RefCell<VecDeque<u64>>,
    callers: Cell<u64>,
}

/// A change that is prepared.
pub(super) struct Item {
    pub(super) number: u64,
    /// As it stands in the queue.
    pub(super) bytes: usize,
    pub(super) path: String,
    /// None if it is refused.
    pub(super) operation: Option<Operation>,
    /// The digested file, if it has one.
    pub(super) drafts: Vec<(RelativePath, Digest)>,
}

/// A caller's place in the line for room.
struct InLine<'a>(&'a Registrar, u64);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.line.borrow_mut().retain(|other| *other != self.1);
        self.0.queue.moved().notify();
    }
}

impl Registrar {
    pub(super) fn count(&self, change: impl FnOnce(&mut RegistrarFigures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    /// A change goes out of the queue without having happened.
    pub(super) fn refuse(&self, number: u64, path: &str, why: &dyn fmt::Display) {
        let mut why = why.to_string();
        why.truncate(why.floor_char_boundary(REFUSAL_BYTES_MAX));
        tracing::warn!(number, path, why, "a queued change is refused");
        self.count(|figures| figures.refused += 1);
        self.queue.refuse(Refused { number, path: path.to_owned(), why });
    }

    pub(super) async fn close(&self) {
        self.queue.moved().notify();
        self.queue.close().await;
    }

    /// Puts a change into the queue, behind those who wait for room; until when this one may wait is the second.
    async fn put(&self, content: &[u8], until: Option<Nanos>, shard: &Inner) -> Result<u64, EnqueueError> {
        let is_free = self.line.borrow().is_empty();
        let pushed = if is_free { self.queue.push(content).ok() } else { None };
        let durable = match (pushed, until) {
            (Some(durable), _) => durable,
            (None, Some(until)) if self.line.borrow().len() < QUEUE_WAITERS_MAX => {
                let own = self.callers.get();
                self.callers.set(own + 1);
                self.line.borrow_mut().push_back(own);
                let _place = InLine(self, own);
                let has_room = || {
                    let is_first = self.line.borrow().front() == Some(&own);
                    let pushed = if is_first { self.queue.push(content).ok() } else { None };
                    pushed.map(Some).or_else(|| shard.stopped.get().then_some(None))
                };
                let pushed = deadline(until, self.queue.moved().until(has_room)).await;
                pushed.map_err(|_| EnqueueError::Full)?.ok_or(EnqueueError::Stopped)?
            }
            (None, _) => return Err(EnqueueError::Full),
        };
        durable.await.map_err(|errno| EnqueueError::Disk { errno })
    }

    /// What is to be prepared next, when there is something and room for it.
    async fn more(&self, taken: u64, shard: &Inner) -> Vec<Held> {
        let more = || {
            let room = REGISTRAR_READY_MAX.saturating_sub(self.ready.borrow().len());
            let held = self.queue.after(taken, room.min(REGISTRAR_BATCH_MAX));
            (!held.is_empty() || shard.stopped.get()).then_some(held)
        };
        self.queue.moved().until(more).await
    }
}

impl Shard {
    /// Puts a change into the registrar's queue; its number there when it is durable on this disk. A full queue is
    /// waited for until the time that is given.
    ///
    /// # Errors
    /// It is not in the queue.
    pub async fn enqueue(&self, asked: &Asked, until: Option<Nanos>) -> Result<u64, EnqueueError> {
        let registrar = self.0.registrar();
        let content = check_form(asked, self.0.node)?;
        if self.0.stopped.get() {
            return Err(EnqueueError::Stopped);
        }
        let put = registrar.put(&content, until, &self.0).await;
        registrar.count(|figures| match &put {
            Ok(_) => figures.enqueued += 1,
            Err(EnqueueError::Full) => figures.full += 1,
            Err(EnqueueError::Disk { .. }) => figures.errors += 1,
            Err(EnqueueError::Form { .. } | EnqueueError::Stopped) => {}
        });
        match put {
            Err(EnqueueError::Disk { errno: Errno::CANCELED }) => Err(EnqueueError::Stopped),
            put => put,
        }
    }

    /// How the registrar stands at this time of the node's clock.
    #[must_use]
    pub fn registrar(&self, now: UnixNanos) -> RegistrarFigures {
        let registrar = self.0.registrar();
        let queue = registrar.queue.figures();
        RegistrarFigures {
            depth: queue.changes,
            bytes: queue.bytes,
            oldest: queue.oldest.map(|at| Nanos(now.0.saturating_sub(at.0))),
            ..registrar.figures.get()
        }
    }

    /// The latest changes that went out of the queue without having happened, behind a number.
    #[must_use]
    pub fn refused_after(&self, number: u64) -> Vec<Refused> {
        self.0.registrar().queue.refused_after(number)
    }

    /// Waits until the queue is empty, or until this time; says how many changes are left.
    pub async fn drain(&self, until: Nanos) -> u64 {
        let registrar = self.0.registrar();
        let depth = || registrar.queue.figures().changes;
        let is_over = || (depth() == 0 || self.0.stopped.get()).then_some(());
        let _in_time = deadline(until, registrar.queue.moved().until(is_over)).await;
        depth()
    }
}

impl Inner {
    pub(super) fn registrar(&self) -> &Rc<Registrar> {
        self.registrar.get().expect("the shard was started")
    }

    pub(super) fn take_registrar(&self, queue: Queue) {
        self.unsettled.set(queue.sent().is_some());
        let registrar = Rc::new(Registrar {
            queue,
            ready: RefCell::default(),
            figures: Cell::default(),
            number: Cell::default(),
            line: RefCell::default(),
            callers: Cell::default(),
        });
        assert!(self.registrar.set(registrar).is_ok(), "a shard is started once");
    }

    pub(super) fn begin_registering(self: &Rc<Self>) {
        drop(Core::current().spawn(Priority::Urgent, Rc::clone(self).register_forever()));
    }

    /// Prepares what is in the queue, in its order and ahead of what is proposed.
    pub(super) async fn prepare_forever(self: Rc<Self>) {
        let registrar = Rc::clone(self.registrar());
        let mut taken = registrar.queue.done();
        loop {
            let held = registrar.more(taken, &self).await;
            let Some(last) = held.last().map(|held| held.number) else { return };
            let _preparing = Preparing::begin(&self).await;
            let preparing = held.into_iter().map(|held| self.prepare_held(held));
            let mut prepared = stream::iter(preparing).buffered(REGISTRAR_DIGESTS_MAX);
            while let Some(item) = prepared.next().await {
                let Some(item) = item else { return };
                registrar.ready.borrow_mut().push_back(item);
                registrar.queue.moved().notify();
            }
            taken = last;
        }
    }

    /// Nothing if the shard stops.
    async fn prepare_held(&self, held: Held) -> Option<Item> {
        let registrar = self.registrar();
        let (number, bytes) = (held.number, held.content.len());
        let item = |path, operation, drafts| Some(Item { number, bytes, path, operation, drafts });
        let asked = match Asked::decode(&held.content) {
            Ok(asked) => asked,
            Err(error) => {
                registrar.refuse(number, "", &format!("its record {error}"));
                return item(String::new(), None, Vec::new());
            }
        };
        let path = asked.path().to_owned();
        let (mut rest, mut attempts) = (REGISTRAR_BACKOFF_FIRST, 0);
        while !registrar.queue.is_refused(number) {
            let mut drafts = Vec::new();
            let error = match self.operation_of(&asked, None, &mut drafts).await {
                Ok(operation) => return item(path, Some(operation), drafts),
                Err(error) => error,
            };
            for (path, root) in drafts {
                self.store.drop_draft(&path, root).await;
            }
            attempts += 1;
            if is_final(&error, attempts) {
                registrar.refuse(number, &path, &why(&error));
                break;
            }
            registrar.count(|figures| figures.errors += 1);
            tracing::debug!(number, path, ?error, "a queued change cannot be prepared yet");
            if !self.rest(&mut rest).await {
                return None;
            }
        }
        item(path, None, Vec::new())
    }

    /// Rests, longer each time; false if the shard stops.
    pub(super) async fn rest(&self, rest: &mut Nanos) -> bool {
        let stopped = self.changed.until(|| self.stopped.get().then_some(()));
        let is_over = timeout(*rest, stopped).await.is_err();
        rest.0 = BACKOFF_MAX.0.min(rest.0 * 2);
        is_over
    }
}

/// Asking again would not help. A file that cannot be read is given a few attempts.
fn is_final(error: &ProposalError, attempts: u32) -> bool {
    let ProposalError::Digest { error: DigestError::Disk(disk), .. } = error else { return true };
    let is_of_the_path = [
        Errno::NOT_FOUND,
        Errno::NOT_A_DIRECTORY,
        Errno::IS_A_DIRECTORY,
        Errno::LOOP,
        Errno::CROSSES,
        Errno::NAME_TOO_LONG,
        Errno::INVALID,
    ];
    is_of_the_path.contains(&disk.errno) || disk.errno.is_unreadable() && attempts > FETCH_ATTEMPTS_MAX
}

fn why(error: &ProposalError) -> String {
    match error {
        ProposalError::Path { why, .. } | ProposalError::Disk { why } => why.clone(),
        ProposalError::Digest { error, .. } => error.to_string(),
        ProposalError::Changed { .. } => "the file is not as it was when it was chosen".to_owned(),
        ProposalError::FlatDiffers { expected, found, .. } => {
            format!("the file has the SHA-256 {found}, not {expected} as given")
        }
        ProposalError::Refused(refusal) => refusal.to_string(),
        ProposalError::NoLeader { .. }
        | ProposalError::OutcomeUnknown
        | ProposalError::TooMany
        | ProposalError::Foreign
        | ProposalError::Stopped => format!("{error:?}"),
    }
}

/// The bytes of a change, if it has the form that a manifest takes: what is wrong with it whatever the manifest holds
/// is told at once.
fn check_form(asked: &Asked, node: NodeId) -> Result<Vec<u8>, EnqueueError> {
    let form = |why: &dyn fmt::Display| EnqueueError::Form { why: why.to_string() };
    check_path(asked.path()).map_err(|error| form(&why(&error)))?;
    let content = asked.encode().map_err(|error| form(&format!("a text or the labels: {error}")))?;
    let operation = match asked.clone() {
        Asked::Delete { path, reason } => Operation::Delete { path, reason },
        Asked::Sealed { path, flat, tier, labels, .. } => Operation::Register(Registration {
            path,
            bytes: 0,
            root: Digest([0; 32]),
            flat,
            origin: node,
            sealed_at: UnixNanos(1),
            tier: Tier(tier),
            labels: labels.into_iter().map(|(name, value)| Label { name, value }).collect(),
        }),
    };
    let (session, proposed_at) = (SessionId([0; 16]), UnixNanos(1));
    let batch = Batch { session, number: 0, low_water: 0, proposed_at, operations: vec![operation] };
    match Command::check(&Command::Batch(batch).encode()) {
        Ok(()) => Ok(content),
        Err(Refusal::Operation { reason, .. }) => Err(form(&reason)),
        Err(refusal) => Err(form(&refusal)),
    }
}
