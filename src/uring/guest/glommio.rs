//! glommio as a host: waits by a read of the signal in glommio's own ring, which stays there over several waits.
//! See kernel-notes/guest-runtimes.md.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use glommio::io::BufferedFile;
use glommio::timer::Timer;

use crate::ids::Nanos;
use crate::uring::ring::SignalReads;

use super::drive::Hosting;

/// An executor of glommio.
pub struct Glommio {
    /// Kept while time runs out: a read that is given up may still take a signal off, and nobody would be told.
    reading: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
    file: Rc<ManuallyDrop<BufferedFile>>,
    /// Closed here: glommio closes a file that is dropped in its next round only, and there may be none.
    signal: File,
}

impl Hosting for Glommio {
    const READS: SignalReads = SignalReads::Wait;

    fn new(signal: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open for as long as the file is in use, which is never dropped and so never closes
        // it: `Self` drops the read before it, and what glommio has not handed over by then it does not hand over.
        let file = unsafe { BufferedFile::from_raw_fd(signal.as_raw_fd()) };
        Ok(Self { reading: None, file: Rc::new(ManuallyDrop::new(file)), signal: File::from(signal) })
    }

    async fn wait(&mut self, longest: Option<Nanos>) -> io::Result<()> {
        let file = &self.file;
        let reading = self.reading.get_or_insert_with(|| {
            let file = Rc::clone(file);
            Box::pin(async move { Ok(file.read_at(0, 8).await.map(|_count| ())?) })
        });
        let taken = match longest {
            None => reading.await,
            Some(longest) => match select(reading, Timer::new(Duration::from(longest))).await {
                Either::Left((taken, _)) => taken,
                Either::Right(_) => return Ok(()),
            },
        };
        self.reading = None;
        taken
    }

    /// By waiting for a signal of its own: behind a yield alone glommio looks at neither timers nor completions before
    /// its preempt timer fires, by default a tenth of a second later.
    async fn give_way(&mut self) -> io::Result<()> {
        (&self.signal).write_all(&1_u64.to_ne_bytes())?;
        self.wait(None).await
    }

    /// Another queue's latency, a timer or a completion of glommio's own is due.
    fn is_pressed(&self) -> bool {
        glommio::executor().need_preempt()
    }
}
