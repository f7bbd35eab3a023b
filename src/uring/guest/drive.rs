//! Drives a core inside a task of another executor: works for a slice of time, lets the host's other tasks run, waits
//! in the host's way. The ring stays on the thread that made it. Dropped at any point, it shuts the core down.
//! See kernel-notes/guest-runtimes.md.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::thread::panicking;

use crate::ids::Nanos;
use crate::uring::core::{Core, Turn};
use crate::uring::host::AbortOnPanic;
use crate::uring::ring::SignalReads;
use crate::uring::task::Task;

/// How an executor waits for a core's signal, and lets its other tasks run.
pub trait Hosting: Sized {
    /// What its reads of the signal need.
    const READS: SignalReads;

    /// Takes the signal.
    ///
    /// # Errors
    /// It cannot wait for it.
    fn new(signal: OwnedFd) -> io::Result<Self>;

    /// Waits until it is signalled, at most so long; takes the signal off. Returning too early costs a turn.
    ///
    /// # Errors
    /// It cannot be waited for any more.
    fn wait(&mut self, longest: Option<Nanos>) -> impl Future<Output = io::Result<()>>;

    /// Lets the host's other tasks run, and what they wait for come in.
    ///
    /// # Errors
    /// As `wait`.
    fn give_way(&mut self) -> impl Future<Output = io::Result<()>>;

    /// The host wants its thread before the slice is over.
    fn is_pressed(&self) -> bool {
        false
    }
}

/// A core that lives in a task of another executor. Dropping it shuts the core down: its tasks end, and what is in
/// flight is waited for.
pub struct Guest {
    core: Core,
    /// Named where its panic ends the process.
    core_index: usize,
    /// How long it works at a stretch.
    slice: Nanos,
}

enum Next {
    GiveWay,
    Wait(Option<Nanos>),
}

impl Guest {
    /// A guest of this thread; the core has had no turn yet.
    #[must_use]
    pub fn new(core: Core, core_index: usize, slice: Nanos) -> Self {
        Self { core, core_index, slice }
    }

    /// The core, for giving it its first tasks.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Drives the core until `work` has ended, then shuts it down.
    ///
    /// A panic of the core ends the process: what is in the kernel's hands could not be accounted for any more.
    ///
    /// # Errors
    /// The host cannot wait for the core's signal; it is shut down all the same.
    pub async fn drive<H: Hosting>(self, work: Task<()>) -> io::Result<()> {
        let signal = self.core.lend_signal(H::READS)?;
        // Goes before the core does.
        let mut host = H::new(signal)?;
        let mut since = self.core.now();
        loop {
            let next = self.work_until(since.plus(self.slice), &host);
            if work.is_ended() {
                return Ok(());
            }
            match next {
                Next::GiveWay => {
                    host.give_way().await?;
                    since = self.core.now();
                }
                Next::Wait(deadline) => {
                    let longest = deadline.map(|at| at.since(self.core.now()));
                    // A wait that was over at once let nobody else run, and the slice goes on.
                    if has_waited(host.wait(longest)).await? {
                        since = self.core.now();
                    }
                }
            }
        }
    }

    /// Turns, one at least, until nothing is left to do, or time or host call.
    fn work_until<H: Hosting>(&self, until: Nanos, host: &H) -> Next {
        let _abort = AbortOnPanic(self.core_index);
        loop {
            match self.core.turn_until(until) {
                Turn::Park(deadline) if self.core.may_wait() => return Next::Wait(deadline),
                Turn::Park(_) | Turn::Again => {}
            }
            if self.core.now() >= until || host.is_pressed() {
                return Next::GiveWay;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A panic of the host's that is on its way through here is its own; one more would end the process anyway.
        let _abort = (!panicking()).then(|| AbortOnPanic(self.core_index));
        self.core.shut_down();
    }
}

/// Whether the wait was one, so that others ran meanwhile.
async fn has_waited(wait: impl Future<Output = io::Result<()>>) -> io::Result<bool> {
    let mut wait = pin!(wait);
    let mut has_waited = false;
    let done = poll_fn(|context| {
        let polled = wait.as_mut().poll(context);
        has_waited |= polled.is_pending();
        polled
    });
    done.await?;
    Ok(has_waited)
}
