//! Safe paths: the one parser through which every path enters a manifest.
//!
//! A `SafePath` is relative, canonical UTF-8: joined below a directory it names exactly one place in it. It
//! is parsed before a proposal, at apply and at snapshot install; what is not safe never reaches a file name.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::limits::{PATH_BYTES_MAX, PATH_COMPONENT_BYTES_MAX};

/// The component that belongs to Ringway itself, wherever it stands.
pub const RESERVED_COMPONENT: &str = ".ringway";

/// A path that was parsed: proof that it may be joined below a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SafePath<'a>(&'a str);

/// Why a path is refused. `at` counts bytes from the start of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum PathError {
    /// No bytes at all.
    Empty,
    /// More than `PATH_BYTES_MAX` bytes.
    TooLong {
        /// Bytes of the path.
        bytes: u64,
    },
    /// Not UTF-8.
    NotUtf8 {
        /// First byte that is not.
        at: u32,
    },
    /// Begins with `/`.
    Absolute,
    /// Begins with a scheme and `://`.
    Scheme,
    /// Begins with a drive letter and `:`.
    DriveLetter,
    /// A NUL byte.
    Nul {
        /// Where.
        at: u32,
    },
    /// A control character.
    Control {
        /// Where.
        at: u32,
    },
    /// Two slashes in a row.
    EmptyComponent {
        /// The second slash.
        at: u32,
    },
    /// Ends with `/`.
    TrailingSlash,
    /// A component `.`.
    Current {
        /// Where it begins.
        at: u32,
    },
    /// A component `..`.
    Parent {
        /// Where it begins.
        at: u32,
    },
    /// A component that Ringway keeps for itself.
    Reserved {
        /// Where it begins.
        at: u32,
    },
    /// A component of more than `PATH_COMPONENT_BYTES_MAX` bytes.
    ComponentTooLong {
        /// Where it begins.
        at: u32,
        /// Its bytes.
        bytes: u32,
    },
}

impl<'a> SafePath<'a> {
    /// Parses text.
    ///
    /// # Errors
    /// The first rule that the path breaks, and where.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong { bytes: text.len() as u64 });
        }
        check_start(text)?;
        check_characters(text)?;
        let mut at = 0;
        for component in text.as_bytes().split(|byte| *byte == b'/') {
            check_component(component, at, text.len())?;
            at += component.len() + 1;
        }
        Ok(Self(text))
    }

    /// Parses bytes, as a directory listing or a peer gives them.
    ///
    /// # Errors
    /// The first rule that the path breaks, and where.
    pub fn parse_bytes(bytes: &'a [u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong { bytes: bytes.len() as u64 });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| PathError::NotUtf8 { at: offset(error.valid_up_to()) })?;
        Self::parse(text)
    }

    /// A path that was parsed when it entered the state.
    pub(super) fn known(text: &'a str) -> Self {
        debug_assert_eq!(Self::parse(text), Ok(Self(text)), "an unparsed path is in the state");
        Self(text)
    }

    /// The path as text, its components parted by `/`.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The components, outermost first; at least one.
    pub fn components(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

impl fmt::Display for SafePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An offset in a path of at most `PATH_BYTES_MAX` bytes.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn check_start(text: &str) -> Result<(), PathError> {
    if text.starts_with('/') {
        return Err(PathError::Absolute);
    }
    let bytes = text.as_bytes();
    let of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let behind = bytes.iter().position(|byte| !of_scheme(byte)).unwrap_or(bytes.len());
    if bytes[0].is_ascii_alphabetic() && bytes[behind..].starts_with(b"://") {
        return Err(PathError::Scheme);
    }
    match bytes {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => Err(PathError::DriveLetter),
        _ => Ok(()),
    }
}

fn check_characters(text: &str) -> Result<(), PathError> {
    // To the end, whatever comes: the compiler takes many bytes at a time then.
    if text.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic()) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        None => Ok(()),
        Some((at, '\0')) => Err(PathError::Nul { at: offset(at) }),
        Some((at, _)) => Err(PathError::Control { at: offset(at) }),
    }
}

fn check_component(component: &[u8], at: usize, path_bytes: usize) -> Result<(), PathError> {
    match component {
        b"" if at == path_bytes => Err(PathError::TrailingSlash),
        b"" => Err(PathError::EmptyComponent { at: offset(at) }),
        b"." => Err(PathError::Current { at: offset(at) }),
        b".." => Err(PathError::Parent { at: offset(at) }),
        reserved if reserved == RESERVED_COMPONENT.as_bytes() => Err(PathError::Reserved { at: offset(at) }),
        long if long.len() > PATH_COMPONENT_BYTES_MAX => {
            Err(PathError::ComponentTooLong { at: offset(at), bytes: offset(long.len()) })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the path is empty"),
            Self::TooLong { bytes } => write!(f, "the path has {bytes} bytes, more than {PATH_BYTES_MAX}"),
            Self::NotUtf8 { at } => write!(f, "the path is not UTF-8 from byte {at}"),
            Self::Absolute => write!(f, "the path is absolute; give it relative to the shard's directory"),
            Self::Scheme => write!(f, "the path begins with a scheme"),
            Self::DriveLetter => write!(f, "the path begins with a drive letter"),
            Self::Nul { at } => write!(f, "the path has a NUL at byte {at}"),
            Self::Control { at } => write!(f, "the path has a control character at byte {at}"),
            Self::EmptyComponent { at } => write!(f, "the path has an empty component at byte {at}"),
            Self::TrailingSlash => write!(f, "the path ends with a slash; it must name a file"),
            Self::Current { at } => write!(f, "the path has a component '.' at byte {at}"),
            Self::Parent { at } => write!(f, "the path has a component '..' at byte {at}"),
            Self::Reserved { at } => write!(f, "the name {RESERVED_COMPONENT} at byte {at} is reserved"),
            Self::ComponentTooLong { at, bytes } => {
                write!(
                    f,
                    "the component at byte {at} has {bytes} bytes, more than {PATH_COMPONENT_BYTES_MAX}"
                )
            }
        }
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m3_ordinary_relative_paths_are_taken_as_they_are() {
        for path in ["a", "db/cpu/2026/10/05/14/cpu_1.parquet", "a b/ü/..c/.hidden", "a/b:c", "x\\y", "ab:c"]
        {
            let safe = SafePath::parse(path).expect(path);
            assert_eq!(safe.as_str(), path);
            assert_eq!(safe.components().collect::<Vec<_>>().join("/"), path);
        }
    }

    #[test]
    fn m3_every_unsafe_path_is_refused_with_what_and_where() {
        let cases = [
            ("", PathError::Empty),
            ("/a", PathError::Absolute),
            ("//a", PathError::Absolute),
            ("s3://bucket/key", PathError::Scheme),
            ("file:///etc/passwd", PathError::Scheme),
            ("C:/a", PathError::DriveLetter),
            ("c:", PathError::DriveLetter),
            ("a/b\0c", PathError::Nul { at: 3 }),
            ("a\nb", PathError::Control { at: 1 }),
            ("a/\u{7f}", PathError::Control { at: 2 }),
            ("ü\u{85}", PathError::Control { at: 2 }),
            ("a//b", PathError::EmptyComponent { at: 2 }),
            ("a/1://b", PathError::EmptyComponent { at: 5 }),
            ("a/", PathError::TrailingSlash),
            (".", PathError::Current { at: 0 }),
            ("a/./b", PathError::Current { at: 2 }),
            ("..", PathError::Parent { at: 0 }),
            ("a/../b", PathError::Parent { at: 2 }),
            ("a/..", PathError::Parent { at: 2 }),
            (".ringway/x", PathError::Reserved { at: 0 }),
            ("a/.ringway", PathError::Reserved { at: 2 }),
        ];
        for (path, error) in cases {
            assert_eq!(SafePath::parse(path), Err(error), "{path:?}");
        }
        assert_eq!(SafePath::parse_bytes(b"ab\xff"), Err(PathError::NotUtf8 { at: 2 }));
    }

    #[test]
    fn m3_the_length_limits_stand_at_their_byte() {
        let component = "x".repeat(255);
        assert!(SafePath::parse(&component).is_ok());
        let long = format!("a/{component}x");
        assert_eq!(SafePath::parse(&long), Err(PathError::ComponentTooLong { at: 2, bytes: 256 }));
        let full = format!("{}a", "x/".repeat(2047)) + "b";
        assert_eq!(full.len(), 4096);
        assert!(SafePath::parse(&full).is_ok());
        assert_eq!(SafePath::parse(&format!("{full}c")), Err(PathError::TooLong { bytes: 4097 }));
        assert_eq!(SafePath::parse_bytes(&[0xff; 5000]), Err(PathError::TooLong { bytes: 5000 }));
    }
}
