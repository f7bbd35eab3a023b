//! Hosts of cores: a pinned thread that drives one, and the way back for threads that own none.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Builder, JoinHandle, Thread};

use super::core::{Core, Turn};
use super::errno::Errno;
use super::kernel::{RingError, run_on_cpu};
use super::ring::Unpark;

/// A thread that drives one core until it is told to stop. Dropping it stops it.
pub struct Pinned {
    stop: Arc<AtomicBool>,
    unpark: Arc<dyn Unpark>,
    thread: Option<JoinHandle<()>>,
}

/// A core's thread could not be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    /// No thread.
    Thread {
        /// The kernel's error.
        errno: Errno,
    },
    /// The thread may not run on so many CPUs.
    Cpu {
        /// The place asked for among them, from 0.
        cpu: usize,
        /// The kernel's error.
        errno: Errno,
    },
    /// No ring.
    Ring(RingError),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread { errno } => write!(f, "a core's thread cannot be started: {errno}"),
            Self::Cpu { cpu, errno } => {
                write!(f, "a core may run on no CPU of place {cpu}, from 0: {errno}")
            }
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostError {}

impl From<RingError> for HostError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

/// Starts a thread that makes a core with its ring and first tasks and drives it; on the CPU of place `cpu`, from 0,
/// among those that it may run on, if one is given. Returns when the core stands.
///
/// A panic on the thread ends the process: what is in the kernel's hands could not be accounted for any more.
///
/// # Errors
/// `HostError`; no thread is left then.
pub fn pinned<F>(core_index: usize, cpu: Option<usize>, make: F) -> Result<Pinned, HostError>
where
    F: FnOnce() -> Result<Core, RingError> + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let (tell, told) = sync_channel(1);
    let builder = Builder::new().name(format!("ringway-{core_index}"));
    let thread = builder.spawn(move || {
        let _abort = AbortOnPanic(core_index);
        let made = cpu
            .map_or(Ok(()), |cpu| run_on_cpu(cpu).map_err(|errno| HostError::Cpu { cpu, errno }))
            .and_then(|()| make().map_err(HostError::from));
        let core = match made {
            Ok(core) => core,
            Err(error) => return tell.send(Err(error)).expect("the starter waits"),
        };
        tell.send(Ok(core.unparker())).expect("the starter waits");
        run(&core, &theirs);
    });
    let thread = thread.map_err(|error| HostError::Thread { errno: error.into() })?;
    match told.recv().expect("the thread tells before it ends, or ends the process") {
        Ok(unpark) => Ok(Pinned { stop, unpark, thread: Some(thread) }),
        Err(error) => {
            let _ended = thread.join();
            Err(error)
        }
    }
}

/// Drives a core on the calling thread until `stop` is set and the core unparked; then shuts it down.
pub fn run(core: &Core, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match core.turn() {
            Turn::Again => {}
            Turn::Park(deadline) => core.park(deadline),
        }
    }
    core.shut_down();
}

impl Pinned {
    /// Stops the core: its tasks end, what is in flight is waited for, its descriptors are closed.
    pub fn stop(mut self) {
        self.end();
    }

    /// Whether the core still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.unpark.unpark();
        if let Some(thread) = self.thread.take() {
            let _a_panic_would_have_ended_the_process = thread.join();
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({})", if self.is_running() { "running" } else { "ended" })
    }
}

/// A core's own panic ends the process; made where its turns begin.
pub(super) struct AbortOnPanic(pub(super) usize);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ringway: core {} panicked; the process ends, a restart recovers from disk", self.0);
            std::process::abort();
        }
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread until it is done: for threads without a runtime that drive no core. What it can wait
/// for are answers, not operations of a ring.
///
/// # Panics
/// On a core's own thread while a turn runs: it would wait for itself.
pub fn block_on<F: Future>(future: F) -> F::Output {
    assert!(Core::try_current().is_none(), "a core's thread does not block");
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::mailbox::mailbox;

    #[test]
    fn a_plain_thread_waits_for_a_mailbox() {
        let (sender, mut receiver) = mailbox(1);
        let thread = std::thread::spawn(move || block_on(receiver.receive()));
        std::thread::sleep(std::time::Duration::from_millis(10));
        sender.try_send(7).expect("room");
        assert_eq!(thread.join().expect("it ends"), Some(7));
    }
}
