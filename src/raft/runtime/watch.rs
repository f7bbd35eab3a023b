//! openraft's watched values: the last one counts, and all who watch are told.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use openraft_rt::watch::SendError;
use openraft_rt::{OptionalSend, OptionalSync, RecvError, Watch, WatchReceiver, WatchSender};

use crate::uring::Notify;

/// The family of watched values.
#[derive(Debug)]
pub struct CoreWatch;

struct Watched<T> {
    value: RefCell<T>,
    version: Cell<u64>,
    changed: Notify,
    senders: Cell<usize>,
    receivers: Cell<usize>,
}

/// Sets the value.
pub struct Setter<T>(Rc<Watched<T>>);

/// Sees the value.
pub struct Watcher<T> {
    watched: Rc<Watched<T>>,
    seen: u64,
}

impl Watch for CoreWatch {
    type Sender<T: OptionalSend + OptionalSync> = Setter<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Watcher<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(first: T) -> (Setter<T>, Watcher<T>) {
        let watched = Rc::new(Watched {
            value: RefCell::new(first),
            version: Cell::new(0),
            changed: Notify::default(),
            senders: Cell::new(1),
            receivers: Cell::new(1),
        });
        (Setter(Rc::clone(&watched)), Watcher { watched, seen: 0 })
    }
}

impl<T> Watched<T> {
    fn tell(&self) {
        self.version.set(self.version.get() + 1);
        self.changed.notify();
    }
}

impl<T> WatchSender<CoreWatch, T> for Setter<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.get() == 0 {
            return Err(SendError(value));
        }
        let before = self.0.value.replace(value);
        self.0.tell();
        drop(before);
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut self.0.value.borrow_mut());
        if modified {
            self.0.tell();
        }
        modified
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.0.value.borrow()
    }

    fn subscribe(&self) -> Watcher<T> {
        self.0.receivers.set(self.0.receivers.get() + 1);
        Watcher { watched: Rc::clone(&self.0), seen: self.0.version.get() }
    }
}

impl<T> WatchReceiver<CoreWatch, T> for Watcher<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let watched = &*self.watched;
        let seen = &mut self.seen;
        let news = || {
            let version = watched.version.get();
            if version != *seen {
                *seen = version;
                return Some(Ok(()));
            }
            (watched.senders.get() == 0).then_some(Err(RecvError(())))
        };
        watched.changed.until(news).await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.watched.value.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.seen = self.watched.version.get();
        self.watched.value.borrow()
    }
}

impl<T> Clone for Setter<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for Setter<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.changed.notify();
        }
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        self.watched.receivers.set(self.watched.receivers.get() + 1);
        Self { watched: Rc::clone(&self.watched), seen: self.seen }
    }
}

impl<T> Drop for Watcher<T> {
    fn drop(&mut self) {
        self.watched.receivers.set(self.watched.receivers.get() - 1);
    }
}
