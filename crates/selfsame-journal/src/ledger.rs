//! The ledger: what each replica remembers of documents that are gone. It lies apart from any index and
//! survives it. How memories join and end is decided in the core; here it is kept.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{
    Certainty, CollectionName, Key, KeyDigest, NodeName, Tombstone, TombstoneCause, TombstoneOwner, Version,
    WallMicros,
};

use crate::columns::{self, Columns, Table, limit};
use crate::{Journal, JournalError};

/// A replica's memory of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Digest of the key.
    pub key_digest: KeyDigest,
    /// The key.
    pub key: Key,
    /// What is remembered.
    pub tombstone: Tombstone,
}

/// What a replica learned about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerStep {
    /// It is gone: joined with what is remembered, by [`Tombstone::join`].
    Gone(Memory),
    /// A client wrote this version: [`Tombstone::after_insert`].
    Inserted(KeyDigest, Version),
    /// A repair wrote a live document of this version, or deleted the row: [`Tombstone::after_repair`].
    Repaired(KeyDigest, Option<Version>),
}

/// A memory that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryChange {
    /// Digest of the key.
    pub key_digest: KeyDigest,
    /// The key.
    pub key: Key,
    /// What was remembered.
    pub before: Option<Tombstone>,
    /// What is.
    pub after: Option<Tombstone>,
}

/// How much a replica remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCount {
    /// Tombstones with proof.
    pub certain: u64,
    /// Tombstones with evidence only.
    pub observed: u64,
}

const TOMBSTONE: Table = Table { name: "tombstone", key_columns: 3 };
const FEED: Table = Table { name: "feed", key_columns: 2 };

impl Journal {
    /// Takes steps in order, all or none, in one sync; gives the memories that changed, one change a step. `feed` is
    /// how far the store's change feed was read for them: it advances with the steps or not at all.
    pub fn note(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        steps: &[LedgerStep],
        feed: Option<u64>,
    ) -> Result<Vec<MemoryChange>, JournalError> {
        self.write(|transaction| {
            let mut changes = Vec::new();
            for step in steps {
                changes.extend(take(transaction, collection, node, step)?);
            }
            if let Some(position) = feed {
                let sql = "INSERT INTO feed(collection, node, position) VALUES (?1, ?2, ?3)
                           ON CONFLICT(collection, node) DO UPDATE SET position = excluded.position";
                let position = columns::stored("feed position", position)?;
                columns::run(transaction, sql, params![collection.as_str(), node.as_str(), position])?;
            }
            Ok(changes)
        })
    }

    /// How far a store's change feed was read; `None` if never.
    pub fn feed_position(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<Option<u64>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, position FROM feed WHERE collection = ?1 AND node = ?2";
            columns::first(connection, FEED, sql, params![collection.as_str(), node.as_str()], |columns| {
                columns.integer("position")
            })
        })
    }

    /// What a replica remembers of each key.
    pub fn memories(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        keys: &[KeyDigest],
    ) -> Result<Vec<Option<Tombstone>>, JournalError> {
        self.read(|connection| {
            let tombstone =
                |key: &KeyDigest| Ok(find(connection, collection, node, *key)?.map(|(_, known)| known));
            keys.iter().map(tombstone).collect()
        })
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
            let sql =
                "SELECT collection, node, key_digest, key, version, cause, at, certainty, owner, came_back
                       FROM tombstone WHERE collection = ?1 AND node = ?2 AND key_digest > ?3
                       ORDER BY key_digest LIMIT ?4";
            let start: &[u8] = after.as_ref().map_or(&[], |digest| &digest.0);
            let bound = params![collection.as_str(), node.as_str(), start, limit(limit_rows)];
            columns::list(connection, TOMBSTONE, sql, bound, memory_of)
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

/// What a step makes of a memory; `None` if nothing changes.
fn take(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
    step: &LedgerStep,
) -> Result<Option<MemoryChange>, JournalError> {
    let key_digest = match step {
        LedgerStep::Gone(memory) => memory.key_digest,
        LedgerStep::Inserted(key_digest, _) | LedgerStep::Repaired(key_digest, _) => *key_digest,
    };
    let known = find(transaction, collection, node, key_digest)?;
    let (key, before, after) = match (step, known) {
        (LedgerStep::Gone(memory), None) => (memory.key.clone(), None, Some(memory.tombstone.clone())),
        (LedgerStep::Gone(memory), Some((key, known))) => {
            let joined = known.join(&memory.tombstone);
            (key, Some(known), Some(joined))
        }
        (LedgerStep::Inserted(_, version), Some((key, known))) => {
            let after = known.after_insert(*version);
            (key, Some(known), after)
        }
        (LedgerStep::Repaired(_, version), Some((key, known))) => {
            let after = known.after_repair(*version);
            (key, Some(known), after)
        }
        (LedgerStep::Inserted(..) | LedgerStep::Repaired(..), None) => return Ok(None),
    };
    if before == after {
        return Ok(None);
    }
    match &after {
        Some(tombstone) => store(transaction, collection, node, key_digest, &key, tombstone)?,
        None => forget(transaction, collection, node, key_digest)?,
    }
    Ok(Some(MemoryChange { key_digest, key, before, after }))
}

/// The certain tombstones of a replica at or below an instant.
pub(crate) fn certain_until(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
    until: WallMicros,
) -> Result<Vec<Memory>, JournalError> {
    let sql = "SELECT collection, node, key_digest, key, version, cause, at, certainty, owner, came_back
               FROM tombstone WHERE collection = ?1 AND node = ?2 AND certainty = 'certain' AND at <= ?3";
    let bound = params![collection.as_str(), node.as_str(), until.0];
    columns::list(transaction, TOMBSTONE, sql, bound, memory_of)
}

/// Ends the memory of one key.
pub(crate) fn forget(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
    key_digest: KeyDigest,
) -> Result<(), JournalError> {
    let sql = "DELETE FROM tombstone WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
    columns::run(transaction, sql, params![collection.as_str(), node.as_str(), key_digest.0]).map(|_| ())
}

fn find(
    connection: &Connection,
    collection: &CollectionName,
    node: &NodeName,
    key_digest: KeyDigest,
) -> Result<Option<(Key, Tombstone)>, JournalError> {
    let sql = "SELECT collection, node, key_digest, key, version, cause, at, certainty, owner, came_back
               FROM tombstone WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
    let bound = params![collection.as_str(), node.as_str(), key_digest.0];
    columns::first(connection, TOMBSTONE, sql, bound, |columns| Ok((key_of(columns)?, read(columns)?)))
}

fn memory_of(columns: &Columns<'_>) -> Result<Memory, JournalError> {
    let key_digest = KeyDigest(columns.array("key_digest")?);
    Ok(Memory { key_digest, key: key_of(columns)?, tombstone: read(columns)? })
}

fn key_of(columns: &Columns<'_>) -> Result<Key, JournalError> {
    columns.decoded("key", Key::from_bytes)
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
        owner: columns.coded("owner", |code| match code {
            "own" => Some(TombstoneOwner::Own),
            "received" => Some(TombstoneOwner::Received),
            _ => None,
        })?,
        came_back: columns.flag("came_back")?,
    })
}

fn store(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
    key_digest: KeyDigest,
    key: &Key,
    tombstone: &Tombstone,
) -> Result<(), JournalError> {
    let cause = match tombstone.cause {
        TombstoneCause::Deleted => "deleted",
        TombstoneCause::Expired => "expired",
    };
    let certainty = match tombstone.certainty {
        Certainty::Certain => "certain",
        Certainty::Observed => "observed",
    };
    let owner = match tombstone.owner {
        TombstoneOwner::Own => "own",
        TombstoneOwner::Received => "received",
    };
    let sql =
        "INSERT OR REPLACE INTO tombstone(collection, node, key_digest, key, version, cause, at, certainty,
                   owner, came_back)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let (version, at) = (tombstone.version.0, tombstone.at.0);
    let bound = params![
        collection.as_str(),
        node.as_str(),
        key_digest.0,
        key.to_bytes(),
        version,
        cause,
        at,
        certainty,
        owner,
        tombstone.came_back,
    ];
    columns::run(transaction, sql, bound).map(|_| ())
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
