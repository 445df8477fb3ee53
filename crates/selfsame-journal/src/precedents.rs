//! What the journal says of repairs before they are made: whether they count, and how earlier ones of their keys
//! went.

use rusqlite::{Connection, params};
use selfsame_core::{CollectionName, Entry, KeyDigest, NodeName, RepairId, RowDigest, RunId, WallMicros};

use crate::columns::{self, Table};
use crate::{IntentOutcome, Journal, JournalError, repairs, streaks};

/// A repair that an agent is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its id.
    pub repair: RepairId,
    /// Its key.
    pub key_digest: KeyDigest,
    /// The row that is to be replaced; `None`: there is none.
    pub expected: Option<RowDigest>,
    /// What a fingerprint will know of the row after; `None` deletes.
    pub entry: Option<Entry>,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Precedent {
    /// It was delivered before, and was or may have been written: it is counted already.
    pub delivered: bool,
    /// Its key is among those that are counted already.
    pub key_counted: bool,
    /// It takes back what a repair of the same run inserted.
    pub withdraws: bool,
    /// How many runs in a row repaired its key, its own left out.
    pub repaired_in_a_row: u32,
    /// A repair that was to write the same entry, and that found or left the row that is there now, did not read
    /// back as written.
    pub incomparable: bool,
}

const INTENT: Table = Table { name: "intent", key_columns: 1 };

impl Journal {
    /// What is known of repairs that `run` asks for, in their order; what counts are writes since `since` that
    /// nobody approved.
    pub fn precedents(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        run: RunId,
        since: WallMicros,
        asked: &[Asked],
    ) -> Result<Vec<Precedent>, JournalError> {
        self.read(|connection| {
            let precedent = |asked: &Asked| {
                let seen = KeyOnNode { connection, collection, node, key: asked.key_digest };
                Ok(Precedent {
                    delivered: delivered(connection, asked.repair)?,
                    key_counted: seen.is_counted(since)?,
                    withdraws: asked.entry.is_none() && seen.was_inserted_by(run, asked.expected)?,
                    repaired_in_a_row: streaks::before(
                        connection,
                        collection,
                        node,
                        Some(run),
                        asked.key_digest,
                    )?,
                    incomparable: match &asked.entry {
                        Some(entry) => seen.was_incomparable(asked.expected, entry)?,
                        None => false,
                    },
                })
            };
            asked.iter().map(precedent).collect()
        })
    }

    /// Notes of applied repairs that their rows stand as they left them, and do not read back as what was to be
    /// written.
    pub fn mark_incomparable(&self, repairs: &[RepairId]) -> Result<(), JournalError> {
        self.write(|transaction| {
            for repair in repairs {
                let sql = "UPDATE intent SET incomparable = 1 WHERE repair = ?1";
                columns::run(transaction, sql, [repair.as_bytes()])?;
            }
            Ok(())
        })
    }
}

fn delivered(connection: &Connection, repair: RepairId) -> Result<bool, JournalError> {
    Ok(match repairs::state(connection, repair)? {
        None => false,
        Some(None) => true,
        Some(Some(outcome)) => matches!(outcome, IntentOutcome::Applied { .. } | IntentOutcome::Unknown),
    })
}

/// One key on one replica.
struct KeyOnNode<'a> {
    connection: &'a Connection,
    collection: &'a CollectionName,
    node: &'a NodeName,
    key: KeyDigest,
}

impl KeyOnNode<'_> {
    fn is_counted(&self, since: WallMicros) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM intent WHERE collection = ?1 AND node = ?2 AND key_digest = ?3 AND at >= ?4
                       AND approved = 0 AND cause <> 'swept'
                       AND (outcome IS NULL OR outcome IN ('applied', 'unknown'))";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.exists(params![self.collection.as_str(), self.node.as_str(), self.key.0, since.0])?)
    }

    /// Whether the last repair of the key was an insert of `run` and left exactly this row.
    fn was_inserted_by(&self, run: RunId, row: Option<RowDigest>) -> Result<bool, JournalError> {
        let Some(row) = row else { return Ok(false) };
        let sql =
            "SELECT id, run = ?4 AND action = 'put' AND expected IS NULL AND outcome_row = ?5 AS inserted
                   FROM intent WHERE collection = ?1 AND node = ?2 AND key_digest = ?3 AND outcome = 'applied'
                   ORDER BY id DESC LIMIT 1";
        let place = params![self.collection.as_str(), self.node.as_str(), self.key.0, run.as_bytes(), row.0];
        let last = columns::first(self.connection, INTENT, sql, place, |columns| {
            columns.optional("inserted", |c, n| c.flag(n))
        })?;
        Ok(last.flatten().unwrap_or(false))
    }

    fn was_incomparable(&self, row: Option<RowDigest>, entry: &Entry) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM intent WHERE collection = ?1 AND node = ?2 AND key_digest = ?3
                       AND incomparable = 1 AND entry = ?4 AND (expected IS ?5 OR outcome_row IS ?5)";
        let row = row.map(|row| row.0);
        let place = params![self.collection.as_str(), self.node.as_str(), self.key.0, entry.to_bytes(), row];
        Ok(self.connection.prepare_cached(sql)?.exists(place)?)
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Cause, ContentDigest, Version};

    use super::*;
    use crate::testing::*;
    use crate::{BeforeImage, Intent, IntentWrite};

    const BEFORE: RowDigest = RowDigest([3; 32]);
    const AFTER: RowDigest = RowDigest([4; 32]);

    fn entry(number: i64, content: u8) -> Entry {
        let (key, version) = (key(number).0, Version(number));
        Entry { key, version, expiry: None, content: ContentDigest([content; 32]) }
    }

    fn put(id: u8, run: u64, number: i64) -> Intent {
        let (key, key_digest) = key(number);
        Intent {
            repair: RepairId::from_bytes([id; 16]),
            run: run_id(run),
            epoch: epoch(1, "a"),
            collection: products(),
            node: node("node-a"),
            key,
            key_digest,
            expected: Some(BEFORE),
            write: IntentWrite::Put { entry: entry(number, 1), row: None },
            before: BeforeImage::NoRow,
            cause: Cause::Unknown,
            approved: false,
            at: WallMicros(100),
        }
    }

    fn asked(id: u8, number: i64, expected: Option<RowDigest>, entry: Option<Entry>) -> Asked {
        Asked { repair: RepairId::from_bytes([id; 16]), key_digest: key(number).1, expected, entry }
    }

    fn precedents(journal: &Journal, since: i64, asked: &[Asked]) -> Vec<Precedent> {
        journal.precedents(&products(), &node("node-a"), run_id(9), WallMicros(since), asked).unwrap()
    }

    fn write(journal: &Journal, intent: Intent, outcome: Option<IntentOutcome>) {
        journal.write_intents(std::slice::from_ref(&intent)).unwrap();
        if let Some(outcome) = outcome {
            journal.write_outcomes(&[(intent.repair, outcome)]).unwrap();
        }
    }

    #[test]
    fn a_key_counts_from_its_first_write_and_a_delivery_once() {
        let place = Place::new();
        let journal = place.open();
        let applied = Some(IntentOutcome::Applied { after: Some(AFTER) });
        write(&journal, put(1, 9, 1), applied.clone());
        write(&journal, put(2, 9, 2), None);
        write(&journal, put(3, 9, 3), Some(IntentOutcome::Changed));
        write(&journal, Intent { approved: true, ..put(4, 9, 4) }, applied);
        let asked: Vec<Asked> = (1..=5).map(|id| asked(id, id.into(), Some(BEFORE), None)).collect();
        let told = precedents(&journal, 100, &asked);
        let flags = |told: &[Precedent]| -> Vec<(bool, bool)> {
            told.iter().map(|told| (told.delivered, told.key_counted)).collect()
        };
        let expected = [(true, true), (true, true), (false, false), (true, false), (false, false)];
        assert_eq!(flags(&told), expected);
        assert!(precedents(&journal, 101, &asked).iter().all(|told| !told.key_counted), "a day later");
    }

    #[test]
    fn a_repair_withdraws_only_what_its_own_run_inserted_and_nobody_changed() {
        let place = Place::new();
        let journal = place.open();
        let applied = IntentOutcome::Applied { after: Some(AFTER) };
        write(&journal, Intent { expected: None, ..put(1, 9, 1) }, Some(applied.clone()));
        write(&journal, Intent { expected: None, ..put(2, 8, 2) }, Some(applied.clone()));
        write(&journal, put(3, 9, 3), Some(applied));
        let delete = |number, row| asked(99, number, row, None);
        let all = [
            delete(1, Some(AFTER)),
            delete(1, Some(BEFORE)),
            delete(2, Some(AFTER)),
            delete(3, Some(AFTER)),
            delete(4, Some(AFTER)),
            delete(1, None),
            asked(99, 1, Some(AFTER), Some(entry(1, 1))),
        ];
        let told: Vec<bool> = precedents(&journal, 0, &all).iter().map(|told| told.withdraws).collect();
        assert_eq!(told, [true, false, false, false, false, false, false]);
    }

    #[test]
    fn what_did_not_read_back_is_incomparable_until_either_side_changes() {
        let place = Place::new();
        let journal = place.open();
        let intent = put(1, 7, 1);
        write(&journal, intent.clone(), Some(IntentOutcome::Applied { after: Some(AFTER) }));
        let all = [
            asked(9, 1, Some(BEFORE), Some(entry(1, 1))),
            asked(9, 1, Some(AFTER), Some(entry(1, 1))),
            asked(9, 1, Some(RowDigest([8; 32])), Some(entry(1, 1))),
            asked(9, 1, Some(AFTER), Some(entry(1, 2))),
            asked(9, 1, None, Some(entry(1, 1))),
            asked(9, 2, Some(AFTER), Some(entry(1, 1))),
        ];
        let told = |journal: &Journal| -> Vec<bool> {
            precedents(journal, 0, &all).iter().map(|told| told.incomparable).collect()
        };
        assert_eq!(told(&journal), [false; 6]);
        journal.mark_incomparable(&[intent.repair]).unwrap();
        drop(journal);
        assert_eq!(told(&place.open()), [true, true, false, false, false, false]);
    }
}
