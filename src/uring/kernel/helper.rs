//! A helper thread of a ring: takes jobs that may block, answers through a queue, and ends the core's park.
//! See kernel-notes/directory-changes.md.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::limits::OPERATIONS_IN_FLIGHT_MAX;
use crate::uring::errno::Errno;
use crate::uring::ring::Unpark;

use super::blocking::{Job, Reply};
use super::sys;
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
    /// Starts the thread, under a name of at most 15 bytes.
    pub(super) fn start(name: &str, wake: &Arc<Wake>) -> Result<Self, Errno> {
        let (jobs, todo) = sync_channel(OPERATIONS_IN_FLIGHT_MAX);
        let answers = Arc::<Mutex<Vec<Answer>>>::default();
        let (theirs, wake) = (Arc::clone(&answers), Arc::clone(wake));
        let thread = Builder::new().name(name.to_owned());
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
    sys::block_signals();
    let _stays_beside_its_core = sys::run_where_the_process_may();
    for (flight, job) in jobs {
        let reply = job.run();
        let waiting = {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push((flight, reply));
            answers.len()
        };
        // Whoever was woken for the first of them takes all.
        if waiting == 1 {
            wake.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::kernel::run_on_cpu;

    /// The CPUs that the thread of this name may run on (proc(5)).
    fn allowed(name: &str) -> Option<String> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc is mounted");
        let mut statuses =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        let status = statuses.find(|status| status.lines().next() == Some(&format!("Name:\t{name}")))?;
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).map(str::to_owned)
    }

    #[test]
    fn a_helper_of_a_bound_core_runs_wherever_the_process_may() {
        let first = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let first = first.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
        let found = std::thread::spawn(|| {
            run_on_cpu(0).expect("a first one");
            let wake = Arc::new(Wake::new().expect("a descriptor"));
            let mut helper = Helper::start("ringway-tried", &wake).expect("a thread");
            helper.hand(1, Job::Space { dir: -1 }).expect("room for one");
            while helper.take().is_empty() {
                std::thread::yield_now();
            }
            let found = allowed("ringway-tried");
            helper.stop();
            found
        });
        assert_eq!(found.join().expect("it ends").as_deref(), first);
    }
}
