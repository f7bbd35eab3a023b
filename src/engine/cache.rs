//! Digests of a plain directory's files, kept between starts: by path, size, inode and time of change.
//!
//! The file is a hint: one that is damaged, of another version or of another directory is made anew. A chunk
//! list out of it is checked against its root like one from the network.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::digest::{ChunkList, VerifiedChunks};
use crate::ids::Digest;
use crate::limits::{PATH_BYTES_MAX, SEGMENT_CHUNKS_MAX};
use crate::wire::{CodecError, Reader, Writer};

use super::tree::Facts;

const MAGIC: &[u8; 8] = b"RWYDGST1";

/// The digests, by path.
#[derive(Debug, Default)]
pub(crate) struct Cache(BTreeMap<String, (Facts, VerifiedChunks)>);

impl Cache {
    /// Reads a cache; an empty one if there is none that can be used.
    pub(crate) fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => decode(&bytes).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the digests kept there are damaged; they are made anew");
                Self::default()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "digests are made anew");
                }
                Self::default()
            }
        }
    }

    /// Digests of a file that has not changed since.
    pub(crate) fn take(&mut self, path: &str, facts: Facts) -> Option<VerifiedChunks> {
        let (known, chunks) = self.0.remove(path)?;
        (known == facts).then_some(chunks)
    }

    /// Keeps a file's digests.
    pub(crate) fn put(&mut self, path: &str, facts: Facts, chunks: VerifiedChunks) {
        self.0.insert(path.to_owned(), (facts, chunks));
    }

    /// Writes the cache: whole, then renamed over the old one.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&self.encode().map_err(|error| io::Error::other(error.to_string()))?)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = MAGIC.to_vec();
        let mut writer = Writer::new(&mut out);
        for (path, (facts, chunks)) in &self.0 {
            writer.bytes(path.as_bytes(), PATH_BYTES_MAX)?;
            writer.u64(facts.bytes);
            writer.u64(facts.inode);
            writer.put(&facts.modified.to_le_bytes());
            writer.put(&chunks.root().0);
            writer.count(chunks.digests().len(), CHUNKS_MAX)?;
            chunks.digests().iter().for_each(|digest| writer.put(&digest.0));
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }
}

#[expect(clippy::as_conversions, reason = "a constant that fits")]
const CHUNKS_MAX: usize = SEGMENT_CHUNKS_MAX as usize;

fn decode(bytes: &[u8]) -> Option<Cache> {
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut reader = Reader::new(body.strip_prefix(MAGIC)?);
    let mut cache = Cache::default();
    while reader.left() > 0 {
        let path = std::str::from_utf8(reader.bytes(PATH_BYTES_MAX).ok()?).ok()?.to_owned();
        let (bytes, inode) = (reader.u64().ok()?, reader.u64().ok()?);
        let facts = Facts { bytes, inode, modified: i128::from_le_bytes(reader.array().ok()?) };
        let root = Digest(reader.array().ok()?);
        let count = reader.count(Digest::BYTES, CHUNKS_MAX).ok()?;
        let chunks = (0..count).map(|_| reader.array().map(Digest)).collect::<Result<Vec<_>, _>>().ok()?;
        let chunks = ChunkList { len: bytes, chunks }.verify(root).ok()?;
        cache.0.insert(path, (facts, chunks));
    }
    Some(cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Kernel, TreeHasher};

    fn chunks(content: &[u8]) -> VerifiedChunks {
        let mut hasher = TreeHasher::new(Kernel::Ring);
        hasher.update(content);
        let tree = hasher.finish();
        let root = tree.root;
        ChunkList::from(tree).verify(root).expect("just made")
    }

    #[test]
    fn digests_are_kept_for_unchanged_files_only_and_damage_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/cache");
        let facts = Facts { bytes: 3, inode: 7, modified: 9 };
        let mut cache = Cache::load(&path);
        cache.put("a", facts, chunks(b"abc"));
        cache.save(&path).expect("written");
        let mut again = Cache::load(&path);
        assert_eq!(again.take("a", facts).expect("kept").root(), chunks(b"abc").root());
        let mut again = Cache::load(&path);
        assert!(again.take("a", Facts { modified: 10, ..facts }).is_none());
        let mut bytes = fs::read(&path).expect("there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("written");
        assert!(Cache::load(&path).take("a", facts).is_none());
    }
}
