//! Letting go of what the manifest has no more: after its grace time, and when no reader has it pinned any more.

use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::ids::{Nanos, SegmentId};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};
use crate::uring::{Core, Priority, timeout};

use super::shard::{Inner, Shard};

/// How often a deleted segment's pins are looked at: they are let go of on any thread, and tell nobody.
const PIN_LOOK: Nanos = Nanos::from_millis(50);

/// A reader's hold on a segment's file and its name; lets go when it is dropped, on any thread.
#[derive(Debug)]
pub struct Pin {
    _held: Arc<()>,
}

impl Shard {
    /// Keeps a segment's file, should it be deleted, until the pin goes.
    #[must_use]
    pub fn pin(&self, id: SegmentId) -> Pin {
        let mut pins = self.0.pins.borrow_mut();
        if let Some(pin) = pins.get(&id).and_then(Weak::upgrade) {
            return Pin { _held: pin };
        }
        pins.retain(|_, pin| pin.strong_count() > 0);
        let pin = Arc::new(());
        pins.insert(id, Arc::downgrade(&pin));
        Pin { _held: pin }
    }

    /// Segments that the manifest has no more and whose files still stand here.
    #[must_use]
    pub fn leaving(&self) -> u64 {
        self.0.removing.borrow().len() as u64
    }
}

impl Inner {
    /// Removes what this node holds of a segment, in its own time.
    pub(super) fn remove(self: &Rc<Self>, id: SegmentId) {
        if self.removing.borrow_mut().insert(id) {
            let shard = Rc::clone(self);
            drop(Core::current().spawn(Priority::Bulk, async move { shard.remove_one(id).await }));
        }
    }

    async fn remove_one(&self, id: SegmentId) {
        if self.wait_until_free(id).await {
            let mut rest = BACKOFF_FIRST;
            while let Err(error) = self.store.remove(id).await {
                tracing::warn!(%error, shard = %self.id, segment = %id, "a deleted segment could not be removed yet");
                if self.stops_within(rest).await {
                    break;
                }
                rest.0 = BACKOFF_MAX.0.min(rest.0 * 2);
            }
        }
        self.removing.borrow_mut().remove(&id);
    }

    /// Waits for the grace time and for all pins. False if the shard stops before.
    async fn wait_until_free(&self, id: SegmentId) -> bool {
        let mut rest = self.delete_grace;
        loop {
            if rest > Nanos::default() && self.stops_within(rest).await {
                return false;
            }
            if self.pins.borrow().get(&id).is_none_or(|pin| pin.strong_count() == 0) {
                self.pins.borrow_mut().remove(&id);
                return true;
            }
            rest = PIN_LOOK;
        }
    }

    async fn stops_within(&self, time: Nanos) -> bool {
        timeout(time, self.changed.until(|| self.stopped.get().then_some(()))).await.is_ok()
    }
}
