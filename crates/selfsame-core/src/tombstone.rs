//! Tombstones: what a replica's ledger remembers of a key that is gone.

use crate::{Version, WallMicros};

/// The memory of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The version that was deleted: for an observed deletion, what the index held.
    pub version: Version,
    /// What ended the document.
    pub cause: TombstoneCause,
    /// When the deletion was seen.
    pub at: WallMicros,
    /// How sure the evidence is.
    pub certainty: Certainty,
    /// Whether a client has inserted the same version again since.
    pub came_back: bool,
}

/// What ended a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TombstoneCause {
    /// A client deleted it.
    Deleted,
    /// Its expiry passed.
    Expired,
}

/// How sure it is that a deletion was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Proof: a deletion mark, an ordered feed, a notice that a read confirmed, an expiry that passed.
    Certain,
    /// The index held the key and a confirmed read found it gone. Deleted, or lost.
    Observed,
}
