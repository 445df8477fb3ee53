//! Digests of keys change with the fleet's name and secret, and what is remembered under them must not be lost.

use rusqlite::{Connection, OptionalExtension, params};
use selfsame_core::{CollectionName, Key, KeyDigest};

use crate::columns::{self, Table};
use crate::{Journal, JournalError};

/// Where digests of keys stand beside the keys themselves.
const KEYED: [Table; 2] =
    [Table { name: "tombstone", key_columns: 3 }, Table { name: "intent", key_columns: 1 }];

impl Journal {
    /// Makes sure that what is remembered of a collection is found by today's digests of its keys. `check_value` tells
    /// one keying from another: under another than the last, all digests are computed anew, all or none; gives how
    /// many. Streaks, which know digests alone, start over. Cost: a read of all memories and intents of the
    /// collection, once after the keying changed.
    pub fn rekey(
        &self,
        collection: &CollectionName,
        check_value: &[u8; 16],
        digest: impl Fn(&Key) -> KeyDigest,
    ) -> Result<usize, JournalError> {
        let fact = format!("keyed {collection}");
        let keying: String = check_value.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.read(|connection| keyed_by(connection, &fact))?.as_ref() == Some(&keying) {
            return Ok(0);
        }
        self.write(|transaction| {
            let mut changed = 0;
            for table in KEYED {
                for (key, old) in digests(transaction, table, collection)? {
                    let new = digest(&key);
                    if new != old {
                        let sql = format!(
                            "UPDATE {} SET key_digest = ?1 WHERE collection = ?2 AND key_digest = ?3",
                            table.name
                        );
                        changed +=
                            columns::run(transaction, &sql, params![new.0, collection.as_str(), old.0])?;
                    }
                }
            }
            // Other digests make other shards.
            let sql = "DELETE FROM purge_horizon WHERE collection = ?1";
            columns::run(transaction, sql, params![collection.as_str()])?;
            if changed > 0 {
                let sql = "DELETE FROM repair_streak WHERE collection = ?1";
                columns::run(transaction, sql, params![collection.as_str()])?;
            }
            let sql = "INSERT INTO fact(name, value) VALUES (?1, ?2)
                       ON CONFLICT(name) DO UPDATE SET value = excluded.value";
            columns::run(transaction, sql, params![fact, keying])?;
            Ok(changed)
        })
    }
}

fn keyed_by(connection: &Connection, fact: &str) -> Result<Option<String>, JournalError> {
    let sql = "SELECT value FROM fact WHERE name = ?1";
    Ok(connection.query_row(sql, [fact], |row| row.get(0)).optional()?)
}

fn digests(
    connection: &Connection,
    table: Table,
    collection: &CollectionName,
) -> Result<Vec<(Key, KeyDigest)>, JournalError> {
    let place = if table.name == "intent" { "id" } else { "collection, node, key_digest" };
    let sql = format!("SELECT {place}, key, key_digest FROM {} WHERE collection = ?1", table.name);
    let mut found = columns::list(connection, table, &sql, params![collection.as_str()], |columns| {
        Ok((columns.decoded("key", Key::from_bytes)?, KeyDigest(columns.array("key_digest")?)))
    })?;
    // Several replicas remember one key, and several intents were written for it: one statement does for all.
    found.sort_unstable_by_key(|(_, digest)| *digest);
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Certainty, Fingerprinter, Version};

    use super::*;
    use crate::testing::*;
    use crate::{LedgerStep, Memory};

    fn remember(journal: &Journal, by: &Fingerprinter, collection: &str, on: &str, number: i64) -> KeyDigest {
        let key = Key::integer(number);
        let tombstone = tombstone(number, Certainty::Observed, 1);
        let memory = Memory { key_digest: by.key_digest(&key), key, tombstone };
        let digest = memory.key_digest;
        journal.note(&collection.parse().unwrap(), &node(on), &[LedgerStep::Gone(memory)], None).unwrap();
        digest
    }

    #[test]
    fn memories_are_found_under_another_secret() {
        let place = Place::new();
        let old = Fingerprinter::new("shop", "products", b"old");
        let new = Fingerprinter::new("shop", "products", b"new");
        let journal = place.open();
        let rekey = |journal: &Journal, by: &Fingerprinter| {
            journal.rekey(&products(), &by.check_value(), |key| by.key_digest(key)).unwrap()
        };
        assert_eq!(rekey(&journal, &old), 0);
        for number in 0..50 {
            remember(&journal, &old, "products", "node-a", number);
        }
        remember(&journal, &old, "products", "node-b", 7);
        let other = remember(&journal, &old, "users", "node-a", 7);
        assert_eq!(rekey(&journal, &new), 51);
        drop(journal);
        let journal = place.open();
        assert_eq!(rekey(&journal, &new), 0);
        for node_name in ["node-a", "node-b"] {
            let found = journal.memories(&products(), &node(node_name), &[new.key_digest(&Key::integer(7))]);
            assert_eq!(found.unwrap()[0].as_ref().unwrap().version, Version(7));
        }
        // Another collection has a keying of its own.
        let found = journal.memories(&"users".parse().unwrap(), &node("node-a"), &[other]).unwrap();
        assert!(found[0].is_some());
        assert_eq!(rekey(&journal, &old), 51);
    }
}
