//! An open descriptor and its one owner. The last reference closes it, and every operation in flight holds one, so
//! that nothing is closed under the kernel's hands (kernel-notes/cancellation.md).

use std::cell::Cell;
use std::fmt;

use super::core::{Core, WeakCore};
use super::op::Op;

/// An open descriptor of one core's ring.
pub struct Handle {
    raw: Cell<Option<i32>>,
    /// Its close may take long.
    aside: Cell<bool>,
    core: WeakCore,
}

impl Handle {
    pub(crate) fn new(core: &Core, raw: i32) -> Self {
        Self { raw: Cell::new(Some(raw)), aside: Cell::default(), core: core.downgrade() }
    }

    /// The number behind the handle.
    ///
    /// # Panics
    /// If the handle was released to another core.
    #[must_use]
    pub fn raw(&self) -> i32 {
        self.raw.get().expect("a released handle is not used again")
    }

    /// From now on its close is not done by this core.
    pub(crate) fn close_aside(&self) {
        self.aside.set(true);
    }

    /// The core that it belongs to, if that is still there.
    pub(crate) fn core(&self) -> Option<Core> {
        self.core.upgrade()
    }

    /// Gives the descriptor away; the ring no longer closes it.
    pub(crate) fn release(&self) -> i32 {
        let raw = self.raw.take().expect("a handle is released once");
        if let Some(core) = self.core.upgrade() {
            core.release(raw);
        }
        raw
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let (Some(raw), Some(core)) = (self.raw.take(), self.core.upgrade()) {
            core.detach(Op::Close { raw, aside: self.aside.get() });
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:?})", self.raw.get())
    }
}
