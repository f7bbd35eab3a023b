//! Landing in batches: whatever is complete when the last batch has landed goes together in the next one, so that many
//! small segments share their fsyncs.

use std::rc::Rc;

use crate::ids::SegmentId;
use crate::limits::{CHUNK_LEAVES, LANDING_BATCH_MAX};
use crate::segment::{LandError, Landed, Landing, Store};
use crate::uring::{Answer, Core, Priority, QueueReceiver, QueueSender, question, queue};

use super::failure::{Failure, Fetched};

struct Complete {
    landings: Vec<Landing>,
    answer: Answer<Vec<Result<Landed, LandError>>>,
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

    /// Lands complete segments, together with others. The answers are in their order; an error is this disk's fault.
    pub async fn land(&self, landings: Vec<Landing>) -> Vec<Result<Fetched, Failure>> {
        let ids: Vec<SegmentId> = landings.iter().map(|landing| landing.want().id).collect();
        let (answer, waiting) = question();
        if self.0.send(Complete { landings, answer }).await.is_err() {
            return vec![Err(Failure::Disk); ids.len()];
        }
        let Some(landed) = waiting.await else { return vec![Err(Failure::Disk); ids.len()] };
        let outcome = |(id, landed)| match landed {
            Ok(_) => Ok(Fetched::Landed),
            Err(LandError::Held) => Ok(Fetched::Held),
            Err(error) => Err(failure(id, &error)),
        };
        ids.into_iter().zip(landed).map(outcome).collect()
    }
}

async fn run(store: Rc<Store>, mut receiver: QueueReceiver<Complete>) {
    while let Some(first) = receiver.receive().await {
        let (mut answers, mut landings) = (vec![(first.landings.len(), first.answer)], first.landings);
        while landings.len() + CHUNK_LEAVES <= LANDING_BATCH_MAX {
            let Some(next) = receiver.try_receive() else { break };
            answers.push((next.landings.len(), next.answer));
            landings.extend(next.landings);
        }
        let mut outcomes = store.land_all(landings).await.into_iter();
        for (count, answer) in answers {
            // Whoever gave up waiting derives the difference again, and finds the segment landed.
            let _given_up = answer.give(outcomes.by_ref().take(count).collect());
        }
    }
}

fn failure(segment: SegmentId, error: &LandError) -> Failure {
    if matches!(error, LandError::DiskFull(_)) {
        return Failure::DiskFull;
    }
    tracing::warn!(%error, %segment, "a segment could not be landed");
    Failure::Disk
}
