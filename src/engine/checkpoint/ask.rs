//! A checkpoint from the question to the answer: on a thread of its own, as the engine's hooks and the disk may block.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::engine::change::{Ask, Committed};
use crate::engine::handle::Shard;
use crate::engine::reply::{Reply, reply};
use crate::engine::request::{CheckpointRequest, ShardRequest};
use crate::ids::Nanos;

use super::active::ActiveFiles;
use super::capture::Capture;
use super::error::CheckpointError;
use super::lease::{Lease, Over};

/// A checkpoint that is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpointed {
    /// The batch. A file that was the same in the checkpoint before has the segment that it had.
    pub committed: Committed,
    /// Files captured.
    pub files: usize,
    /// Of them, by hard links.
    pub linked: usize,
    /// Bytes of the others, as they were told; on a file system that shares blocks they were not moved.
    pub bytes_copied: u64,
}

/// A checkpoint to come. A future for any runtime; `wait` blocks the thread instead. Who drops it while the engine is
/// frozen ends the checkpoint: the engine is thawed at once. Once it goes on again, dropping only stops waiting.
#[must_use = "dropped, it gives the checkpoint up"]
pub struct Checkpointing {
    reply: Option<Reply<Checkpointed, CheckpointError>>,
    lease: Arc<Lease>,
}

impl Checkpointing {
    /// Blocks this thread until the answer is there. Not for use inside an asynchronous runtime.
    ///
    /// # Errors
    /// There is no checkpoint, or it is not known.
    pub fn wait(mut self) -> Result<Checkpointed, CheckpointError> {
        self.reply.take().map_or(Err(CheckpointError::Stopped), Reply::wait)
    }
}

impl Future for Checkpointing {
    type Output = Result<Checkpointed, CheckpointError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.reply {
            Some(reply) => Pin::new(reply).poll(context),
            None => Poll::Ready(Err(CheckpointError::Stopped)),
        }
    }
}

impl Drop for Checkpointing {
    fn drop(&mut self) {
        self.lease.abandon();
    }
}

impl std::fmt::Debug for Checkpointing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checkpointing")
    }
}

impl Shard {
    /// Makes a checkpoint of an engine's active files: freezes the engine, links and copies them, thaws it, and then
    /// registers all of them as one batch, or updates those whose path is registered. So the replicas have the whole
    /// checkpoint or nothing of it. Of which files it consists as of now, one answer of `segments` tells; opened by id,
    /// they belong together, whatever comes meanwhile.
    ///
    /// `lease` bounds the time from the call of `freeze` until everything is linked and copied: at its end the engine
    /// is thawed, and there is no checkpoint. `ask` is for the batch.
    ///
    /// A checkpoint's file stands under its path in the shard's directory, on this node too, when it is installed. It
    /// is Ringway's: it goes when the path is deleted.
    pub fn checkpoint(
        &self,
        hooks: Arc<dyn ActiveFiles>,
        lease: impl Into<Nanos>,
        ask: Ask,
    ) -> Checkpointing {
        let (replier, waiting) = reply();
        let lease = Lease::new(hooks, Duration::from_nanos(lease.into().0), replier);
        let (held, shard) = (Arc::clone(&lease), self.clone());
        let holder = thread::Builder::new().name("ringway-checkpoint".to_owned());
        let spawned = holder.spawn(move || {
            let holder = Holder(held);
            if let Some(done) = work(&shard, &holder.0, ask) {
                holder.0.answer(done);
            }
        });
        if let Err(error) = spawned {
            lease.answer(Err(CheckpointError::Freeze { why: format!("there is no thread for it: {error}") }));
        }
        Checkpointing { reply: Some(waiting), lease }
    }
}

/// None if whoever asked has been answered. What was captured is gone when this returns, and the shard is free.
fn work(shard: &Shard, lease: &Arc<Lease>, ask: Ask) -> Option<Result<Checkpointed, CheckpointError>> {
    let begin = |replier| ShardRequest::Checkpoint(CheckpointRequest::Begin(replier));
    let place = match shard.ask(begin).wait() {
        Ok(place) => place,
        Err(error) => return Some(Err(error)),
    };
    let frozen = match lease.freeze(Arc::clone(&place.stats)) {
        Ok(frozen) => frozen,
        Err(Over(error)) => return error.map(Err),
    };
    let mut capture = Capture::new(place.folder.clone().into());
    let is_over = || lease.is_over();
    let taken = frozen.check().and_then(|()| capture.take(&frozen, shard.directory(), &is_over));
    if let Err(Over(error)) = lease.thaw() {
        return error.map(Err);
    }
    let files = match taken {
        Ok(files) => files,
        Err(error) => return Some(Err(error)),
    };
    let count = files.len();
    let register =
        |replier| ShardRequest::Checkpoint(CheckpointRequest::Register(files, frozen.deleted, ask, replier));
    let registered = shard.ask(register).wait();
    Some(registered.map_err(CheckpointError::from).map(|committed| Checkpointed {
        committed,
        files: count,
        linked: capture.linked,
        bytes_copied: capture.bytes_copied,
    }))
}

/// Whoever has to thaw the engine.
struct Holder(Arc<Lease>);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.desert();
    }
}
