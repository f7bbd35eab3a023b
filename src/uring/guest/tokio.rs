//! tokio as a host, tokio-uring's runtime among its flavours: waits by `AsyncFd`, and needs the runtime's I/O and time.
//! See kernel-notes/guest-runtimes.md.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::ids::Nanos;
use crate::uring::ring::SignalReads;

use super::drive::Hosting;

/// A runtime of tokio whose tasks need not be `Send`.
pub struct Tokio(AsyncFd<File>);

impl Hosting for Tokio {
    const READS: SignalReads = SignalReads::Return;

    fn new(signal: OwnedFd) -> io::Result<Self> {
        // SAFETY: the file owns the descriptor and is the `AsyncFd`'s alone, which gives it away to nobody: it stays
        // open, and the same, until that is dropped.
        let waiting = unsafe { AsyncFd::register_with_interest(File::from(signal), Interest::READABLE) };
        Ok(Self(waiting?))
    }

    async fn wait(&mut self, longest: Option<Nanos>) -> io::Result<()> {
        let taken = self.0.async_io(Interest::READABLE, |mut signal| signal.read(&mut [0; 8]));
        match longest {
            None => taken.await.map(|_count| ()),
            Some(longest) => match timeout(Duration::from(longest), taken).await {
                Ok(taken) => taken.map(|_count| ()),
                Err(_time_is_up) => Ok(()),
            },
        }
    }

    async fn give_way(&mut self) -> io::Result<()> {
        yield_now().await;
        Ok(())
    }
}
