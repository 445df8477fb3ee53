//! Entries: what a fingerprint knows of one live document.

use std::fmt;

use crate::{ContentDigest, DecodeError, Key, Reader, WallMicros, Writer};

/// A document's version: microseconds for versions that are times, else a counter. A missing version is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub i64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the versions of a collection mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionKind {
    /// Microseconds since 1970: comparable with a clock and with deletion times.
    Time,
    /// A number that grows with each write of a document.
    Counter,
    /// The collection has no version field; every version is 0.
    None,
}

/// Key, version, expiry and content digest of one live document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The document's key.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// When it expires; `None` is never, and later than every instant.
    pub expiry: Option<WallMicros>,
    /// The digest of its canonical content.
    pub content: ContentDigest,
}

impl Entry {
    /// The encoding in which an index stores an entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.i64(self.version.0).optional_i64(self.expiry.map(|expiry| expiry.0));
        out.raw(&self.content.0).raw(&self.key.to_bytes());
        out.finish()
    }

    /// Reads what [`Entry::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Entry, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = Version(reader.i64()?);
        let expiry = reader.optional_i64()?.map(WallMicros);
        let content = ContentDigest(reader.array()?);
        Ok(Entry { key: Key::from_bytes(reader.rest())?, version, expiry, content })
    }
}
