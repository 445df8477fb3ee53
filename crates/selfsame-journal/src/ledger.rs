//! The ledger: what each replica remembers of documents that are gone. It lies apart from any index and
//! survives it.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{
    Certainty, CollectionName, Key, KeyDigest, NodeName, Tombstone, TombstoneCause, Version, WallMicros,
};

use crate::columns::{self, Columns, Table, limit};
use crate::{Journal, JournalError};

/// A replica's memory of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The collection.
    pub collection: CollectionName,
    /// The replica.
    pub node: NodeName,
    /// Digest of the key.
    pub key_digest: KeyDigest,
    /// The key.
    pub key: Key,
    /// What is remembered.
    pub tombstone: Tombstone,
}

/// How much a replica remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCount {
    /// Tombstones with proof.
    pub certain: u64,
    /// Tombstones with evidence only.
    pub observed: u64,
}

/// Joins two memories of one key: the higher version stays; of one version the certain one, then the later,
/// and it came back if either says so.
///
/// Commutative, associative and idempotent (a semilattice: versions are totally ordered, and within a version
/// it is the product of a total order on evidence and of `or`), so the order and the number of deliveries do
/// not matter.
pub fn join(left: &Tombstone, right: &Tombstone) -> Tombstone {
    if left.version != right.version {
        return if left.version > right.version { left.clone() } else { right.clone() };
    }
    // The cause only breaks ties, so that the result does not depend on the order.
    let evidence = |tombstone: &Tombstone| {
        let expired = tombstone.cause == TombstoneCause::Expired;
        (tombstone.certainty == Certainty::Certain, tombstone.at, expired)
    };
    let stronger = if evidence(left) >= evidence(right) { left } else { right };
    Tombstone { came_back: left.came_back || right.came_back, ..stronger.clone() }
}

const TOMBSTONE: Table = Table { name: "tombstone", key_columns: 3 };

impl Journal {
    /// Joins memories into the ledger, all or none; gives how many changed it.
    pub fn remember(&self, memories: &[Memory]) -> Result<usize, JournalError> {
        self.write(|transaction| {
            let mut changed = 0;
            for memory in memories {
                let known = find(transaction, &memory.collection, &memory.node, memory.key_digest)?;
                let joined = known.as_ref().map(|known| join(known, &memory.tombstone));
                let joined = joined.unwrap_or_else(|| memory.tombstone.clone());
                if known.as_ref() != Some(&joined) {
                    store(transaction, memory, &joined)?;
                    changed += 1;
                }
            }
            Ok(changed)
        })
    }

    /// What a replica remembers of each key.
    pub fn memories(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        keys: &[KeyDigest],
    ) -> Result<Vec<Option<Tombstone>>, JournalError> {
        self.read(|connection| keys.iter().map(|key| find(connection, collection, node, *key)).collect())
    }

    /// At most `limit_rows` memories of a replica in the order of their key digests, after `after`. Fewer than
    /// that, and there are no more.
    pub fn memories_after(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        after: Option<KeyDigest>,
        limit_rows: usize,
    ) -> Result<Vec<Memory>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, key_digest, key, version, cause, at, certainty, came_back
                       FROM tombstone WHERE collection = ?1 AND node = ?2 AND key_digest > ?3
                       ORDER BY key_digest LIMIT ?4";
            let start: &[u8] = after.as_ref().map_or(&[], |digest| &digest.0);
            let bound = params![collection.as_str(), node.as_str(), start, limit(limit_rows)];
            columns::list(connection, TOMBSTONE, sql, bound, |columns| {
                Ok(Memory {
                    collection: columns.parsed("collection")?,
                    node: columns.parsed("node")?,
                    key_digest: KeyDigest(columns.array("key_digest")?),
                    key: columns.decoded("key", Key::from_bytes)?,
                    tombstone: read(columns)?,
                })
            })
        })
    }

    /// Forgets keys that live again, or that may be purged; gives how many were remembered.
    pub fn end_memories(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        keys: &[KeyDigest],
    ) -> Result<usize, JournalError> {
        self.write(|transaction| {
            let sql = "DELETE FROM tombstone WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
            keys.iter().try_fold(0, |ended, key| {
                let changed =
                    columns::run(transaction, sql, params![collection.as_str(), node.as_str(), key.0])?;
                Ok(ended + changed)
            })
        })
    }

    /// How much a replica remembers.
    pub fn memory_count(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<MemoryCount, JournalError> {
        self.read(|connection| {
            let sql = "SELECT ?1 AS collection, ?2 AS node, 'all' AS keys,
                           count(*) FILTER (WHERE certainty = 'certain') AS certain,
                           count(*) FILTER (WHERE certainty = 'observed') AS observed
                       FROM tombstone WHERE collection = ?1 AND node = ?2";
            let bound = params![collection.as_str(), node.as_str()];
            let count = columns::first(connection, TOMBSTONE, sql, bound, |columns| {
                Ok(MemoryCount {
                    certain: columns.integer("certain")?,
                    observed: columns.integer("observed")?,
                })
            })?;
            Ok(count.unwrap_or_default())
        })
    }
}

fn find(
    connection: &Connection,
    collection: &CollectionName,
    node: &NodeName,
    key: KeyDigest,
) -> Result<Option<Tombstone>, JournalError> {
    let sql = "SELECT collection, node, key_digest, version, cause, at, certainty, came_back FROM tombstone
               WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
    columns::first(connection, TOMBSTONE, sql, params![collection.as_str(), node.as_str(), key.0], read)
}

fn read(columns: &Columns<'_>) -> Result<Tombstone, JournalError> {
    Ok(Tombstone {
        version: Version(columns.integer("version")?),
        cause: columns.coded("cause", |code| match code {
            "deleted" => Some(TombstoneCause::Deleted),
            "expired" => Some(TombstoneCause::Expired),
            _ => None,
        })?,
        at: WallMicros(columns.integer("at")?),
        certainty: columns.coded("certainty", |code| match code {
            "certain" => Some(Certainty::Certain),
            "observed" => Some(Certainty::Observed),
            _ => None,
        })?,
        came_back: columns.flag("came_back")?,
    })
}

fn store(transaction: &Transaction<'_>, memory: &Memory, joined: &Tombstone) -> Result<(), JournalError> {
    let cause = match joined.cause {
        TombstoneCause::Deleted => "deleted",
        TombstoneCause::Expired => "expired",
    };
    let certainty = match joined.certainty {
        Certainty::Certain => "certain",
        Certainty::Observed => "observed",
    };
    let sql =
        "INSERT OR REPLACE INTO tombstone(collection, node, key_digest, key, version, cause, at, certainty,
                   came_back)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    columns::run(
        transaction,
        sql,
        params![
            memory.collection.as_str(),
            memory.node.as_str(),
            memory.key_digest.0,
            memory.key.to_bytes(),
            joined.version.0,
            cause,
            joined.at.0,
            certainty,
            joined.came_back,
        ],
    )
    .map(|_| ())
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
