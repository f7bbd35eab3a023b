//! openraft's bounded channels: many senders, one receiver, one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use openraft_rt::{Mpsc, MpscReceiver, MpscSender, MpscWeakSender, OptionalSend, SendError, TryRecvError};

use crate::uring::Notify;

/// The family of bounded channels.
#[derive(Debug)]
pub struct CoreChannel;

struct Line<T> {
    queue: RefCell<VecDeque<T>>,
    capacity: usize,
    /// Told when a value comes or the last sender goes.
    filled: Notify,
    /// Told when a value is taken or the receiver goes.
    drained: Notify,
    senders: Cell<usize>,
    open: Cell<bool>,
}

/// Puts values in.
pub struct ChannelSender<T>(Rc<Line<T>>);

/// Puts values in as long as others keep the channel open.
pub struct ChannelWeakSender<T>(Weak<Line<T>>);

/// Takes values out.
pub struct ChannelReceiver<T>(Rc<Line<T>>);

impl Mpsc for CoreChannel {
    type Sender<T: OptionalSend> = ChannelSender<T>;
    type Receiver<T: OptionalSend> = ChannelReceiver<T>;
    type WeakSender<T: OptionalSend> = ChannelWeakSender<T>;

    fn channel<T: OptionalSend>(capacity: usize) -> (ChannelSender<T>, ChannelReceiver<T>) {
        let line = Rc::new(Line {
            queue: RefCell::default(),
            capacity,
            filled: Notify::default(),
            drained: Notify::default(),
            senders: Cell::new(1),
            open: Cell::new(true),
        });
        (ChannelSender(Rc::clone(&line)), ChannelReceiver(line))
    }
}

impl<T> MpscSender<CoreChannel, T> for ChannelSender<T> {
    async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let line = &*self.0;
        let room = || {
            let may = !line.open.get() || line.queue.borrow().len() < line.capacity;
            may.then_some(())
        };
        line.drained.until(room).await;
        if !line.open.get() {
            return Err(SendError(value));
        }
        line.queue.borrow_mut().push_back(value);
        line.filled.notify();
        Ok(())
    }

    fn downgrade(&self) -> ChannelWeakSender<T> {
        ChannelWeakSender(Rc::downgrade(&self.0))
    }
}

impl<T> MpscReceiver<T> for ChannelReceiver<T> {
    async fn recv(&mut self) -> Option<T> {
        let line = Rc::clone(&self.0);
        let next = || match self.try_recv() {
            Ok(value) => Some(Some(value)),
            Err(TryRecvError::Disconnected) => Some(None),
            Err(TryRecvError::Empty) => None,
        };
        line.filled.until(next).await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let line = &*self.0;
        let value = line.queue.borrow_mut().pop_front();
        match value {
            Some(value) => {
                line.drained.notify();
                Ok(value)
            }
            None if line.senders.get() == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }
}

impl<T> MpscWeakSender<CoreChannel, T> for ChannelWeakSender<T> {
    fn upgrade(&self) -> Option<ChannelSender<T>> {
        let line = self.0.upgrade().filter(|line| line.senders.get() > 0)?;
        line.senders.set(line.senders.get() + 1);
        Some(ChannelSender(line))
    }
}

impl<T> Clone for ChannelSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Clone for ChannelWeakSender<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<T> Drop for ChannelSender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.filled.notify();
        }
    }
}

impl<T> Drop for ChannelReceiver<T> {
    fn drop(&mut self) {
        self.0.open.set(false);
        // Outside of the borrow: what a value's destructor does may come back here.
        let left = self.0.queue.take();
        self.0.drained.notify();
        drop(left);
    }
}
