//! The one binary encoding of what is stored, sent and hashed: fixed-width big-endian integers and frames
//! (a length of eight bytes, then as many bytes). Framing makes every encoding injective: two different lists
//! of fields never give the same bytes.

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte.
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Appends eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Appends eight bytes, big-endian two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Appends an optional integer: a byte that says whether it is there, then the integer.
    pub fn optional_i64(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            None => self.byte(0),
            Some(value) => self.byte(1).i64(value),
        }
    }

    /// Appends bytes whose length the reader knows.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends a length and as many bytes.
    pub fn frame(&mut self, bytes: &[u8]) -> &mut Self {
        self.u64(bytes.len() as u64).raw(bytes)
    }

    /// The bytes so far.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields off a buffer in the order in which they were written. No input makes it panic or allocate
/// more than the input's length.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

/// Bytes that were not written by the matching [`Writer`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a field.
    #[error("encoding ends too early")]
    Short,
    /// Bytes are left over.
    #[error("encoding has trailing bytes")]
    Trailing,
    /// A tag, a text or a number that no writer produces.
    #[error("encoding has an invalid field")]
    Invalid,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Takes `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Takes an array of a fixed length.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a big-endian integer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Takes a big-endian two's complement integer.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Takes an optional integer.
    pub fn optional_i64(&mut self) -> Result<Option<i64>, DecodeError> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.i64().map(Some),
            _ => Err(DecodeError::Invalid),
        }
    }

    /// Takes a frame.
    pub fn frame(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u64()?).map_err(|_| DecodeError::Short)?;
        self.raw(length)
    }

    /// Takes a frame of text.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.frame()?).map_err(|_| DecodeError::Invalid)
    }

    /// Whether all is taken.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Ends the reading; bytes left over are an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}
