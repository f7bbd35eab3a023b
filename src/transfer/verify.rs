//! Small chunks digested together: those of several segments fill the lanes of the kernel that one alone leaves empty.
//!
//! A chunk waits for others while some are on their way, and for `VERIFY_WAIT` at most. One that fills half of the
//! lanes by itself waits for nobody.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::digest::{Kernel, chunk_digests};
use crate::ids::Digest;
use crate::limits::{CHUNK_LEAVES, LEAF_BYTES, VERIFY_WAIT};
use crate::segment::{Landing, VerifiedChunk, WriteError};
use crate::stats::TransferStats;
use crate::uring::{Answer, Buffer, Core, Notify, Priority, question, timeout};

/// Digests the chunks that the fetches of one shard receive.
pub(super) struct Verifier(Rc<Inner>);

struct Inner {
    kernel: Kernel,
    waiting: RefCell<Vec<Waiting>>,
    /// Fetches that receive.
    receiving: Cell<usize>,
    /// Somebody sees to it that those who wait do not wait for ever.
    is_watched: Cell<bool>,
    changed: Notify,
    stats: Rc<TransferStats>,
}

struct Waiting {
    content: Buffer,
    answer: Answer<(Digest, Buffer)>,
}

/// A fetch that receives: others' chunks may wait for its.
pub(super) struct Receives<'a>(&'a Inner);

impl Drop for Receives<'_> {
    fn drop(&mut self) {
        self.0.receiving.set(self.0.receiving.get() - 1);
        self.0.changed.notify();
    }
}

impl Verifier {
    pub(super) fn new(kernel: Kernel, stats: Rc<TransferStats>) -> Self {
        Self(Rc::new(Inner {
            kernel,
            waiting: RefCell::default(),
            receiving: Cell::new(0),
            is_watched: Cell::new(false),
            changed: Notify::default(),
            stats,
        }))
    }

    /// A fetch begins to receive.
    pub(super) fn receives(&self) -> Receives<'_> {
        self.0.receiving.set(self.0.receiving.get() + 1);
        Receives(&self.0)
    }

    /// Digests a buffer's content as chunk `index`, a small one with those of other segments.
    ///
    /// # Errors
    /// The content is not that chunk; the buffer comes back.
    pub(super) async fn verify(
        &self,
        landing: &Landing,
        index: u32,
        content: Buffer,
    ) -> Result<VerifiedChunk, (WriteError, Buffer)> {
        let Self(inner) = self;
        let leaves = leaves_of(&content);
        let is_of_length = landing.chunks().chunk_bytes(index) == Some(content.filled().len());
        if leaves > CHUNK_LEAVES / 2 || !is_of_length {
            return landing.verify(index, content);
        }
        let (answer, digested) = question();
        inner.waiting.borrow_mut().push(Waiting { content, answer });
        if inner.is_due() {
            inner.digest();
        } else if !inner.is_watched.replace(true) {
            drop(Core::current().spawn(Priority::Bulk, Rc::clone(inner).watch()));
        }
        let (digest, content) = digested.await.expect("who waits is answered for as long as the verifier is");
        landing.prove(index, digest, content)
    }
}

impl Inner {
    /// The lanes are full, or nobody is left who could fill them.
    fn is_due(&self) -> bool {
        let waiting = self.waiting.borrow();
        let leaves: usize = waiting.iter().map(|waiting| leaves_of(&waiting.content)).sum();
        leaves >= CHUNK_LEAVES || waiting.len() >= self.receiving.get()
    }

    /// Digests those who wait, when it is due or has lasted long enough.
    async fn watch(self: Rc<Self>) {
        let _longest = timeout(VERIFY_WAIT, self.changed.until(|| self.is_due().then_some(()))).await;
        self.is_watched.set(false);
        self.digest();
    }

    fn digest(&self) {
        let waiting = self.waiting.take();
        let chunks: Vec<&[u8]> = waiting.iter().map(|waiting| waiting.content.filled()).collect();
        let mut digests = vec![Digest::default(); chunks.len()];
        chunk_digests(self.kernel, &chunks, &mut digests);
        if chunks.len() > 1 {
            self.stats.chunks_together.add(chunks.len() as u64);
        }
        for (Waiting { content, answer }, digest) in waiting.into_iter().zip(digests) {
            let _given_up = answer.give((digest, content));
        }
    }
}

fn leaves_of(content: &Buffer) -> usize {
    content.filled().len().div_ceil(LEAF_BYTES)
}
