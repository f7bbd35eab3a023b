//! What the registrar proposes, and what becomes of it. One proposal is under way at a time, so that changes happen in
//! the order of the queue.
//!
//! Its number is durable in the queue before it is sent, and it is sent until its outcome is known. What an earlier
//! process has left is settled by an empty batch under the same number: the manifest answers what became of that
//! number, or takes note that nothing did, and never will. So each change happens at most once, however often power or
//! process goes; only where the session itself is lost, with the outcomes that it had, it is asked for again.
//!
//! That it happened is noted by and by. For that, the manifest may forget the outcome of a number that happened, and
//! answers that it has expired; of one that did not, it keeps it until the queue has another number, or says that none
//! is under way.

use std::rc::Rc;

use crate::broken::{self, Broken};
use crate::ids::{Digest, LogIndex, Nanos, SessionId};
use crate::journal::Sent;
use crate::limits::{
    ENTRY_BYTES_MAX, PROPOSE_TIMEOUT, REGISTRAR_BACKOFF_FIRST, REGISTRAR_BATCH_BYTES_MAX, REGISTRAR_BATCH_MAX,
};
use crate::manifest::{Batch, Command, Operation, Outcome, Refusal};
use crate::segment::RelativePath;
use crate::uring::{Core, Priority};
use crate::wire::ValueBytes;

use super::propose::{Answered, ProposalError};
use super::proposer::Ticket;
use super::registrar::Registrar;
use super::shard::Inner;

/// Changes that are proposed together.
struct Lot {
    /// The last change that is settled with them.
    last: u64,
    operations: Vec<Operation>,
    /// Of each operation, its change's number.
    numbers: Vec<u64>,
}

/// What became of a lot.
enum Came {
    /// It happened.
    Applied,
    /// One change is refused; the others are proposed again.
    Refused,
    /// It did not happen, and may the next time.
    Again,
    /// The shard stops.
    Stopped,
}

impl Registrar {
    /// What is ready, up to so many changes; what is refused goes by the way.
    fn lot(&self, most: usize) -> Option<Lot> {
        let ready = self.ready.borrow();
        let mut lot = Lot { last: ready.front()?.number, operations: Vec::new(), numbers: Vec::new() };
        let mut bytes = 0;
        for item in ready.iter() {
            bytes += item.bytes;
            let is_full = lot.operations.len() == most || bytes > REGISTRAR_BATCH_BYTES_MAX;
            match &item.operation {
                Some(_) if is_full && !lot.operations.is_empty() => break,
                Some(operation) => {
                    lot.operations.push(operation.clone());
                    lot.numbers.push(item.number);
                }
                None => {}
            }
            lot.last = item.number;
        }
        Some(lot)
    }

    /// What became of all changes up to this one is known: they go. The files that were digested for them come back.
    fn settle(&self, last: u64) -> Vec<(RelativePath, Digest)> {
        let mut drafts = Vec::new();
        {
            let mut ready = self.ready.borrow_mut();
            while let Some(item) = ready.pop_front_if(|item| item.number <= last) {
                drafts.extend(item.drafts);
            }
        }
        self.queue.settle(last);
        drafts
    }
}

impl Inner {
    /// Settles what an earlier process has left, then proposes what is prepared, until the shard stops.
    pub(super) async fn register_forever(self: Rc<Self>) {
        if !self.settle_earlier().await {
            return;
        }
        drop(Core::current().spawn(Priority::Urgent, Rc::clone(&self).prepare_forever()));
        let registrar = Rc::clone(self.registrar());
        let (mut most, mut rest) = (REGISTRAR_BATCH_MAX, REGISTRAR_BACKOFF_FIRST);
        loop {
            let next = || self.stopped.get().then_some(None).or_else(|| registrar.lot(most).map(Some));
            let Some(lot) = registrar.queue.moved().until(next).await else { return };
            if lot.operations.is_empty() {
                registrar.settle(lot.last);
                self.release_number(&registrar).await;
                continue;
            }
            let came = self.register_lot(&registrar, lot).await;
            match came {
                Came::Applied => most = REGISTRAR_BATCH_MAX.min(2 * most),
                // Each refusal costs a commit: what stands close together costs no more bytes than it has.
                Came::Refused => most = (most / 2).max(1),
                Came::Again => {
                    registrar.count(|figures| figures.errors += 1);
                    if !self.rest(&mut rest).await {
                        return;
                    }
                    continue;
                }
                Came::Stopped => return,
            }
            rest = REGISTRAR_BACKOFF_FIRST;
        }
    }

    /// False if the shard stops.
    async fn settle_earlier(&self) -> bool {
        let registrar = self.registrar();
        let Some(sent) = registrar.queue.sent().filter(|_| !broken::is(Broken::AskedAgain)) else {
            self.unsettled.set(false);
            return true;
        };
        let Sent { last, session, number } = sent;
        let bytes = batch((session, number, number), Vec::new());
        let Some(answered) = self.insist_until_known(registrar, &bytes).await else { return false };
        match answered.outcome {
            Outcome::Applied { .. } | Outcome::Refused(Refusal::Expired { .. }) => {
                let (queue, from) = (&registrar.queue, registrar.queue.done() + 1);
                let count = (from..=last).filter(|number| !queue.is_refused(*number)).count() as u64;
                registrar.count(|figures| figures.applied += count);
                queue.settle(last);
            }
            // It did not happen, and cannot any more under this number.
            Outcome::Refused(Refusal::BatchEmpty | Refusal::Operation { .. }) => {
                if !self.note_idle(registrar).await {
                    return false;
                }
            }
            Outcome::Refused(_) | Outcome::SessionOpened | Outcome::SessionRetired => {
                let (shard, outcome) = (self.id, answered.outcome);
                tracing::warn!(%shard, %outcome, "what was proposed before the start may happen again");
                if !self.note_idle(registrar).await {
                    return false;
                }
            }
        }
        self.unsettled.set(false);
        self.changed.notify();
        true
    }

    async fn register_lot(self: &Rc<Self>, registrar: &Rc<Registrar>, lot: Lot) -> Came {
        let Lot { last, operations, numbers } = lot;
        let count = operations.len() as u64;
        let until = Core::current().now().plus(PROPOSE_TIMEOUT);
        let Ticket { session, number, low_water } = match self.ticket(until).await {
            Ok(ticket) => ticket,
            Err(ProposalError::Stopped) => return Came::Stopped,
            Err(error) => {
                tracing::debug!(?error, shard = %self.id, "the registrar has no number to propose under");
                return Came::Again;
            }
        };
        let bytes = batch((session, number, low_water), operations);
        if bytes.len() > ENTRY_BYTES_MAX && count > 1 {
            self.finish((session, number));
            return Came::Refused;
        }
        let mut rest = REGISTRAR_BACKOFF_FIRST;
        while let Err(errno) = registrar.queue.send(Sent { last, session, number }).await {
            registrar.count(|figures| figures.errors += 1);
            tracing::debug!(%errno, shard = %self.id, "a proposal's number cannot be written yet");
            if !self.rest(&mut rest).await {
                return Came::Stopped;
            }
        }
        let before = registrar.number.replace(Some((session, number)));
        before.into_iter().for_each(|before| self.finish(before));
        let Some(answered) = self.insist_until_known(registrar, &bytes).await else { return Came::Stopped };
        match answered.outcome {
            Outcome::Applied { index, .. } => {
                registrar.number.take();
                self.finish((session, number));
                registrar.count(|figures| figures.applied += count);
                let drafts = registrar.settle(last);
                drop(Core::current().spawn(Priority::Urgent, Rc::clone(self).let_go(index, drafts)));
                Came::Applied
            }
            Outcome::Refused(Refusal::Operation { ordinal, reason }) => {
                let at_fault = numbers.get(ordinal as usize).copied().unwrap_or(last);
                self.refuse_one(registrar, at_fault, &reason).await;
                Came::Refused
            }
            Outcome::Refused(refusal @ (Refusal::SessionUnknown | Refusal::SessionRetired)) => {
                tracing::warn!(shard = %self.id, %refusal, "what was proposed in it is asked for again");
                self.forget_session(session);
                Came::Again
            }
            outcome @ (Outcome::Refused(_) | Outcome::SessionOpened | Outcome::SessionRetired) => {
                tracing::error!(shard = %self.id, %outcome, "a registrar's proposal is asked for again");
                Came::Again
            }
        }
    }

    /// Nobody asks again what became of this number.
    fn finish(&self, (session, number): (SessionId, u64)) {
        if let Some(open) = self.session.borrow_mut().as_mut().filter(|open| open.id() == session) {
            open.finish(number);
        }
    }

    /// Finishes the number under which nothing happened, when the queue says so.
    async fn release_number(&self, registrar: &Registrar) {
        let Some(number) = registrar.number.get() else { return };
        if self.note_idle(registrar).await {
            registrar.number.take();
            self.finish(number);
        }
    }

    /// Only then may the manifest forget what it says of the last number: a start takes one that it has forgotten for
    /// one that happened. False if the shard stops.
    async fn note_idle(&self, registrar: &Registrar) -> bool {
        let mut rest = REGISTRAR_BACKOFF_FIRST;
        while registrar.queue.note_idle().await.is_err() {
            registrar.count(|figures| figures.errors += 1);
            if !self.rest(&mut rest).await {
                return false;
            }
        }
        true
    }

    /// Sends the same bytes until their outcome is known; nothing if the shard stops.
    async fn insist_until_known(&self, registrar: &Registrar, bytes: &ValueBytes) -> Option<Answered> {
        let mut rest = REGISTRAR_BACKOFF_FIRST;
        loop {
            let until = Core::current().now().plus(PROPOSE_TIMEOUT);
            match self.insist(bytes, until).await {
                Ok(answered) => return Some(answered),
                Err(ProposalError::Stopped) => return None,
                Err(error) => {
                    registrar.count(|figures| figures.errors += 1);
                    tracing::debug!(?error, shard = %self.id, "a registrar's proposal has no outcome yet");
                }
            }
            rest.0 = rest.0.min(Nanos::from_secs(1).0);
            if !self.rest(&mut rest).await {
                return None;
            }
        }
    }

    async fn refuse_one(&self, registrar: &Registrar, number: u64, why: &dyn std::fmt::Display) {
        let drafts = {
            let mut ready = registrar.ready.borrow_mut();
            let Some(item) = ready.iter_mut().find(|item| item.number == number) else { return };
            item.operation = None;
            let path = std::mem::take(&mut item.path);
            let drafts = std::mem::take(&mut item.drafts);
            drop(ready);
            registrar.refuse(number, &path, why);
            drafts
        };
        for (path, root) in drafts {
            self.store.drop_draft(&path, root).await;
        }
    }

    /// Lets go of the files that were digested and that no segment will claim, when this node has applied the batch.
    async fn let_go(self: Rc<Self>, index: LogIndex, drafts: Vec<(RelativePath, Digest)>) {
        let is_here = || (self.group().watermarks().applied >= index || self.stopped.get()).then_some(());
        self.changed.until(is_here).await;
        self.drop_unclaimed(&drafts).await;
    }
}

fn batch((session, number, low_water): (SessionId, u64, u64), operations: Vec<Operation>) -> ValueBytes {
    let proposed_at = Core::current().wall();
    Command::Batch(Batch { session, number, low_water, proposed_at, operations }).encode()
}
