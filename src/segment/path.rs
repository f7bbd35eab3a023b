//! A path below the segments' root, as this room takes it: relative, no way up, no name of ours.
//!
//! The manifest's parser has judged the path long before; this check is the cheap second one, at the door of the room
//! that gives paths to the kernel (which resolves them beneath the root by itself, once more).

use std::fmt;
use std::rc::Rc;

use crate::limits::{PATH_BYTES_MAX, PATH_COMPONENT_BYTES_MAX};

/// The folder of our own files; no segment has a component of this name.
pub const PRIVATE_FOLDER: &str = ".ringway";

/// A path that names one file below the segments' root. Clones are cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Rc<str>);

/// Why a path is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathRefused {
    /// Empty, or an empty component: it begins or ends with a slash, or has two in a row.
    Empty,
    /// The path or one component is longer than the limits.
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// A component `.` or `..`.
    Dots,
    /// A component of our own name.
    Reserved,
    /// A NUL byte.
    Nul,
}

impl RelativePath {
    /// Takes a path.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, PathRefused> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathRefused::TooLong { bytes: text.len() });
        }
        if text.as_bytes().contains(&0) {
            return Err(PathRefused::Nul);
        }
        for component in text.as_bytes().split(|byte| *byte == b'/') {
            match component {
                b"" => return Err(PathRefused::Empty),
                b"." | b".." => return Err(PathRefused::Dots),
                ours if ours == PRIVATE_FOLDER.as_bytes() => return Err(PathRefused::Reserved),
                long if long.len() > PATH_COMPONENT_BYTES_MAX => {
                    return Err(PathRefused::TooLong { bytes: long.len() });
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that the file stands in; empty for the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The file's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for PathRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the path has an empty component"),
            Self::TooLong { bytes } => {
                write!(f, "{bytes} bytes are too long for a path or a component of one")
            }
            Self::Dots => f.write_str("the path has a component of dots"),
            Self::Reserved => write!(f, "the path has the reserved component {PRIVATE_FOLDER}"),
            Self::Nul => f.write_str("the path has a NUL byte"),
        }
    }
}

impl std::error::Error for PathRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_folder_and_a_name() {
        let path = RelativePath::parse("2026/11/a.seg").unwrap();
        assert_eq!((path.folder(), path.name()), ("2026/11", "a.seg"));
        let path = RelativePath::parse("a.seg").unwrap();
        assert_eq!((path.folder(), path.name()), ("", "a.seg"));
    }

    #[test]
    fn paths_that_leave_the_root_or_enter_our_folder_are_refused() {
        let long = "x".repeat(256);
        for (text, refused) in [
            ("", PathRefused::Empty),
            ("/etc/passwd", PathRefused::Empty),
            ("a//b", PathRefused::Empty),
            ("a/", PathRefused::Empty),
            ("../a", PathRefused::Dots),
            ("a/../../b", PathRefused::Dots),
            ("./a", PathRefused::Dots),
            (".ringway/inventory", PathRefused::Reserved),
            ("a/.ringway", PathRefused::Reserved),
            ("a\0b", PathRefused::Nul),
            (long.as_str(), PathRefused::TooLong { bytes: 256 }),
        ] {
            assert_eq!(RelativePath::parse(text).unwrap_err(), refused, "{text:?}");
        }
        assert!(RelativePath::parse(&"x/".repeat(2100)).is_err());
        assert!(RelativePath::parse("..a/b..").is_ok(), "dots within a name are no way up");
    }
}
