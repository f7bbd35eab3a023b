//! Who a data root belongs to: the file `identity`, written once when the root is made.
//!
//! It names its own inode, so that a root copied file by file is told from the original: two nodes must never act under
//! one incarnation. The layout is fixed, little-endian, and ends with a checksum.

use std::fmt;

use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::journal::replace;
use crate::uring::{Buffer, Core, Dir, Errno, OpenOptions};
use crate::wire::field_at;

pub(super) const NAME: &str = "identity";
const MAGIC: [u8; 8] = *b"RWYIDENT";
const VERSION: u32 = 1;
const AT_VERSION: usize = 8;
const AT_SHARDS: usize = 12;
const AT_CLUSTER: usize = 16;
const AT_NODE: usize = 32;
const AT_INCARNATION: usize = 40;
const AT_INODE: usize = 56;
const AT_CHECKSUM: usize = 64;
const BYTES: usize = 68;

const _: () = assert!(AT_NODE == AT_CLUSTER + ClusterId::BYTES);
const _: () = assert!(AT_INODE == AT_INCARNATION + Incarnation::BYTES);
const _: () = assert!(BYTES == AT_CHECKSUM + 4);

/// What a data root says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Shards of the cluster when it was made.
    pub shards: u32,
}

/// A root that this node must not use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityError {
    /// It belongs to another cluster.
    OtherCluster {
        /// The configured one.
        expected: ClusterId,
        /// The root's.
        found: ClusterId,
    },
    /// It belongs to another node.
    OtherNode {
        /// The configured one.
        expected: NodeId,
        /// The root's.
        found: NodeId,
    },
    /// It was made for another number of shards.
    OtherShards {
        /// The configured number.
        expected: u32,
        /// The root's.
        found: u32,
    },
    /// It was copied from the root in which the file had another inode.
    Copied {
        /// The node that both claim to be.
        node: NodeId,
    },
    /// A format of another version.
    UnknownVersion {
        /// The root's.
        found: u32,
    },
    /// The file is not as it was written.
    Damaged {
        /// What is wrong.
        why: &'static str,
    },
    /// The disk refuses.
    Disk {
        /// Why.
        errno: Errno,
    },
}

impl Identity {
    /// Reads the root's identity, or gives it one if it has none.
    ///
    /// # Errors
    /// The root is not this node's, or not readable.
    pub async fn load_or_make(
        root: &Dir,
        cluster: ClusterId,
        node: NodeId,
        shards: u32,
    ) -> Result<Self, IdentityError> {
        match Self::load(root).await? {
            Some(found) => found.expect(cluster, node, shards),
            None => {
                Self::make(root, cluster, node, shards).await.map_err(|errno| IdentityError::Disk { errno })
            }
        }
    }

    /// Reads the root's identity; `None` if it has none.
    ///
    /// # Errors
    /// It is damaged, copied, of another version, or not readable.
    pub async fn load(root: &Dir) -> Result<Option<Self>, IdentityError> {
        match Self::found(root).await? {
            Some((identity, true)) => Err(IdentityError::Copied { node: identity.node }),
            found => Ok(found.map(|(identity, _)| identity)),
        }
    }

    /// Reads the root's identity, and whether it was copied there; `None` if it has none.
    ///
    /// # Errors
    /// It is damaged, of another version, or not readable.
    pub async fn found(root: &Dir) -> Result<Option<(Self, bool)>, IdentityError> {
        let disk = |errno| IdentityError::Disk { errno };
        let file = match root.open(NAME, OpenOptions::default()).await {
            Ok(file) => file,
            Err(Errno::NOT_FOUND) => return Ok(None),
            Err(errno) => return Err(disk(errno)),
        };
        let inode = file.stat().await.map_err(disk)?.inode;
        let (count, buffer) = file.read_at(Buffer::heap(BYTES + 1), 0..BYTES + 1, 0).await;
        let bytes = buffer.memory().get(..count.map_err(disk)?).unwrap_or_default();
        let (identity, own_inode) = decode(bytes)?;
        Ok(Some((identity, own_inode != inode)))
    }

    /// Gives the root another life, durably: from here on it is not the voter that it was.
    ///
    /// # Errors
    /// As the disk says.
    pub async fn renew(self, root: &Dir) -> Result<Self, IdentityError> {
        let Self { cluster, node, shards, .. } = self;
        Self::make(root, cluster, node, shards).await.map_err(|errno| IdentityError::Disk { errno })
    }

    async fn make(root: &Dir, cluster: ClusterId, node: NodeId, shards: u32) -> Result<Self, Errno> {
        let identity = Self { cluster, node, incarnation: Incarnation(Core::current().random()), shards };
        replace(root, NAME, async |file| Ok(encode(&identity, file.stat().await?.inode))).await?;
        Ok(identity)
    }

    /// It, if it is this cluster's and this node's.
    ///
    /// # Errors
    /// What differs.
    pub fn expect(self, cluster: ClusterId, node: NodeId, shards: u32) -> Result<Self, IdentityError> {
        if self.cluster != cluster {
            return Err(IdentityError::OtherCluster { expected: cluster, found: self.cluster });
        }
        if self.node != node {
            return Err(IdentityError::OtherNode { expected: node, found: self.node });
        }
        if self.shards != shards {
            return Err(IdentityError::OtherShards { expected: shards, found: self.shards });
        }
        Ok(self)
    }
}

impl IdentityError {
    /// The disk has no room for the file.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk { errno } if errno.is_disk_full())
    }
}

fn encode(identity: &Identity, inode: u64) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out[..AT_VERSION].copy_from_slice(&MAGIC);
    out[AT_VERSION..AT_SHARDS].copy_from_slice(&VERSION.to_le_bytes());
    out[AT_SHARDS..AT_CLUSTER].copy_from_slice(&identity.shards.to_le_bytes());
    out[AT_CLUSTER..AT_NODE].copy_from_slice(&identity.cluster.0);
    out[AT_NODE..AT_INCARNATION].copy_from_slice(&identity.node.0.to_le_bytes());
    out[AT_INCARNATION..AT_INODE].copy_from_slice(&identity.incarnation.0);
    out[AT_INODE..AT_CHECKSUM].copy_from_slice(&inode.to_le_bytes());
    let checksum = crc32fast::hash(&out[..AT_CHECKSUM]);
    out[AT_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Identity, u64), IdentityError> {
    let Ok(bytes) = <&[u8; BYTES]>::try_from(bytes) else {
        return Err(IdentityError::Damaged { why: "it has the wrong size" });
    };
    if bytes[..AT_VERSION] != MAGIC {
        return Err(IdentityError::Damaged { why: "it does not begin as an identity" });
    }
    let version = u32::from_le_bytes(field_at(bytes, AT_VERSION));
    if version != VERSION {
        return Err(IdentityError::UnknownVersion { found: version });
    }
    if crc32fast::hash(&bytes[..AT_CHECKSUM]) != u32::from_le_bytes(field_at(bytes, AT_CHECKSUM)) {
        return Err(IdentityError::Damaged { why: "its checksum differs" });
    }
    let identity = Identity {
        cluster: ClusterId(field_at(bytes, AT_CLUSTER)),
        node: NodeId(u64::from_le_bytes(field_at(bytes, AT_NODE))),
        incarnation: Incarnation(field_at(bytes, AT_INCARNATION)),
        shards: u32::from_le_bytes(field_at(bytes, AT_SHARDS)),
    };
    Ok((identity, u64::from_le_bytes(field_at(bytes, AT_INODE))))
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { expected, found } => {
                write!(f, "the root belongs to cluster {found}, and this node to {expected}")
            }
            Self::OtherNode { expected, found } => {
                write!(
                    f,
                    "the root belongs to node {found}, and this is node {expected}; if it is a copy, `ringway adopt` \
                     makes it this node's"
                )
            }
            Self::OtherShards { expected, found } => {
                write!(f, "the root was made for {found} shards, and {expected} are configured")
            }
            Self::Copied { node } => write!(
                f,
                "the root is a copy of node {node}'s: two nodes must not share a life; `ringway adopt` \
                 makes it this node's"
            ),
            Self::UnknownVersion { found } => {
                write!(f, "the root's identity has format version {found}; this program reads {VERSION}")
            }
            Self::Damaged { why } => {
                write!(f, "the root's identity is damaged: {why}; restore the file or start empty")
            }
            Self::Disk { errno } => write!(f, "the root's identity: {errno}"),
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::page::{hex, vector};

    const ID: Identity = Identity {
        cluster: ClusterId([7; 16]),
        node: NodeId(3),
        incarnation: Incarnation([9; 16]),
        shards: 4,
    };

    #[test]
    fn its_bytes_are_those_of_format_md() {
        assert_eq!(hex(&encode(&ID, 42)), vector("identity"));
    }

    #[test]
    fn it_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = encode(&ID, 42);
        assert_eq!(decode(&bytes), Ok((ID, 42)));
        let damaged = |why| Err(IdentityError::Damaged { why });
        for bit in 0..BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                ..AT_VERSION => damaged("it does not begin as an identity"),
                AT_VERSION..AT_SHARDS => {
                    Err(IdentityError::UnknownVersion { found: VERSION ^ (1 << (bit - AT_VERSION * 8)) })
                }
                _ => damaged("its checksum differs"),
            };
            assert_eq!(decode(&bad), expected, "bit {bit}");
        }
        for bytes in [&bytes[..BYTES - 1], &[], &[bytes.as_slice(), &[0]].concat()] {
            assert_eq!(decode(bytes), damaged("it has the wrong size"));
        }
    }

    #[test]
    fn a_root_of_another_cluster_node_or_size_is_refused() {
        assert_eq!(ID.expect(ID.cluster, ID.node, 4), Ok(ID));
        assert!(matches!(ID.expect(ClusterId([8; 16]), ID.node, 4), Err(IdentityError::OtherCluster { .. })));
        assert!(matches!(ID.expect(ID.cluster, NodeId(4), 4), Err(IdentityError::OtherNode { .. })));
        assert!(matches!(ID.expect(ID.cluster, ID.node, 5), Err(IdentityError::OtherShards { .. })));
    }
}
