//! `KernelRing`: the seam `Ring` over io_uring.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ring::rand::{SecureRandom, SystemRandom};

use crate::ids::{Nanos, UnixNanos};
use crate::uring::buffer::Slab;
use crate::uring::errno::Errno;
use crate::uring::op::{Completion, Op, Outcome};
use crate::uring::probe::{Probe, REGISTERED_BUFFERS};
use crate::uring::ring::{Ring, SignalReads, Unpark};

use super::blocking::Reply;
use super::entry::{Route, entry, route};
use super::error::RingError;
use super::finish;
use super::flight::{CANCEL, Flight, Flights, Kept, WAKE};
use super::helper::Helper;
use super::registration::Registration;
use super::setup::{self, Abilities, KernelOptions};
use super::sys;
use super::wake::Wake;

/// Runs deferred work and looks for completions (IORING_ENTER_GETEVENTS).
const GET_EVENTS: u32 = 1;
/// Between two attempts to cancel what a dropped ring still waits for.
const CANCEL_AGAIN: Nanos = Nanos::from_millis(100);

/// An io_uring of one thread. It is made, used and dropped there.
pub struct KernelRing {
    uring: IoUring,
    abilities: Abilities,
    options: KernelOptions,
    probe: Probe,
    registered: Registration,
    flights: Flights,
    /// Requests that did not fit the submission queue, in their order.
    backlog: VecDeque<squeue::Entry>,
    /// Completions of what ran at once.
    ready: Vec<Completion>,
    /// What the last look at the completion queue found: name, result, flags.
    found: Vec<(u64, i32, u32)>,
    /// Descriptors that this ring opened or adopted.
    descriptors: BTreeSet<i32>,
    helper: Helper,
    /// For new files and their final names: one after the other, as the directory's lock would have it.
    names: Helper,
    wake: Arc<Wake>,
    wake_word: Box<[u8; 8]>,
    wake_armed: bool,
    /// A host waits for the eventfd, and the ring signals it instead of reading it.
    lent: bool,
    /// An unpark came since the last park.
    woken: bool,
    random: SystemRandom,
}

impl KernelRing {
    /// Makes the ring of the calling thread.
    ///
    /// # Errors
    /// `RingError`, whose text says what to allow.
    pub fn open(options: KernelOptions) -> Result<Self, RingError> {
        let (uring, abilities, probe) = setup::open(options)?;
        let wake = Wake::new().map_err(|errno| RingError::Call { name: "eventfd", errno })?;
        let wake = Arc::new(wake);
        let helper = |name| {
            let started = Helper::start(name, &wake);
            started.map_err(|errno| RingError::Call { name: "pthread_create", errno })
        };
        let (helper, names) = (helper("ringway-helper")?, helper("ringway-names")?);
        Ok(Self {
            uring,
            abilities,
            options,
            probe,
            registered: Registration::default(),
            flights: Flights::new(),
            backlog: VecDeque::new(),
            ready: Vec::new(),
            found: Vec::new(),
            descriptors: BTreeSet::new(),
            helper,
            names,
            wake,
            wake_word: Box::new([0; 8]),
            wake_armed: false,
            lent: false,
            woken: false,
            random: SystemRandom::new(),
        })
    }

    /// Puts a request into the submission queue, handing over what is there when it is full.
    fn queue(&mut self, entry: squeue::Entry) {
        self.flush_backlog();
        if !self.backlog.is_empty() || !self.try_queue(&entry) {
            self.backlog.push_back(entry);
        }
    }

    fn try_queue(&mut self, entry: &squeue::Entry) -> bool {
        if self.uring.submission().is_full() {
            self.enter(0, None);
        }
        // SAFETY: what the request points to rests in its flight, in `wake_word` or nowhere, and stays there until
        // the last completion: `settle` removes flights only then, and dropping the ring waits for all of them.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    fn flush_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_queue(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// io_uring_enter: hands requests over, runs deferred work, and waits for `want` completions or the time limit.
    fn enter(&mut self, want: usize, limit: Option<Nanos>) {
        let queued = u32::try_from(self.uring.submission().len()).expect("a queue of at most 32768");
        let submitter = self.uring.submitter();
        let result = match (want, limit) {
            // SAFETY: no argument is given, and the queue's length is its own.
            (0, _) => unsafe { submitter.enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None) },
            (_, None) => submitter.submit_and_wait(want),
            (_, Some(limit)) => {
                let second = Nanos::SECOND.0;
                let nanos = u32::try_from(limit.0 % second).expect("less than a second");
                let limit = Timespec::new().sec(limit.0 / second).nsec(nanos);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&limit))
            }
        };
        match result.map_err(Errno::from) {
            // The time ran out, a signal came, or memory is short for now: the caller looks at what there is.
            Ok(_)
            | Err(Errno(libc::ETIME | libc::EBUSY) | Errno::INTERRUPTED | Errno::AGAIN | Errno::NO_MEMORY) => {
            }
            Err(errno) => panic!("io_uring_enter on a ring of this thread: {errno}"),
        }
    }

    /// Moves everything from the completion queue to `out`.
    fn finish(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.ready);
        loop {
            let mut found = std::mem::take(&mut self.found);
            found.extend(self.uring.completion().map(|seen| (seen.user_data(), seen.result(), seen.flags())));
            for (name, result, flags) in found.drain(..) {
                self.settle(name, result, flags, out);
            }
            self.found = found;
            self.flush_backlog();
            if !self.uring.submission().cq_overflow() {
                break;
            }
            self.enter(0, None);
        }
        for (name, reply) in self.helper.take().into_iter().chain(self.names.take()) {
            let flight = self.flights.remove(name).expect("a helper answers each job once");
            let result = reply.map(Reply::outcome);
            self.track(&flight.op, &result);
            out.push(Completion { token: flight.token, result, buffer: None, more: false });
        }
    }

    fn settle(&mut self, name: u64, result: i32, flags: u32, out: &mut Vec<Completion>) {
        if name == WAKE {
            self.wake_armed = false;
            self.woken = true;
            return;
        }
        if name == CANCEL {
            return;
        }
        if cqueue::more(flags) {
            let flight = self.flights.get_mut(name).expect("the kernel answers flights that it has");
            let result = finish::sent(result);
            out.push(Completion { token: flight.token, result, buffer: None, more: true });
            return;
        }
        let flight = self.flights.remove(name).expect("the kernel answers each flight once");
        let result = finish::outcome(&flight, result, cqueue::notif(flags));
        self.track(&flight.op, &result);
        let Flight { token, op, .. } = flight;
        out.push(Completion { token, result, buffer: op.into_buffer(), more: false });
    }

    /// Keeps account of the descriptors that are ours to close.
    fn track(&mut self, op: &Op, result: &Result<Outcome, Errno>) {
        match (op, result) {
            (_, Ok(Outcome::Opened(raw) | Outcome::Accepted(raw, _) | Outcome::Listening(raw, _))) => {
                self.descriptors.insert(*raw);
            }
            // It was forgotten when its close was asked for, because the number may be another's before that
            // completes.
            (Op::Close { raw, .. }, Err(Errno::CANCELED)) => {
                self.descriptors.insert(*raw);
            }
            _ => {}
        }
    }

    fn arm_wake(&mut self) {
        if !self.wake_armed && !self.lent {
            self.wake_armed = true;
            let bytes = self.wake_word.len() as u32;
            let read = opcode::Read::new(Fd(self.wake.raw()), self.wake_word.as_mut_ptr(), bytes);
            self.queue(read.build().user_data(WAKE));
        }
    }

    fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }
}

impl Ring for KernelRing {
    fn register(&mut self, slab: &Slab) {
        assert!(self.registered.is_empty(), "a ring takes one slab");
        if self.options.registered {
            self.registered = Registration::of(&self.uring, slab, &mut self.probe);
        } else {
            self.probe.note(REGISTERED_BUFFERS, false, "switched off");
        }
    }

    fn push(&mut self, token: u64, op: Op) {
        match route(&op, self.abilities) {
            Route::Now(result) => {
                self.track(&op, &result);
                self.ready.push(Completion { token, result, buffer: op.into_buffer(), more: false });
            }
            Route::Beside(job) => {
                let name = self.flights.insert(Flight { token, op, kept: Kept::Nothing, in_kernel: false });
                let helper = if job.gives_a_name() { &mut self.names } else { &mut self.helper };
                if let Err(errno) = helper.hand(name, job) {
                    let _unstarted = self.flights.remove(name);
                    self.ready.push(Completion { token, result: Err(errno), buffer: None, more: false });
                }
            }
            Route::Ring(kept) => {
                if let Op::Close { raw, .. } = op {
                    self.descriptors.remove(&raw);
                }
                let name = self.flights.insert(Flight { token, op, kept, in_kernel: true });
                let flight = self.flights.get_mut(name).expect("it was just put in");
                let entry = entry(flight, &self.registered, self.abilities).user_data(name);
                self.queue(entry);
            }
        }
    }

    fn cancel(&mut self, token: u64) {
        if let Some(name) = self.flights.in_kernel_by_token(token) {
            self.queue(opcode::AsyncCancel::new(name).build().user_data(CANCEL));
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        self.arm_wake();
        self.flush_backlog();
        let has_work = {
            let submission = self.uring.submission();
            !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
        };
        if has_work {
            self.enter(0, None);
        }
        self.finish(completions);
    }

    fn park(&mut self, deadline: Option<Nanos>, completions: &mut Vec<Completion>) {
        self.arm_wake();
        self.flush_backlog();
        let limit = deadline.map(|at| at.since(self.now()));
        let at_once = self.woken
            || !self.ready.is_empty()
            || !self.backlog.is_empty()
            || limit == Some(Nanos(0))
            || self.has_completions();
        if at_once {
            self.reap(completions);
        } else {
            self.enter(1, limit);
            self.finish(completions);
        }
        self.woken = false;
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::<Wake>::clone(&self.wake)
    }

    /// See kernel-notes/guest-runtimes.md.
    fn lend_signal(&mut self, reads: SignalReads) -> Result<OwnedFd, Errno> {
        assert!(!self.wake_armed && !self.lent, "the signal is lent once, before the first turn");
        let signal = self.wake.lend(reads)?;
        self.uring.submitter().register_eventfd(self.wake.raw()).map_err(Errno::from)?;
        self.lent = true;
        Ok(signal)
    }

    fn take_signal_back(&mut self) {
        if std::mem::take(&mut self.lent) {
            self.uring.submitter().unregister_eventfd().expect("it is registered");
            self.wake.take_back();
        }
    }

    fn release(&mut self, raw: i32) {
        self.descriptors.remove(&raw);
    }

    fn adopt(&mut self, raw: i32) {
        self.descriptors.insert(raw);
    }

    fn now(&self) -> Nanos {
        sys::monotonic()
    }

    fn wall(&self) -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out).expect("getrandom(2) gives bytes once the system is up");
    }

    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn congestion(&self, raw: i32) -> Result<String, Errno> {
        sys::congestion(raw)
    }
}

impl Drop for KernelRing {
    /// Waits until the kernel and the helpers are through with everything; only then memory and descriptors go.
    /// See kernel-notes/cancellation.md.
    fn drop(&mut self) {
        let mut completions = Vec::new();
        self.finish(&mut completions);
        let mut cancel_at = self.now();
        while self.flights.in_kernel() > 0 || self.wake_armed {
            completions.clear();
            if self.now() >= cancel_at {
                self.queue(opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(CANCEL));
                cancel_at = self.now().plus(CANCEL_AGAIN);
            }
            self.enter(1, Some(cancel_at.since(self.now())));
            self.finish(&mut completions);
        }
        self.helper.stop();
        self.names.stop();
        self.finish(&mut completions); // descriptors among the last answers are ours to close
        if !self.registered.is_empty() {
            let _gone_with_the_ring_otherwise = self.uring.submitter().unregister_buffers();
        }
        for raw in std::mem::take(&mut self.descriptors) {
            sys::close(raw);
        }
    }
}

impl fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelRing({} in flight)", self.flights.in_kernel())
    }
}
