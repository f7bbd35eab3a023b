//! One core on the calling thread, driven until its work is done or somebody says stop.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ids::Nanos;
use crate::limits::{CHUNK_BYTES, RING_ENTRIES, SLAB_BUFFERS_DEFAULT};
use crate::uring::{Core, KernelOptions, KernelRing, Priority, RingError, Turn};

/// How often it is looked whether it shall stop.
const STOP_INTERVAL: Nanos = Nanos::from_millis(50);

/// A core of its own ring and slab.
pub(super) fn core() -> Result<Core, RingError> {
    let ring = KernelRing::open(KernelOptions { entries: RING_ENTRIES, ..KernelOptions::default() })?;
    Ok(Core::new(Box::new(ring), SLAB_BUFFERS_DEFAULT, CHUNK_BYTES))
}

/// Drives a core on this thread until the future is done, or gives it up when `stop` is set; either way what is
/// in flight is seen to its end.
pub(super) fn drive<T: 'static>(
    core: &Core,
    work: impl Future<Output = T> + 'static,
    stop: &AtomicBool,
) -> Option<T> {
    let done = until_done(core, work, stop);
    core.shut_down();
    done
}

/// Drives a core until the future is done or `stop` is set, and leaves it as it is then.
pub(super) fn until_done<T: 'static>(
    core: &Core,
    work: impl Future<Output = T> + 'static,
    stop: &AtomicBool,
) -> Option<T> {
    let output = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&output);
    let body = async move { *theirs.borrow_mut() = Some(work.await) };
    let task = core.spawn(Priority::Urgent, body);
    while !task.is_ended() && !stop.load(Ordering::Relaxed) {
        match core.turn() {
            Turn::Again => {}
            Turn::Park(deadline) => {
                let latest = core.now().plus(STOP_INTERVAL);
                core.park(Some(deadline.map_or(latest, |at| at.min(latest))));
            }
        }
    }
    output.take()
}
