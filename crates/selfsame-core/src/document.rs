//! Documents: a stored row and the entry that it is.

use std::fmt;

use crate::{Entry, Key, KeyDigest, Row, RowDigest};

/// One readable document of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What a fingerprint knows of it.
    pub entry: Entry,
    /// Digest of its key.
    pub key_digest: KeyDigest,
    /// Every stored byte.
    pub row: Row,
    /// Digest of every stored byte.
    pub row_digest: RowDigest,
    /// Whether its deletion mark is set. A marked document is no live entry.
    pub marked: bool,
}

/// A row that is there, but has no single meaning. Never absent, never written over.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// The key, if at least that can be read.
    pub key: Option<Key>,
    /// Where the store has it, in the store's own words (`rowid 17`), for the operator to find it.
    pub place: String,
    /// What is wrong with it.
    pub reason: UnreadableReason,
}

/// What can be wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableReason {
    /// A key field is missing, null, or of a type that no key has.
    #[error("key field `{0}` is missing or has no usable type")]
    Key(String),
    /// Two rows have one key, after `key_as: string`.
    #[error("another row has the same key")]
    DuplicateKey,
    /// The version is neither missing nor of the configured unit.
    #[error("version field `{0}` does not hold the configured unit")]
    Version(String),
    /// The expiry is neither missing nor of the configured unit.
    #[error("expiry field `{0}` does not hold the configured unit")]
    Expiry(String),
    /// The deletion mark is neither missing nor of the configured unit.
    #[error("deletion field `{0}` does not hold the configured unit")]
    Deletion(String),
    /// The document field is no JSON object.
    #[error("field `{0}` does not hold a json object")]
    NotAnObject(String),
    /// A field's JSON has an error.
    #[error("field `{field}`: {error}")]
    Json {
        /// The field.
        field: String,
        /// The error.
        error: crate::JsonError,
    },
    /// A text field that is not Unicode.
    #[error("field `{0}` holds text that is not unicode")]
    NotUnicode(String),
    /// A configured field that the row does not have.
    #[error("field `{0}` is missing")]
    MissingField(String),
    /// Larger than `document_bytes_max`.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key {key} ({}): {}", self.place, self.reason),
            None => write!(f, "{}: {}", self.place, self.reason),
        }
    }
}
