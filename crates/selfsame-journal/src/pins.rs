//! Pins: changes that a person does not want, by key, row before and entry after. An exchange that comes to one
//! again leaves the key, and says that it differs.

use rusqlite::{Transaction, params};
use selfsame_core::{CollectionName, EntryDigest, Key, NodeName, RowDigest, ShardId, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// A change that is not to be made. A replica has at most one for a key: the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// The key.
    pub key: Key,
    /// The replica.
    pub node: NodeName,
    /// The row that stays; `None`: none.
    pub before: Option<RowDigest>,
    /// The entry that is not to be there; `None`: the key is not to be deleted.
    pub after: Option<EntryDigest>,
    /// When it was pinned.
    pub at: WallMicros,
}

const PIN: Table = Table { name: "pin", key_columns: 4 };

impl Journal {
    /// The pins of a shard, by key and node.
    pub fn pins(&self, collection: &CollectionName, shard: ShardId) -> Result<Vec<Pin>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, shard, key, node, row_before, entry_after, at FROM pin
                       WHERE collection = ?1 AND shard = ?2 ORDER BY key, node";
            columns::list(connection, PIN, sql, params![collection.as_str(), shard.0], |columns| {
                Ok(Pin {
                    collection: columns.parsed("collection")?,
                    shard: ShardId(columns.integer("shard")?),
                    key: columns.decoded("key", Key::from_bytes)?,
                    node: columns.parsed("node")?,
                    before: columns.optional("row_before", Columns::array)?.map(RowDigest),
                    after: columns.optional("entry_after", Columns::array)?.map(EntryDigest),
                    at: WallMicros(columns.integer("at")?),
                })
            })
        })
    }

    /// Pins changes without a plan, as undo does; all or none.
    pub fn add_pins(&self, pins: &[Pin]) -> Result<(), JournalError> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO pin(collection, shard, key, node, row_before, entry_after, at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            for pin in pins {
                columns::run(
                    transaction,
                    sql,
                    params![
                        pin.collection.as_str(),
                        pin.shard.0,
                        pin.key.to_bytes(),
                        pin.node.as_str(),
                        pin.before.map(|digest| digest.0),
                        pin.after.map(|digest| digest.0),
                        pin.at.0,
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Removes the pins of a key on all replicas; gives how many.
    pub fn remove_pins(&self, collection: &CollectionName, key: &Key) -> Result<usize, JournalError> {
        self.write(|transaction| {
            let sql = "DELETE FROM pin WHERE collection = ?1 AND key = ?2";
            columns::run(transaction, sql, params![collection.as_str(), key.to_bytes()])
        })
    }
}

/// Makes the pin of a plan's item follow what was said of the item.
pub(crate) fn follow(
    transaction: &Transaction<'_>,
    item: i64,
    dropped: bool,
    at: WallMicros,
) -> Result<(), JournalError> {
    if dropped {
        let sql = "INSERT OR REPLACE INTO pin(collection, shard, key, node, row_before, entry_after, at)
                   SELECT collection, shard, key, node, row_before, entry_after, ?2 FROM plan_item WHERE id = ?1";
        columns::run(transaction, sql, params![item, at.0])?;
    } else {
        let sql = "DELETE FROM pin WHERE (collection, shard, key, node) IN
                       (SELECT collection, shard, key, node FROM plan_item WHERE id = ?1)";
        columns::run(transaction, sql, params![item])?;
    }
    Ok(())
}
