//! Timers of a core: an ordered set of deadlines, each with the task to wake.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::ids::Nanos;

use super::core::{Core, WeakCore};

#[derive(Default)]
pub(crate) struct Timers(RefCell<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    waiting: BTreeMap<(Nanos, u64), Waker>,
}

impl Timers {
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.0.borrow().waiting.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn fire(&self, now: Nanos) {
        loop {
            let mut table = self.0.borrow_mut();
            match table.waiting.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(table);
                    waker.wake();
                }
                _ => return,
            }
        }
    }
}

/// Waits until a time.
pub struct Sleep {
    deadline: Nanos,
    place: Option<(WeakCore, u64)>,
}

/// Waits until `deadline` on the current core's clock.
#[must_use]
pub fn sleep_until(deadline: Nanos) -> Sleep {
    Sleep { deadline, place: None }
}

/// Waits for `length` from now.
#[must_use]
pub fn sleep(length: Nanos) -> Sleep {
    sleep_until(Core::current().now().plus(length))
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let core = Core::current();
        if core.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut table = core.timers().0.borrow_mut();
        let ticket = self.place.as_ref().map_or(table.next, |(_, ticket)| *ticket);
        table.next = table.next.max(ticket + 1);
        table.waiting.insert((self.deadline, ticket), context.waker().clone());
        drop(table);
        self.place = Some((core.downgrade(), ticket));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some((core, ticket)) = self.place.take() else { return };
        if let Some(core) = core.upgrade() {
            let mut table = core.timers().0.borrow_mut();
            let waker = table.waiting.remove(&(self.deadline, ticket));
            drop(table);
            drop(waker);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep(until {})", self.deadline)
    }
}

/// The time ran out first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time ran out")
    }
}

impl std::error::Error for Elapsed {}

pin_project! {
    /// A future that is given up at a time. A type, not an `async fn`: that would have room for the future twice, and
    /// each deadline inside it would double it again.
    #[must_use = "futures do nothing unless polled"]
    pub struct Deadline<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Deadline<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

impl<F> fmt::Debug for Deadline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({:?})", self.sleep)
    }
}

/// Runs `future` until `deadline`; then gives it up, with the error `Elapsed`.
pub fn deadline<F: Future>(deadline: Nanos, future: F) -> Deadline<F> {
    Deadline { future, sleep: sleep_until(deadline) }
}

/// Runs `future` for at most `length` from now; then gives it up, with the error `Elapsed`.
pub fn timeout<F: Future>(length: Nanos, future: F) -> Deadline<F> {
    deadline(Core::current().now().plus(length), future)
}

/// Lets the core's other tasks run.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
