//! The memory of a slab: one anonymous mapping, on huge pages where the system gives them.
//! See kernel-notes/huge-pages-and-memlock.md.

use memmap2::{Advice, MmapMut};

/// Size and alignment of a huge page on the machines that we know of; elsewhere the alignment is merely generous.
const HUGE_BYTES: usize = 2 * 1024 * 1024;

/// `count` places of `buffer_bytes`, side by side. The memory does not move and is initialised (zeroes).
pub(crate) struct Arena {
    mapping: MmapMut,
    offset: usize,
    count: u16,
    buffer_bytes: usize,
}

impl Arena {
    pub(crate) fn new(count: u16, buffer_bytes: usize) -> Self {
        let bytes = usize::from(count) * buffer_bytes;
        // A mapping begins on any page: room to begin on a huge one.
        let room = if bytes >= HUGE_BYTES { HUGE_BYTES } else { 0 };
        let mapping = MmapMut::map_anon((bytes + room).max(1)).expect("memory for the slab");
        let offset = if room == 0 { 0 } else { mapping.as_ptr().align_offset(HUGE_BYTES) };
        if room > 0 {
            let _small_pages_do_too = mapping.advise(Advice::HugePage);
        }
        Self { mapping, offset, count, buffer_bytes }
    }

    /// Where a place begins.
    pub(crate) fn start(&self, slot: u16) -> *const u8 {
        assert!(slot < self.count, "slot {slot} of {}", self.count);
        self.mapping.as_ptr().wrapping_add(self.offset + usize::from(slot) * self.buffer_bytes)
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lie_side_by_side_inside_the_mapping_and_large_sets_begin_on_a_huge_page() {
        for (count, bytes) in [(3, 4096), (8, 1 << 20)] {
            let arena = Arena::new(count, bytes);
            let range = arena.mapping.as_ptr_range();
            for slot in 0..count {
                let start = arena.start(slot);
                assert!(range.contains(&start) && start.wrapping_add(bytes) <= range.end);
                assert_eq!(start.addr(), arena.start(0).addr() + usize::from(slot) * bytes);
            }
            let aligned = if count == 8 { HUGE_BYTES } else { 4096 };
            assert!(arena.start(0).addr().is_multiple_of(aligned));
        }
    }
}
