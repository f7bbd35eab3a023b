//! A batch of changes on its way into the manifest: digest and pin at the origin, propose, wait for the level
//! asked for.
//!
//! A proposal keeps its number when it is sent again, across elections and leaders, so that it happens at most
//! once. When the time runs out after it was sent, the answer says so and invites nobody to guess.

use std::fmt;
use std::rc::Rc;

use crate::ids::{Digest, LogIndex, Nanos, NodeId, SegmentId};
use crate::journal::Asked;
use crate::limits::ENTRY_BYTES_MAX;
use crate::manifest::{Batch, Command, Label, Operation, Outcome, Refusal, Registration, SafePath, Tier};
use crate::segment::{DigestError, Digested, Identity, RelativePath};
use crate::stats::{Counter, ProposalStats};
use crate::uring::{Core, deadline, sleep};

use super::attempt::Attempt;
use super::proposer::Ticket;
use super::shard::{Inner, Shard};

/// Rest between attempts while nobody leads.
const RETRY: Nanos = Nanos::from_millis(20);

/// On how many nodes the bytes have to stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// It is enough that the entry is committed.
    Committed,
    /// On so many, the origin counted; never more than there are replicas.
    Landed(u32),
    /// On a majority of the voters.
    Quorum,
}

/// A committed batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Its log index.
    pub index: LogIndex,
    /// The segments of its registrations and updates, in order.
    pub segments: Vec<SegmentId>,
    /// Nodes on which they were seen to stand.
    pub landed: u32,
    /// Replicas of the shard.
    pub replicas: u32,
    /// The level was reached in time.
    pub reached: bool,
}

/// Why a batch did not happen, or is not known to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalError {
    /// A path that no manifest takes.
    Path {
        /// Escaped.
        path: String,
        /// Why.
        why: String,
    },
    /// A file that cannot be digested.
    Digest {
        /// Its path.
        path: String,
        /// Why.
        error: DigestError,
    },
    /// A file that is not as it was when it was chosen.
    Changed {
        /// Its path.
        path: String,
    },
    /// A file without the digest that the engine gave.
    FlatDiffers {
        /// Its path.
        path: String,
        /// The engine's.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// The manifest refuses.
    Refused(Refusal),
    /// It was never taken by a leader: it did not happen.
    NoLeader {
        /// The last one known.
        last: Option<NodeId>,
    },
    /// It was sent, and the time ran out.
    OutcomeUnknown,
    /// As many as may be are outstanding.
    TooMany,
    /// This node's own record of its proposals cannot be written.
    Disk {
        /// Why.
        why: String,
    },
    /// It is not in this node's own session: the leader refuses it.
    Foreign,
    /// The shard has stopped.
    Stopped,
}

impl ProposalError {
    /// Where it is counted.
    fn counter<'a>(&self, stats: &'a ProposalStats) -> &'a Counter {
        match self {
            Self::Path { .. }
            | Self::Digest { .. }
            | Self::Changed { .. }
            | Self::FlatDiffers { .. }
            | Self::Refused(_)
            | Self::Foreign => &stats.refused,
            Self::NoLeader { .. } => &stats.not_taken,
            Self::OutcomeUnknown => &stats.unknown,
            Self::TooMany | Self::Disk { .. } | Self::Stopped => &stats.failed,
        }
    }
}

impl Shard {
    /// Performs a batch.
    ///
    /// # Errors
    /// It did not happen, or is not known to have.
    pub async fn perform(
        &self,
        asked: Vec<Asked>,
        level: Level,
        timeout: Nanos,
    ) -> Result<Done, ProposalError> {
        self.perform_from(asked, &[], level, timeout).await
    }

    /// The same, with what a checkpoint has captured for each of the first changes.
    pub(super) async fn perform_from(
        &self,
        asked: Vec<Asked>,
        captured: &[String],
        level: Level,
        timeout: Nanos,
    ) -> Result<Done, ProposalError> {
        let inner = &self.0;
        let mut drafts = Vec::new();
        let proposed = async {
            let operations = {
                let _preparing = Preparing::begin(inner).await;
                inner.prepare(&asked, captured, &mut drafts).await?
            };
            // From here: reading files takes as long as it takes.
            let until = Core::current().now().plus(timeout);
            inner.propose_once(operations, until).await.map(|done| (done, until))
        };
        let (Performed { index, unchanged }, until) = match proposed.await {
            Ok(done) => done,
            Err(error) => {
                error.counter(&inner.proposals).count();
                Box::pin(inner.withdraw(&drafts, &error)).await;
                return Err(error);
            }
        };
        let segments = inner.applied_segments(&asked, index, unchanged, until).await;
        if !drafts.is_empty() {
            Box::pin(inner.drop_unclaimed(&drafts)).await;
        }
        Ok(inner.wait_landed(index, segments, level, until).await)
    }
}

/// Files are being digested: drafts are not swept meanwhile.
pub(super) struct Preparing<'a>(&'a Inner);

impl<'a> Preparing<'a> {
    pub(super) async fn begin(inner: &'a Inner) -> Self {
        inner.changed.until(|| (!inner.sweeping.get()).then_some(())).await;
        inner.preparing.set(inner.preparing.get() + 1);
        Self(inner)
    }
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.preparing.set(self.0.preparing.get() - 1);
        self.0.changed.notify();
    }
}

/// What a leader has answered.
pub(super) struct Answered {
    pub(super) index: LogIndex,
    pub(super) outcome: Outcome,
    /// No earlier attempt at the same bytes was sent.
    pub(super) is_first: bool,
}

/// A batch that happened.
struct Performed {
    index: LogIndex,
    /// Operations that found what they asked for.
    unchanged: u32,
}

impl Inner {
    /// Digests and pins the files, and makes the operations of the batch.
    async fn prepare(
        &self,
        asked: &[Asked],
        captured: &[String],
        drafts: &mut Vec<(RelativePath, Digest)>,
    ) -> Result<Vec<Operation>, ProposalError> {
        let mut operations = Vec::with_capacity(asked.len());
        for (place, change) in asked.iter().enumerate() {
            let captured = captured.get(place).map(String::as_str);
            operations.push(self.operation_of(change, captured, drafts).await?);
        }
        Ok(operations)
    }

    /// Digests and pins the file of one change, if it has one, and makes its operation.
    pub(super) async fn operation_of(
        &self,
        asked: &Asked,
        captured: Option<&str>,
        drafts: &mut Vec<(RelativePath, Digest)>,
    ) -> Result<Operation, ProposalError> {
        let (update, path, flat, tier, labels, facts) = match asked {
            Asked::Delete { path, reason } => {
                check_path(path)?;
                return Ok(Operation::Delete { path: path.clone(), reason: reason.clone() });
            }
            Asked::Sealed { update, path, flat, tier, labels, facts } => {
                (*update, path, *flat, *tier, labels, *facts)
            }
        };
        // Boxed: a change without a file has no room for it.
        let digested = Box::pin(self.digest(path, captured, drafts)).await?;
        let Identity { inode, bytes, modified, .. } = digested.identity;
        if facts.is_some_and(|facts| facts != (inode, bytes, i128::from(modified.0))) {
            return Err(ProposalError::Changed { path: path.clone() });
        }
        if let Some(expected) = flat.filter(|expected| *expected != digested.flat) {
            let (path, found) = (path.clone(), digested.flat);
            return Err(ProposalError::FlatDiffers { path, expected, found });
        }
        let labels = labels.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() });
        let registration = Registration {
            path: path.clone(),
            bytes: digested.len,
            root: digested.root,
            flat,
            origin: self.node,
            sealed_at: Core::current().wall(),
            tier: Tier(tier),
            labels: labels.collect(),
        };
        Ok(if update { Operation::Update(registration) } else { Operation::Register(registration) })
    }

    async fn digest(
        &self,
        path: &str,
        captured: Option<&str>,
        drafts: &mut Vec<(RelativePath, Digest)>,
    ) -> Result<Digested, ProposalError> {
        let relative = check_path(path)?;
        let digested = match captured {
            Some(name) => self.store.digest_taken(&relative, name).await,
            None => self.store.digest_file(&relative).await,
        };
        let digested = digested.map_err(|error| ProposalError::Digest { path: path.to_owned(), error })?;
        drafts.push((relative, digested.root));
        Ok(digested)
    }

    /// Proposes until the outcome is known or the time runs out; at most one of the attempts happens.
    async fn propose_once(
        self: &Rc<Self>,
        mut operations: Vec<Operation>,
        until: Nanos,
    ) -> Result<Performed, ProposalError> {
        let begun = Core::current().now();
        loop {
            let Ticket { session, number, low_water } = self.ticket(until).await?;
            let proposed_at = Core::current().wall();
            let command = Command::Batch(Batch { session, number, low_water, proposed_at, operations });
            let bytes = command.encode();
            let answered = if bytes.len() > ENTRY_BYTES_MAX {
                Err(ProposalError::Refused(Refusal::EntryTooLong { bytes: bytes.len() as u64 }))
            } else {
                self.insist(&bytes, until).await
            };
            // Nobody sends it again from here on. One whose outcome is unknown either happened, or is refused when
            // the low-water mark has passed it.
            if let Some(open) = self.session.borrow_mut().as_mut().filter(|open| open.id() == session) {
                open.finish(number);
            }
            match answered? {
                Answered { outcome: Outcome::Applied { index, unchanged, .. }, .. } => {
                    self.proposals.committed.count();
                    self.proposals.commit.count(Core::current().now().since(begun));
                    return Ok(Performed { index, unchanged });
                }
                Answered {
                    outcome: Outcome::Refused(Refusal::SessionUnknown | Refusal::SessionRetired),
                    is_first,
                    ..
                } => {
                    self.forget_session(session);
                    if !is_first {
                        // An earlier attempt may have happened before the session went.
                        return Err(ProposalError::OutcomeUnknown);
                    }
                }
                Answered { outcome: Outcome::Refused(refusal), .. } => {
                    return Err(ProposalError::Refused(refusal));
                }
                // From a member that is of another build, or worse.
                Answered { outcome: Outcome::SessionOpened | Outcome::SessionRetired, index, .. } => {
                    tracing::error!(shard = %self.id, %index, "a member answered a batch as a session");
                    return Err(ProposalError::OutcomeUnknown);
                }
            }
            let Command::Batch(batch) = command else { unreachable!("it was made as one") };
            operations = batch.operations;
        }
    }

    /// Sends the same bytes again until a leader answers what became of them.
    pub(super) async fn insist(&self, bytes: &[u8], until: Nanos) -> Result<Answered, ProposalError> {
        let (mut was_sent, mut last) = (false, None);
        loop {
            let changed = self.changed.notified();
            match deadline(until, self.attempt(bytes)).await {
                Ok(Attempt::Applied(index, outcome)) => {
                    let outcome = Outcome::decode(&outcome).map_err(|_| ProposalError::OutcomeUnknown)?;
                    return Ok(Answered { index, outcome, is_first: !was_sent });
                }
                Ok(Attempt::Stopped) => return Err(ProposalError::Stopped),
                // An earlier attempt may have been taken.
                Ok(Attempt::Foreign) if was_sent => return Err(ProposalError::OutcomeUnknown),
                Ok(Attempt::Foreign) => return Err(ProposalError::Foreign),
                Ok(Attempt::Unknown) => was_sent = true,
                Ok(Attempt::NotTaken(leader)) => last = leader.or(last),
                Err(_) => was_sent = true,
            }
            if Core::current().now() >= until {
                return Err(if was_sent {
                    ProposalError::OutcomeUnknown
                } else {
                    ProposalError::NoLeader { last }
                });
            }
            let rest = std::pin::pin!(sleep(RETRY));
            let _either = futures_util::future::select(std::pin::pin!(changed), rest).await;
        }
    }

    /// The segments of a batch, once this node has applied it. What was new has the batch's index and its own place
    /// in it; what was there already is found by its path.
    async fn applied_segments(
        &self,
        asked: &[Asked],
        index: LogIndex,
        unchanged: u32,
        until: Nanos,
    ) -> Vec<SegmentId> {
        let reached = || (self.group().watermarks().applied >= index).then_some(());
        let _in_time = deadline(until, self.changed.until(reached)).await;
        let machine = self.group().machine();
        let state = machine.borrow();
        let sealed = (0..).zip(asked).filter_map(|(ordinal, change)| match change {
            Asked::Sealed { path, .. } => Some((SegmentId { index, ordinal }, path)),
            Asked::Delete { .. } => None,
        });
        let known = |(id, path): (SegmentId, &String)| {
            if unchanged == 0 || state.entry(&id).is_some() {
                return id;
            }
            state.by_path(path).map_or(id, |entry| entry.id)
        };
        sealed.map(known).collect()
    }

    /// Lets go of the digested files of a batch that failed. What may have happened keeps its file: the manifest
    /// decides.
    async fn withdraw(&self, drafts: &[(RelativePath, Digest)], error: &ProposalError) {
        for (path, root) in drafts {
            if *error == ProposalError::OutcomeUnknown {
                self.store.park_draft(path, *root).await;
            } else {
                self.store.drop_draft(path, *root).await;
            }
        }
    }

    /// Lets go of the digested files that no segment will claim: their registrations found themselves there already.
    pub(super) async fn drop_unclaimed(&self, drafts: &[(RelativePath, Digest)]) {
        for (path, root) in drafts {
            let is_held = {
                let machine = self.group().machine();
                let state = machine.borrow();
                let entry = state.by_path(path.as_str()).filter(|entry| entry.root == *root);
                entry.is_some_and(|entry| self.store.is_held(entry.id, entry.root))
            };
            if is_held {
                self.store.drop_draft(path, *root).await;
            } else {
                self.store.park_draft(path, *root).await;
            }
        }
    }

    /// Waits until the segments stand on as many nodes as asked.
    async fn wait_landed(
        &self,
        index: LogIndex,
        segments: Vec<SegmentId>,
        level: Level,
        until: Nanos,
    ) -> Done {
        let members = self.members();
        let voters: Vec<NodeId> = match level {
            Level::Quorum => self.group().voters().into_keys().collect(),
            Level::Committed | Level::Landed(_) => Vec::new(),
        };
        let count = |nodes: &[NodeId]| u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let replicas = count(&members);
        let landed = || self.landed_on(&members, &segments);
        let is_reached = || match level {
            Level::Committed => true,
            Level::Landed(wanted) => landed() >= wanted.min(replicas),
            Level::Quorum => self.landed_on(&voters, &segments) > count(&voters) / 2,
        };
        let reached = deadline(until, self.changed.until(|| is_reached().then_some(()))).await.is_ok();
        Done { index, landed: landed(), replicas, reached, segments }
    }

    /// On how many of the nodes all of these segments stand.
    fn landed_on(&self, members: &[NodeId], segments: &[SegmentId]) -> u32 {
        let Some(driver) = self.driver.get() else { return 0 };
        let holds = |node: &&NodeId| {
            if **node == self.node {
                let installed = self.installed.borrow();
                return segments.iter().all(|id| installed.holds(*id));
            }
            driver.with_sources(|sources| {
                sources.announced(**node).is_some_and(|told| segments.iter().all(|id| told.holds(*id)))
            })
        };
        u32::try_from(members.iter().filter(holds).count()).unwrap_or(u32::MAX)
    }
}

pub(super) fn check_path(path: &str) -> Result<RelativePath, ProposalError> {
    let refuse = |why: &dyn fmt::Display| ProposalError::Path {
        path: path.escape_debug().to_string(),
        why: why.to_string(),
    };
    SafePath::parse(path).map_err(|error| refuse(&error))?;
    RelativePath::parse(path).map_err(|error| refuse(&error))
}
