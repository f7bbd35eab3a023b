//! Landing in batches: whatever is complete when the last batch has landed goes together in the next one, so that many
//! small segments share their fsyncs.

use std::rc::Rc;

use crate::limits::LANDING_BATCH_MAX;
use crate::segment::{LandError, Landed, Landing, Store};
use crate::uring::{Answer, Core, Priority, QueueReceiver, QueueSender, question, queue};

use super::failure::Failure;

struct Complete {
    landing: Landing,
    answer: Answer<Result<Landed, LandError>>,
}

/// Takes complete landings and lands them.
pub struct Lander(QueueSender<Complete>);

impl Lander {
    /// Starts the one task that lands into `store`. It ends when the lander is dropped and its queue is empty.
    #[must_use]
    pub fn start(store: Rc<Store>) -> Self {
        let (sender, receiver) = queue(LANDING_BATCH_MAX);
        drop(Core::current().spawn(Priority::Bulk, run(store, receiver)));
        Self(sender)
    }

    /// Lands one complete segment, together with others.
    ///
    /// # Errors
    /// This disk's fault.
    pub async fn land(&self, landing: Landing) -> Result<(), Failure> {
        let (answer, waiting) = question();
        if self.0.send(Complete { landing, answer }).await.is_err() {
            return Err(Failure::Disk);
        }
        match waiting.await {
            Some(Ok(_) | Err(LandError::Held)) => Ok(()),
            Some(Err(error)) => Err(failure(&error)),
            None => Err(Failure::Disk),
        }
    }
}

async fn run(store: Rc<Store>, mut receiver: QueueReceiver<Complete>) {
    while let Some(first) = receiver.receive().await {
        let (mut landings, mut answers) = (vec![first.landing], vec![first.answer]);
        while landings.len() < LANDING_BATCH_MAX {
            let Some(next) = receiver.try_receive() else { break };
            landings.push(next.landing);
            answers.push(next.answer);
        }
        for (answer, outcome) in answers.into_iter().zip(store.land_all(landings).await) {
            // Whoever gave up waiting derives the difference again, and finds the segment landed.
            let _given_up = answer.give(outcome);
        }
    }
}

fn failure(error: &LandError) -> Failure {
    if matches!(error, LandError::DiskFull(_)) {
        return Failure::DiskFull;
    }
    tracing::warn!(%error, "a segment could not be landed");
    Failure::Disk
}
