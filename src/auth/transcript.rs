//! What both sides of a handshake said, as one unambiguous string of bytes, and the keys that come from it.
//!
//! Each item is written as label and value, each behind its length: no two different handshakes give the same bytes.
//! An item that is left out here is an item that somebody between the two can change; the handshake's test changes
//! every one.
//!
//! ```text
//! root key       = HKDF-Extract("ringway auth 1 secret", secret)
//! key of `label` = HKDF-Expand(root key, "ringway auth 1 " || label || SHA-256(transcript))
//! proof          = HMAC-SHA256(key of "… proof", SHA-256(transcript))
//! ```

use std::fmt;

use ring::{digest, hkdf, hmac};

use crate::ids::{ClusterId, GroupId, Incarnation, NodeId};

use super::secret::{KeyId, KeyIds, Secret};

/// Fresh random bytes of one side for one handshake. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce(pub [u8; 32]);

/// That a side holds the secret and saw this handshake: an HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof(pub [u8; 32]);

/// Who a side claims to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Side {
    /// Its cluster; `None` before it was bootstrapped or joined. Whether such a peer is welcome is for the caller.
    pub cluster: Option<ClusterId>,
    /// Its id.
    pub node: NodeId,
    /// The life of its data root.
    pub incarnation: Incarnation,
}

/// What a connection is for. The values belong to the caller; here they are only bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purpose {
    /// The class of traffic.
    pub class: u8,
    /// The group that the connection serves.
    pub group: GroupId,
}

/// The protocol versions that a side speaks, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    oldest: u16,
    newest: u16,
}

impl Versions {
    /// From `oldest` to `newest`; `None` if they are the wrong way round.
    #[must_use]
    pub fn new(oldest: u16, newest: u16) -> Option<Self> {
        (oldest <= newest).then_some(Self { oldest, newest })
    }

    /// The oldest version.
    #[must_use]
    pub fn oldest(self) -> u16 {
        self.oldest
    }

    /// The newest version.
    #[must_use]
    pub fn newest(self) -> u16 {
        self.newest
    }

    /// The newest version that both speak.
    #[must_use]
    pub fn best(self, other: Self) -> Option<u16> {
        let best = self.newest.min(other.newest);
        (best >= self.oldest.max(other.oldest)).then_some(best)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// Everything that one side claims and brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claims {
    pub(super) side: Side,
    pub(super) versions: Versions,
    pub(super) nonce: Nonce,
}

/// All that was said before the first proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transcript {
    pub(super) initiator: Claims,
    pub(super) responder: Claims,
    pub(super) purpose: Purpose,
    pub(super) keys: KeyIds,
    pub(super) version: u16,
    pub(super) key: KeyId,
}

impl Transcript {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(640);
        item(&mut out, "protocol", b"ringway auth 1");
        claims(&mut out, "initiator", &self.initiator);
        claims(&mut out, "responder", &self.responder);
        item(&mut out, "class", &[self.purpose.class]);
        item(&mut out, "group", &self.purpose.group.0.to_le_bytes());
        item(&mut out, "current key", &self.keys.current.0);
        item(&mut out, "previous key", &self.keys.previous.0);
        item(&mut out, "version", &self.version.to_le_bytes());
        item(&mut out, "key", &self.key.0);
        out
    }

    /// The keys that `secret` and this transcript give.
    pub(super) fn keys(&self, secret: &Secret) -> TranscriptKeys {
        let hash = digest::digest(&digest::SHA256, &self.bytes());
        TranscriptKeys { root: secret.root(), hash }
    }
}

fn claims(out: &mut Vec<u8>, who: &str, claims: &Claims) {
    item(out, "side", who.as_bytes());
    item(out, "cluster", claims.side.cluster.as_ref().map_or(&[], |cluster| cluster.0.as_slice()));
    item(out, "node", &claims.side.node.0.to_le_bytes());
    item(out, "incarnation", &claims.side.incarnation.0);
    item(out, "oldest version", &claims.versions.oldest.to_le_bytes());
    item(out, "newest version", &claims.versions.newest.to_le_bytes());
    item(out, "nonce", &claims.nonce.0);
}

fn item(out: &mut Vec<u8>, label: &str, value: &[u8]) {
    for part in [label.as_bytes(), value] {
        let length = u32::try_from(part.len()).expect("labels and values are short and of fixed size");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part);
    }
}

/// The keys of one handshake, each for one use.
pub(super) struct TranscriptKeys {
    root: hkdf::Prk,
    hash: digest::Digest,
}

impl TranscriptKeys {
    /// The key of one use.
    pub(super) fn key(&self, label: &str) -> hmac::Key {
        let info = [b"ringway auth 1 ".as_slice(), label.as_bytes(), self.hash.as_ref()];
        let okm = self.root.expand(&info, hmac::HMAC_SHA256);
        hmac::Key::from(okm.expect("HKDF gives up to 255 blocks, and this is one"))
    }

    /// A side's proof by its key.
    pub(super) fn prove(&self, label: &str) -> Proof {
        let tag = hmac::sign(&self.key(label), self.hash.as_ref());
        Proof(tag.as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes"))
    }

    /// Whether a proof is the one that its key gives. Takes the same time wherever a difference is.
    pub(super) fn proves(&self, label: &str, proof: &Proof) -> bool {
        hmac::verify(&self.key(label), self.hash.as_ref(), &proof.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_split_of_label_and_value_reads_like_another() {
        let encode = |items: &[(&str, &[u8])]| {
            let mut out = Vec::new();
            items.iter().for_each(|(label, value)| item(&mut out, label, value));
            out
        };
        let one = encode(&[("ab", b"c"), ("d", b"")]);
        for other in [
            encode(&[("a", b"bc"), ("d", b"")]),
            encode(&[("ab", b"cd")]),
            encode(&[("ab", b"c"), ("", b"d")]),
            encode(&[("ab", b""), ("c", b"d")]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn no_item_is_left_out_of_the_transcript() {
        let claims = |node: u8| Claims {
            side: Side {
                cluster: Some(ClusterId([7; 16])),
                node: NodeId(node.into()),
                incarnation: Incarnation([node; 16]),
            },
            versions: Versions { oldest: 1, newest: 2 },
            nonce: Nonce([node; 32]),
        };
        let whole = Transcript {
            initiator: claims(1),
            responder: claims(2),
            purpose: Purpose { class: 1, group: GroupId(1) },
            keys: KeyIds { current: KeyId([1; 8]), previous: KeyId([2; 8]) },
            version: 2,
            key: KeyId([1; 8]),
        };
        let changes: [fn(&mut Transcript); 20] = [
            |t| t.initiator.side.cluster = None,
            |t| t.initiator.side.cluster = Some(ClusterId([0; 16])),
            |t| t.initiator.side.node = NodeId(1 << 63),
            |t| t.initiator.side.incarnation.0[15] = 0,
            |t| t.initiator.versions.oldest = 0,
            |t| t.initiator.versions.newest = 0x102,
            |t| t.initiator.nonce.0[31] = 0,
            |t| t.responder.side.cluster = None,
            |t| t.responder.side.cluster = Some(ClusterId([0; 16])),
            |t| t.responder.side.node = NodeId(1 << 63),
            |t| t.responder.side.incarnation.0[15] = 0,
            |t| t.responder.versions.oldest = 0,
            |t| t.responder.versions.newest = 0x102,
            |t| t.responder.nonce.0[31] = 0,
            |t| t.purpose.class = 0,
            |t| t.purpose.group = GroupId(1 << 31),
            |t| t.keys.current.0[7] = 0,
            |t| t.keys.previous.0[7] = 0,
            |t| t.version = 0x102,
            |t| std::mem::swap(&mut t.initiator, &mut t.responder),
        ];
        let mut seen = vec![whole.bytes(), Transcript { key: KeyId([2; 8]), ..whole }.bytes()];
        for change in changes {
            let mut changed = whole;
            change(&mut changed);
            seen.push(changed.bytes());
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "two different handshakes give the same bytes");
    }

    #[test]
    fn a5_the_best_version_is_the_newest_common_one() {
        let versions = |oldest, newest| Versions::new(oldest, newest).unwrap();
        assert_eq!(versions(1, 3).best(versions(2, 5)), Some(3));
        assert_eq!(versions(2, 2).best(versions(2, 2)), Some(2));
        assert_eq!(versions(1, 2).best(versions(3, 4)), None);
        assert_eq!(versions(3, 4).best(versions(1, 2)), None);
        assert_eq!(Versions::new(2, 1), None);
    }
}
