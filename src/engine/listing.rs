//! The list of a served directory, in pages: what a pull is told of before it fetches.

use crate::ids::Digest;
use crate::limits::{PATH_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::manifest::SafePath;
use crate::wire::{CodecError, Reader, Writer};

/// One file of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) root: Digest,
}

/// A page that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ListingError {
    /// The bytes do not decode.
    Codec(CodecError),
    /// A path that must not reach a disk; control characters escaped.
    Path { path: String, why: String },
    /// A size that no segment has.
    Bytes { bytes: u64 },
    /// A path that is not behind the one before it.
    Order { path: String },
    /// A page without files that is not the last: the list would have no end.
    NoEnd,
    /// More files than a pull takes.
    TooMany { most: usize },
}

impl From<CodecError> for ListingError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// Begins a page with the number of things that the source does not carry.
pub(crate) fn begin(skipped: u32) -> Vec<u8> {
    skipped.to_le_bytes().to_vec()
}

/// Appends one file to a page.
pub(crate) fn encode(listed: &Listed, page: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut writer = Writer::new(page);
    writer.bytes(listed.path.as_bytes(), PATH_BYTES_MAX)?;
    writer.u64(listed.bytes);
    writer.put(&listed.root.0);
    Ok(())
}

/// Reads a page: how many things the source does not carry, and files. Every path has passed the one strict parser.
pub(crate) fn decode(page: &[u8]) -> Result<(u32, Vec<Listed>), ListingError> {
    let mut reader = Reader::new(page);
    let skipped = reader.u32()?;
    let mut listed = Vec::new();
    while reader.left() > 0 {
        let raw = reader.bytes(PATH_BYTES_MAX)?;
        let path = SafePath::parse_bytes(raw).map_err(|error| ListingError::Path {
            path: raw.escape_ascii().to_string(),
            why: error.to_string(),
        })?;
        let bytes = reader.u64()?;
        if bytes > SEGMENT_BYTES_MAX {
            return Err(ListingError::Bytes { bytes });
        }
        listed.push(Listed { path: path.as_str().to_owned(), bytes, root: Digest(reader.array()?) });
    }
    Ok((skipped, listed))
}

impl std::fmt::Display for ListingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Codec(error) => write!(f, "the source's list does not decode: {error}"),
            Self::Path { path, why } => write!(f, "the source lists the path {path:?}: {why}"),
            Self::Bytes { bytes } => write!(f, "the source lists a file of {bytes} bytes"),
            Self::Order { path } => write!(f, "the source lists {path:?} behind a path that follows it"),
            Self::NoEnd => f.write_str("the source's list has no end: a page without files is not its last"),
            Self::TooMany { most } => write!(f, "the source lists more than {most} files"),
        }
    }
}

impl std::error::Error for ListingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_read_back_and_hostile_paths_are_refused() {
        let good = Listed { path: "a/b".to_owned(), bytes: 7, root: Digest([3; 32]) };
        let mut page = begin(5);
        encode(&good, &mut page).expect("short");
        assert_eq!(decode(&page), Ok((5, vec![good.clone()])));
        for cut in (0..4).chain(5..page.len()) {
            assert!(matches!(decode(&page[..cut]), Err(ListingError::Codec(_))), "{cut} bytes");
        }
        assert_eq!(decode(&page[..4]), Ok((5, vec![])), "a page without files");
        for path in ["../x", "/etc/passwd", "a//b", ".ringway/inventory", "a\nb", ""] {
            let mut page = begin(0);
            encode(&Listed { path: path.to_owned(), ..good.clone() }, &mut page).expect("short");
            assert!(matches!(decode(&page), Err(ListingError::Path { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_size_that_no_segment_has_is_refused() {
        let of = |bytes| {
            let mut page = begin(0);
            let listed = Listed { path: "a".to_owned(), bytes, root: Digest([3; 32]) };
            encode(&listed, &mut page).expect("short");
            decode(&page).map(|(_, files)| files.len())
        };
        assert_eq!(of(SEGMENT_BYTES_MAX), Ok(1));
        for bytes in [SEGMENT_BYTES_MAX + 1, u64::MAX] {
            assert_eq!(of(bytes), Err(ListingError::Bytes { bytes }));
        }
    }
}
