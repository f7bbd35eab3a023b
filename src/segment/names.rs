//! Names within our private folder. We choose all of them, from the segment's id and root; nothing of a peer's text
//! is in them.

use std::fmt;

use crate::ids::{Digest, LogIndex, SegmentId, hex_decode, hex_encode};

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
/// The beginning of the name that a landed file has on its way out.
const GONE: &str = "gone-";
/// The beginning of the name that a staged file has while it takes the place of the version before.
const SWAP: &str = "swap-";
const DRAFT: &str = "draft-";
/// The beginning of the name of a draft that is a checkpoint's file, and gets the segment's name when it has an id.
const TAKEN: &str = "taken-";
/// The beginning of the names in `checkpoints/`.
const CAPTURED: &str = "captured-";

/// What a name in `staging/` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StagingName {
    /// The data.
    Data(Stem),
    /// The bitmap of its verified chunks.
    Map(Stem),
    /// What stood under a final name and is being removed.
    Gone(GoneName),
    /// What takes part in an exchange, or came out of it.
    Swap(SwapName),
}

/// What a name says of the file that it was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    inode: u64,
    bytes: u64,
    /// The number of a file that is gone comes again: by its time another one is told from it.
    modified: u64,
}

impl Mark {
    fn of(file: &Identity) -> Self {
        Self { inode: file.inode, bytes: file.bytes, modified: file.modified.0 }
    }

    fn parse<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        Some(Self { inode: number()?, bytes: number()?, modified: number()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.inode, self.bytes, self.modified)
    }
}

/// The name that a segment's file gets before it is unlinked: it says which file was meant, as somebody may have put
/// another one under the final name since that was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GoneName {
    stem: Stem,
    file: Mark,
}

impl GoneName {
    pub(super) fn new(stem: Stem, file: &Identity) -> Self {
        Self { stem, file: Mark::of(file) }
    }

    /// The segment.
    pub(super) fn stem(&self) -> Stem {
        self.stem
    }

    /// Whether it is the file that was meant. One whose time a power cut has taken back is not.
    pub(super) fn means(&self, file: &Identity) -> bool {
        Mark::of(file) == self.file
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(GONE)?.splitn(4, '-');
        let file = Mark::parse(&mut parts)?;
        let gone = Self { stem: Stem::parse(parts.next()?)?, file };
        (gone.to_string() == text).then_some(gone)
    }
}

impl fmt::Display for GoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GONE}{}-{}", self.file, self.stem)
    }
}

/// The name under which a staged file takes the place of the version before: it says which file is ours, and which one
/// was thought to come out. See `exchange.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SwapName {
    stem: Stem,
    ours: Mark,
    older: Mark,
}

impl SwapName {
    pub(super) fn new(stem: Stem, ours: &Identity, older: &Identity) -> Self {
        Self { stem, ours: Mark::of(ours), older: Mark::of(older) }
    }

    /// The staged version.
    pub(super) fn stem(&self) -> Stem {
        self.stem
    }

    /// Whether it is our staged file. That is held open for as long as anything may be exchanged with it, so that its
    /// number is nobody else's; its time is not asked for, as a power cut may have taken that back.
    pub(super) fn is_ours(&self, file: &Identity) -> bool {
        (file.inode, file.bytes) == (self.ours.inode, self.ours.bytes)
    }

    /// Whether it is the version before.
    pub(super) fn is_older(&self, file: &Identity) -> bool {
        Mark::of(file) == self.older
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(SWAP)?.splitn(7, '-');
        let (ours, older) = (Mark::parse(&mut parts)?, Mark::parse(&mut parts)?);
        let swap = Self { stem: Stem::parse(parts.next()?)?, ours, older };
        (swap.to_string() == text).then_some(swap)
    }
}

impl fmt::Display for SwapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SWAP}{}-{}-{}", self.ours, self.older, self.stem)
    }
}

/// Digits of the two numbers in a stem's name.
const INDEX_DIGITS: usize = 16;
const ORDINAL_DIGITS: usize = 8;
const STEM_DIGITS: usize = INDEX_DIGITS + ORDINAL_DIGITS + 2 * Digest::BYTES;

impl Stem {
    /// The name of the bitmap beside the staged data.
    pub(super) fn map(self) -> String {
        format!("{self}{MAP}")
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // A store that opens reads the names of all its pins: no number of another width, and no capital.
        let (index, rest) = text.split_at_checked(INDEX_DIGITS)?;
        let (ordinal, root) = rest.strip_prefix('-')?.split_at_checked(ORDINAL_DIGITS)?;
        let id = SegmentId {
            index: LogIndex(u64::from_be_bytes(hex_decode(index)?)),
            ordinal: u32::from_be_bytes(hex_decode(ordinal)?),
        };
        let root = Digest::from_hex(root.strip_prefix('-')?)?;
        let has_capital = text.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase());
        (!has_capital).then_some(Self { id, root })
    }

    /// The least and the greatest stem of a segment, for a range.
    pub(super) fn all_of(id: SegmentId) -> std::ops::RangeInclusive<Self> {
        Self { id, root: Digest([0; 32]) }..=Self { id, root: Digest([0xff; 32]) }
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = [b'-'; STEM_DIGITS + 2];
        let (index, rest) = name.split_at_mut(INDEX_DIGITS);
        let (ordinal, root) = rest[1..].split_at_mut(ORDINAL_DIGITS);
        index.copy_from_slice(hex_encode(self.id.index.0.to_be_bytes()).as_flattened());
        ordinal.copy_from_slice(hex_encode(self.id.ordinal.to_be_bytes()).as_flattened());
        root[1..].copy_from_slice(hex_encode(self.root.0).as_flattened());
        f.write_str(std::str::from_utf8(&name).map_err(|_| fmt::Error)?)
    }
}

/// Reads a name in `staging/`; `None` for one that we did not choose.
pub(super) fn staging_name(bytes: &[u8]) -> Option<StagingName> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(gone) = GoneName::parse(text) {
        return Some(StagingName::Gone(gone));
    }
    if let Some(swap) = SwapName::parse(text) {
        return Some(StagingName::Swap(swap));
    }
    match text.strip_suffix(MAP) {
        Some(stem) => Stem::parse(stem).map(StagingName::Map),
        None => Stem::parse(text).map(StagingName::Data),
    }
}

/// What the names of all pins of a file begin with that has no id yet: the file's identity.
pub(super) fn draft_names_of(identity: &Identity) -> String {
    format!("{DRAFT}{:x}-{:x}-{:x}", identity.device, identity.inode, identity.modified.0)
}

/// The name of a pin before its segment has an id. One file may be digested twice, under two of its names or for two
/// who want it registered: each has a pin of its own, so that none ends with another one.
pub(super) fn draft_name(identity: &Identity, number: u32) -> String {
    format!("{}-{number:x}", draft_names_of(identity))
}

/// Whether a name in `pins/` is a draft's.
pub(super) fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT) || is_taken(name)
}

/// The same for a checkpoint's file, which is ours.
pub(super) fn taken_name(identity: &Identity, number: u32) -> String {
    format!("{TAKEN}{:x}-{:x}-{number:x}", identity.inode, identity.modified.0)
}

/// Whether a name in `pins/` is that of a checkpoint's file that has no id yet.
pub(super) fn is_taken(name: &str) -> bool {
    name.starts_with(TAKEN)
}

/// The name of what a checkpoint links or copies, before it is among the drafts. `number` is never used twice.
#[must_use]
pub fn captured_name(process: u32, number: u64) -> String {
    format!("{CAPTURED}{process:x}-{number:x}")
}

/// Whether a name in `checkpoints/` is such a one.
pub(super) fn is_captured(name: &str) -> bool {
    name.starts_with(CAPTURED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UnixNanos;
    use crate::limits::PATH_COMPONENT_BYTES_MAX;

    #[test]
    fn a_stem_reads_what_it_writes_and_nothing_else() {
        let stem = Stem { id: SegmentId { index: LogIndex(0xfeed), ordinal: 3 }, root: Digest([7; 32]) };
        assert_eq!(Stem::parse(&stem.to_string()), Some(stem));
        assert_eq!(staging_name(stem.to_string().as_bytes()), Some(StagingName::Data(stem)));
        assert_eq!(staging_name(stem.map().as_bytes()), Some(StagingName::Map(stem)));
        assert_eq!(stem.to_string(), format!("000000000000feed-00000003-{}", "07".repeat(32)));
        assert_eq!(Stem::parse(&stem.to_string().to_uppercase()), None, "one name only");
        for at in [0, 16, 17, 25, 26, 89] {
            let mut shorter = stem.to_string();
            shorter.remove(at);
            let longer = format!("{}0{}", &stem.to_string()[..at], &stem.to_string()[at..]);
            assert_eq!((Stem::parse(&shorter), Stem::parse(&longer)), (None, None), "at {at}");
        }
        for other in ["", "inventory", "1-2-3", &format!("{stem}-x"), &format!("+{stem}")] {
            assert_eq!(staging_name(other.as_bytes()), None, "{other:?}");
        }
        assert!(Stem::all_of(stem.id).contains(&stem));
    }

    #[test]
    fn a_name_says_which_files_were_meant_and_a_number_that_comes_again_means_another() {
        let stem = Stem { id: SegmentId { index: LogIndex(0xfeed), ordinal: 3 }, root: Digest([7; 32]) };
        let file = Identity { device: 1, inode: 0xabc, bytes: 77, modified: UnixNanos(5) };
        let others = [
            Identity { inode: 0xabd, ..file },
            Identity { bytes: 78, ..file },
            Identity { modified: UnixNanos(6), ..file },
        ];
        let gone = GoneName::new(stem, &file);
        assert_eq!(staging_name(gone.to_string().as_bytes()), Some(StagingName::Gone(gone)));
        assert!(gone.means(&file) && gone.stem() == stem);
        let ours = Identity { inode: u64::MAX, bytes: u64::MAX, modified: UnixNanos(u64::MAX), ..file };
        let swap = SwapName::new(stem, &ours, &file);
        assert_eq!(staging_name(swap.to_string().as_bytes()), Some(StagingName::Swap(swap)));
        assert!(swap.is_older(&file) && swap.is_ours(&ours) && swap.stem() == stem);
        for other in &others {
            assert!(!gone.means(other) && !swap.is_older(other) && !swap.is_ours(other), "{other}");
        }
        assert!(swap.is_ours(&Identity { modified: UnixNanos(6), ..ours }), "a power cut takes a time back");
        let longest = SwapName::new(stem, &ours, &ours).to_string();
        assert!(longest.len() <= PATH_COMPONENT_BYTES_MAX, "{}", longest.len());
    }
}
