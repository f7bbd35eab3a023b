//! The executors that are hosts, as these tests need them.

#[cfg(any(feature = "tokio-uring", feature = "glommio"))]
use std::{future::Future, time::Duration};

#[cfg(any(feature = "tokio-uring", feature = "glommio"))]
use ringway::engine::{GuestCore, GuestError};

/// An executor that gives Ringway's cores a home.
#[cfg(any(feature = "tokio-uring", feature = "glommio"))]
pub trait Executor: 'static {
    /// As `status` names it.
    const NAME: &'static str;

    /// Makes an executor on this thread, runs it until the future is done, and drops it.
    fn block_on<T: 'static>(main: impl Future<Output = T> + 'static) -> T;

    /// Starts a task that runs whether it is waited for or not.
    fn spawn(task: impl Future<Output = ()> + 'static);

    fn sleep(length: Duration) -> impl Future<Output = ()>;

    fn run(core: GuestCore) -> impl Future<Output = Result<(), GuestError>>;
}

#[cfg(feature = "tokio-uring")]
pub struct TokioUring;

#[cfg(feature = "tokio-uring")]
impl Executor for TokioUring {
    const NAME: &'static str = "tokio-uring";

    fn block_on<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
        tokio_uring::start(main)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        drop(tokio_uring::spawn(task));
    }

    async fn sleep(length: Duration) {
        tokio::time::sleep(length).await;
    }

    async fn run(core: GuestCore) -> Result<(), GuestError> {
        core.run_on_tokio_uring().await
    }
}

#[cfg(feature = "glommio")]
pub struct Glommio;

#[cfg(feature = "glommio")]
impl Executor for Glommio {
    const NAME: &'static str = "glommio";

    fn block_on<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
        let executor = glommio::LocalExecutorBuilder::default().make();
        executor.expect("three rings, and 512 KiB that may be locked").run(main)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        drop(glommio::spawn_local(task).detach());
    }

    async fn sleep(length: Duration) {
        glommio::timer::sleep(length).await;
    }

    async fn run(core: GuestCore) -> Result<(), GuestError> {
        core.run_on_glommio().await
    }
}
