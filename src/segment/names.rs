//! Names within our private folder. We choose all of them, from the segment's id and root; nothing of a peer's text
//! is in them.

use std::fmt;

use crate::ids::{Digest, LogIndex, SegmentId};

use super::identity::Identity;

/// Which version of which segment a private file belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stem {
    /// The segment.
    pub id: SegmentId,
    /// The root of its content.
    pub root: Digest,
}

/// The end of the name of a staging file's bitmap.
const MAP: &str = ".map";
const DRAFT: &str = "draft-";

/// What a name in `staging/` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StagingName {
    /// The data.
    Data(Stem),
    /// The bitmap of its verified chunks.
    Map(Stem),
}

impl Stem {
    /// The name of the bitmap beside the staged data.
    pub(super) fn map(self) -> String {
        format!("{self}{MAP}")
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (index, ordinal, root) = (parts.next()?, parts.next()?, parts.next()?);
        let stem = Self {
            id: SegmentId {
                index: LogIndex(u64::from_str_radix(index, 16).ok()?),
                ordinal: u32::from_str_radix(ordinal, 16).ok()?,
            },
            root: Digest::from_hex(root)?,
        };
        (stem.to_string() == text).then_some(stem)
    }

    /// The least and the greatest stem of a segment, for a range.
    pub(super) fn all_of(id: SegmentId) -> std::ops::RangeInclusive<Self> {
        Self { id, root: Digest([0; 32]) }..=Self { id, root: Digest([0xff; 32]) }
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}-{}", self.id.index.0, self.id.ordinal, self.root)
    }
}

/// Reads a name in `staging/`; `None` for one that we did not choose.
pub(super) fn staging_name(bytes: &[u8]) -> Option<StagingName> {
    let text = std::str::from_utf8(bytes).ok()?;
    match text.strip_suffix(MAP) {
        Some(stem) => Stem::parse(stem).map(StagingName::Map),
        None => Stem::parse(text).map(StagingName::Data),
    }
}

/// The name of a pin before its segment has an id: by the file's identity, so that asking twice is asking once.
pub(super) fn draft_name(identity: &Identity) -> String {
    format!("{DRAFT}{:x}-{:x}-{:x}", identity.device, identity.inode, identity.modified.0)
}

/// Whether a name in `pins/` is a draft's.
pub(super) fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_reads_what_it_writes_and_nothing_else() {
        let stem = Stem { id: SegmentId { index: LogIndex(0xfeed), ordinal: 3 }, root: Digest([7; 32]) };
        assert_eq!(Stem::parse(&stem.to_string()), Some(stem));
        assert_eq!(staging_name(stem.to_string().as_bytes()), Some(StagingName::Data(stem)));
        assert_eq!(staging_name(stem.map().as_bytes()), Some(StagingName::Map(stem)));
        assert_eq!(Stem::parse(&stem.to_string().to_uppercase()), None, "one name only");
        for other in ["", "inventory", "1-2-3", &format!("{stem}-x"), &format!("+{stem}")] {
            assert_eq!(staging_name(other.as_bytes()), None, "{other:?}");
        }
        assert!(Stem::all_of(stem.id).contains(&stem));
    }
}
