//! What an exchange counts.

/// Counts of keys, unless said otherwise. Summed over shards for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live keys of the fullest replica.
    pub keys: u64,
    /// Keys that were confirmed to differ.
    pub mismatches: u64,
    /// Repairs that were written, one for each key and replica.
    pub repaired: u64,
    /// Keys that differed between indexes, but not in the stores.
    pub transient: u64,
    /// Keys that changed while they were looked at, a `Changed` repair among them.
    pub moving: u64,
    /// Keys that wait for a person.
    pub held: u64,
    /// Keys that some replica cannot read.
    pub unreadable: u64,
    /// Bytes of documents that travelled.
    pub document_bytes: u64,
}

impl Counts {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Counts) {
        self.keys = self.keys.saturating_add(other.keys);
        self.mismatches = self.mismatches.saturating_add(other.mismatches);
        self.repaired = self.repaired.saturating_add(other.repaired);
        self.transient = self.transient.saturating_add(other.transient);
        self.moving = self.moving.saturating_add(other.moving);
        self.held = self.held.saturating_add(other.held);
        self.unreadable = self.unreadable.saturating_add(other.unreadable);
        self.document_bytes = self.document_bytes.saturating_add(other.document_bytes);
    }
}
