//! A change that somebody asks for: what an engine says of it, before any file is read; and its bytes in a queue.

use crate::ids::Digest;
use crate::limits::{LABEL_BYTES_MAX, LABELS_MAX, PATH_BYTES_MAX, QUEUE_CHANGE_BYTES_MAX, REASON_BYTES_MAX};
use crate::wire::{CodecError, Reader, Writer};

const REGISTER: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const HAS_FLAT: u8 = 1;
const HAS_FACTS: u8 = 2;

/// Of what is no list: kind, tier, flags, padding; three lengths; digest and facts.
const FIXED_BYTES: usize = 4 + 3 * 4 + Digest::BYTES + 2 * 8 + 16;

const _: () = assert!(
    FIXED_BYTES + PATH_BYTES_MAX + LABELS_MAX * (8 + 2 * LABEL_BYTES_MAX) + REASON_BYTES_MAX
        <= QUEUE_CHANGE_BYTES_MAX
);

/// One change that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A sealed file, new in the manifest or as new content of its path.
    Sealed {
        /// The path must be in the manifest.
        update: bool,
        /// Where it stands.
        path: String,
        /// Its SHA-256, if the engine knows it.
        flat: Option<Digest>,
        /// The engine's ranking.
        tier: u8,
        /// The engine's names and values.
        labels: Vec<(String, String)>,
        /// The file's inode, size and time of change when it was chosen.
        facts: Option<(u64, u64, i128)>,
    },
    /// The path leaves the manifest.
    Delete {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Asked {
    /// The path that it is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Sealed { path, .. } | Self::Delete { path, .. } => path,
        }
    }

    /// Its bytes (FORMAT.md, section 13).
    ///
    /// # Errors
    /// A text, or the labels, are past their bound.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.path().len());
        let mut writer = Writer::new(&mut out);
        match self {
            Self::Sealed { update, path, flat, tier, labels, facts } => {
                let has = |is_there, flag| if is_there { flag } else { 0 };
                writer.u8(if *update { UPDATE } else { REGISTER });
                writer.u8(*tier);
                writer.u8(has(flat.is_some(), HAS_FLAT) | has(facts.is_some(), HAS_FACTS));
                writer.zeros(1);
                writer.bytes(path.as_bytes(), PATH_BYTES_MAX)?;
                if let Some(flat) = flat {
                    writer.put(&flat.0);
                }
                if let Some((inode, bytes, modified)) = facts {
                    writer.u64(*inode);
                    writer.u64(*bytes);
                    writer.put(&modified.to_le_bytes());
                }
                writer.count(labels.len(), LABELS_MAX)?;
                for (name, value) in labels {
                    writer.bytes(name.as_bytes(), LABEL_BYTES_MAX)?;
                    writer.bytes(value.as_bytes(), LABEL_BYTES_MAX)?;
                }
            }
            Self::Delete { path, reason } => {
                writer.u8(DELETE);
                writer.zeros(3);
                writer.bytes(path.as_bytes(), PATH_BYTES_MAX)?;
                writer.bytes(reason.as_bytes(), REASON_BYTES_MAX)?;
            }
        }
        Ok(out)
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// The bytes are no change of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let asked = match kind {
            REGISTER | UPDATE => sealed(kind == UPDATE, &mut reader)?,
            DELETE => {
                reader.zeros(3)?;
                let path = text(reader.bytes(PATH_BYTES_MAX)?)?;
                Self::Delete { path, reason: text(reader.bytes(REASON_BYTES_MAX)?)? }
            }
            found => return Err(CodecError::Unknown { of: "change", found: found.into() }),
        };
        reader.finish()?;
        Ok(asked)
    }
}

fn sealed(update: bool, reader: &mut Reader<'_>) -> Result<Asked, CodecError> {
    let (tier, flags) = (reader.u8()?, reader.u8()?);
    if flags & !(HAS_FLAT | HAS_FACTS) != 0 {
        return Err(CodecError::Unknown { of: "flag of a change", found: flags.into() });
    }
    reader.zeros(1)?;
    let path = text(reader.bytes(PATH_BYTES_MAX)?)?;
    let flat = if flags & HAS_FLAT == 0 { None } else { Some(Digest(reader.array()?)) };
    let facts = match flags & HAS_FACTS {
        0 => None,
        _ => Some((reader.u64()?, reader.u64()?, i128::from_le_bytes(reader.array()?))),
    };
    let count = reader.count(8, LABELS_MAX)?;
    let label = |_| {
        let (name, value) = (reader.bytes(LABEL_BYTES_MAX)?, reader.bytes(LABEL_BYTES_MAX)?);
        Ok((text(name)?, text(value)?))
    };
    let labels = (0..count).map(label).collect::<Result<_, CodecError>>()?;
    Ok(Asked::Sealed { update, path, flat, tier, labels, facts })
}

fn text(bytes: &[u8]) -> Result<String, CodecError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| CodecError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Asked> {
        let plain = Asked::Sealed {
            update: false,
            path: "a".to_owned(),
            flat: None,
            tier: 0,
            labels: Vec::new(),
            facts: None,
        };
        let labels = vec![("database".to_owned(), "größer".to_owned()), ("level".to_owned(), String::new())];
        let full = Asked::Sealed {
            update: true,
            path: "db/x.seg".to_owned(),
            flat: Some(Digest([7; 32])),
            tier: 3,
            labels,
            facts: Some((9, 10, -11)),
        };
        vec![plain, full, Asked::Delete { path: "old".to_owned(), reason: "compaction:17".to_owned() }]
    }

    #[test]
    fn m5_a_change_reads_as_it_was_written_and_no_cut_of_it_does() {
        for asked in all() {
            let bytes = asked.encode().expect("within its bounds");
            assert_eq!(Asked::decode(&bytes), Ok(asked));
            for length in 0..bytes.len() {
                assert!(Asked::decode(&bytes[..length]).is_err(), "cut to {length}");
            }
            assert_eq!(Asked::decode(&[&bytes[..], &[0]].concat()), Err(CodecError::Trailing { bytes: 1 }));
        }
    }

    #[test]
    fn m5_what_is_past_its_bound_is_refused_before_it_is_written() {
        let long = Asked::Delete { path: "a".to_owned(), reason: "x".repeat(REASON_BYTES_MAX + 1) };
        assert!(matches!(long.encode(), Err(CodecError::TooLong { max: REASON_BYTES_MAX, .. })));
        let mut many = all().remove(0);
        if let Asked::Sealed { labels, .. } = &mut many {
            labels.extend((0..=LABELS_MAX).map(|number| (number.to_string(), String::new())));
        }
        assert!(matches!(many.encode(), Err(CodecError::TooLong { max: LABELS_MAX, .. })));
    }

    #[test]
    fn m5_unknown_kinds_and_flags_and_what_is_no_text_are_refused() {
        let bytes = all()[0].encode().expect("within its bounds");
        for (at, value) in [(0, 0), (0, 4), (2, 4), (3, 1), (8, 0xff)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(Asked::decode(&other).is_err(), "{value} at {at}");
        }
    }
}
