//! Observations: what a fresh read saw of one key on one replica, and what that replica remembers.

use crate::{ContentDigest, Entry, Key, RowDigest, Tombstone, Version, WallMicros};

/// One key on one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the read saw.
    pub presence: Presence,
    /// What the replica's ledger remembers.
    pub memory: Option<Tombstone>,
    /// Whether the replica is held: it then proves nothing.
    pub held: bool,
}

/// What a fresh read saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A document.
    Live(Sighting),
    /// A document whose deletion mark is set.
    Marked(Sighting),
    /// No row.
    Absent,
    /// A row without a single meaning. Never absent, never written over.
    Unreadable,
    /// No answer. Never absent.
    Unreachable,
}

/// What an observation says of a document; the document itself stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its version.
    pub version: Version,
    /// Its expiry; `None` is never.
    pub expiry: Option<WallMicros>,
    /// Digest of its content.
    pub content: ContentDigest,
    /// Digest of every stored byte.
    pub row: RowDigest,
    /// Whether a repair wrote it and no client since: then it is nobody's vote.
    pub by_repair: bool,
    /// Bytes of the row's values: what a copy of it writes. Decides nothing.
    pub bytes: u64,
}

impl Observation {
    /// A read with nothing remembered, on a replica that is not held.
    pub fn of(presence: Presence) -> Observation {
        Observation { presence, memory: None, held: false }
    }

    /// No answer.
    pub fn unreachable() -> Observation {
        Observation::of(Presence::Unreachable)
    }

    /// Whether both saw the same stored row, or both no row. Memory does not count; what was not heard is not
    /// the same as anything.
    pub fn same_row(&self, other: &Observation) -> bool {
        match (&self.presence, &other.presence) {
            (
                Presence::Live(ours) | Presence::Marked(ours),
                Presence::Live(theirs) | Presence::Marked(theirs),
            ) => ours.row == theirs.row,
            (Presence::Absent, Presence::Absent) | (Presence::Unreadable, Presence::Unreadable) => true,
            _ => false,
        }
    }
}

impl Sighting {
    /// Whether both are the same document: version, expiry and content. Stored bytes may differ.
    pub fn same_document(&self, other: &Sighting) -> bool {
        (self.version, self.expiry, self.content) == (other.version, other.expiry, other.content)
    }

    /// What a fingerprint knows of the document, of which this is the key.
    pub fn entry(&self, key: &Key) -> Entry {
        Entry { key: key.clone(), version: self.version, expiry: self.expiry, content: self.content }
    }

    /// Whether the document had expired at `instant`.
    pub fn expired_at(&self, instant: WallMicros) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= instant)
    }
}
