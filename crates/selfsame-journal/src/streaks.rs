//! Streaks: passes in a row that found something, and keys that are repaired pass after pass.

use rusqlite::{Connection, params};
use selfsame_core::{CollectionName, KeyDigest, NodeName, RunId, ShardId};

use crate::columns::{self, Table};
use crate::{Journal, JournalError};

/// A pass over one shard that came to an end and compared all replicas. One that did not is not recorded: it
/// neither continues nor breaks a streak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// The run. The same run again is the same pass.
    pub run: RunId,
    /// Whether it found a difference that stood still.
    pub mismatched: bool,
    /// All keys that differed.
    pub differing: Vec<Differing>,
}

/// A key that differed on a replica in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The replica.
    pub node: NodeName,
    /// The key.
    pub key_digest: KeyDigest,
    /// Whether it was repaired. One that was only held keeps its streak as it is.
    pub repaired: bool,
}

struct PassRow {
    run: RunId,
    number: i64,
    mismatched: bool,
    in_a_row: u32,
}

const PASS: Table = Table { name: "pass", key_columns: 2 };
const STREAK: Table = Table { name: "repair_streak", key_columns: 3 };

impl Journal {
    /// Records a pass; gives how many in a row, this one included, found something. A clean pass gives 0, and a
    /// key that does not differ in it starts over.
    pub fn record_pass(&self, pass: &Pass) -> Result<u32, JournalError> {
        self.write(|transaction| {
            let (collection, shard) = (pass.collection.as_str(), pass.shard.0);
            let last = find(transaction, &pass.collection, pass.shard)?;
            let again = last.as_ref().filter(|last| last.run == pass.run);
            let mismatched = pass.mismatched || again.is_some_and(|last| last.mismatched);
            let number = match (again, &last) {
                (Some(again), _) => again.number,
                (None, last) => last.as_ref().map_or(0, |last| last.number + 1),
            };
            let before = match again {
                Some(again) => again.in_a_row - u32::from(again.mismatched && again.in_a_row > 0),
                None => last.as_ref().map_or(0, |last| last.in_a_row),
            };
            let in_a_row = if mismatched { before.saturating_add(1) } else { 0 };
            let sql = "INSERT OR REPLACE INTO pass(collection, shard, run, number, mismatched, in_a_row)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let run = pass.run.as_bytes();
            columns::run(transaction, sql, params![collection, shard, run, number, mismatched, in_a_row])?;
            for Differing { node, key_digest, repaired } in &pass.differing {
                // A streak counts each pass once, and only what the pass before this one left.
                let sql =
                    "INSERT INTO repair_streak(collection, node, key_digest, shard, number, repaired_in,
                               in_a_row)
                           VALUES (?1, ?2, ?3, ?4, ?5, CASE WHEN ?6 THEN ?5 ELSE -1 END, ?6)
                           ON CONFLICT(collection, node, key_digest) DO UPDATE SET
                               in_a_row = CASE
                                   WHEN number < ?5 - 1 OR shard <> ?4 THEN ?6
                                   WHEN repaired_in = ?5 THEN in_a_row
                                   ELSE in_a_row + ?6 END,
                               repaired_in = CASE WHEN ?6 THEN ?5 ELSE repaired_in END,
                               number = ?5, shard = ?4";
                let bound = params![collection, node.as_str(), key_digest.0, shard, number, repaired];
                columns::run(transaction, sql, bound)?;
            }
            let sql = "DELETE FROM repair_streak WHERE collection = ?1 AND shard = ?2 AND number < ?3";
            columns::run(transaction, sql, params![collection, shard, number])?;
            Ok(in_a_row)
        })
    }

    /// How many passes in a row found something.
    pub fn mismatched_in_a_row(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<u32, JournalError> {
        self.read(|connection| Ok(find(connection, collection, shard)?.map_or(0, |pass| pass.in_a_row)))
    }

    /// For each key, how many passes in a row repaired it on a replica.
    pub fn repaired_in_a_row(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        keys: &[KeyDigest],
    ) -> Result<Vec<u32>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, key_digest, in_a_row FROM repair_streak
                       WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
            keys.iter()
                .map(|key| {
                    let bound = params![collection.as_str(), node.as_str(), key.0];
                    let streak = columns::first(connection, STREAK, sql, bound, |columns| {
                        columns.integer("in_a_row")
                    })?;
                    Ok(streak.unwrap_or(0))
                })
                .collect()
        })
    }
}

fn find(
    connection: &Connection,
    collection: &CollectionName,
    shard: ShardId,
) -> Result<Option<PassRow>, JournalError> {
    let sql = "SELECT collection, shard, run, number, mismatched, in_a_row FROM pass
               WHERE collection = ?1 AND shard = ?2";
    columns::first(connection, PASS, sql, params![collection.as_str(), shard.0], |columns| {
        Ok(PassRow {
            run: RunId::from_bytes(columns.array("run")?),
            number: columns.integer("number")?,
            mismatched: columns.flag("mismatched")?,
            in_a_row: columns.integer("in_a_row")?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn pass(run: u64, keys: &[(i64, bool)]) -> Pass {
        let differing = keys.iter().map(|(number, repaired)| Differing {
            node: node("node-a"),
            key_digest: key(*number).1,
            repaired: *repaired,
        });
        Pass {
            collection: products(),
            shard: ShardId(1),
            run: run_id(run),
            mismatched: !keys.is_empty(),
            differing: differing.collect(),
        }
    }

    fn streaks(journal: &Journal) -> Vec<u32> {
        journal.repaired_in_a_row(&products(), &node("node-a"), &[key(1).1, key(2).1]).unwrap()
    }

    #[test]
    fn passes_with_mismatches_count_up_until_a_clean_one() {
        let place = Place::new();
        let count = |run, keys: &[(i64, bool)]| place.open().record_pass(&pass(run, keys)).unwrap();
        assert_eq!(count(1, &[(1, true)]), 1);
        assert_eq!(count(2, &[(2, false)]), 2);
        assert_eq!(count(2, &[(2, false)]), 2);
        assert_eq!(place.open().mismatched_in_a_row(&products(), ShardId(1)).unwrap(), 2);
        assert_eq!(place.open().mismatched_in_a_row(&products(), ShardId(0)).unwrap(), 0);
        assert_eq!(count(3, &[]), 0);
        assert_eq!(count(3, &[(1, true)]), 1);
        assert_eq!(count(3, &[]), 1);
        assert_eq!(count(4, &[(1, true)]), 2);
    }

    #[test]
    fn a_key_flaps_when_pass_after_pass_repairs_it() {
        let place = Place::new();
        let journal = place.open();
        for run in 1..4 {
            journal.record_pass(&pass(run, &[(1, true), (2, true)])).unwrap();
            // The same pass twice counts once.
            journal.record_pass(&pass(run, &[(1, true)])).unwrap();
        }
        assert_eq!(streaks(&journal), [3, 3]);
        // Held for flapping: it stays as it is. Key 2 does not differ any more.
        journal.record_pass(&pass(4, &[(1, false)])).unwrap();
        journal.record_pass(&pass(5, &[(1, false)])).unwrap();
        assert_eq!(streaks(&journal), [3, 0]);
        journal.record_pass(&pass(6, &[(1, true), (2, true)])).unwrap();
        assert_eq!(streaks(&journal), [4, 1]);
        journal.record_pass(&pass(7, &[])).unwrap();
        assert_eq!(streaks(&journal), [0, 0]);
    }

    #[test]
    fn a_key_that_was_only_held_has_no_streak() {
        let place = Place::new();
        let journal = place.open();
        journal.record_pass(&pass(1, &[(1, false)])).unwrap();
        assert_eq!(streaks(&journal), [0, 0]);
        journal.record_pass(&pass(2, &[(1, true)])).unwrap();
        assert_eq!(streaks(&journal), [1, 0]);
    }
}
