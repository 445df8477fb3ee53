//! Pins: changes that a person does not want, by key, row before and entry after. They lie with the agent of the
//! replica; an exchange that comes to one again leaves the key, and says that it differs.

use rusqlite::{Connection, params};
use selfsame_core::{CollectionName, EntryDigest, Key, NodeName, RowDigest, ShardId, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// The step to the format in which a key may have a pin for each of its rows. The empty blob stands for no row.
pub(crate) const STEP: &str = "
CREATE TABLE pin_of_row (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL,
    row_before BLOB NOT NULL,
    entry_after BLOB,
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, shard, key, node, row_before)
) STRICT, WITHOUT ROWID;
INSERT INTO pin_of_row
    SELECT collection, shard, key, node, coalesce(row_before, x''), entry_after, at FROM pin;
DROP TABLE pin;
ALTER TABLE pin_of_row RENAME TO pin;
";

/// A change that is not to be made. A replica has at most one for each row of a key: the latest. There may be one of a
/// row that does not stand yet, or not any more.
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
    /// The pins of a replica, by shard and key.
    pub fn pins_of_replica(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<Vec<Pin>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, shard, key, node, row_before, entry_after, at FROM pin
                       WHERE collection = ?1 AND node = ?2 ORDER BY shard, key";
            columns::list(connection, PIN, sql, params![collection.as_str(), node.as_str()], read)
        })
    }

    /// What of each key is pinned on a replica where this row stands. Where a collection has no pins, this costs one
    /// look for all.
    pub fn pinned(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        rows: &[(ShardId, Key, Option<RowDigest>)],
    ) -> Result<Vec<Option<Pin>>, JournalError> {
        self.read(|connection| {
            if !has_pins(connection, collection)? {
                return Ok(vec![None; rows.len()]);
            }
            let sql = "SELECT collection, shard, key, node, row_before, entry_after, at FROM pin
                       WHERE collection = ?1 AND shard = ?2 AND key = ?3 AND node = ?4 AND row_before = ?5";
            rows.iter()
                .map(|(shard, key, row)| {
                    let place =
                        params![collection.as_str(), shard.0, key.to_bytes(), node.as_str(), stored(row)];
                    columns::first(connection, PIN, sql, place, read)
                })
                .collect()
        })
    }

    /// Pins changes, each in place of what was pinned of its row; all or none.
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
                        stored(&pin.before),
                        pin.after.map(|digest| digest.0),
                        pin.at.0,
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Removes these very pins: where another change of the key is pinned by now, it stays. Gives how many.
    pub fn end_pins(&self, pins: &[Pin]) -> Result<usize, JournalError> {
        if pins.is_empty() {
            return Ok(0);
        }
        self.write(|transaction| {
            let sql = "DELETE FROM pin WHERE collection = ?1 AND shard = ?2 AND key = ?3 AND node = ?4
                           AND row_before = ?5 AND entry_after IS ?6";
            pins.iter().try_fold(0, |ended, pin| {
                let change = params![
                    pin.collection.as_str(),
                    pin.shard.0,
                    pin.key.to_bytes(),
                    pin.node.as_str(),
                    stored(&pin.before),
                    pin.after.map(|digest| digest.0),
                ];
                Ok(ended + columns::run(transaction, sql, change)?)
            })
        })
    }

    /// Puts a collection's pins under today's shards, whose number may have changed; gives how many moved.
    pub fn reshard_pins(
        &self,
        collection: &CollectionName,
        shard: impl Fn(&Key) -> ShardId,
    ) -> Result<usize, JournalError> {
        if !self.read(|connection| has_pins(connection, collection))? {
            return Ok(0);
        }
        self.write(|transaction| {
            let sql = "SELECT collection, shard, key, node, row_before, entry_after, at FROM pin
                       WHERE collection = ?1";
            let pins = columns::list(transaction, PIN, sql, params![collection.as_str()], read)?;
            let sql = "UPDATE OR REPLACE pin SET shard = ?6
                       WHERE collection = ?1 AND shard = ?2 AND key = ?3 AND node = ?4 AND row_before = ?5";
            let moving = pins.iter().map(|pin| (pin, shard(&pin.key))).filter(|(pin, new)| pin.shard != *new);
            moving
                .map(|(pin, new)| {
                    let place = params![
                        pin.collection.as_str(),
                        pin.shard.0,
                        pin.key.to_bytes(),
                        pin.node.as_str(),
                        stored(&pin.before),
                        new.0,
                    ];
                    columns::run(transaction, sql, place)
                })
                .sum()
        })
    }
}

fn has_pins(connection: &Connection, collection: &CollectionName) -> Result<bool, JournalError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM pin WHERE collection = ?1 LIMIT 1")?
        .exists([collection.as_str()])?)
}

fn stored(row: &Option<RowDigest>) -> &[u8] {
    row.as_ref().map_or(&[], |digest| &digest.0)
}

fn read(columns: &Columns<'_>) -> Result<Pin, JournalError> {
    let before = match columns.bytes("row_before")? {
        [] => None,
        _ => Some(RowDigest(columns.array("row_before")?)),
    };
    Ok(Pin {
        collection: columns.parsed("collection")?,
        shard: ShardId(columns.integer("shard")?),
        key: columns.decoded("key", Key::from_bytes)?,
        node: columns.parsed("node")?,
        before,
        after: columns.optional("entry_after", Columns::array)?.map(EntryDigest),
        at: WallMicros(columns.integer("at")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn pin(number: i64, on: &str, before: u8) -> Pin {
        Pin {
            collection: products(),
            shard: ShardId(3),
            key: key(number).0,
            node: node(on),
            before: Some(RowDigest([before; 32])),
            after: None,
            at: WallMicros(9),
        }
    }

    /// What is pinned of these keys where these rows stand; 0 is no row.
    fn pinned(journal: &Journal, on: &str, rows: &[(i64, u8)]) -> Vec<Option<Pin>> {
        let digest = |row: u8| (row > 0).then_some(RowDigest([row; 32]));
        let rows: Vec<_> =
            rows.iter().map(|(number, row)| (ShardId(3), key(*number).0, digest(*row))).collect();
        journal.pinned(&products(), &node(on), &rows).unwrap()
    }

    #[test]
    fn a_pin_is_found_by_key_and_replica_after_a_reopen() {
        let place = Place::new();
        assert_eq!(pinned(&place.open(), "node-a", &[(1, 1)]), [None]);
        let pins = [pin(1, "node-a", 1), pin(2, "node-a", 1), pin(1, "node-b", 2)];
        place.open().add_pins(&pins).unwrap();
        let journal = place.open();
        assert_eq!(
            pinned(&journal, "node-a", &[(2, 1), (3, 1), (1, 1), (1, 2)]),
            [Some(pins[1].clone()), None, Some(pins[0].clone()), None]
        );
        assert_eq!(journal.pins_of_replica(&products(), &node("node-b")).unwrap(), [pins[2].clone()]);
        // Of a row the latest counts; another row's is another pin.
        let later = Pin { after: Some(EntryDigest([4; 32])), ..pin(1, "node-a", 1) };
        let of_no_row = Pin { before: None, ..later.clone() };
        journal.add_pins(&[later.clone(), of_no_row.clone()]).unwrap();
        assert_eq!(pinned(&journal, "node-a", &[(1, 1), (1, 0)]), [Some(later), Some(of_no_row)]);
    }

    #[test]
    fn only_the_very_pin_is_ended() {
        let place = Place::new();
        let journal = place.open();
        let absent = Pin { before: None, after: Some(EntryDigest([4; 32])), ..pin(2, "node-a", 0) };
        journal.add_pins(&[pin(1, "node-a", 1), absent.clone()]).unwrap();
        assert_eq!(journal.end_pins(&[pin(1, "node-a", 2), pin(1, "node-b", 1)]).unwrap(), 0);
        assert_eq!(journal.end_pins(&[pin(1, "node-a", 1), absent]).unwrap(), 2);
        assert_eq!(pinned(&journal, "node-a", &[(1, 1), (2, 0)]), [None, None]);
    }

    #[test]
    fn pins_follow_their_keys_into_other_shards() {
        let place = Place::new();
        let journal = place.open();
        let other = Pin { collection: "users".parse().unwrap(), ..pin(1, "node-a", 1) };
        journal
            .add_pins(&[
                pin(1, "node-a", 1),
                pin(1, "node-a", 2),
                pin(1, "node-b", 1),
                pin(2, "node-a", 1),
                other.clone(),
            ])
            .unwrap();
        let of = |sought: &Key| ShardId(if *sought == key(1).0 { 5 } else { 3 });
        assert_eq!(journal.reshard_pins(&products(), of).unwrap(), 3);
        assert_eq!(journal.reshard_pins(&products(), of).unwrap(), 0);
        let shards = |collection: &CollectionName, on: &str| {
            let pins = journal.pins_of_replica(collection, &node(on)).unwrap();
            pins.iter().map(|pin| pin.shard.0).collect::<Vec<_>>()
        };
        assert_eq!((shards(&products(), "node-a"), shards(&products(), "node-b")), (vec![3, 5, 5], vec![5]));
        assert_eq!(shards(&other.collection, "node-a"), [3]);
    }
}
