//! openraft's tasks, timers and timeouts on the current core.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, OptionalSend};

use crate::uring::{
    Core, Elapsed, KernelOptions, KernelRing, Priority, Sleep, Task, Turn, Unpark, sleep, sleep_until,
};

use super::channel::CoreChannel;
use super::clock::{Moment, nanos};
use super::mutex::CoreMutex;
use super::once::CoreOnce;
use super::random::CoreRandom;
use super::watch::CoreWatch;

/// The runtime: the current core. A value of it stands for a core of its own, for openraft's conformance suite.
pub struct CoreRuntime(Core);

/// A task of openraft. Dropping it lets it run on.
pub struct Spawned<T>(Task<T>);

/// A task ended without an output: its core was shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was ended with its core")
    }
}

impl std::error::Error for Aborted {}

/// A future and the time that it has.
pub struct Timed<F> {
    future: Pin<Box<F>>,
    sleep: Pin<Box<Sleep>>,
}

impl AsyncRuntime for CoreRuntime {
    type JoinError = Aborted;
    type JoinHandle<T: OptionalSend + 'static> = Spawned<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timed<T>;
    type ThreadLocalRng = CoreRandom;
    type Mpsc = CoreChannel;
    type Watch = CoreWatch;
    type Oneshot = CoreOnce;
    type Mutex<T: OptionalSend + 'static> = CoreMutex<T>;

    fn spawn<T>(future: T) -> Spawned<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Spawned(Core::current().spawn(Priority::Urgent, future))
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(nanos(duration))
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timed<F> {
        Timed { future: Box::pin(future), sleep: Box::pin(sleep(nanos(duration))) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Moment, future: F) -> Timed<F> {
        Timed { future: Box::pin(future), sleep: Box::pin(sleep_until(deadline.0)) }
    }

    fn is_panic(_: &Aborted) -> bool {
        false // a panic ends the process
    }

    fn thread_rng() -> CoreRandom {
        CoreRandom
    }

    fn new(_threads: usize) -> Self {
        let ring =
            KernelRing::open(KernelOptions::default()).expect("only tests make a runtime of their own");
        Self(Core::new(Box::new(ring), 4, 4096))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        let waker = Waker::from(Arc::new(UnparkWaker(self.0.unparker())));
        let mut future = pin!(future);
        loop {
            let polled = self.0.enter(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
            if let Poll::Ready(output) = polled {
                return output;
            }
            if let Turn::Park(deadline) = self.0.turn() {
                self.0.park(deadline);
            }
        }
    }

    /// On the core itself: openraft has nothing that blocks.
    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        ready(Ok(f()))
    }
}

impl fmt::Debug for CoreRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoreRuntime")
    }
}

impl Drop for CoreRuntime {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Aborted>> {
        Pin::new(&mut self.0).poll(context).map(|output| output.ok_or(Aborted))
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<F::Output, Elapsed>> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        self.sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    }
}

struct UnparkWaker(Arc<dyn Unpark>);

impl Wake for UnparkWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
