//! Places of a slab that are out in parts: small buffers without memory of their own.

use crate::limits::LEAF_BYTES;

/// Bytes of a part.
pub(super) const PART_BYTES: usize = LEAF_BYTES;

/// Which parts of which places are free.
pub(super) struct Cuts {
    /// A bit for each part of a whole place.
    all: u64,
    cut: Vec<Cut>,
}

struct Cut {
    slot: u16,
    /// A bit for each part that is free. One at least is out.
    free: u64,
}

impl Cuts {
    /// Of places of `buffer_bytes`; one of fewer than two parts is not cut.
    pub(super) fn of(buffer_bytes: usize) -> Self {
        let parts = (buffer_bytes / PART_BYTES).min(64);
        let all = if parts < 2 { 0 } else { u64::MAX >> (64 - parts) };
        Self { all, cut: Vec::new() }
    }

    /// Whether places are cut at all.
    pub(super) fn may_cut(&self) -> bool {
        self.all > 0
    }

    /// A free part of a place that is cut already.
    pub(super) fn take(&mut self) -> Option<(u16, u8)> {
        self.cut.iter_mut().find(|cut| cut.free > 0).map(Cut::take)
    }

    /// The first part of a place that is cut from now on.
    pub(super) fn cut(&mut self, slot: u16) -> (u16, u8) {
        let mut cut = Cut { slot, free: self.all };
        let first = cut.take();
        self.cut.push(cut);
        first
    }

    /// A part has come home; true if its place is whole again.
    pub(super) fn take_back(&mut self, slot: u16, part: u8) -> bool {
        let at = self.cut.iter().position(|cut| cut.slot == slot).expect("a part is of a place that is cut");
        self.cut[at].free |= 1 << part;
        let is_whole = self.cut[at].free == self.all;
        if is_whole {
            self.cut.swap_remove(at);
        }
        is_whole
    }
}

impl Cut {
    fn take(&mut self) -> (u16, u8) {
        let part = self.free.trailing_zeros();
        self.free &= self.free - 1;
        (self.slot, u8::try_from(part).expect("a place has at most 64 parts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_out_in_parts_until_the_last_has_come_home() {
        let mut cuts = Cuts::of(4 * PART_BYTES);
        assert!(cuts.may_cut() && cuts.take().is_none());
        let mut out = vec![cuts.cut(7)];
        out.extend(std::iter::from_fn(|| cuts.take()));
        assert_eq!(out, [(7, 0), (7, 1), (7, 2), (7, 3)]);
        assert!(!cuts.take_back(7, 2) && !cuts.take_back(7, 0));
        assert_eq!(cuts.take(), Some((7, 0)));
        let home: Vec<bool> = [3, 0, 1].map(|part| cuts.take_back(7, part)).into();
        assert_eq!((home, cuts.take()), (vec![false, false, true], None));
    }

    #[test]
    fn a_place_of_one_part_is_not_cut_and_one_of_many_has_64() {
        assert!(!Cuts::of(PART_BYTES + 4096).may_cut());
        let mut cuts = Cuts::of(100 * PART_BYTES);
        let first = cuts.cut(0);
        assert_eq!(std::iter::once(first).chain(std::iter::from_fn(|| cuts.take())).count(), 64);
    }
}
