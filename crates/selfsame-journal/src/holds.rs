//! Replicas that prove nothing, until when, and what tells: keys that vanished within the day, and the counter that
//! the agent keeps in each store. Whether something is too much is decided in the core; here it is kept.

use rusqlite::{Transaction, params};
use selfsame_core::brake::{ROLLING_DAY_MICROS, Vanishes};
use selfsame_core::{CollectionName, NodeName, ShardId, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// The step to the format that has these tables.
pub(crate) const STEP: &str = "
CREATE TABLE vanish (
    id INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    shard INTEGER NOT NULL,
    at INTEGER NOT NULL,
    keys INTEGER NOT NULL
) STRICT;
CREATE INDEX vanish_replica ON vanish(collection, node, at);

CREATE TABLE hold (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    cause TEXT NOT NULL,
    detail TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (collection, node)
) STRICT, WITHOUT ROWID;

-- Which store answered last, and the counter that the agent left in it; NULL: it keeps none.
CREATE TABLE store_seen (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    store_id TEXT NOT NULL,
    counter INTEGER,
    PRIMARY KEY (collection, node)
) STRICT, WITHOUT ROWID;
";

/// The step to the format that tells which scan counted what vanished.
pub(crate) const STEP_BY_SCAN: &str = "
-- When the scan began, by which it is named; NULL: a confirm counted it.
ALTER TABLE vanish ADD COLUMN scan INTEGER;
";

/// Why a replica is held as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// More of its keys vanished within a day than `vanished_share_max`.
    Vanished,
    /// A shard, or all of it, was emptied.
    Emptied,
    /// Its store was replaced, or taken back to an older state.
    Restored,
    /// It was not scanned for longer than deletions are remembered, and others were.
    Away,
}

impl HoldCause {
    /// All causes.
    pub const ALL: [HoldCause; 4] =
        [HoldCause::Vanished, HoldCause::Emptied, HoldCause::Restored, HoldCause::Away];

    /// The name in reports and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldCause::Vanished => "vanished",
            HoldCause::Emptied => "emptied",
            HoldCause::Restored => "restored",
            HoldCause::Away => "away",
        }
    }

    /// Whether the hold ends once every replica is found equal: what vanished, vanished everywhere.
    pub fn ends_by_itself(self) -> bool {
        match self {
            HoldCause::Vanished | HoldCause::Emptied => true,
            HoldCause::Restored | HoldCause::Away => false,
        }
    }
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// What vanished is gone everywhere: its memory stands.
    Equal,
    /// A person takes the replica's documents as live: what it saw vanish from then on is forgotten, and is a vote no
    /// more.
    Merged(WallMicros),
    /// As [`HoldEnd::Merged`], of a store that was taken back. What the replica knows for certain, it knows from then
    /// on as one that was told: a row that is there again has not come back by a client's doing.
    Restored(WallMicros),
}

/// A replica that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub cause: HoldCause,
    /// What was seen, for people.
    pub detail: String,
    /// Since when, by the agent's clock. With the replica it names the hold.
    pub since: WallMicros,
}

/// Which store answered, as the agent last left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSeen {
    /// Its id.
    pub store_id: String,
    /// The counter in it; `None` if it keeps none.
    pub counter: Option<u64>,
}

const VANISH: Table = Table { name: "vanish", key_columns: 1 };
const HOLD: Table = Table { name: "hold", key_columns: 2 };
const STORE_SEEN: Table = Table { name: "store_seen", key_columns: 2 };

impl Journal {
    /// Counts keys of a replica that vanished, by shard; gives all that is counted of the rolling day that ends at
    /// `now`. What is older is forgotten. A scan, named by when it began, counts once, however often it comes to its
    /// end: what it counts again is of what it counted before.
    pub fn count_vanishes(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        now: WallMicros,
        keys: &[(ShardId, u64)],
        scan: Option<WallMicros>,
    ) -> Result<Vec<(ShardId, Vanishes)>, JournalError> {
        self.write(|transaction| {
            let sql = "DELETE FROM vanish WHERE collection = ?1 AND node = ?2 AND at <= ?3";
            let day_ago = now.plus(-ROLLING_DAY_MICROS);
            columns::run(transaction, sql, params![collection.as_str(), node.as_str(), day_ago.0])?;
            for (shard, keys) in keys.iter().filter(|(_, keys)| *keys > 0) {
                let keys = columns::stored("vanished keys", *keys)?;
                let scan = scan.map(|began| began.0);
                let sql = "UPDATE vanish SET keys = max(keys, ?4)
                           WHERE collection = ?1 AND node = ?2 AND shard = ?3 AND scan = ?5";
                let bound = params![collection.as_str(), node.as_str(), shard.0, keys, scan];
                if columns::run(transaction, sql, bound)? > 0 {
                    continue;
                }
                let sql = "INSERT INTO vanish(collection, node, shard, at, keys, scan)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let bound = params![collection.as_str(), node.as_str(), shard.0, now.0, keys, scan];
                columns::run(transaction, sql, bound)?;
            }
            let sql =
                "SELECT id, shard, at, keys FROM vanish WHERE collection = ?1 AND node = ?2 ORDER BY id";
            let bound = params![collection.as_str(), node.as_str()];
            columns::list(transaction, VANISH, sql, bound, |columns| {
                let at = WallMicros(columns.integer("at")?);
                Ok((ShardId(columns.integer("shard")?), Vanishes { at, keys: columns.integer("keys")? }))
            })
        })
    }

    /// Holds a replica; gives the hold that stands. One that stands already stays, unless the new one needs a person
    /// and the old one does not.
    pub fn hold(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        hold: &Hold,
    ) -> Result<Hold, JournalError> {
        self.write(|transaction| put(transaction, collection, node, hold))
    }

    /// Why and since when a replica is held; `None` if it is not.
    pub fn held(&self, collection: &CollectionName, node: &NodeName) -> Result<Option<Hold>, JournalError> {
        self.read(|connection| {
            columns::first(connection, HOLD, FIND, params![collection.as_str(), node.as_str()], read)
        })
    }

    /// Ends a replica's hold and starts the count of what vanished anew, in one step. Gives how many tombstones were
    /// forgotten.
    pub fn end_hold(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        end: HoldEnd,
    ) -> Result<usize, JournalError> {
        self.write(|transaction| {
            for table in ["hold", "vanish"] {
                let sql = format!("DELETE FROM {table} WHERE collection = ?1 AND node = ?2");
                columns::run(transaction, &sql, params![collection.as_str(), node.as_str()])?;
            }
            let (HoldEnd::Merged(since) | HoldEnd::Restored(since)) = end else { return Ok(0) };
            if matches!(end, HoldEnd::Restored(_)) {
                let sql = "UPDATE tombstone SET owner = 'received'
                           WHERE collection = ?1 AND node = ?2 AND certainty = 'certain' AND owner = 'own'";
                columns::run(transaction, sql, params![collection.as_str(), node.as_str()])?;
            }
            let sql = "DELETE FROM tombstone WHERE collection = ?1 AND node = ?2 AND certainty = 'observed'
                           AND at >= ?3";
            columns::run(transaction, sql, params![collection.as_str(), node.as_str(), since.0])
        })
    }

    /// Which store answered for a replica; `None` if none has yet.
    pub fn store_seen(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<Option<StoreSeen>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, store_id, counter FROM store_seen
                       WHERE collection = ?1 AND node = ?2";
            let bound = params![collection.as_str(), node.as_str()];
            columns::first(connection, STORE_SEEN, sql, bound, |columns| {
                Ok(StoreSeen {
                    store_id: columns.text("store_id")?.to_owned(),
                    counter: columns.optional("counter", Columns::integer)?,
                })
            })
        })
    }

    /// Notes which store answers for a replica.
    pub fn note_store(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        seen: &StoreSeen,
    ) -> Result<(), JournalError> {
        let counter = seen.counter.map(|counter| columns::stored("counter", counter)).transpose()?;
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO store_seen(collection, node, store_id, counter)
                       VALUES (?1, ?2, ?3, ?4)";
            let bound = params![collection.as_str(), node.as_str(), seen.store_id, counter];
            columns::run(transaction, sql, bound).map(|_| ())
        })
    }
}

/// Holds a replica: [`Journal::hold`].
pub(crate) fn put(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
    hold: &Hold,
) -> Result<Hold, JournalError> {
    let standing = find(transaction, collection, node)?;
    let stays = |old: &Hold| !old.cause.ends_by_itself() || hold.cause.ends_by_itself();
    if let Some(old) = standing.filter(stays) {
        return Ok(old);
    }
    let sql =
        "INSERT OR REPLACE INTO hold(collection, node, cause, detail, since) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (cause, detail) = (hold.cause.as_str(), hold.detail.as_str());
    let bound = params![collection.as_str(), node.as_str(), cause, detail, hold.since.0];
    columns::run(transaction, sql, bound)?;
    Ok(hold.clone())
}

const FIND: &str =
    "SELECT collection, node, cause, detail, since FROM hold WHERE collection = ?1 AND node = ?2";

fn find(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    node: &NodeName,
) -> Result<Option<Hold>, JournalError> {
    columns::first(transaction, HOLD, FIND, params![collection.as_str(), node.as_str()], read)
}

fn read(columns: &Columns<'_>) -> Result<Hold, JournalError> {
    let cause = |code: &str| HoldCause::ALL.into_iter().find(|cause| cause.as_str() == code);
    Ok(Hold {
        cause: columns.coded("cause", cause)?,
        detail: columns.text("detail")?.to_owned(),
        since: WallMicros(columns.integer("since")?),
    })
}

#[cfg(test)]
#[path = "holds_tests.rs"]
mod tests;
