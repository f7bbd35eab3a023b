//! What an embedder asks for: changes of a shard's manifest.

use crate::ids::Digest;

/// One change of a shard's manifest. Changes of one batch happen together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A sealed file that is new in the manifest.
    Register(Sealed),
    /// New content of a path that is in the manifest: a sealed file put there by rename.
    Update(Sealed),
    /// The path leaves the manifest. Replicas remove their copies; the origin's file is the engine's own to remove.
    Delete {
        /// The path.
        path: String,
        /// Why, for events and logs; for example `compaction:17`.
        reason: String,
    },
}

/// A sealed file in the shard's directory: nobody writes to it any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Relative to the shard's directory, with `/` between components.
    pub path: String,
    /// SHA-256 of the content, if the engine has computed it; checked in the pass that reads the file.
    pub flat: Option<Digest>,
    /// How the engine ranks its storage; 0 is the hottest.
    pub tier: u8,
    /// The engine's own names and values, to find the segment by.
    pub labels: Vec<(String, String)>,
}

impl Sealed {
    /// A sealed file with nothing else said of it.
    #[must_use]
    pub fn at(path: impl Into<String>) -> Self {
        Self { path: path.into(), flat: None, tier: 0, labels: Vec::new() }
    }
}

impl Change {
    /// Registers the sealed file at `path`.
    #[must_use]
    pub fn register(path: impl Into<String>) -> Self {
        Self::Register(Sealed::at(path))
    }

    /// Takes the sealed file at `path` as the path's new content.
    #[must_use]
    pub fn update(path: impl Into<String>) -> Self {
        Self::Update(Sealed::at(path))
    }

    /// Deletes `path`.
    #[must_use]
    pub fn delete(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Delete { path: path.into(), reason: reason.into() }
    }

    /// The path that the change is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Register(sealed) | Self::Update(sealed) => &sealed.path,
            Self::Delete { path, .. } => path,
        }
    }
}
