//! What the journal remembers of a replica's keys: what is gone, and what a repair wrote. Blocking.

use std::collections::HashMap;

use selfsame_core::{Entry, KeyDigest, RepairId, RowDigest, Tombstone};
use selfsame_journal::{IntentOutcome, Memory, OutcomeWritten};
use selfsame_store::Read;

use super::replica::LocalReplica;
use crate::peer::PeerError;

impl LocalReplica {
    /// Stores observed tombstones; synced when it returns.
    pub(super) fn remember(&self, gone: &HashMap<KeyDigest, Entry>) -> Result<(), PeerError> {
        let memory = |(key_digest, entry): (&KeyDigest, &Entry)| {
            Some(Memory {
                collection: self.parts.collection.name.clone(),
                node: self.parts.node.clone(),
                key_digest: *key_digest,
                key: entry.key.clone(),
                tombstone: self.observed(entry)?,
            })
        };
        let memories: Vec<Memory> = gone.iter().filter_map(memory).collect();
        if memories.is_empty() {
            return Ok(());
        }
        self.parts.journal.remember(&memories).map_err(|error| self.broken(&error))?;
        Ok(())
    }

    /// What the ledger remembers of each key.
    pub(super) fn memories(&self, keys: &[KeyDigest]) -> Result<Vec<Option<Tombstone>>, PeerError> {
        let journal = &self.parts.journal;
        let memories = journal.memories(&self.parts.collection.name, &self.parts.node, keys);
        memories.map_err(|error| self.broken(&error))
    }

    /// The row that the last repair of each key left behind.
    pub(super) fn last_repairs(&self, keys: &[KeyDigest]) -> Result<Vec<Option<RowDigest>>, PeerError> {
        let journal = &self.parts.journal;
        let repairs = journal.last_repair(&self.parts.collection.name, &self.parts.node, keys);
        repairs.map_err(|error| self.broken(&error))
    }

    /// Says what became of intents. An intent that is not there, though its repair was made, is a broken journal.
    pub(super) fn record_outcomes(&self, outcomes: &[(RepairId, IntentOutcome)]) -> Result<(), PeerError> {
        let written = self.parts.journal.write_outcomes(outcomes).map_err(|error| self.broken(&error))?;
        if written.contains(&OutcomeWritten::NoIntent) {
            return Err(self.broken(&"an outcome without an intent"));
        }
        Ok(())
    }

    /// Ends the memory of keys that are live again with a higher version than was remembered.
    pub(super) fn end_beaten_memories(
        &self,
        keys: &[KeyDigest],
        reads: &[Read],
        remembered: &[Option<Tombstone>],
    ) -> Result<(), PeerError> {
        let beaten = |((key, read), memory): ((&KeyDigest, &Read), &Option<Tombstone>)| match (read, memory) {
            (Read::Live(document), Some(memory)) if document.entry.version > memory.version => Some(*key),
            _ => None,
        };
        let beaten: Vec<KeyDigest> = keys.iter().zip(reads).zip(remembered).filter_map(beaten).collect();
        if beaten.is_empty() {
            return Ok(());
        }
        let journal = &self.parts.journal;
        let ended = journal.end_memories(&self.parts.collection.name, &self.parts.node, &beaten);
        ended.map_err(|error| self.broken(&error))?;
        Ok(())
    }
}
