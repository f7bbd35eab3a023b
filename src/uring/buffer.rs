//! Buffers that the kernel may hold: page-aligned, always initialised, owned by exactly one side at a time.
//!
//! A buffer travels by value: into an operation, back with its completion. One that came from a core's slab returns
//! to it on drop; while the kernel has it, the in-flight table is its owner, so that it can neither move nor be
//! freed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits::IO_ALIGNMENT;

use super::arena::Arena;
use super::cuts::{Cuts, PART_BYTES};

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; IO_ALIGNMENT]);

/// Owned memory for one operation; `filled()` bytes of it are the content.
pub struct Buffer {
    memory: Memory,
    filled: usize,
}

enum Memory {
    Own(Box<[Page]>),
    /// A place of a slab, or one part of it, out at most once, so that this is the only way to it.
    Lent {
        slot: u16,
        part: Option<u8>,
        home: Rc<Home>,
    },
}

impl Buffer {
    /// Memory of its own, not registered with any ring, of at least `bytes`.
    #[must_use]
    pub fn heap(bytes: usize) -> Self {
        let pages = bytes.div_ceil(IO_ALIGNMENT).max(1);
        Self { memory: Memory::Own(vec![Page([0; IO_ALIGNMENT]); pages].into_boxed_slice()), filled: 0 }
    }

    /// Memory of its own that holds a copy of `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut buffer = Self::heap(bytes.len());
        buffer.append(bytes);
        buffer
    }

    /// Appends to the content.
    ///
    /// # Panics
    /// If the content would outgrow the capacity.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        assert!(end <= self.capacity(), "content of {end} bytes in a buffer of {}", self.capacity());
        let start = self.filled;
        self.memory_mut()[start..end].copy_from_slice(bytes);
        self.filled = end;
    }

    /// Declares that the first `bytes` of the memory are the content.
    ///
    /// # Panics
    /// If `bytes` is above the capacity.
    pub fn set_filled(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity(), "content of {bytes} bytes in a buffer of {}", self.capacity());
        self.filled = bytes;
    }

    fn start(&self) -> *const u8 {
        match &self.memory {
            Memory::Own(pages) => pages.as_ptr().cast(),
            Memory::Lent { slot, part, home } => home.start(*slot, *part),
        }
    }

    /// The whole memory for writing, initialised.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        let bytes = self.capacity();
        let start = match &mut self.memory {
            Memory::Own(pages) => pages.as_mut_ptr().cast(),
            Memory::Lent { slot, part, home } => home.start(*slot, *part).cast_mut(),
        };
        // SAFETY: `start` is the first of `bytes` initialised bytes: of the box (`Page` has no padding), or of the
        // slot of an arena that `home` keeps, or of a part of one. `&mut self` and each being out once make it the only
        // reference.
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }

    /// The content.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.memory()[..self.filled]
    }

    /// The whole memory.
    #[must_use]
    pub fn memory(&self) -> &[u8] {
        // SAFETY: as in `memory_mut`, shared.
        unsafe { std::slice::from_raw_parts(self.start(), self.capacity()) }
    }

    /// Size of the memory in bytes, a multiple of `IO_ALIGNMENT`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Own(pages) => pages.len() * IO_ALIGNMENT,
            Memory::Lent { part: None, home, .. } => home.arena.buffer_bytes(),
            Memory::Lent { part: Some(_), .. } => PART_BYTES,
        }
    }

    /// The buffer's place in its core's slab, under which the ring may have registered it.
    #[must_use]
    pub fn slot(&self) -> Option<u16> {
        match &self.memory {
            Memory::Own(_) => None,
            Memory::Lent { slot, .. } => Some(*slot),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Memory::Lent { slot, part, home } = &self.memory {
            let is_whole = part.is_none_or(|part| home.cuts.borrow_mut().take_back(*slot, part));
            if is_whole {
                home.free.borrow_mut().push(*slot);
                home.promise();
            }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes, slot {:?})", self.filled, self.capacity(), self.slot())
    }
}

/// Where in a buffer an operation reads or writes.
pub type Span = Range<usize>;

struct Home {
    arena: Arena,
    free: RefCell<Vec<u16>>,
    /// Places that are out in parts.
    cuts: RefCell<Cuts>,
    /// Who waits, in order of arrival. A buffer that comes home belongs to the first of them from then on, so that
    /// a newcomer cannot overtake.
    waiting: RefCell<VecDeque<(Rc<Cell<bool>>, Waker)>>,
    /// Free buffers that belong to waiters who have not come for them yet.
    promised: Cell<usize>,
}

impl Home {
    /// Promises a free buffer to the first who waits.
    fn promise(&self) {
        let Some((promised, waker)) = self.waiting.borrow_mut().pop_front() else { return };
        promised.set(true);
        self.promised.set(self.promised.get() + 1);
        waker.wake();
    }

    fn start(&self, slot: u16, part: Option<u8>) -> *const u8 {
        self.arena.start(slot).wrapping_add(usize::from(part.unwrap_or_default()) * PART_BYTES)
    }

    fn unpromised(&self) -> usize {
        self.free.borrow().len() - self.promised.get()
    }
}

/// A core's fixed set of equal buffers. Empty means wait; the set never grows.
pub struct Slab {
    home: Rc<Home>,
    count: u16,
}

impl Slab {
    /// `count` buffers of `buffer_bytes` (rounded up to whole pages), side by side and on huge pages where the
    /// system gives them. See kernel-notes/huge-pages-and-memlock.md.
    ///
    /// # Panics
    /// Without the memory.
    #[must_use]
    pub fn new(count: u16, buffer_bytes: usize) -> Self {
        let bytes = buffer_bytes.div_ceil(IO_ALIGNMENT).max(1) * IO_ALIGNMENT;
        let home = Home {
            arena: Arena::new(count, bytes),
            free: RefCell::new((0..count).rev().collect()),
            cuts: RefCell::new(Cuts::of(bytes)),
            waiting: RefCell::default(),
            promised: Cell::new(0),
        };
        Self { home: Rc::new(home), count }
    }

    /// Address and size of each buffer in the order of its slot, for registration before any is taken.
    ///
    /// # Panics
    /// If a buffer is out: its memory is not for the ring to touch.
    #[must_use]
    pub fn regions(&self) -> Vec<(*const u8, usize)> {
        assert_eq!(self.free(), usize::from(self.count), "the slab is registered before it is used");
        (0..self.count).map(|slot| (self.home.arena.start(slot), self.buffer_bytes())).collect()
    }

    /// A buffer, if one is free now and promised to nobody.
    #[must_use]
    pub fn try_take(&self) -> Option<Buffer> {
        (self.home.unpromised() > 0).then(|| self.pop())
    }

    /// A buffer for so many bytes, while more than a quarter of them is free: for who can do with memory of its own, so
    /// that those who receive, who read and who write never wait for each other. Up to `PART_BYTES` it is a part of
    /// one.
    #[must_use]
    pub fn spare(&self, bytes: usize) -> Option<Buffer> {
        let has_spare = || self.free() > usize::from(self.count / 4) && self.home.unpromised() > 0;
        let mut cuts = self.home.cuts.borrow_mut();
        if bytes > PART_BYTES || !cuts.may_cut() {
            return (bytes <= self.buffer_bytes() && has_spare()).then(|| self.pop());
        }
        let (slot, part) = match cuts.take() {
            Some(place) => place,
            None if has_spare() => cuts.cut(self.pop_slot()),
            None => return None,
        };
        Some(self.lend(slot, Some(part)))
    }

    fn pop(&self) -> Buffer {
        self.lend(self.pop_slot(), None)
    }

    fn pop_slot(&self) -> u16 {
        self.home.free.borrow_mut().pop().expect("the caller saw or was promised one")
    }

    fn lend(&self, slot: u16, part: Option<u8>) -> Buffer {
        Buffer { memory: Memory::Lent { slot, part, home: Rc::clone(&self.home) }, filled: 0 }
    }

    /// A buffer, when one is free; those who wait are served in the order in which they came.
    pub async fn take(&self) -> Buffer {
        let mut wait = Wait { home: &self.home, promised: None };
        poll_fn(|context| {
            if wait.claim() {
                return Poll::Ready(self.pop());
            }
            if wait.promised.is_none()
                && let Some(buffer) = self.try_take()
            {
                return Poll::Ready(buffer);
            }
            wait.enqueue(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Buffers in the slab, taken or not.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Buffers free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.home.free.borrow().len()
    }

    /// Size of each buffer in bytes.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.home.arena.buffer_bytes()
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {} buffers free)", self.free(), self.count)
    }
}

/// A place in the queue for a buffer; leaving early passes the promise on.
struct Wait<'a> {
    home: &'a Home,
    promised: Option<Rc<Cell<bool>>>,
}

impl Wait<'_> {
    /// Gives up the place, and the promise if there is one; true if there is.
    fn claim(&mut self) -> bool {
        if !self.promised.as_ref().is_some_and(|promised| promised.get()) {
            return false;
        }
        self.promised = None;
        self.home.promised.set(self.home.promised.get() - 1);
        true
    }

    fn enqueue(&mut self, waker: &Waker) {
        let mut waiting = self.home.waiting.borrow_mut();
        if let Some(mine) = &self.promised {
            if let Some(place) = waiting.iter_mut().find(|(promised, _)| Rc::ptr_eq(promised, mine)) {
                place.1.clone_from(waker);
            }
            return;
        }
        let promised = Rc::new(Cell::new(false));
        waiting.push_back((Rc::clone(&promised), waker.clone()));
        self.promised = Some(promised);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.claim() {
            self.home.promise();
        } else if let Some(mine) = self.promised.take() {
            self.home.waiting.borrow_mut().retain(|(promised, _)| !Rc::ptr_eq(promised, &mine));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_refuses_when_empty_and_takes_buffers_back_on_drop() {
        let slab = Slab::new(2, 5000);
        let first = slab.try_take().expect("two are free");
        let second = slab.try_take().expect("one is free");
        assert_eq!(second.capacity(), 8192);
        assert!(slab.try_take().is_none());
        let slot = first.slot();
        drop(first);
        assert_eq!(slab.try_take().expect("it came back").slot(), slot);
    }

    #[test]
    fn memory_is_aligned_and_content_is_what_was_appended() {
        let mut buffer = Buffer::from_bytes(b"abc");
        buffer.append(b"def");
        assert_eq!(buffer.filled(), b"abcdef");
        assert_eq!(buffer.memory().as_ptr() as usize % IO_ALIGNMENT, 0);
        assert_eq!(buffer.slot(), None);
    }

    #[test]
    #[should_panic(expected = "in a buffer of 4096")]
    fn content_never_outgrows_the_buffer() {
        Buffer::heap(1).set_filled(4097);
    }
}
