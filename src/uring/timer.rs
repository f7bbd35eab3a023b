//! Timers of a core: an ordered set of deadlines, each with the task to wake.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

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

/// Runs `future` until `deadline`; then gives it up.
///
/// # Errors
/// `Elapsed` if the time ran out.
pub async fn deadline<F: Future>(deadline: Nanos, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(deadline));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Runs `future` for at most `length`.
///
/// # Errors
/// `Elapsed` if the time ran out.
pub async fn timeout<F: Future>(length: Nanos, future: F) -> Result<F::Output, Elapsed> {
    deadline(Core::current().now().plus(length), future).await
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
