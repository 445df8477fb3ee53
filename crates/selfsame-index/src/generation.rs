//! The store and the state over it, which only batches change, both together.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use selfsame_core::merkle::{Depth, Tree};
use selfsame_core::{Fingerprinter, KeyDigest, KeyPrefix, ShardCount, ShardId};

use crate::IndexError;
use crate::disk::{Bytes, Pairs, Store};
use crate::draft::Draft;
use crate::head::Head;
use crate::rows::{self, Row, Sight};
use crate::state::{Shard, State};

/// An open generation of an index.
pub(crate) struct Generation {
    pub(crate) store: Store,
    pub(crate) fingerprinter: Fingerprinter,
    pub(crate) shards: ShardCount,
    pub(crate) state: RwLock<State>,
    /// Set when a batch failed: the store may hold it or not, so that the state is no longer known to be true.
    broken: AtomicBool,
}

impl Generation {
    pub(crate) fn new(store: Store, fingerprinter: Fingerprinter, state: State) -> Generation {
        let shards = state.head.shards;
        Generation { store, fingerprinter, shards, state: RwLock::new(state), broken: AtomicBool::new(false) }
    }

    /// A batch to be filled and committed. The caller holds the writer's lock until then.
    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft::new(self, self.state.read().head.clone())
    }

    /// Writes a draft, then makes it the state.
    pub(crate) fn commit(&self, draft: Draft<'_>) -> Result<(), IndexError> {
        if self.broken.load(Ordering::Acquire) {
            return Err(IndexError::damaged("an earlier write failed"));
        }
        let (batch, change) = draft.finish(&self.state.read());
        self.store.commit(batch).inspect_err(|_| self.broken.store(true, Ordering::Release))?;
        change.apply(&mut self.state.write());
        Ok(())
    }

    /// The head.
    pub(crate) fn head(&self) -> Head {
        self.state.read().head.clone()
    }

    /// The rows of a shard whose keys' prefixes are in a range, in key-digest order, as of now.
    pub(crate) fn rows(&self, shard: ShardId, prefixes: RangeInclusive<KeyPrefix>) -> Rows {
        Rows { pairs: self.store.view().range(rows::row_keys(shard, prefixes)) }
    }

    /// A shard read anew from its rows, with a tree of that depth.
    pub(crate) fn read_shard(&self, shard: ShardId, depth: Depth) -> Result<Shard, IndexError> {
        let mut read = Shard { tree: Tree::new(depth), ..Shard::for_entries(0) };
        for pair in self.store.view().range(rows::row_keys(shard, rows::ALL_PREFIXES)) {
            let (key, value) = pair?;
            count(&mut read, &self.fingerprinter, &key, &value)?;
        }
        Ok(read)
    }
}

/// Counts a stored pair into a shard, and gives its row.
pub(crate) fn count(
    shard: &mut Shard,
    fingerprinter: &Fingerprinter,
    key: &[u8],
    value: &[u8],
) -> Result<(KeyDigest, Row), IndexError> {
    let (_, digest) = rows::row_of_key(key)?;
    let row = Row::from_bytes(value)?;
    match &row.sight {
        Sight::Live(entry) => shard.tree.insert(digest.prefix(), &fingerprinter.entry_digest(entry)),
        Sight::Unreadable { .. } => shard.tally.unreadable += 1,
        Sight::Gone => shard.tally.gone += 1,
    }
    shard.tally.weight = shard.tally.weight.wrapping_add(rows::weight(key, value));
    Ok((digest, row))
}

/// Rows in key-digest order.
pub(crate) struct Rows {
    pairs: Pairs,
}

impl Iterator for Rows {
    type Item = Result<(KeyDigest, Row), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let decoded = |(key, value): (Bytes, Bytes)| {
            let (_, digest) = rows::row_of_key(&key)?;
            Ok((digest, Row::from_bytes(&value)?))
        };
        self.pairs.next().map(|pair| pair.and_then(decoded))
    }
}
