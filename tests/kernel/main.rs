//! Real rings on this machine: every operation, the hazards of io_uring, and what a host refuses.
//!
//! What the machine lacks is skipped by name, and the name is printed: `skipped: …`.

#![expect(missing_docs, reason = "a test binary has no readers of its items")]

mod files;
mod guests;
mod hazards;
mod hosts;
mod refusals;
#[path = "../transport/scenes.rs"]
#[allow(dead_code, reason = "the simulated tests use the rest")]
mod scenes;
mod segments;
mod sockets;
mod transport;
#[path = "../binary/without.rs"]
mod without;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::uring::{Core, Dir, KernelOptions, KernelRing, Priority, Turn};

/// A core with 8 buffers of 64 KiB over a ring of its own.
pub fn core() -> Core {
    core_with(KernelOptions::default())
}

pub fn core_with(options: KernelOptions) -> Core {
    let ring = KernelRing::open(options).expect("this machine has io_uring");
    Core::new(Box::new(ring), 8, 64 * 1024)
}

/// Runs `make`'s future on the core to its end; a minute is a failure.
pub fn drive<F: Future + 'static>(core: &Core, future: F) -> F::Output
where
    F::Output: 'static,
{
    let output = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&output);
    let task = core.spawn(Priority::Urgent, async move {
        let value = future.await;
        theirs.replace(Some(value));
    });
    let deadline = core.now().plus(Nanos::from_secs(60));
    while !task.is_ended() {
        assert!(core.now() < deadline, "the test's task is stuck");
        match core.turn() {
            Turn::Again => {}
            Turn::Park(_) if task.is_ended() => {}
            Turn::Park(until) => core.park(Some(until.unwrap_or(deadline).min(deadline))),
        }
    }
    output.take().expect("the task ended with its output")
}

/// The whole of a test on a core of its own, shut down at the end.
pub fn on_core<F: Future + 'static>(make: impl FnOnce(Core) -> F) -> F::Output
where
    F::Output: 'static,
{
    let core = core();
    let output = drive(&core, make(core.clone()));
    core.shut_down();
    output
}

/// A directory that goes away, on the disk that the build is on: tmpfs has no O_DIRECT and no durability.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's own directory can be written")
}

pub async fn open(folder: &tempfile::TempDir) -> Dir {
    Dir::open_root(folder.path().to_str().expect("a plain path")).await.expect("it exists")
}

/// Says what the machine lacks. The line counts as a skipped test.
pub fn skip(what: &str) {
    println!("skipped: {what}");
}
