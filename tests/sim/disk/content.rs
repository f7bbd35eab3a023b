//! The bytes of one simulated file: what a reader sees, what is on the medium, and what a power cut may do to the
//! difference.
//!
//! Blocks of 4 KiB; sectors of 512 bytes are written whole. A size that was not synced is kept or lost in the order
//! in which sizes were set; blocks that were not synced are kept, lost or torn each for itself, in any order. A kept
//! size over a lost block shows zeros, as on a file system that does not order data before metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringway::uring::Errno;

use super::super::rng::Rng;

/// Bytes of a block: the page cache's unit.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes that a device writes whole.
pub const SECTOR_BYTES: usize = 512;
/// Unsynced sizes remembered before appends are told as one.
const SIZES_MAX: usize = 64;

type Block = Rc<[u8; BLOCK_BYTES]>;

/// What a power cut does with what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Each part is kept, lost or torn by the seed.
    Drawn,
    /// All of it is lost.
    All,
    /// All of it is kept.
    Nothing,
}

/// The bytes of a file.
#[derive(Clone, Default, Debug)]
pub struct Content {
    bytes: u64,
    blocks: BTreeMap<u64, Block>,
    dirty: BTreeSet<u64>,
    cached: BTreeSet<u64>,
    allocated: u64,
    /// Sizes set since the last sync, in order, and how many there were before these.
    sizes: Vec<u64>,
    settled: u64,
    medium: BTreeMap<u64, Block>,
    medium_bytes: u64,
    unreadable: BTreeSet<u64>,
}

/// What a sync has promised when it was asked for: content of that time, not of its completion.
#[derive(Debug)]
pub struct SyncPoint {
    blocks: Vec<(u64, Block)>,
    sizes: u64,
}

fn zeros() -> Block {
    Rc::new([0; BLOCK_BYTES])
}

/// The blocks that `[offset, offset + len)` touches: number, place in the block, place in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % BLOCK_BYTES as u64) as usize;
        let count = (BLOCK_BYTES - start).min(len - done);
        let piece = (at / BLOCK_BYTES as u64, start..start + count, done);
        done += count;
        Some(piece)
    })
}

/// Cuts a set of blocks at a size; the rest of the last block becomes zeros.
fn cut_blocks(blocks: &mut BTreeMap<u64, Block>, bytes: u64) {
    let _beyond = blocks.split_off(&bytes.div_ceil(BLOCK_BYTES as u64));
    let rest = (bytes % BLOCK_BYTES as u64) as usize;
    if rest > 0
        && let Some(last) = blocks.get_mut(&(bytes / BLOCK_BYTES as u64))
    {
        Rc::make_mut(last)[rest..].fill(0);
    }
}

impl Content {
    /// The size that a reader sees.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the device that the file takes.
    #[must_use]
    pub fn room(&self) -> u64 {
        let allocated = self.allocated.div_ceil(BLOCK_BYTES as u64);
        (allocated + self.blocks.range(allocated..).count() as u64) * BLOCK_BYTES as u64
    }

    /// Bytes of the device that a write would take more.
    #[must_use]
    pub fn more_room(&self, offset: u64, len: usize) -> u64 {
        let allocated = self.allocated.div_ceil(BLOCK_BYTES as u64);
        let new = |(block, ..): &(u64, _, _)| *block >= allocated && !self.blocks.contains_key(block);
        pieces(offset, len).filter(new).count() as u64 * BLOCK_BYTES as u64
    }

    /// Reads; fewer bytes at the end of the file. A direct read of clean blocks sees the medium.
    ///
    /// # Errors
    /// `IO` for a block that the medium cannot read.
    pub fn read(&mut self, offset: u64, out: &mut [u8], direct: bool) -> Result<usize, Errno> {
        let count = self.bytes.saturating_sub(offset).min(out.len() as u64) as usize;
        for (block, place, at) in pieces(offset, count) {
            let from_medium = !self.dirty.contains(&block) && (direct || !self.cached.contains(&block));
            if from_medium && self.unreadable.contains(&block) {
                return Err(Errno::IO);
            }
            let source = if from_medium { &self.medium } else { &self.blocks };
            let target = &mut out[at..at + place.len()];
            match source.get(&block) {
                Some(bytes) => target.copy_from_slice(&bytes[place]),
                None => target.fill(0),
            }
            if !direct {
                self.cached.insert(block);
            }
        }
        Ok(count)
    }

    /// Writes, extending the size. Nothing of it is durable, direct or not, before a sync.
    pub fn write(&mut self, offset: u64, data: &[u8], direct: bool, rng: &mut Rng) {
        for (block, place, at) in pieces(offset, data.len()) {
            let bytes = self.blocks.entry(block).or_insert_with(zeros);
            // The flusher may have come by since the last write of the block.
            if self.dirty.contains(&block) && rng.below(8) == 0 {
                self.medium.insert(block, Rc::clone(bytes));
            }
            Rc::make_mut(bytes)[place.clone()].copy_from_slice(&data[at..at + place.len()]);
            self.dirty.insert(block);
            self.unreadable.remove(&block);
            if !direct {
                self.cached.insert(block);
            }
        }
        let end = offset + data.len() as u64;
        if end > self.bytes {
            self.set_bytes(end);
        }
    }

    /// A device has told a lie about a write: the cache has it, no sync will bring it to the medium.
    pub fn lose(&mut self, offset: u64, len: usize) {
        for (block, ..) in pieces(offset, len) {
            self.dirty.remove(&block);
            self.cached.insert(block);
        }
    }

    fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
        if let [.., before, last] = self.sizes[..]
            && self.sizes.len() >= SIZES_MAX
            && before <= last
            && last <= bytes
        {
            self.sizes.pop();
        }
        self.sizes.push(bytes);
    }

    /// Sets the size.
    pub fn truncate(&mut self, bytes: u64) {
        if bytes == self.bytes {
            return;
        }
        let last = bytes / BLOCK_BYTES as u64;
        if bytes < self.bytes {
            self.allocated = self.allocated.min(bytes);
            cut_blocks(&mut self.blocks, bytes);
            let beyond = bytes.div_ceil(BLOCK_BYTES as u64);
            let _dropped = self.dirty.split_off(&beyond);
            let _dropped = self.cached.split_off(&beyond);
            if !bytes.is_multiple_of(BLOCK_BYTES as u64) && self.blocks.contains_key(&last) {
                self.dirty.insert(last);
            }
        }
        self.set_bytes(bytes);
    }

    /// How far towards `end` an allocation comes with so much room: as ext4 does, it takes what there is.
    #[must_use]
    pub fn reach(&self, end: u64, room: u64) -> u64 {
        let blocks = self.allocated.div_ceil(BLOCK_BYTES as u64)..end.div_ceil(BLOCK_BYTES as u64);
        let mut new = blocks.filter(|block| !self.blocks.contains_key(block));
        let first_without = new.nth((room / BLOCK_BYTES as u64) as usize);
        first_without.map_or(end, |block| block * BLOCK_BYTES as u64)
    }

    /// Makes room for a range and extends the size over it.
    pub fn allocate(&mut self, end: u64) {
        self.allocated = self.allocated.max(end);
        if end > self.bytes {
            self.set_bytes(end);
        }
    }

    /// Takes the content of another file.
    pub fn share(&mut self, from: &Self) {
        self.blocks.clone_from(&from.blocks);
        self.dirty = self.blocks.keys().copied().collect();
        self.cached.clone_from(&self.dirty);
        self.set_bytes(from.bytes);
    }

    /// What a sync asked for now will have made durable when it succeeds.
    #[must_use]
    pub fn sync_point(&self) -> SyncPoint {
        let blocks = self.dirty.iter().filter_map(|block| Some((*block, Rc::clone(self.blocks.get(block)?))));
        SyncPoint { blocks: blocks.collect(), sizes: self.settled + self.sizes.len() as u64 }
    }

    /// A sync has succeeded.
    pub fn synced(&mut self, point: SyncPoint) {
        self.settle(point.sizes.saturating_sub(self.settled) as usize);
        for (block, bytes) in point.blocks {
            self.clean(block, &bytes);
            self.medium.insert(block, bytes);
        }
    }

    /// A sync has failed: what it should have written is marked clean and lies in the cache until it is evicted, as
    /// all Linux file systems do (Rebello and others, ATC 2020).
    pub fn sync_failed(&mut self, point: SyncPoint, rng: &mut Rng) {
        self.settle(point.sizes.saturating_sub(self.settled) as usize);
        for (block, bytes) in point.blocks {
            self.clean(block, &bytes);
            self.cached.insert(block);
            if rng.below(4) == 0 {
                self.medium.insert(block, bytes);
            }
        }
    }

    fn clean(&mut self, block: u64, bytes: &Block) {
        if self.blocks.get(&block).is_some_and(|now| Rc::ptr_eq(now, bytes)) {
            self.dirty.remove(&block);
        }
    }

    /// Brings the first `count` unsynced sizes to the medium.
    fn settle(&mut self, count: usize) {
        for bytes in self.sizes.drain(..count) {
            if bytes < self.medium_bytes {
                cut_blocks(&mut self.medium, bytes);
            }
            self.medium_bytes = bytes;
            self.settled += 1;
        }
    }

    /// Drops clean pages from the cache: the next read sees the medium.
    pub fn evict(&mut self) {
        for block in std::mem::take(&mut self.cached) {
            if self.dirty.contains(&block) {
                self.cached.insert(block);
                continue;
            }
            match self.medium.get(&block) {
                Some(bytes) => self.blocks.insert(block, Rc::clone(bytes)),
                None => self.blocks.remove(&block),
            };
        }
    }

    /// The power goes: the cache is gone, and what was not synced with it, or not.
    pub fn power_cut(&mut self, loss: Loss, rng: &mut Rng) {
        let (sizes, mood) = match loss {
            Loss::Drawn => (rng.index(self.sizes.len() + 1), rng.below(4)),
            Loss::All => (0, 0),
            Loss::Nothing => (self.sizes.len(), 1),
        };
        self.settle(sizes);
        for block in std::mem::take(&mut self.dirty) {
            let Some(new) = self.blocks.get(&block) else { continue };
            // Whole files lost and whole files kept come up as often as a mixture: they are the telling cases.
            let fate = if mood < 2 { mood } else { rng.below(3) };
            match fate {
                0 => {}
                1 => drop(self.medium.insert(block, Rc::clone(new))),
                _ => {
                    let new = Rc::clone(new);
                    tear(self.medium.entry(block).or_insert_with(zeros), &new, rng);
                }
            }
        }
        self.sizes.clear();
        cut_blocks(&mut self.medium, self.medium_bytes);
        self.blocks.clone_from(&self.medium);
        self.bytes = self.medium_bytes;
        self.allocated = self.allocated.min(self.bytes);
        self.cached.clear();
    }

    /// Changes a byte on the medium; false if there is nothing on the medium there. A cached page stays good.
    pub fn rot(&mut self, offset: u64, mask: u8) -> bool {
        let block = offset / BLOCK_BYTES as u64;
        if offset >= self.medium_bytes {
            return false;
        }
        let bytes = self.medium.entry(block).or_insert_with(zeros);
        Rc::make_mut(bytes)[(offset % BLOCK_BYTES as u64) as usize] ^= mask;
        if !self.cached.contains(&block) && !self.dirty.contains(&block) {
            self.blocks.insert(block, Rc::clone(bytes));
        }
        true
    }

    /// The medium can no longer read the block of this byte, until it is written again.
    pub fn make_unreadable(&mut self, offset: u64) {
        self.unreadable.insert(offset / BLOCK_BYTES as u64);
    }

    /// Bytes of the range that are in the page cache.
    #[must_use]
    pub fn resident(&self, offset: u64, bytes: u64) -> u64 {
        let end = offset.saturating_add(bytes).min(self.bytes);
        if offset >= end {
            return 0;
        }
        let (first, last) = (offset / BLOCK_BYTES as u64, (end - 1) / BLOCK_BYTES as u64);
        let within = |block: &u64| {
            let start = block * BLOCK_BYTES as u64;
            (start + BLOCK_BYTES as u64).min(end) - start.max(offset)
        };
        self.cached.range(first..=last).map(within).sum()
    }

    /// Anything of the file is not durable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.sizes.is_empty()
    }
}

/// Some sectors are new, the others old.
fn tear(old: &mut Block, new: &Block, rng: &mut Rng) {
    let old = Rc::make_mut(old);
    for (old, new) in old.chunks_mut(SECTOR_BYTES).zip(new.chunks(SECTOR_BYTES)) {
        if rng.coin() {
            old.copy_from_slice(new);
        }
    }
}
