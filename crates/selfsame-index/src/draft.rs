//! One batch while it is put together: what it writes, and what it does to roots and tallies.

use std::collections::BTreeMap;

use selfsame_core::merkle::Node;
use selfsame_core::{EntryDigest, KeyDigest, KeyPrefix, ShardId};

use crate::IndexError;
use crate::disk::Batch;
use crate::generation::Generation;
use crate::head::Head;
use crate::rows::{self, Loose, Row, Sight};
use crate::state::{ShardRecord, State, Tally};

/// A stored row with its bytes, which its weight depends on.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) row: Row,
    bytes: Vec<u8>,
}

/// A change of a tree.
#[derive(Debug)]
enum Leaf {
    In(KeyPrefix, EntryDigest),
    Out(KeyPrefix, EntryDigest),
}

/// What a batch does to one shard.
#[derive(Debug, Default)]
struct ShardChange {
    leaves: Vec<Leaf>,
    /// Added to the shard's tally; both wrap around, so that a difference below zero is one too.
    tally: Tally,
}

/// What a batch does to the state.
#[derive(Debug)]
pub(crate) struct Change {
    head: Head,
    shards: BTreeMap<ShardId, ShardChange>,
}

/// A batch to be filled.
pub(crate) struct Draft<'c> {
    generation: &'c Generation,
    /// The head after the batch.
    pub(crate) head: Head,
    pairs: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    shards: BTreeMap<ShardId, ShardChange>,
}

impl<'c> Draft<'c> {
    pub(crate) fn new(generation: &'c Generation, head: Head) -> Draft<'c> {
        Draft { generation, head, pairs: BTreeMap::new(), shards: BTreeMap::new() }
    }

    /// How many pairs it writes so far.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    fn stored(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match self.pairs.get(key) {
            Some(drafted) => Ok(drafted.clone()),
            None => self.generation.store.value(key),
        }
    }

    /// The row of a key as of this draft.
    pub(crate) fn find(&self, key: &KeyDigest) -> Result<Option<Found>, IndexError> {
        let stored = self.stored(&rows::row_key(key.shard(self.generation.shards), key))?;
        stored.map(|bytes| Ok(Found { row: Row::from_bytes(&bytes)?, bytes })).transpose()
    }

    /// Replaces the row of a key. `old` is what [`Draft::find`] gave for it.
    pub(crate) fn put(&mut self, key: &KeyDigest, old: Option<&Found>, new: Option<&Row>) {
        let shard_id = key.shard(self.generation.shards);
        let pair_key = rows::row_key(shard_id, key);
        let bytes = new.map(Row::to_bytes);
        let old_weight = old.map_or(0, |found| rows::weight(&pair_key, &found.bytes));
        let new_weight = bytes.as_ref().map_or(0, |bytes| rows::weight(&pair_key, bytes));

        let shard = self.shards.entry(shard_id).or_default();
        shard.tally.weight = shard.tally.weight.wrapping_sub(old_weight).wrapping_add(new_weight);
        self.head.total = self.head.total.wrapping_sub(old_weight).wrapping_add(new_weight);
        let (old, new) = (old.map(|found| &found.row.sight), new.map(|row| &row.sight));
        if old != new {
            shard.leave(key, old, self.generation);
            shard.enter(key, new, self.generation);
        }
        self.pairs.insert(pair_key, bytes);
    }

    /// Notes an unreadable document without a key.
    pub(crate) fn put_loose(&mut self, loose: &Loose) -> Result<(), IndexError> {
        let key = rows::loose_key(&loose.place);
        let old = self.stored(&key)?;
        self.replace_loose(key, old, Some(loose.to_bytes()));
        Ok(())
    }

    /// Forgets an unreadable document without a key, stored as these bytes.
    pub(crate) fn drop_loose(&mut self, key: Vec<u8>, stored: Vec<u8>) {
        self.replace_loose(key, Some(stored), None);
    }

    fn replace_loose(&mut self, key: Vec<u8>, old: Option<Vec<u8>>, new: Option<Vec<u8>>) {
        let weight = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, |bytes| rows::weight(&key, bytes));
        let count = |bytes: &Option<Vec<u8>>| u64::from(bytes.is_some());
        self.head.total = self.head.total.wrapping_sub(weight(&old)).wrapping_add(weight(&new));
        self.head.loose = self.head.loose.wrapping_sub(count(&old)).wrapping_add(count(&new));
        self.pairs.insert(key, new);
    }

    /// What is to be written, and what that makes of the state.
    pub(crate) fn finish(self, state: &State) -> (Batch, Change) {
        let Draft { generation: _, mut head, pairs, shards } = self;
        head.batch = head.batch.wrapping_add(1);
        let mut batch: Batch = pairs.into_iter().collect();
        for (shard, change) in &shards {
            if let Some(before) = state.shard(*shard) {
                batch.push((rows::shard_key(*shard), Some(change.after(before.record()).to_bytes())));
            }
        }
        batch.push((rows::head_key(), Some(head.to_bytes())));
        (batch, Change { head, shards })
    }
}

impl ShardChange {
    fn leave(&mut self, key: &KeyDigest, old: Option<&Sight>, generation: &Generation) {
        match old {
            None => {}
            Some(Sight::Live(entry)) => {
                self.leaves.push(Leaf::Out(key.prefix(), generation.fingerprinter.entry_digest(entry)));
            }
            Some(Sight::Unreadable { .. }) => self.tally.unreadable = self.tally.unreadable.wrapping_sub(1),
            Some(Sight::Gone) => self.tally.gone = self.tally.gone.wrapping_sub(1),
        }
    }

    fn enter(&mut self, key: &KeyDigest, new: Option<&Sight>, generation: &Generation) {
        match new {
            None => {}
            Some(Sight::Live(entry)) => {
                self.leaves.push(Leaf::In(key.prefix(), generation.fingerprinter.entry_digest(entry)));
            }
            Some(Sight::Unreadable { .. }) => self.tally.unreadable = self.tally.unreadable.wrapping_add(1),
            Some(Sight::Gone) => self.tally.gone = self.tally.gone.wrapping_add(1),
        }
    }

    fn tally_after(&self, before: Tally) -> Tally {
        Tally {
            weight: before.weight.wrapping_add(self.tally.weight),
            unreadable: before.unreadable.wrapping_add(self.tally.unreadable),
            gone: before.gone.wrapping_add(self.tally.gone),
        }
    }

    fn after(&self, before: ShardRecord) -> ShardRecord {
        let step = |root: Node, leaf: &Leaf| match leaf {
            Leaf::In(_, digest) => root.with(digest),
            Leaf::Out(_, digest) => root.without(digest),
        };
        ShardRecord {
            root: self.leaves.iter().fold(before.root, step),
            tally: self.tally_after(before.tally),
        }
    }
}

impl Change {
    /// Makes the change in memory. Cost: a few additions for each key that changed.
    pub(crate) fn apply(self, state: &mut State) {
        state.head = self.head;
        for (shard, change) in self.shards {
            let Some(shard) = state.shards.get_mut(shard.0 as usize) else { continue };
            shard.tally = change.tally_after(shard.tally);
            shard.revision += u64::from(!change.leaves.is_empty());
            for leaf in &change.leaves {
                match leaf {
                    Leaf::In(prefix, digest) => shard.tree.insert(*prefix, digest),
                    Leaf::Out(prefix, digest) => shard.tree.remove(*prefix, digest),
                }
            }
        }
    }
}
