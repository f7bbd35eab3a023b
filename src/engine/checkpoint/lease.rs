//! The lease of a freeze: whoever holds it is watched by another thread, which thaws the engine when the time is over
//! or nobody waits any more, whatever the holder does meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::reply::Replier;
use crate::stats::CheckpointStats;

use super::active::{ActiveFiles, Frozen};
use super::ask::Checkpointed;
use super::error::CheckpointError;

/// One checkpoint's freeze, and the answer to whoever asked for it.
pub(super) struct Lease {
    hooks: Arc<dyn ActiveFiles>,
    within: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// No checkpoint comes of it any more.
    is_over: bool,
    replier: Option<Replier<Result<Checkpointed, CheckpointError>>>,
    stats: Option<Arc<CheckpointStats>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// `freeze` was not called.
    Before,
    /// It was, and has not come back.
    Freezing(Instant),
    /// It has: somebody has to thaw.
    Frozen(Instant),
    /// Somebody does, or has.
    Thawed,
}

/// No checkpoint comes of it. The answer is the holder's to give, when it has cleared up; none if it was given.
#[derive(Debug)]
pub(super) struct Over(pub(super) Option<CheckpointError>);

impl Lease {
    pub(super) fn new(
        hooks: Arc<dyn ActiveFiles>,
        within: Duration,
        replier: Replier<Result<Checkpointed, CheckpointError>>,
    ) -> Arc<Self> {
        let state = State { phase: Phase::Before, is_over: false, replier: Some(replier), stats: None };
        Arc::new(Self { hooks, within, state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Freezes the engine; the lease counts from here.
    pub(super) fn freeze(self: &Arc<Self>, stats: Arc<CheckpointStats>) -> Result<Frozen, Over> {
        let begun = Instant::now();
        {
            let mut state = self.lock();
            state.stats = Some(stats);
            if state.is_over {
                return Err(Over(Some(CheckpointError::Stopped)));
            }
            state.phase = Phase::Freezing(begun);
        }
        let watched = Arc::clone(self);
        let watcher = thread::Builder::new().name("ringway-lease".to_owned());
        if let Err(error) = watcher.spawn(move || watched.watch(begun)) {
            self.lock().phase = Phase::Thawed;
            return Err(Over(Some(freeze_error(format!("it cannot be watched: {error}")))));
        }
        let frozen = catch_unwind(AssertUnwindSafe(|| self.hooks.freeze()));
        let mut state = self.lock();
        match frozen {
            Ok(Ok(frozen)) if !state.is_over => {
                state.phase = Phase::Frozen(begun);
                Ok(frozen)
            }
            Ok(Ok(_)) => {
                let _was_answered = self.thaw_from(state, begun);
                Err(Over(None))
            }
            Ok(Err(why)) => {
                state.phase = Phase::Thawed;
                self.changed.notify_all();
                Err(Over(Some(freeze_error(why))))
            }
            Err(_) => {
                let thawed = self.thaw_from(state, begun);
                Err(Over(Some(thawed.err().unwrap_or_else(|| freeze_error("its hook panicked".to_owned())))))
            }
        }
    }

    /// Thaws the engine, if that was not done. What was captured counts only if this is no error: a copy ends in its
    /// middle when nobody waits any more, and the watcher may not have woken up yet.
    pub(super) fn thaw(&self) -> Result<(), Over> {
        let state = self.lock();
        let Phase::Frozen(begun) = state.phase else { return Err(Over(None)) };
        let is_over = state.is_over;
        self.thaw_from(state, begun).map_err(|error| Over(Some(error)))?;
        if is_over { Err(Over(None)) } else { Ok(()) }
    }

    /// Whether nothing comes of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Nobody waits for the answer. Once the engine goes on again, that changes nothing.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Thawed {
            return;
        }
        state.is_over = true;
        self.changed.notify_all();
        let is_begun = state.phase != Phase::Before;
        drop(state);
        // Else `freeze` says so, when it is called.
        if is_begun {
            self.answer(Err(CheckpointError::Stopped));
        }
    }

    /// Gives the answer, if nobody has.
    pub(super) fn answer(&self, answer: Result<Checkpointed, CheckpointError>) {
        let mut state = self.lock();
        let (replier, stats) = (state.replier.take(), state.stats.clone());
        drop(state);
        let Some(replier) = replier else { return };
        match (&answer, stats) {
            (Ok(_), Some(stats)) => stats.made(),
            (Err(error), Some(stats)) => {
                stats.failed(matches!(error, CheckpointError::LeaseExpired { .. }));
            }
            (_, None) => {}
        }
        replier.answer(answer);
    }

    /// The holder goes without a word: a panic of our own.
    pub(super) fn desert(&self) {
        let _thawed_already = self.thaw();
        self.answer(Err(freeze_error("the checkpoint's thread panicked".to_owned())));
    }

    /// Waits until the engine is thawed, and does it itself when the lease ends or nobody waits any more.
    fn watch(&self, begun: Instant) {
        let mut state = self.lock();
        loop {
            let left = self.within.saturating_sub(begun.elapsed());
            let frozen = match state.phase {
                Phase::Before | Phase::Thawed => return,
                Phase::Freezing(_) => false,
                Phase::Frozen(_) => true,
            };
            if !state.is_over && !left.is_zero() {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.is_over = true;
            // Whoever has dropped the question is told nothing.
            let expired = left.is_zero().then_some(CheckpointError::LeaseExpired { after: self.within });
            let expired = expired.unwrap_or(CheckpointError::Stopped);
            // Whoever called `freeze` thaws when that comes back.
            let thawed = if frozen {
                self.thaw_from(state, begun)
            } else {
                drop(state);
                Ok(())
            };
            return self.answer(Err(thawed.err().unwrap_or(expired)));
        }
    }

    /// Thaws the engine, which nobody else does from here on.
    fn thaw_from(&self, mut state: MutexGuard<'_, State>, begun: Instant) -> Result<(), CheckpointError> {
        state.phase = Phase::Thawed;
        self.changed.notify_all();
        let stats = state.stats.clone();
        drop(state);
        let thawed = catch_unwind(AssertUnwindSafe(|| self.hooks.thaw()));
        if let Some(stats) = stats {
            stats.froze(begun.elapsed());
        }
        thawed.map_err(|_| {
            tracing::error!("an engine's hook panicked when it was to thaw");
            freeze_error("its hook panicked when it was to thaw".to_owned())
        })
    }
}

fn freeze_error(why: String) -> CheckpointError {
    CheckpointError::Freeze { why }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::engine::reply::reply;

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl ActiveFiles for Counted {
        fn freeze(&self) -> Result<Frozen, String> {
            Ok(Frozen::default())
        }

        fn thaw(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn s6_a_holder_that_never_comes_back_is_thawed_for_once() {
        let (replier, waiting) = reply();
        let (hooks, within) = (Arc::new(Counted::default()), Duration::from_millis(50));
        let lease = Lease::new(Arc::clone(&hooks) as Arc<dyn ActiveFiles>, within, replier);
        let stats = Arc::new(CheckpointStats::default());
        lease.freeze(Arc::clone(&stats)).expect("frozen");
        assert_eq!(waiting.wait(), Err(CheckpointError::LeaseExpired { after: within }));
        assert!(lease.is_over() && lease.thaw().is_err(), "it finds that when it comes back");
        lease.desert();
        assert_eq!(hooks.0.load(Ordering::Relaxed), 1);
        let [made, failed, expired, frozen_micros_max] = stats.get();
        assert_eq!([made, failed, expired], [0, 1, 1]);
        assert!(frozen_micros_max >= 50_000, "{frozen_micros_max}");
    }

    #[test]
    fn s6_what_was_captured_for_nobody_does_not_count_whoever_thaws_first() {
        for _ in 0..200 {
            let (replier, _waiting) = reply();
            let hooks = Arc::new(Counted::default());
            let hooked = Arc::clone(&hooks) as Arc<dyn ActiveFiles>;
            let lease = Lease::new(hooked, Duration::from_secs(60), replier);
            let stats = Arc::new(CheckpointStats::default());
            lease.freeze(Arc::clone(&stats)).expect("frozen");
            lease.abandon();
            assert!(lease.thaw().is_err(), "a copy may have ended in its middle");
            while hooks.0.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            assert_eq!(stats.get()[..2], [0, 1]);
        }
    }

    #[test]
    fn s6_a_holder_that_panics_thaws_and_answers() {
        let (replier, waiting) = reply();
        let hooks = Arc::new(Counted::default());
        let lease = Lease::new(Arc::clone(&hooks) as Arc<dyn ActiveFiles>, Duration::from_secs(60), replier);
        lease.freeze(Arc::default()).expect("frozen");
        lease.desert();
        assert!(matches!(waiting.wait(), Err(CheckpointError::Freeze { .. })));
        assert_eq!(hooks.0.load(Ordering::Relaxed), 1);
    }
}
