//! Writes of verified chunks under way, while the next chunk is received and hashed.

use std::pin::{Pin, pin};

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::segment::{Landing, VerifiedChunk, WriteError};

use super::plan::Failure;

type WriteFuture<'a> = Pin<Box<dyn Future<Output = Result<(), WriteError>> + 'a>>;

/// Writes of one landing.
pub(super) struct Writes<'a> {
    landing: &'a Landing,
    depth: usize,
    under_way: FuturesUnordered<WriteFuture<'a>>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(landing: &'a Landing, depth: usize) -> Self {
        Self { landing, depth, under_way: FuturesUnordered::new() }
    }

    /// Begins a write, after waiting for an earlier one if as many as may be are under way.
    pub(super) async fn begin(&mut self, chunk: VerifiedChunk) -> Result<(), Failure> {
        while self.under_way.len() >= self.depth {
            self.one().await?;
        }
        let landing = self.landing;
        self.under_way.push(Box::pin(async move { landing.write(chunk).await.0 }));
        // Polled once, so that the kernel has it before the next chunk is waited for.
        if let std::task::Poll::Ready(Some(done)) = futures_util::poll!(self.under_way.next()) {
            done.map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    /// Waits for something else, and keeps the writes going meanwhile: one that is not polled holds its place at the
    /// gate, and with it everybody's.
    pub(super) async fn beside<T>(
        &mut self,
        other: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut other = pin!(other);
        loop {
            if self.under_way.is_empty() {
                return other.await;
            }
            match select(other.as_mut(), self.under_way.next()).await {
                Either::Left((done, _)) => return done,
                Either::Right((Some(Err(error)), _)) => return Err(failure(&error)),
                Either::Right((Some(Ok(())) | None, _)) => {}
            }
        }
    }

    /// Waits for all of them.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        while !self.under_way.is_empty() {
            self.one().await?;
        }
        Ok(())
    }

    async fn one(&mut self) -> Result<(), Failure> {
        match self.under_way.next().await {
            Some(done) => done.map_err(|error| failure(&error)),
            None => Ok(()),
        }
    }
}

fn failure(error: &WriteError) -> Failure {
    match error {
        WriteError::DiskFull(_) => Failure::DiskFull,
        WriteError::Content(_) => Failure::Corrupt,
        WriteError::Busy { .. } | WriteError::Missing { .. } | WriteError::Ruined | WriteError::Disk(_) => {
            tracing::warn!(%error, "a chunk could not be written");
            Failure::Disk
        }
    }
}
