//! The ring's one helper thread: takes jobs that may block, answers through a queue, and ends the core's park.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::limits::OPERATIONS_IN_FLIGHT_MAX;
use crate::uring::errno::Errno;
use crate::uring::ring::Unpark;

use super::blocking::{Job, Reply};
use super::wake::Wake;

/// A job's answer, under the name of its flight.
pub(super) type Answer = (u64, Result<Reply, Errno>);

/// The core's end.
pub(super) struct Helper {
    jobs: Option<SyncSender<(u64, Job)>>,
    answers: Arc<Mutex<Vec<Answer>>>,
    thread: Option<JoinHandle<()>>,
    pending: usize,
}

impl Helper {
    pub(super) fn start(wake: &Arc<Wake>) -> Result<Self, Errno> {
        let (jobs, todo) = sync_channel(OPERATIONS_IN_FLIGHT_MAX);
        let answers = Arc::<Mutex<Vec<Answer>>>::default();
        let (theirs, wake) = (Arc::clone(&answers), Arc::clone(wake));
        let thread = Builder::new().name("ringway-helper".to_owned());
        let thread = thread.spawn(move || work(&todo, &theirs, &wake)).map_err(Errno::from)?;
        Ok(Self { jobs: Some(jobs), answers, thread: Some(thread), pending: 0 })
    }

    /// Hands a job over. `AGAIN` if the core has more in flight than it may.
    pub(super) fn hand(&mut self, flight: u64, job: Job) -> Result<(), Errno> {
        let jobs = self.jobs.as_ref().ok_or(Errno::CANCELED)?;
        jobs.try_send((flight, job)).map_err(|error| match error {
            TrySendError::Full(_) => Errno::AGAIN,
            TrySendError::Disconnected(_) => Errno::IO,
        })?;
        self.pending += 1;
        Ok(())
    }

    /// What has been answered since the last call.
    pub(super) fn take(&mut self) -> Vec<Answer> {
        if self.pending == 0 {
            return Vec::new();
        }
        let taken = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        self.pending -= taken.len();
        taken
    }

    /// Lets the thread finish what it has and waits for it.
    pub(super) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "a job of the helper thread panicked");
        }
    }
}

fn work(jobs: &Receiver<(u64, Job)>, answers: &Mutex<Vec<Answer>>, wake: &Wake) {
    for (flight, job) in jobs {
        let reply = job.run();
        answers.lock().unwrap_or_else(PoisonError::into_inner).push((flight, reply));
        wake.unpark();
    }
}
