//! The checked codec: fixed-width little-endian integers and length-prefixed bytes, without panics.

use std::fmt;

/// Reads from the front of some bytes. Every read is checked; what is left at the end is an error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes, where they lie.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let split = self.rest.split_at_checked(count);
        let (taken, rest) = split.ok_or(CodecError::Truncated { needed: count, left: self.rest.len() })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let split = self.rest.split_first_chunk::<N>();
        let (taken, rest) = split.ok_or(CodecError::Truncated { needed: N, left: self.rest.len() })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An integer of one byte.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        self.array().map(u8::from_le_bytes)
    }

    /// An integer of two bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// An integer of four bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// An integer of eight bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of four bytes, at most `max`, of items of `item_bytes` each, which are all here. So whoever allocates
    /// for them allocates no more than has come.
    ///
    /// # Errors
    /// `Truncated` or `TooLong`.
    pub fn count(&mut self, item_bytes: usize, max: usize) -> Result<usize, CodecError> {
        let found = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if found > max {
            return Err(CodecError::TooLong { max, found });
        }
        let needed = found.saturating_mul(item_bytes);
        if needed > self.left() {
            return Err(CodecError::Truncated { needed, left: self.left() });
        }
        Ok(found)
    }

    /// Length-prefixed bytes, at most `max` of them.
    ///
    /// # Errors
    /// `Truncated` or `TooLong`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], CodecError> {
        let count = self.count(1, max)?;
        self.take(count)
    }

    /// Padding: `count` bytes of zero.
    ///
    /// # Errors
    /// `Truncated` or `Padding`.
    pub fn zeros(&mut self, count: usize) -> Result<(), CodecError> {
        match self.take(count)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(CodecError::Padding),
        }
    }

    /// The end of the bytes.
    ///
    /// # Errors
    /// `Trailing` if some are left.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes }),
        }
    }
}

/// `N` bytes of a fixed layout, from `at` on.
///
/// # Panics
/// If the layout ends before them: its offsets are constants.
#[must_use]
pub fn field_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Writes to the end of a vector that its owner keeps: once it has grown, nothing is allocated.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// After what is there already.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// An integer of one byte.
    pub fn u8(&mut self, value: u8) {
        self.put(&value.to_le_bytes());
    }

    /// An integer of two bytes.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    /// An integer of four bytes.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// An integer of eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// A count of four bytes, at most `max`.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn count(&mut self, count: usize, max: usize) -> Result<(), CodecError> {
        match u32::try_from(count) {
            Ok(short) if count <= max => {
                self.u32(short);
                Ok(())
            }
            Ok(_) | Err(_) => Err(CodecError::TooLong { max, found: count }),
        }
    }

    /// Length-prefixed bytes, at most `max` of them.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn bytes(&mut self, bytes: &[u8], max: usize) -> Result<(), CodecError> {
        self.count(bytes.len(), max)?;
        self.put(bytes);
        Ok(())
    }

    /// Padding: `count` bytes of zero.
    pub fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }
}

/// Why some bytes are not what they are read as, or a value cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodecError {
    /// The bytes end too early.
    Truncated {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// Bytes follow the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A list or a string is past its bound.
    TooLong {
        /// The bound.
        max: usize,
        /// Its length.
        found: usize,
    },
    /// A code has no meaning in this version.
    Unknown {
        /// What it is a code of.
        of: &'static str,
        /// The code.
        found: u16,
    },
    /// Text is not UTF-8.
    NotUtf8,
    /// Padding is not zero.
    Padding,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => write!(f, "needs {needed} bytes, {left} are left"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the last field"),
            Self::TooLong { max, found } => write!(f, "has length {found}, at most {max} is allowed"),
            Self::Unknown { of, found } => write!(f, "no {of} has code {found}"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Padding => f.write_str("padding is not zero"),
        }
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_reads_what_a_writer_wrote() {
        let mut out = vec![0xff];
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.u16(0x0203);
        writer.u32(0x0405_0607);
        writer.u64(0x0809_0a0b_0c0d_0e0f);
        writer.bytes(b"abc", 3).unwrap();
        writer.zeros(2);
        let mut reader = Reader::new(&out[1..]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(reader.bytes(3), Ok(&b"abc"[..]));
        assert_eq!(reader.zeros(2), Ok(()));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_length_past_its_bound_or_past_the_bytes_is_refused() {
        let bytes = [4, 0, 0, 0, 1, 2, 3];
        assert_eq!(Reader::new(&bytes).bytes(3), Err(CodecError::TooLong { max: 3, found: 4 }));
        assert_eq!(Reader::new(&bytes).bytes(4), Err(CodecError::Truncated { needed: 4, left: 3 }));
        let huge = [0xff; 8];
        let found = Reader::new(&huge).count(32, usize::MAX);
        assert_eq!(found, Err(CodecError::Truncated { needed: 0xffff_ffff * 32, left: 4 }));
        let mut out = Vec::new();
        let refused = Writer::new(&mut out).bytes(b"abcd", 3);
        assert_eq!(refused, Err(CodecError::TooLong { max: 3, found: 4 }));
        assert!(out.is_empty());
    }

    #[test]
    fn trailing_bytes_and_used_padding_are_refused() {
        let mut reader = Reader::new(&[0, 1, 2]);
        assert_eq!(reader.clone().finish(), Err(CodecError::Trailing { bytes: 3 }));
        assert_eq!(reader.zeros(2), Err(CodecError::Padding));
        assert_eq!(Reader::new(&[0]).u16(), Err(CodecError::Truncated { needed: 2, left: 1 }));
    }
}
