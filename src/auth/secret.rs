//! The shared secret of a cluster: 32 bytes, drawn at random, never printed, wiped when dropped.
//!
//! Two secrets may be valid at once, so that a cluster changes its secret node by node without a stop. Refused:
//! text that is not exactly a secret, and a secret that was typed rather than drawn.

use std::fmt;

use ring::hkdf;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a secret: as many as HMAC-SHA256 gives strength.
pub const SECRET_BYTES: usize = 32;

/// A cluster's shared secret. It lives in one place on the heap, so that moving it leaves no copy behind.
#[derive(Clone)]
pub struct Secret(Box<[u8; SECRET_BYTES]>);

impl Secret {
    /// A new secret from random bytes, which are wiped where they stood.
    ///
    /// # Errors
    /// `Weak` if the bytes are all the same: no source of randomness gave them.
    pub fn generate(random: &mut [u8; SECRET_BYTES]) -> Result<Self, SecretError> {
        let mut secret = Self(Box::new([0; SECRET_BYTES]));
        secret.0.copy_from_slice(random.as_slice());
        random.zeroize();
        secret.checked()
    }

    /// Reads a secret file's content: 64 hexadecimal characters and at most one newline. The caller wipes `text`.
    ///
    /// # Errors
    /// What is wrong with the text; never the text itself.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.len() != SECRET_BYTES * 2 {
            return Err(SecretError::Length { found: text.len() });
        }
        let mut secret = Self(Box::new([0; SECRET_BYTES]));
        for (place, byte) in secret.0.iter_mut().enumerate() {
            let high = nibble(text[2 * place]).ok_or(SecretError::NotHex { at: 2 * place })?;
            let low = nibble(text[2 * place + 1]).ok_or(SecretError::NotHex { at: 2 * place + 1 })?;
            *byte = high << 4 | low;
        }
        secret.checked()
    }

    /// The content of a secret file: what [`Secret::parse`] reads. Wiped when dropped.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Its final size at once: a string that grows leaves its smaller self behind in memory.
        let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES * 2 + 1));
        for byte in self.0.iter() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text.push('\n');
        text
    }

    /// The secret's public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; KeyId::BYTES];
        self.root()
            .expand(&[b"ringway auth 1 key id"], IdLength)
            .and_then(|okm| okm.fill(&mut id))
            .expect("HKDF gives up to 255 blocks, and this is a part of one");
        KeyId(id)
    }

    /// The key that every other key of this secret is expanded from. The secret itself is used for nothing else.
    pub(super) fn root(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringway auth 1 secret").extract(self.0.as_slice())
    }

    fn checked(self) -> Result<Self, SecretError> {
        if self.0.iter().all(|byte| *byte == self.0[0]) { Err(SecretError::Weak) } else { Ok(self) }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

struct IdLength;

impl hkdf::KeyType for IdLength {
    fn len(&self) -> usize {
        KeyId::BYTES
    }
}

fn nibble(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

/// The public name of a secret: tells secrets apart, tells nothing about them (HKDF of 256 random bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// Size in bytes, on the wire.
    pub const BYTES: usize = 8;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The names of the secrets that a node holds. Without a previous one both names are the current one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyIds {
    /// The one that this node prefers.
    pub current: KeyId,
    /// The one that it still accepts.
    pub previous: KeyId,
}

impl KeyIds {
    fn holds(self, id: KeyId) -> bool {
        self.current == id || self.previous == id
    }
}

/// The secrets of a node: the current one and, while the cluster changes over, the previous one.
///
/// A change: give every node {new, old} in any order; when all sessions are by the new one
/// ([`Session::key`](super::Session)), give every node {new} alone.
#[derive(Clone, Debug)]
pub struct SecretSet {
    current: Secret,
    previous: Option<Secret>,
    ids: KeyIds,
}

impl SecretSet {
    /// The secrets that are valid from now on. Sessions that stand keep their keys.
    #[must_use]
    pub fn new(current: Secret, previous: Option<Secret>) -> Self {
        let ids = KeyIds { current: current.id(), previous: previous.as_ref().unwrap_or(&current).id() };
        Self { current, previous, ids }
    }

    /// The names of the secrets.
    #[must_use]
    pub fn ids(&self) -> KeyIds {
        self.ids
    }

    /// The secret to use with a peer that holds `theirs`: our current one if it has it, else our previous one.
    pub(super) fn common(&self, theirs: KeyIds) -> Option<(KeyId, &Secret)> {
        [self.ids.current, self.ids.previous]
            .into_iter()
            .find(|id| theirs.holds(*id))
            .and_then(|id| self.by_id(id).map(|secret| (id, secret)))
    }

    /// The secret of that name.
    pub(super) fn by_id(&self, id: KeyId) -> Option<&Secret> {
        if id == self.ids.current {
            return Some(&self.current);
        }
        self.previous.as_ref().filter(|_| id == self.ids.previous)
    }
}

/// Why a text is not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretError {
    /// Not 64 characters.
    Length {
        /// Characters found, the newline not counted.
        found: usize,
    },
    /// A character that is not hexadecimal.
    NotHex {
        /// Its place, from 0.
        at: usize,
    },
    /// One byte over and over: a placeholder.
    Weak,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => {
                write!(
                    f,
                    "the secret has {found} characters where 64 hexadecimal ones and a newline belong"
                )?;
            }
            Self::NotHex { at } => write!(f, "the secret's character {at} (from 0) is not hexadecimal")?,
            Self::Weak => f.write_str("the secret is one byte over and over")?,
        }
        f.write_str("; `ringway secret new` draws one")
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    fn secret(first: u8) -> Secret {
        let mut random: [u8; SECRET_BYTES] = std::array::from_fn(|place| place as u8 ^ first);
        Secret::generate(&mut random).unwrap()
    }

    #[test]
    fn a_secret_reads_what_it_writes_and_generate_wipes_its_source() {
        let mut random: [u8; SECRET_BYTES] = std::array::from_fn(|place| place as u8);
        let secret = Secret::generate(&mut random).unwrap();
        assert_eq!(random, [0; SECRET_BYTES]);
        assert_eq!(*secret.text(), TEXT);
        assert_eq!(Secret::parse(TEXT.as_bytes()).unwrap().text(), secret.text());
        let upper = TEXT.trim_end().to_uppercase();
        assert_eq!(Secret::parse(upper.as_bytes()).unwrap().text(), secret.text());
    }

    #[test]
    fn text_that_is_not_exactly_a_secret_is_refused() {
        let parse = |text: &str| Secret::parse(text.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(parse(""), SecretError::Length { found: 0 });
        assert_eq!(parse(&TEXT[..63]), SecretError::Length { found: 63 });
        assert_eq!(parse(&format!("{TEXT}\n")), SecretError::Length { found: 65 });
        assert_eq!(parse(&format!(" {TEXT}")), SecretError::Length { found: 65 });
        assert_eq!(parse(&format!("{}\r\n", TEXT.trim_end())), SecretError::Length { found: 65 });
        assert_eq!(parse(&TEXT.replacen("0a", "0g", 1)), SecretError::NotHex { at: 21 });
        assert_eq!(parse(&TEXT.replacen("00", "+0", 1)), SecretError::NotHex { at: 0 });
        assert_eq!(parse(&"7".repeat(64)), SecretError::Weak);
        assert_eq!(Secret::generate(&mut [0; 32]).unwrap_err(), SecretError::Weak);
    }

    #[test]
    fn a16_no_debug_form_and_no_error_shows_a_secret() {
        let shown = format!("{:?} {:#?}", secret(0), SecretSet::new(secret(0), Some(secret(1))));
        for part in ["0001", "0102", "[0, 1", "0, 1,"] {
            assert!(!shown.contains(part), "{part} in {shown}");
        }
        assert!(shown.contains("redacted"));
        let error = Secret::parse(b"hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter"));
    }

    #[test]
    fn a_key_id_tells_secrets_apart_and_never_changes() {
        assert_eq!(secret(0).id(), secret(0).id());
        assert_ne!(secret(0).id(), secret(1).id());
        assert_eq!(secret(0).id().to_string(), "6c9afc1d7793a0bd", "part of the wire format");
    }

    #[test]
    fn a4_two_nodes_use_the_newest_secret_that_both_hold() {
        let (old, new) = (secret(1), secret(2));
        let before = SecretSet::new(old.clone(), None);
        let during = SecretSet::new(new.clone(), Some(old.clone()));
        let after = SecretSet::new(new.clone(), None);
        let used = |ours: &SecretSet, theirs: &SecretSet| ours.common(theirs.ids()).map(|(id, _)| id);
        for (ours, theirs, common) in [
            (&before, &before, Some(old.id())),
            (&before, &during, Some(old.id())),
            (&during, &before, Some(old.id())),
            (&during, &during, Some(new.id())),
            (&during, &after, Some(new.id())),
            (&after, &during, Some(new.id())),
            (&after, &before, None),
            (&before, &after, None),
        ] {
            assert_eq!(used(ours, theirs), common);
        }
        assert_eq!(during.by_id(old.id()).map(Secret::id), Some(old.id()));
        assert!(after.by_id(old.id()).is_none());
    }
}
