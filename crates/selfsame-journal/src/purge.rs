//! Purge: up to which instant each replica has forgotten its certain tombstones, shard by shard. A horizon and what
//! it forgets change in one step, and no horizon goes back.

use rusqlite::params;
use selfsame_core::{CollectionName, NodeName, ShardCount, ShardId, WallMicros};

use crate::columns::{self, Table};
use crate::ledger::{self, Memory};
use crate::{Journal, JournalError};

/// The step to the format that has this table.
pub(crate) const STEP: &str = "
-- Shards of another number are other shards.
CREATE TABLE purge_horizon (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    shards INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, node, shards, shard)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_certain ON tombstone(collection, node, at) WHERE certainty = 'certain';
";

const HORIZON: Table = Table { name: "purge_horizon", key_columns: 4 };

impl Journal {
    /// The purge horizons of a replica with so many shards; a shard that is not named has none.
    pub fn purge_horizons(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        shards: ShardCount,
    ) -> Result<Vec<(ShardId, WallMicros)>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, shards, shard, at FROM purge_horizon
                       WHERE collection = ?1 AND node = ?2 AND shards = ?3 ORDER BY shard";
            let bound = params![collection.as_str(), node.as_str(), shards.get()];
            columns::list(connection, HORIZON, sql, bound, |columns| {
                Ok((ShardId(columns.integer("shard")?), WallMicros(columns.integer("at")?)))
            })
        })
    }

    /// Raises horizons of a replica with so many shards, each unless a higher one stands, and forgets the certain
    /// tombstones of these shards at or below them, all in one sync; gives what was forgotten. Horizons of another
    /// number of shards are dropped. Cost: a read of the certain tombstones that are old enough for any of the shards.
    pub fn raise_horizons(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        shards: ShardCount,
        raised: &[(ShardId, WallMicros)],
    ) -> Result<Vec<Memory>, JournalError> {
        let Some(highest) = raised.iter().map(|(_, at)| *at).max() else { return Ok(Vec::new()) };
        self.write(|transaction| {
            let place = (collection.as_str(), node.as_str());
            let sql = "DELETE FROM purge_horizon WHERE collection = ?1 AND node = ?2 AND shards <> ?3";
            columns::run(transaction, sql, params![place.0, place.1, shards.get()])?;
            for (shard, at) in raised {
                let sql = "INSERT INTO purge_horizon(collection, node, shards, shard, at)
                           VALUES (?1, ?2, ?3, ?4, ?5)
                           ON CONFLICT(collection, node, shards, shard) DO UPDATE SET at = max(at, excluded.at)";
                columns::run(transaction, sql, params![place.0, place.1, shards.get(), shard.0, at.0])?;
            }
            let old = ledger::certain_until(transaction, collection, node, highest)?;
            let below = |memory: &Memory| {
                let shard = memory.key_digest.shard(shards);
                raised.iter().any(|(raised, at)| *raised == shard && memory.tombstone.at <= *at)
            };
            let forgotten: Vec<Memory> = old.into_iter().filter(below).collect();
            for memory in &forgotten {
                ledger::forget(transaction, collection, node, memory.key_digest)?;
            }
            Ok(forgotten)
        })
    }
}

#[cfg(test)]
#[path = "purge_tests.rs"]
mod tests;
