//! How each type of a body's fields stands in bytes.

use std::borrow::Cow;

use crate::ids::{ClusterId, Digest, GroupId, Incarnation, LogIndex, NodeId, SegmentId, ShardId};
use crate::limits::{
    ANNOUNCE_EXCEPTIONS_MAX, CURSOR_BYTES_MAX, FRAME_BODY_BYTES_MAX, FRAME_DIGESTS_MAX, FRAME_TEXT_BYTES_MAX,
};
use crate::wire::codec::{CodecError, Reader, Writer};

/// Bytes of the count before a list or a string.
const COUNT_BYTES: usize = 4;

/// A type of field. What is read from some bytes is written as the same bytes.
pub trait Field<'a>: Sized {
    /// The form's word in FORMAT.md.
    const FORM: &'static str;
    /// Most bytes that a value takes.
    const BYTES_MAX: usize;

    /// Reads one value.
    ///
    /// # Errors
    /// When the bytes are not a value.
    fn read(reader: &mut Reader<'a>) -> Result<Self, CodecError>;

    /// Writes the value.
    ///
    /// # Errors
    /// `TooLong` when a list or a string is past its bound.
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), CodecError>;
}

macro_rules! plain {
    ($(
        $ty:ty, $form:literal, $bytes:expr,
        |$reader:ident| $read:expr, |$value:ident, $writer:ident| $write:expr;
    )+) => {
        $(impl<'a> Field<'a> for $ty {
            const FORM: &'static str = $form;
            const BYTES_MAX: usize = $bytes;

            fn read($reader: &mut Reader<'a>) -> Result<Self, CodecError> {
                $read
            }

            fn write(&self, $writer: &mut Writer<'_>) -> Result<(), CodecError> {
                let $value = self;
                $write;
                Ok(())
            }
        })+
    };
}

plain! {
    u8, "u8", 1, |r| r.u8(), |v, w| w.u8(*v);
    u16, "u16", 2, |r| r.u16(), |v, w| w.u16(*v);
    u32, "u32", 4, |r| r.u32(), |v, w| w.u32(*v);
    u64, "u64", 8, |r| r.u64(), |v, w| w.u64(*v);
    bool, "bool", 1, |r| truth(r.u8()?), |v, w| w.u8(u8::from(*v));
    [u8; 8], "b8", 8, |r| r.array(), |v, w| w.put(v);
    [u8; 32], "b32", 32, |r| r.array(), |v, w| w.put(v);
    Digest, "digest", 32, |r| r.array().map(Self), |v, w| w.put(&v.0);
    ClusterId, "cluster", 16, |r| r.array().map(Self), |v, w| w.put(&v.0);
    Incarnation, "incarnation", 16, |r| r.array().map(Self), |v, w| w.put(&v.0);
    NodeId, "node", 8, |r| r.u64().map(Self), |v, w| w.u64(v.0);
    GroupId, "group", 4, |r| r.u32().map(Self), |v, w| w.u32(v.0);
    ShardId, "shard", 4, |r| r.u32().map(Self), |v, w| w.u32(v.0);
    LogIndex, "index", 8, |r| r.u64().map(Self), |v, w| w.u64(v.0);
    SegmentId, "segment", 12, |r| segment(r), |v, w| { w.u64(v.index.0); w.u32(v.ordinal) };
    &'a [u8], "bytes", FRAME_BODY_BYTES_MAX,
        |r| r.bytes(FRAME_BODY_BYTES_MAX),
        |v, w| w.bytes(v, FRAME_BODY_BYTES_MAX)?;
    Text<'a>, "text", COUNT_BYTES + FRAME_TEXT_BYTES_MAX,
        |r| text(r),
        |v, w| w.bytes(v.0.as_bytes(), FRAME_TEXT_BYTES_MAX)?;
    Cursor<'a>, "cursor", COUNT_BYTES + CURSOR_BYTES_MAX,
        |r| r.bytes(CURSOR_BYTES_MAX).map(Self),
        |v, w| w.bytes(v.0, CURSOR_BYTES_MAX)?;
    Cow<'a, [Digest]>, "digests", COUNT_BYTES + 32 * FRAME_DIGESTS_MAX, |r| digests(r), |v, w| {
        w.count(v.len(), FRAME_DIGESTS_MAX)?;
        v.iter().for_each(|digest| w.put(&digest.0))
    };
    Vec<u64>, "indexes", COUNT_BYTES + 8 * ANNOUNCE_EXCEPTIONS_MAX, |r| indexes(r), |v, w| {
        w.count(v.len(), ANNOUNCE_EXCEPTIONS_MAX)?;
        v.iter().for_each(|index| w.u64(*index))
    };
}

/// Where a page begins: opaque to the wire, at most `CURSOR_BYTES_MAX` bytes. Empty is the beginning, or the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor<'a>(pub &'a [u8]);

/// A reason in words, for a person's log; at most `FRAME_TEXT_BYTES_MAX` bytes. Nothing is decided by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// The text, cut to its bound at the end of a character.
    #[must_use]
    pub fn clip(text: &'a str) -> Self {
        Self(&text[..text.floor_char_boundary(FRAME_TEXT_BYTES_MAX)])
    }

    /// The text.
    #[must_use]
    pub const fn get(self) -> &'a str {
        self.0
    }
}

fn truth(code: u8) -> Result<bool, CodecError> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError::Unknown { of: "bool", found: other.into() }),
    }
}

fn segment(reader: &mut Reader<'_>) -> Result<SegmentId, CodecError> {
    Ok(SegmentId { index: LogIndex(reader.u64()?), ordinal: reader.u32()? })
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<Text<'a>, CodecError> {
    let bytes = reader.bytes(FRAME_TEXT_BYTES_MAX)?;
    std::str::from_utf8(bytes).map(Text).map_err(|_| CodecError::NotUtf8)
}

fn digests<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [Digest]>, CodecError> {
    let count = reader.count(Digest::BYTES, FRAME_DIGESTS_MAX)?;
    (0..count).map(|_| reader.array().map(Digest)).collect::<Result<Vec<_>, _>>().map(Cow::Owned)
}

fn indexes(reader: &mut Reader<'_>) -> Result<Vec<u64>, CodecError> {
    let count = reader.count(8, ANNOUNCE_EXCEPTIONS_MAX)?;
    (0..count).map(|_| reader.u64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_the_end_of_a_character() {
        assert_eq!(Text::clip("short").get(), "short");
        let long = "é".repeat(FRAME_TEXT_BYTES_MAX);
        assert_eq!(Text::clip(&long).get().len(), FRAME_TEXT_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(Text::clip(&odd).get().len(), FRAME_TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        assert_eq!(bool::read(&mut Reader::new(&[1])), Ok(true));
        assert_eq!(bool::read(&mut Reader::new(&[2])), Err(CodecError::Unknown { of: "bool", found: 2 }));
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused() {
        assert_eq!(text(&mut Reader::new(&[1, 0, 0, 0, 0xff])), Err(CodecError::NotUtf8));
    }

    #[test]
    fn lists_past_their_bound_are_neither_written_nor_read() {
        let mut out = Vec::new();
        let list = vec![7_u64; ANNOUNCE_EXCEPTIONS_MAX + 1];
        let too_long =
            CodecError::TooLong { max: ANNOUNCE_EXCEPTIONS_MAX, found: ANNOUNCE_EXCEPTIONS_MAX + 1 };
        assert_eq!(list.write(&mut Writer::new(&mut out)), Err(too_long));
        out.extend_from_slice(&65_u32.to_le_bytes());
        out.resize(4 + 65 * 8, 0);
        assert_eq!(indexes(&mut Reader::new(&out)), Err(too_long));
    }

    #[test]
    fn digests_that_have_not_come_are_not_allocated_for() {
        let count = u32::try_from(FRAME_DIGESTS_MAX).unwrap().to_le_bytes();
        let found = digests(&mut Reader::new(&count));
        assert_eq!(found, Err(CodecError::Truncated { needed: FRAME_DIGESTS_MAX * 32, left: 0 }));
    }
}
