//! Wakes of other threads, put together: a thread that is woken for each of many answers goes to sleep again between
//! them, and each of those wakes is a call into the kernel.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::limits::OUTSIDE_WAKES_MAX;

#[derive(Default)]
pub(crate) struct Outside {
    gathers: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Outside {
    /// Wakes now, or with the others when the core's urgent tasks have run.
    pub(crate) fn wake(&self, waker: Waker) {
        if !self.gathers.get() {
            return waker.wake();
        }
        self.waiting.borrow_mut().push(waker);
        if self.waiting.borrow().len() >= OUTSIDE_WAKES_MAX {
            self.wake_all();
        }
    }

    /// Gathers wakes while `run` runs, and does them behind it.
    pub(crate) fn gather<T>(&self, run: impl FnOnce() -> T) -> T {
        self.gathers.set(true);
        let done = run();
        self.gathers.set(false);
        self.wake_all();
        done
    }

    fn wake_all(&self) {
        let mut waiting = self.waiting.take();
        waiting.drain(..).for_each(Waker::wake);
        // The room is kept.
        self.waiting.replace_with(|newer| if newer.is_empty() { waiting } else { std::mem::take(newer) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_are_put_together_and_none_is_left_behind() {
        let (outside, count) = (Outside::default(), Arc::new(Count::default()));
        let woken = || count.0.load(Ordering::Relaxed);
        let wake = || outside.wake(Waker::from(Arc::clone(&count)));
        wake();
        assert_eq!(woken(), 1, "at once where nothing is gathered");
        outside.gather(|| {
            for _ in 1..OUTSIDE_WAKES_MAX {
                wake();
            }
            assert_eq!(woken(), 1);
            wake();
            assert_eq!(woken(), 1 + OUTSIDE_WAKES_MAX, "no more than so many wait");
            wake();
        });
        assert_eq!(woken(), 2 + OUTSIDE_WAKES_MAX);
    }
}
